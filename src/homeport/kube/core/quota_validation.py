"""Rules of resource quotas and limit ranges (upstream: ``ValidateResourceQuota``, ``ValidateLimitRange``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from homeport.kube import field, meta, names, quantity
from homeport.kube.core import rules
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_COMPUTE = frozenset({"cpu", "memory", "ephemeral-storage"})
_COUNTS = frozenset(
    {
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    }
)
_QUOTA_NAMES = (
    _COUNTS
    | _COMPUTE
    | {"storage", "requests.storage"}
    | {f"{kind}.{name}" for kind in ("requests", "limits") for name in _COMPUTE}
)
_POD_SCOPED = frozenset(
    {"pods", *_COMPUTE, *(f"{kind}.{name}" for kind in ("requests", "limits") for name in _COMPUTE)}
)
_SCOPED: Mapping[str, frozenset[str]] = {
    "BestEffort": frozenset({"pods"}),
    "VolumeAttributesClass": frozenset({"persistentvolumeclaims", "requests.storage"}),
}
"""Resources that a scope can be combined with, where those are not what pods use."""
_CONFLICTS = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_ONLY_EXISTS = (
    "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)
_MIXED = "may not be specified when `type` is 'Pod'"


def validate_quota(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    yield from _amounts("spec.hard", spec.get("hard") or {})
    scopes = spec.get("scopes") or ()
    yield from _scopes("spec.scopes", scopes, spec.get("hard") or {})
    expressions = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    for index, item in enumerate(expressions):
        path = f"spec.scopeSelector.matchExpressions[{index}]"
        operator, values = item.get("operator"), item.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values:
                words = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                yield field.required(f"{path}.values", words)
        elif values:
            words = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            yield field.invalid(f"{path}.values", values, words)
        if item.get("scopeName") in {scope for pair in _CONFLICTS for scope in pair} and operator != "Exists":
            yield field.invalid(f"{path}.operator", operator, _ONLY_EXISTS)
    names_of = [item.get("scopeName", "") for item in expressions]
    yield from _scopes("spec.scopeSelector.matchExpressions", names_of, spec.get("hard") or {})
    if old is not None:
        for name in ("scopes", "scopeSelector"):
            if (spec.get(name) or None) != (meta.spec(old).get(name) or None):
                yield field.invalid(f"spec.{name}", spec.get(name), "field is immutable")
    for name in ("hard", "used"):
        yield from _amounts(f"status.{name}", meta.status(new).get(name) or {})


def _scopes(path: str, scopes: Any, hard: Mapping[str, Any]) -> Iterator[FieldError]:
    found = set(scopes)
    for pair in _CONFLICTS:
        if found >= set(pair):
            yield field.invalid(path, list(scopes), "conflicting scopes")
    for scope in scopes:
        limits = _SCOPED.get(scope, _POD_SCOPED)
        if any(name in _QUOTA_NAMES and name not in limits for name in hard):
            words = "unsupported scope applied to resource"
            yield field.invalid(path, list(scopes), words)


def _amounts(path: str, amounts: Mapping[str, Any]) -> Iterator[FieldError]:
    for name, amount in amounts.items():
        at = f"{path}[{name}]"
        if "/" not in name:
            for message in names.qualified_name(name):
                yield field.invalid(at, name, message)
            if name not in _QUOTA_NAMES and not name.startswith(("requests.", "limits.", "hugepages-")):
                yield field.invalid(at, name, "must be a standard resource for quota")
        else:
            for message in names.qualified_name(name):
                yield field.invalid(at, name, message)
        value = quantity.parse(amount)
        if value < 0:
            yield field.invalid(at, amount, rules.NOT_NEGATIVE)
        if (name in _COUNTS or name.startswith("count/")) and value != int(value):
            yield field.invalid(at, amount, "must be an integer")


def validate_limit_range(new: Object, old: Object | None) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, item in enumerate(meta.spec(new).get("limits") or ()):
        path = f"spec.limits[{index}]"
        kind = item.get("type") or ""
        for message in names.qualified_name(kind):
            yield field.invalid(f"{path}.type", kind, message)
        if "/" not in kind and kind not in _LIMIT_TYPES:
            yield field.invalid(f"{path}.type", kind, "must be a standard limit type or fully qualified")
        if kind in seen:
            yield field.duplicate(f"{path}.type", kind)
        seen.add(kind)
        yield from _limits(path, item, kind)


def _limits(path: str, item: Object, kind: str) -> Iterator[FieldError]:
    """Least, default request, default and most, in this order."""
    parts = {name: item.get(name) or {} for name in ("min", "defaultRequest", "default", "max")}
    if kind == "Pod":
        for name in ("default", "defaultRequest"):
            if parts[name]:
                yield field.forbidden(f"{path}.{name}", _MIXED)
    if kind == "PersistentVolumeClaim" and not (parts["min"].get("storage") or parts["max"].get("storage")):
        words = "either minimum or maximum storage value is required, but neither was provided"
        yield field.required(path, words)
    for resource in sorted({resource for part in parts.values() for resource in part}):
        amounts = {name: quantity.parse(part[resource]) for name, part in parts.items() if resource in part}
        order = list(amounts)
        for index, low in enumerate(order):
            for high in order[index + 1 :]:
                if amounts[low] > amounts[high]:
                    less, more = parts[low][resource], parts[high][resource]
                    words = f"{_SAID[low]} value {less} is greater than {_SAID[high]} value {more}"
                    yield field.invalid(f"{path}.{low}[{resource}]", less, words)
        ratio = (item.get("maxLimitRequestRatio") or {}).get(resource)
        if ratio is not None and quantity.parse(ratio) < 1:
            at = f"{path}.maxLimitRequestRatio[{resource}]"
            yield field.invalid(at, ratio, f"ratio {ratio} is less than 1")


_SAID = {"min": "min", "defaultRequest": "default request", "default": "default", "max": "max"}
