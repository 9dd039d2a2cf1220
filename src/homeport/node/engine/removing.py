"""Removing containers, among them those that share something with one another."""

from __future__ import annotations

from collections.abc import Iterable

from homeport.node.engine.api import Engine, EngineError

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
