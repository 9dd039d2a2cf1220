"""How a container of the engine begins and ends, whatever becomes of the engine meanwhile."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Any

from homeport.node.engine import bodies, states
from homeport.node.engine.api import Engine, EngineError
from homeport.node.engine.facts import Facts
from homeport.node.runtime import ContainerSpec

_LOG = logging.getLogger(__name__)
AGAIN_SECONDS, LONGEST_AGAIN_SECONDS = 0.1, 5.0
"""Between two tries to reach an engine that is being restarted: nobody tells when it is back."""
_LOOKS = 5
"""At what became of a start that an engine said has failed."""


def profile(directory: str, spec: ContainerSpec, *, is_podman: bool) -> str:
    """The container's filter of system calls as the engine takes it: Docker its text, Podman a file with it, in the
    pod's directory. Raises OSError."""
    if not spec.seccomp_profile or not is_podman:
        return spec.seccomp_profile
    place = os.path.join(directory, "seccomp", f"{spec.name}.json")
    os.makedirs(os.path.dirname(place), mode=0o711, exist_ok=True)
    with open(place, "w", encoding="utf-8") as file:
        file.write(spec.seccomp_profile)
    return place


async def made(engine: Engine, name: str, body: bodies.Body) -> tuple[str, Mapping[str, Any] | None]:
    """Make a container: its id, and what the engine says of it if it has run. One of that name is this very attempt's:
    the engine had made it, and perhaps started it, before its answer was lost. Raises EngineError."""
    try:
        return str((await engine.request("POST", "/containers/create", body, query={"name": name}))["Id"]), None
    except EngineError as error:
        left = await engine.described(name) if error.status else None
        if left is None:
            raise
        return str(left["Id"]), left if states.has_run(left) else None


async def started(engine: Engine, identity: str) -> Mapping[str, Any]:
    """Start a container; what the engine says of it then. Raises EngineError."""
    refused: EngineError | None = None
    try:
        await engine.request("POST", f"/containers/{identity}/start")
    except EngineError as error:
        refused = error
    # Podman fails for one that ends at that moment, also to describe it, and does not tell when it is through with it.
    for look in range(_LOOKS):
        if look:
            await asyncio.sleep(AGAIN_SECONDS)
        try:
            described: Mapping[str, Any] = await engine.request("GET", f"/containers/{identity}/json")
        except EngineError as error:
            refused = refused or error
            continue
        if refused is None or states.has_run(described):
            return described
        if refused.status < 500:
            break
    assert refused is not None
    raise refused


async def until_ended(facts: Facts, identity: str) -> Mapping[str, Any] | None:
    """Wait for a container's end. What the engine says of it then; None if it does not know it."""
    delay = AGAIN_SECONDS
    while True:
        try:
            path, query = facts.waiting(identity)
            await facts.engine.request("POST", path, query=query)
            return dict(await facts.engine.request("GET", f"/containers/{identity}/json"))
        except EngineError as error:
            if error.status == 404:
                return None
            # The engine is being restarted. Containers go on meanwhile, or end with it.
            _LOG.debug("%s", error)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_AGAIN_SECONDS)


async def has_ended(engine: Engine, identity: str) -> bool:
    """Whether it runs no more, which whoever waits for it hears."""
    try:
        described = await engine.request("GET", f"/containers/{identity}/json")
    except EngineError as error:
        return error.status == 404
    return not described["State"]["Running"]
