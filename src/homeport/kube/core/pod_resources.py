"""What a pod asks for in total (upstream: ``component-helpers/resource``). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal

from homeport.kube import quantity
from homeport.kube.meta import Object, dicts

Amounts = dict[str, Decimal]
Which = Literal["requests", "limits"]

_POD_LEVEL = ("cpu", "memory")
"""And huge pages."""


def amounts(quantities: Any) -> Amounts:
    """Quantities as numbers; what is none is left out (validation says so)."""
    found: Amounts = {}
    if isinstance(quantities, Mapping):
        for name, value in quantities.items():
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                try:
                    found[str(name)] = quantity.parse(value)
                except ValueError:
                    continue
    return found


def of_container(container: Object, which: Which) -> Amounts:
    """Requests or limits of one container."""
    resources = container.get("resources")
    return amounts(resources.get(which)) if isinstance(resources, dict) else {}


def is_pod_level(name: str) -> bool:
    """Whether a pod may state the resource for all its containers together."""
    return name in _POD_LEVEL or name.startswith("hugepages-")


def states_resources(spec: Object) -> bool:
    """Whether the pod states something for all its containers together."""
    resources = spec.get("resources")
    if not isinstance(resources, dict):
        return False
    return any(is_pod_level(name) for which in ("requests", "limits") for name in resources.get(which) or ())


def of_pod(spec: Object, which: Which) -> Amounts:
    """Requests or limits of a whole pod: what it states, or else what its containers need; with the overhead of its
    runtime class."""
    total = of_containers(spec, which)
    for name, amount in _stated(spec, which):
        total[name] = amount
    for name, amount in amounts(spec.get("overhead")).items():
        if which == "requests" or name in total:
            total[name] = total.get(name, Decimal(0)) + amount
    return total


def of_containers(spec: Object, which: Which) -> Amounts:
    """Requests or limits of all containers and restarting init containers together, or the largest of the other init
    containers beside the restarting ones before it."""
    total: Amounts = {}
    for container in dicts(spec.get("containers")):
        add(total, of_container(container, which))
    restarting: Amounts = {}
    largest: Amounts = {}
    for container in dicts(spec.get("initContainers")):
        own = of_container(container, which)
        if container.get("restartPolicy") == "Always":
            add(total, own)
            add(restarting, own)
            own = dict(restarting)
        else:
            add(own, restarting)
        for name, amount in own.items():
            largest[name] = max(amount, largest.get(name, Decimal(0)))
    for name, amount in largest.items():
        total[name] = max(amount, total.get(name, Decimal(0)))
    return total


def _stated(spec: Object, which: Which) -> Iterator[tuple[str, Decimal]]:
    """What the pod states for all its containers."""
    resources = spec.get("resources")
    if isinstance(resources, dict):
        for name, amount in amounts(resources.get(which)).items():
            if is_pod_level(name):
                yield name, amount


def add(total: Amounts, more: Mapping[str, Decimal]) -> None:
    """Add `more` to `total`, in place."""
    for name, amount in more.items():
        total[name] = total.get(name, Decimal(0)) + amount
