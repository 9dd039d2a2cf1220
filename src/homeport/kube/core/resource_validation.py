"""Rules of resource requests and limits (upstream: ``ValidateContainerResourceRequirements``)."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from homeport.kube import field, names, quantity
from homeport.kube.core import rules
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


def validate_resources(resources: Object | None, path: str, claims: set[str] | None = None) -> Iterator[FieldError]:
    """`claims` are the names of the pod's ``resourceClaims``."""
    if not resources:
        return
    limits = resources.get("limits") or {}
    requests = resources.get("requests") or {}
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            at = f"{path}.{kind}[{name}]"
            yield from _resource_name(at, name)
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
