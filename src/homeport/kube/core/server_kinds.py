"""What the API server itself goes by: certificates to sign, shares of its time, and who answers for an API group."""

from __future__ import annotations

from typing import Any

from homeport.kube import meta, names
from homeport.kube.core.columns import NONE
from homeport.kube.core.declare import TYPES, deferred, grouped
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE, human_duration

_FLOW = "flowcontrol.apiserver.k8s.io"

_rule = deferred("homeport.kube.core.server_validation")


def _condition(request: Object) -> str:
    """``Approved,Issued`` and the like."""
    status = meta.status(request)
    found = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    if "Denied" in found:
        state = "Denied"
    elif "Approved" in found:
        state = "Approved"
    else:
        state = "Pending"
    if "Failed" in found:
        state += ",Failed"
    return state + ",Issued" if status.get("certificate") else state


def _asked_for(request: Object) -> str:
    seconds = meta.spec(request).get("expirationSeconds")
    return NONE if seconds is None else human_duration(seconds)


def _service(obj: Object) -> str:
    service = meta.spec(obj).get("service")
    return f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"


def _available(obj: Object) -> str:
    condition = meta.find_condition(meta.status(obj).get("conditions"), "Available")
    if condition is None:
        return "Unknown"
    if condition.get("status") == "True":
        return "True"
    return f"{condition.get('status')} ({condition.get('reason', '')})"


def _limited(*steps: str) -> Any:
    """A number in the settings of a limited level; ``<none>`` for others."""

    def cell(level: Object) -> str:
        found: Any = meta.spec(level).get("limited")
        for step in steps:
            found = found.get(step) if isinstance(found, dict) else None
        return NONE if found is None else str(found)

    return cell


def _shares(level: Object) -> str:
    spec = meta.spec(level)
    found = (spec.get("limited") or spec.get("exempt") or {}).get("nominalConcurrencyShares")
    return NONE if found is None else str(found)


def _missing_level(schema: Object) -> str:
    condition = meta.find_condition(meta.status(schema).get("conditions"), "Dangling")
    return str(condition.get("status")) if condition is not None else "?"


def prepare_request(new: Object, old: Object | None) -> Object:
    return new if old is not None else {**new, "status": {}}


def prepare_level(new: Object, old: Object | None) -> Object:
    """Shares and queues by default (upstream: ``flowcontrol/v1/defaults.go``)."""
    result = new if old is not None else {**new, "status": {}}
    spec = new.get("spec")
    if not isinstance(spec, dict):
        return result
    if spec.get("type") == "Exempt" and spec.get("exempt") is None:
        spec = {**spec, "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}
        result = {**result, "spec": spec}  # what else it says has defaults all the same
    limited = spec.get("limited")
    response = limited.get("limitResponse") if isinstance(limited, dict) else None
    if not isinstance(limited, dict) or not isinstance(response, dict):
        return result
    if response.get("type") == "Queue" and response.get("queuing") is None:
        queuing = {"queues": 64, "handSize": 8, "queueLengthLimit": 50}
        changed = {**limited, "limitResponse": {**response, "queuing": queuing}}
        return {**result, "spec": {**spec, "limited": changed}}
    return result


def prepare_api_service(new: Object, old: Object | None) -> Object:
    """What this server answers for itself is always there."""
    if old is not None:
        return new
    spec = new.get("spec")
    if not isinstance(spec, dict) or spec.get("service") is not None:
        return {**new, "status": {}}
    condition = {
        "type": "Available",
        "status": "True",
        "lastTransitionTime": meta.metadata(new).get("creationTimestamp"),
        "reason": "Local",
        "message": "Local APIServices are always available",
    }
    return {**new, "status": {"conditions": [condition]}}


CERTIFICATE_SIGNING_REQUEST = grouped(
    "certificates.k8s.io",
    "certificatesigningrequests",
    TYPES + "certificates:CertificateSigningRequest",
    namespaced=False,
    status=True,
    generation=False,
    short_names=("csr",),
    columns=(
        AGE,
        Column("SignerName", "string", ".spec.signerName"),
        Column("Requestor", "string", ".spec.username"),
        Column("RequestedDuration", "string", compute=_asked_for),
        Column("Condition", "string", compute=_condition),
    ),
    prepare=prepare_request,
    validate=_rule("validate_request"),
)
FLOW_SCHEMA = grouped(
    _FLOW,
    "flowschemas",
    TYPES + "flowcontrol:FlowSchema",
    namespaced=False,
    status=True,
    columns=(
        Column("PriorityLevel", "string", ".spec.priorityLevelConfiguration.name"),
        Column("MatchingPrecedence", "integer", ".spec.matchingPrecedence"),
        Column(
            "DistinguisherMethod",
            "string",
            compute=lambda obj: (meta.spec(obj).get("distinguisherMethod") or {}).get("type") or NONE,
        ),
        AGE,
        Column("MissingPL", "string", compute=_missing_level),
    ),
    prepare=prepare_request,
    validate=_rule("validate_schema"),
)
PRIORITY_LEVEL = grouped(
    _FLOW,
    "prioritylevelconfigurations",
    TYPES + "flowcontrol:PriorityLevelConfiguration",
    namespaced=False,
    status=True,
    columns=(
        Column("Type", "string", ".spec.type"),
        Column("NominalConcurrencyShares", "string", compute=_shares),
        Column("Queues", "string", compute=_limited("limitResponse", "queuing", "queues")),
        Column("HandSize", "string", compute=_limited("limitResponse", "queuing", "handSize")),
        Column("QueueLengthLimit", "string", compute=_limited("limitResponse", "queuing", "queueLengthLimit")),
        AGE,
    ),
    prepare=prepare_level,
    validate=_rule("validate_level"),
)
API_SERVICE = grouped(
    "apiregistration.k8s.io",
    "apiservices",
    TYPES + "apiregistration:APIService",
    namespaced=False,
    status=True,
    generation=False,
    categories=("api-extensions",),
    name_rule=names.path_segment,
    columns=(
        Column("Service", "string", compute=_service),
        Column("Available", "string", compute=_available),
        AGE,
    ),
    prepare=prepare_api_service,
    validate=_rule("validate_api_service"),
)

KINDS = (CERTIFICATE_SIGNING_REQUEST, FLOW_SCHEMA, PRIORITY_LEVEL, API_SERVICE)
