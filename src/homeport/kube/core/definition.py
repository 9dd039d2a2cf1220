"""CustomResourceDefinitions (apiextensions.k8s.io/v1)."""

from __future__ import annotations

from homeport.kube.core.columns import CREATED_AT
from homeport.kube.core.declare import grouped
from homeport.kube.core.definition_validation import validate_definition
from homeport.kube.core.types.definition import CustomResourceDefinition
from homeport.kube.meta import Object


def prepare_definition(new: Object, old: Object | None) -> Object:
    """Names that follow from others, and no conversion (upstream: ``SetDefaults_CustomResourceDefinitionSpec``)."""
    spec = new.get("spec")
    if not isinstance(spec, dict):
        return new
    changes: Object = {}
    given = spec.get("names")
    if isinstance(given, dict) and isinstance(given.get("kind"), str):
        missing = {}
        if not given.get("singular"):
            missing["singular"] = given["kind"].lower()
        if not given.get("listKind"):
            missing["listKind"] = given["kind"] + "List"
        if missing:
            changes["names"] = {**given, **missing}
    if not spec.get("conversion"):
        changes["conversion"] = {"strategy": "None"}
    return {**new, "spec": {**spec, **changes}} if changes else new


CRD = grouped(
    "apiextensions.k8s.io",
    "customresourcedefinitions",
    CustomResourceDefinition,
    namespaced=False,
    status=True,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    columns=(CREATED_AT,),
    prepare=prepare_definition,
    validate=validate_definition,
)

KINDS = (CRD,)
