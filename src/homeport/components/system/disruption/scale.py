"""How many pods the controllers of some pods want to have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from homeport.client.client import Client
from homeport.kube import core
from homeport.kube.errors import HomeportError, NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, controller_of, name, namespace, spec, uid

_REPLICATED = {
    (kind.resource.group, kind.kind): kind.resource
    for kind in (core.REPLICA_SET, core.REPLICATION_CONTROLLER, core.STATEFUL_SET)
}


class Unscalable(HomeportError):
    """The number of pods is not known, in upstream's words."""


class Scale(NamedTuple):
    replicas: int
    some_unmanaged: bool
    """Some of the pods are controlled by nobody."""


async def expected(client: Client, pods: Iterable[Object]) -> Scale:
    """Raises Unscalable, and what requests raise."""
    found: dict[str, int] = {}
    some_unmanaged = False
    seen: set[str] = set()
    for pod in pods:
        owner = controller_of(pod)
        if owner is None:
            some_unmanaged = True
        elif owner["uid"] not in seen:
            seen.add(owner["uid"])
            scaled = await _scale_of(client, owner, namespace(pod))
            if scaled is None:
                raise Unscalable(f'found no controllers for pod "{name(pod)}"')
            found[scaled[0]] = scaled[1]
    return Scale(sum(found.values()), some_unmanaged)


async def _scale_of(client: Client, owner: Object, place: str) -> tuple[str, int] | None:
    """Who decides how many pods there are, and the number; None: that one has gone."""
    group = owner["apiVersion"].rpartition("/")[0]
    resource = _REPLICATED.get((group, owner["kind"]))
    if resource is None:
        return await _scale_subresource(client, owner, place)
    controller = await _same(client, resource, owner, place)
    if controller is None:
        return None
    above = controller_of(controller)
    if resource is core.REPLICA_SET.resource and above is not None and above["kind"] == "Deployment":
        controller = await _same(client, core.DEPLOYMENT.resource, above, place)
        if controller is None:
            return None
    return uid(controller), int(spec(controller).get("replicas", 1))


async def _same(client: Client, resource: Resource, owner: Object, place: str) -> Object | None:
    """The owner, unless another object has its name now."""
    try:
        found = await client.get(resource, owner["name"], place)
    except NotFound:
        return None
    return found if uid(found) == owner["uid"] else None


async def _scale_subresource(client: Client, owner: Object, place: str) -> tuple[str, int] | None:
    try:
        resource = await client.resource_for(owner["apiVersion"], owner["kind"])
    except NotFound as error:
        raise Unscalable(error.message) from error
    known = next(entry for entry in await client.discover() if entry.resource == resource)
    if "scale" not in known.subresources:
        raise Unscalable(f"{resource.qualified} does not implement the scale subresource")
    try:
        found = await client.get(resource, owner["name"], place, subresource="scale")
    except NotFound:
        return None
    return (uid(found), int(spec(found).get("replicas") or 0)) if uid(found) == owner["uid"] else None
