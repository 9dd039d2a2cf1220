"""Removing containers, among them those that share something with one another, and what else a pod has."""

from __future__ import annotations

from collections.abc import Iterable

from homeport.node.engine import bodies
from homeport.node.engine.api import Engine, EngineError
from homeport.node.engine.facts import Facts

_CONFLICT = 409
"""Somebody removes it already."""


async def remove(engine: Engine, container: str) -> bool:
    """Whether the container, by id or name, is gone; False if others share its network or processes, which Podman
    minds. What it wrote to its own layer goes with it. Raises EngineError."""
    try:
        await engine.request("DELETE", f"/containers/{container}", query={"force": "true", "v": "true"})
    except EngineError as error:
        if "dependent containers" in str(error):
            return False
        if error.status not in (404, _CONFLICT):
            raise
    return True


async def remove_all(engine: Engine, containers: Iterable[str]) -> None:
    """Remove them, first those that nobody shares something with. Raises EngineError."""
    left = list(containers)
    while left:
        kept = [container for container in left if not await remove(engine, container)]
        if len(kept) == len(left):
            raise EngineError(f"containers share something with others that stay: {', '.join(kept)}", _CONFLICT)
        left = kept


async def remove_pod(facts: Facts, uid: str) -> None:
    """All that the engine has of a pod. Raises EngineError."""
    query = bodies.labelled(node=facts.node, uid=uid)
    found = await facts.engine.request("GET", "/containers/json", query=query)
    await remove_all(facts.engine, [str(one["Id"]) for one in found])
    await _remove_volumes(facts, uid)


async def pods_of(facts: Facts) -> set[str]:
    """The uids of pods of which the engine has something. Raises EngineError."""
    found = await facts.engine.request("GET", "/containers/json", query=bodies.labelled(node=facts.node))
    labels = [one["Labels"] for one in found]
    uids = {str(one[bodies.UID]) for one in labels if one.get(bodies.ROLE) in (bodies.SHARED, bodies.OWN)}
    return uids | {uid for uid, _ in await _volumes(facts)}


async def _remove_volumes(facts: Facts, uid: str) -> None:
    for owner, name in await _volumes(facts):
        if owner == uid:
            await _remove_volume(facts.engine, name)


async def _volumes(facts: Facts) -> list[tuple[str, str]]:
    """(uid of the pod, name) of each."""
    found = await facts.engine.request("GET", "/volumes", query=bodies.labelled(node=facts.node))
    return [(str(one["Labels"].get(bodies.UID)), str(one["Name"])) for one in found.get("Volumes") or ()]


async def _remove_volume(engine: Engine, name: str) -> None:
    try:
        await engine.request("DELETE", f"/volumes/{name}")
    except EngineError as error:
        if error.status != 404:
            raise
