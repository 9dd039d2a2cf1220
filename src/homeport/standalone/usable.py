"""What a cluster has of all that controllers observe, and what becomes of those for which something is missing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from functools import partial

import msgspec

from homeport.client.client import Client
from homeport.control.controller import Controller, Desired, Note, Observed
from homeport.kube.errors import Forbidden, NotFound, Permanent
from homeport.kube.kind import Resource
from homeport.standalone.parts import Part, resources

_log = logging.getLogger(__name__)
_LOOK = 0.2
"""Seconds between two looks for a definition that was just made."""
_TOLD = "without"
"""In a sync's memory: that the parent's user was told of what is missing."""


async def missing_of(client: Client, parts: Sequence[Part]) -> frozenset[Resource]:
    """What the cluster lacks of all that the parts' controllers observe. Raises Permanent as `is_served`."""
    wanted = {resource for part in parts for controller in part.controllers for resource in resources(controller)}
    return frozenset([resource for resource in wanted if not await is_served(client, resource)])


async def until_served(client: Client, wanted: Sequence[Resource], seconds: float = 60.0) -> None:
    """Until the cluster serves all of these, whose definitions were just made: that takes it a few seconds, and no
    condition says when every part of it knows them. Raises Permanent if it takes longer than `seconds`."""
    end = asyncio.get_running_loop().time() + seconds
    for resource in wanted:
        while not await is_served(client, resource):
            if asyncio.get_running_loop().time() > end:
                raise Permanent(f"the cluster doesn't serve {_names([resource])}, though it has the definition")
            await asyncio.sleep(_LOOK)


def usable(parts: Sequence[Part], missing: frozenset[Resource]) -> tuple[Controller, ...]:
    """The controllers for which the cluster has all that they observe; the log says which others there are, and which
    have to do without a kind of child that is optional.

    Raises Permanent if a part has none.
    """
    found: list[Controller] = []
    for part in parts:
        here: list[Controller] = []
        for controller in part.controllers:
            lacking = _needed(controller) & missing
            if lacking:
                _log.warning("%s is left out: the cluster doesn't know %s", controller.name, _names(lacking))
            else:
                here.append(without(controller, missing))
        if not here:
            also = f" It needs {part.needs}, too." if part.needs else ""
            lacking = frozenset(one for controller in part.controllers for one in _needed(controller) & missing)
            raise Permanent(
                f"the cluster doesn't know {_names(lacking)}: install them with `homeport controllers manifests --only "
                f"{part.name} | kubectl apply --server-side -f -`, or start with --install.{also}"
            )
        found += here
    return tuple(found)


async def is_served(client: Client, resource: Resource) -> bool:
    """Whether a cluster knows a resource. Raises Permanent if this account may not read it."""
    try:
        await client.list(resource, limit=1)
    except NotFound:
        return False
    except Forbidden as error:
        raise refused(error) from error
    return True


def refused(error: Forbidden) -> Permanent:
    """What to tell the user of a right that the account lacks."""
    return Permanent(
        f"{error.message}. The rights that controllers need are in `homeport controllers manifests`, with the same "
        "--only and --webhook-service or --webhook-url."
    )


def without(controller: Controller, missing: frozenset[Resource]) -> Controller:
    """The controller, making none of the optional children that a cluster lacks: its parents are told instead."""
    lacking = frozenset(child.resource for child in controller.children if child.optional) & missing
    if not lacking:
        return controller
    _log.warning("%s works without %s: the cluster doesn't know them", controller.name, _names(lacking))
    children = tuple(child for child in controller.children if child.resource not in lacking)
    return msgspec.structs.replace(controller, children=children, sync=partial(_sync_without, controller, lacking))


def _sync_without(controller: Controller, lacking: frozenset[Resource], observed: Observed) -> Desired:
    desired = controller.sync(observed)
    versions = {(resource.api_version, resource.kind) for resource in lacking}
    children = tuple(obj for obj in desired.children if (obj["apiVersion"], obj["kind"]) not in versions)
    if len(children) == len(desired.children):
        return desired
    memory = {**desired.memory, _TOLD: {}}
    notes = desired.notes
    if _TOLD not in observed.memory:
        text = f"The cluster doesn't know {_names(lacking)}: the job goes without"
        notes = (*notes, Note("Warning", "NotSupported", text))
    return msgspec.structs.replace(desired, children=children, notes=notes, memory=memory)


def _needed(controller: Controller) -> frozenset[Resource]:
    return resources(controller) - {child.resource for child in controller.children if child.optional}


def _names(some: Iterable[Resource]) -> str:
    return ", ".join(sorted(f"{resource.qualified}/{resource.version}" for resource in some))
