"""Devices and claims to them (resource.k8s.io/v1)."""

from __future__ import annotations

from typing import Any

from homeport.kube import meta
from homeport.kube.core.declare import TYPES, deferred, grouped
from homeport.kube.core.pod_defaults import mapped
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE

_GROUP = "resource.k8s.io"

_rule = deferred("homeport.kube.core.device_validation")


def _state(claim: Object) -> str:
    """``allocated,reserved`` and the like (upstream: ``printResourceClaim``)."""
    status = meta.status(claim)
    states = []
    if meta.is_deleting(claim):
        states.append("deleted")
    if status.get("allocation") is None:
        states.append("pending" if not states else "")
    else:
        states.append("allocated")
        if status.get("reservedFor"):
            states.append("reserved")
    return ",".join(state for state in states if state)


def _devices(devices: Any) -> Any:
    """One device by default (upstream: ``SetDefaults_ExactDeviceRequest``)."""

    def counted(request: Object) -> Object:
        mode = request.get("allocationMode") or "ExactCount"
        changes: Object = {"allocationMode": mode}
        if mode == "ExactCount" and not request.get("count"):
            changes["count"] = 1
        return {**request, **changes}

    def complete(request: Object) -> Object:
        exactly = request.get("exactly")
        result = {**request, "exactly": counted(exactly)} if isinstance(exactly, dict) else request
        choices = mapped(request.get("firstAvailable"), counted)
        return result if choices is request.get("firstAvailable") else {**result, "firstAvailable": choices}

    requests = mapped(devices.get("requests"), complete) if isinstance(devices, dict) else None
    return devices if requests is None else {**devices, "requests": requests}


def _claim_spec(spec: Any) -> Any:
    devices = spec.get("devices") if isinstance(spec, dict) else None
    return spec if devices is None else {**spec, "devices": _devices(devices)}


def prepare_claim(new: Object, old: Object | None) -> Object:
    result = new if old is not None else {**new, "status": {}}
    return {**result, "spec": _claim_spec(new["spec"])} if "spec" in new else result


def prepare_template(new: Object, old: Object | None) -> Object:
    spec = new.get("spec")
    if not isinstance(spec, dict) or "spec" not in spec:
        return new
    return {**new, "spec": {**spec, "spec": _claim_spec(spec["spec"])}}


DEVICE_CLASS = grouped(
    _GROUP,
    "deviceclasses",
    TYPES + "devices:DeviceClass",
    namespaced=False,
    generation=True,
    columns=(AGE,),
    validate=_rule("validate_class"),
)
RESOURCE_CLAIM = grouped(
    _GROUP,
    "resourceclaims",
    TYPES + "devices:ResourceClaim",
    status=True,
    generation=False,
    columns=(Column("State", "string", compute=_state), AGE),
    prepare=prepare_claim,
    validate=_rule("validate_claim"),
)
RESOURCE_CLAIM_TEMPLATE = grouped(
    _GROUP,
    "resourceclaimtemplates",
    TYPES + "devices:ResourceClaimTemplate",
    columns=(AGE,),
    prepare=prepare_template,
    validate=_rule("validate_template"),
)
RESOURCE_SLICE = grouped(
    _GROUP,
    "resourceslices",
    TYPES + "devices:ResourceSlice",
    namespaced=False,
    generation=True,
    columns=(
        Column("Node", "string", ".spec.nodeName"),
        Column("Driver", "string", ".spec.driver"),
        Column("Pool", "string", ".spec.pool.name"),
        AGE,
    ),
    validate=_rule("validate_slice"),
)

KINDS = (DEVICE_CLASS, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE, RESOURCE_SLICE)
