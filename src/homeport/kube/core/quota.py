"""Resource quotas, limit ranges, priority classes and leases."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.kube import field, meta
from homeport.kube.core.columns import CREATED_AT
from homeport.kube.core.declare import core, deferred, grouped
from homeport.kube.core.pod_defaults import mapped, replaced
from homeport.kube.core.types.coordination import Lease
from homeport.kube.core.types.quota import LimitRange, ResourceQuota
from homeport.kube.core.types.scheduling import PriorityClass
from homeport.kube.errors import FieldError
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE

_HIGHEST_USER_PRIORITY = 1_000_000_000
_SYSTEM_PREFIX = "system-"

_rule = deferred("homeport.kube.core.quota_validation")


def _used(quota: Object, wants_limits: bool) -> str:
    status = meta.status(quota)
    used = status.get("used") or {}
    hard = status.get("hard") or meta.spec(quota).get("hard") or {}
    return ", ".join(
        f"{name}: {used.get(name, '0')}/{hard[name]}"
        for name in sorted(hard)
        if name.startswith("limits.") == wants_limits
    )


def prepare_limit_range(new: Object, old: Object | None) -> Object:
    """A container's default limit is the most that is allowed, its default request is that limit, or the least."""
    spec = new.get("spec")
    if not isinstance(spec, dict):
        return new
    limits = mapped(spec.get("limits"), _limit_range_item)
    return new if limits is spec.get("limits") else {**new, "spec": {**spec, "limits": limits}}


def _limit_range_item(item: Object) -> Object:
    parts = {name: item.get(name) or {} for name in ("max", "min", "default", "defaultRequest")}
    if item.get("type") != "Container" or not all(isinstance(part, dict) for part in parts.values()):
        return item
    default = {**parts["max"], **parts["default"]}
    request = {**parts["min"], **default, **parts["defaultRequest"]}
    changes: Object = {}
    if default != parts["default"]:
        changes["default"] = default
    if request != parts["defaultRequest"]:
        changes["defaultRequest"] = request
    return replaced(item, changes)


def validate_priority_class(new: Object, old: Object | None) -> Iterator[FieldError]:
    name, value = meta.name(new), new.get("value", 0)
    if not name.startswith(_SYSTEM_PREFIX) and value > _HIGHEST_USER_PRIORITY:
        words = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
        yield field.forbidden("value", words)
    if old is not None:
        if old.get("value", 0) != value:
            yield field.forbidden("value", "may not be changed in an update.")
        if old.get("preemptionPolicy") != new.get("preemptionPolicy"):
            yield field.invalid("preemptionPolicy", new.get("preemptionPolicy"), "field is immutable")


def validate_lease(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        yield field.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")
    if transitions is not None and transitions < 0:
        yield field.invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0")


RESOURCE_QUOTA = core(
    "resourcequotas",
    ResourceQuota,
    short_names=("quota",),
    columns=(
        Column("Request", "string", compute=lambda obj: _used(obj, wants_limits=False)),
        Column("Limit", "string", compute=lambda obj: _used(obj, wants_limits=True)),
        AGE,
    ),
    validate=_rule("validate_quota"),
)

LIMIT_RANGE = core(
    "limitranges",
    LimitRange,
    status=False,
    short_names=("limits",),
    columns=(CREATED_AT,),
    prepare=prepare_limit_range,
    validate=_rule("validate_limit_range"),
)

PRIORITY_CLASS = grouped(
    "scheduling.k8s.io",
    "priorityclasses",
    PriorityClass,
    namespaced=False,
    generation=True,
    short_names=("pc",),
    columns=(
        Column("Value", "integer", compute=lambda obj: obj.get("value", 0)),
        Column("Global-Default", "boolean", compute=lambda obj: bool(obj.get("globalDefault"))),
        AGE,
        Column("PreemptionPolicy", "string", ".preemptionPolicy"),
    ),
    validate=validate_priority_class,
)

LEASE = grouped(
    "coordination.k8s.io",
    "leases",
    Lease,
    columns=(Column("Holder", "string", compute=lambda obj: meta.spec(obj).get("holderIdentity") or ""), AGE),
    validate=validate_lease,
)

KINDS = (RESOURCE_QUOTA, LIMIT_RANGE, PRIORITY_CLASS, LEASE)
