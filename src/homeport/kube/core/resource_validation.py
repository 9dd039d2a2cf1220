"""Rules of resource requests and limits (upstream: ``ValidateContainerResourceRequirements``)."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from homeport.kube import field, names, quantity
from homeport.kube.core import rules
from homeport.kube.core.pod_resources import amounts, is_pod_level, of_containers
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_STANDARD = ("cpu", "memory", "ephemeral-storage")
_HUGE_PAGES = "hugepages-"
_NATIVE_DOMAIN = "kubernetes.io/"
_REQUESTS_PREFIX = "requests."
"""Would make a quota's ``requests.<name>`` ambiguous."""


def is_extended(name: str) -> bool:
    """Whether a resource is one that a node advertises, such as ``nvidia.com/gpu``."""
    return (
        "/" in name
        and _NATIVE_DOMAIN not in name
        and not name.startswith(_REQUESTS_PREFIX)
        and not names.qualified_name(f"{_REQUESTS_PREFIX}{name}")
    )


def _can_overcommit(name: str) -> bool:
    return ("/" not in name or _NATIVE_DOMAIN in name) and not name.startswith(_HUGE_PAGES)


def validate_pod_resources(spec: Object, path: str) -> Iterator[FieldError]:
    """What a pod states at `path` for all its containers together (upstream: ``validatePodResources``)."""
    resources = spec.get("resources") or {}
    for _ in resources.get("claims") or ():
        yield field.forbidden(f"{path}.claims", "claims cannot be set for Resources at pod-level")
    yield from validate_resources({**resources, "claims": ()}, path, of_pod=True)
    stated = {which: amounts(resources.get(which)) for which in ("requests", "limits")}
    for name, amount in of_containers(spec, "requests").items():
        if is_pod_level(name) and amount > stated["requests"].get(name, amount):
            needed = quantity.to_text(amount, "decimal" if name == "cpu" else "binary")
            words = f"must be greater than or equal to aggregate container requests of {needed}"
            yield field.invalid(f"{path}.requests[{name}]", resources["requests"][name], words)
    for index, container in enumerate(spec.get("containers") or ()):
        limits = (container.get("resources") or {}).get("limits") or {}
        for name, amount in amounts(limits).items():
            if amount > stated["limits"].get(name, amount):
                at = f"{path}.containers[{index}][{name}].limits"  # upstream's path
                words = f"must be less than or equal to pod limits of {resources['limits'][name]}"
                yield field.invalid(at, limits[name], words)


def validate_resources(
    resources: Object | None, path: str, claims: set[str] | None = None, *, of_pod: bool = False
) -> Iterator[FieldError]:
    """`claims` are the names of the pod's ``resourceClaims``; `of_pod`: they are what a whole pod states."""
    if not resources:
        return
    limits = resources.get("limits") or {}
    requests = resources.get("requests") or {}
    for kind, listed in (("limits", limits), ("requests", requests)):
        for name, amount in listed.items():
            at = f"{path}.{kind}[{name}]"
            if not of_pod:
                yield from _resource_name(at, name)
            elif not is_pod_level(name):
                yield field.not_supported(at, name, ("cpu", "hugepages-", "memory"))
            yield from _amount(at, name, amount)
    for name, amount in requests.items():
        limit = limits.get(name)
        if limit is None:
            if not _can_overcommit(name):
                yield field.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
            continue
        wanted, allowed = quantity.parse(amount), quantity.parse(limit)
        if wanted != allowed and not _can_overcommit(name):
            yield field.invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limit}")
        elif wanted > allowed:
            words = f"must be less than or equal to {name} limit of {limit}"
            yield field.invalid(f"{path}.requests", amount, words)
    for index, claim in enumerate(resources.get("claims") or ()):
        name = claim.get("name")
        if not name:
            yield field.required(f"{path}.claims[{index}]")
        elif claims is not None and name not in claims:
            yield field.not_found(f"{path}.claims[{index}]", name)


def _resource_name(path: str, name: str) -> Iterator[FieldError]:
    wrong = list(rules.checked(path, name, names.qualified_name))
    yield from wrong
    if wrong:
        return
    if "/" not in name:
        if name not in _STANDARD and not name.startswith(_HUGE_PAGES):
            yield field.invalid(path, name, "must be a standard resource for containers")
    elif _NATIVE_DOMAIN not in name and not is_extended(name):
        yield field.invalid(path, name, "doesn't follow extended resource name standard")


def _amount(path: str, name: str, amount: str) -> Iterator[FieldError]:
    value: Decimal = quantity.parse(amount)
    if value < 0:
        yield field.invalid(path, amount, rules.NOT_NEGATIVE)
    if is_extended(name) and value != value.to_integral_value():
        yield field.invalid(path, amount, "must be an integer")
