"""Config maps, secrets, namespaces and service accounts."""

from __future__ import annotations

import base64

from homeport.kube import meta, names
from homeport.kube.core.config_validation import validate_config_map, validate_secret
from homeport.kube.core.declare import core
from homeport.kube.core.types.config import ConfigMap, Namespace, Secret, ServiceAccount
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE

_NAME_LABEL = "kubernetes.io/metadata.name"
"""Label by which a namespace selector can choose a namespace by name."""


def prepare_secret(new: Object, old: Object | None) -> Object:
    """``stringData`` is for writing only: it wins over ``data``, and goes into it in base64."""
    texts = new.get("stringData")
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        return new
    data = new.get("data")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        return new
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
    result = {name: value for name, value in new.items() if name != "stringData"}
    return {**result, "data": {**data, **encoded}} if encoded or data else result


def prepare_namespace(new: Object, old: Object | None) -> Object:
    """The label with its name, and on create its finalizer and phase (upstream: the namespace strategy)."""
    metadata = new.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if isinstance(metadata, dict) and (labels is None or isinstance(labels, dict)):
        name = metadata.get("name")
        if name and (labels or {}).get(_NAME_LABEL) != name:
            new = {**new, "metadata": {**metadata, "labels": {**(labels or {}), _NAME_LABEL: name}}}
    if old is None:
        spec = new.get("spec")
        finalizers = (spec.get("finalizers") if isinstance(spec, dict) else None) or []
        if isinstance(finalizers, list) and "kubernetes" not in finalizers:
            spec = {**(spec if isinstance(spec, dict) else {}), "finalizers": [*finalizers, "kubernetes"]}
            new = {**new, "spec": spec}
        new = {**new, "status": {"phase": "Active"}}
    return new


def _entries(obj: Object) -> int:
    return len(obj.get("data") or ()) + len(obj.get("binaryData") or ())


CONFIG_MAP = core(
    "configmaps",
    ConfigMap,
    status=False,
    short_names=("cm",),
    columns=(Column("Data", "integer", compute=_entries), AGE),
    validate=validate_config_map,
)

SECRET = core(
    "secrets",
    Secret,
    status=False,
    columns=(
        Column("Type", "string", ".type"),
        Column("Data", "integer", compute=lambda obj: len(obj.get("data") or ())),
        AGE,
    ),
    prepare=prepare_secret,
    validate=validate_secret,
)

NAMESPACE = core(
    "namespaces",
    Namespace,
    namespaced=False,
    short_names=("ns",),
    name_rule=names.dns1123_label,
    columns=(Column("Status", "string", compute=lambda obj: meta.status(obj).get("phase") or ""), AGE),
    prepare=prepare_namespace,
)

SERVICE_ACCOUNT = core(
    "serviceaccounts",
    ServiceAccount,
    status=False,
    short_names=("sa",),
    columns=(Column("Secrets", "integer", compute=lambda obj: len(obj.get("secrets") or ())), AGE),
)

KINDS = (CONFIG_MAP, SECRET, NAMESPACE, SERVICE_ACCOUNT)
