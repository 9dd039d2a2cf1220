"""What the pods of a group need in all (``minResources``). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from homeport.kube import quantity
from homeport.kube.core import pod_resources
from homeport.kube.meta import Object


def needed(pods: Iterable[tuple[Object, int]], most: int | None = None) -> Object:
    """The requests of pods (a pod's spec, and how many like it), of the first `most` of them; None: of all.

    As text in each resource's usual form; empty if they ask for nothing.
    """
    total: pod_resources.Amounts = {}
    for spec, count in pods:
        taken = count if most is None else min(count, most)
        if most is not None:
            most -= taken
        own = pod_resources.of_pod(_defaulted(spec), "requests")
        pod_resources.add(total, {name: amount * taken for name, amount in own.items()})
    return {name: quantity.to_text(total[name], _format(name)) for name in sorted(total)}


def _defaulted(spec: Object) -> Object:
    """A limit without a request counts as one, as it will in pods: templates have not been defaulted."""
    found = dict(spec)
    for field in ("containers", "initContainers"):
        containers = []
        for container in spec.get(field) or ():
            resources = container.get("resources") or {}
            requests = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
            containers.append({**container, "resources": {**resources, "requests": requests}})
        if containers:
            found[field] = containers
    return found


def _format(name: str) -> quantity.Format:
    return "binary" if name in ("memory", "ephemeral-storage") or name.startswith("hugepages-") else "decimal"
