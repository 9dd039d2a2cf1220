"""Webhooks and policies that take part in admission (admissionregistration.k8s.io/v1)."""

from __future__ import annotations

from homeport.kube import meta
from homeport.kube.core.columns import UNSET
from homeport.kube.core.declare import TYPES, deferred, grouped
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE

_GROUP = "admissionregistration.k8s.io"

_webhook_rule = deferred("homeport.kube.core.webhook_validation")
_policy_rule = deferred("homeport.kube.core.policy_validation")


def _reference(kind: Object | None) -> str:
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET


def _parameters(binding: Object) -> str:
    """The parameters of a binding: an object by name, or objects by their labels."""
    ref = meta.spec(binding).get("paramRef")
    if not ref:
        return UNSET
    if not ref.get("name"):
        return "*"
    return f"{ref['namespace']}/{ref['name']}" if ref.get("namespace") else str(ref["name"])


_WEBHOOK_COLUMNS = (Column("Webhooks", "integer", compute=lambda obj: len(obj.get("webhooks") or ())), AGE)
_PARAM_KIND = Column("ParamKind", "string", compute=lambda obj: _reference(meta.spec(obj).get("paramKind")))
_BINDING_COLUMNS = (
    Column("PolicyName", "string", ".spec.policyName"),
    Column("ParamRef", "string", compute=_parameters),
    AGE,
)

MUTATING_WEBHOOK_CONFIGURATION = grouped(
    _GROUP,
    "mutatingwebhookconfigurations",
    TYPES + "webhooks:MutatingWebhookConfiguration",
    namespaced=False,
    generation=True,
    categories=("api-extensions",),
    columns=_WEBHOOK_COLUMNS,
    validate=_webhook_rule("validate_webhooks"),
)
VALIDATING_WEBHOOK_CONFIGURATION = grouped(
    _GROUP,
    "validatingwebhookconfigurations",
    TYPES + "webhooks:ValidatingWebhookConfiguration",
    namespaced=False,
    generation=True,
    categories=("api-extensions",),
    columns=_WEBHOOK_COLUMNS,
    validate=_webhook_rule("validate_webhooks"),
)
VALIDATING_ADMISSION_POLICY = grouped(
    _GROUP,
    "validatingadmissionpolicies",
    TYPES + "policies:ValidatingAdmissionPolicy",
    namespaced=False,
    status=True,
    categories=("api-extensions",),
    columns=(
        Column("Validations", "integer", compute=lambda obj: len(meta.spec(obj).get("validations") or ())),
        _PARAM_KIND,
        AGE,
    ),
    validate=_policy_rule("validate_validating_policy"),
)
VALIDATING_ADMISSION_POLICY_BINDING = grouped(
    _GROUP,
    "validatingadmissionpolicybindings",
    TYPES + "policies:ValidatingAdmissionPolicyBinding",
    namespaced=False,
    generation=True,
    categories=("api-extensions",),
    columns=_BINDING_COLUMNS,
    validate=_policy_rule("validate_validating_binding"),
)
MUTATING_ADMISSION_POLICY = grouped(
    _GROUP,
    "mutatingadmissionpolicies",
    TYPES + "policies:MutatingAdmissionPolicy",
    namespaced=False,
    generation=True,
    categories=("api-extensions",),
    columns=(
        Column("Mutations", "integer", compute=lambda obj: len(meta.spec(obj).get("mutations") or ())),
        _PARAM_KIND,
        AGE,
    ),
    validate=_policy_rule("validate_mutating_policy"),
)
MUTATING_ADMISSION_POLICY_BINDING = grouped(
    _GROUP,
    "mutatingadmissionpolicybindings",
    TYPES + "policies:MutatingAdmissionPolicyBinding",
    namespaced=False,
    generation=True,
    categories=("api-extensions",),
    columns=_BINDING_COLUMNS,
    validate=_policy_rule("validate_mutating_binding"),
)

KINDS = (
    MUTATING_WEBHOOK_CONFIGURATION,
    VALIDATING_WEBHOOK_CONFIGURATION,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    MUTATING_ADMISSION_POLICY,
    MUTATING_ADMISSION_POLICY_BINDING,
)
