"""Config maps and secrets that a pod refers to: read when they are needed, awaited when they are missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from homeport.client.client import Client
from homeport.kube import core, meta
from homeport.kube.errors import HomeportError, NotFound
from homeport.kube.meta import Object
from homeport.node.references import Ref

RESOURCES = {
    "ConfigMap": core.CONFIG_MAP.resource,
    "Secret": core.SECRET.resource,
    "PersistentVolumeClaim": core.PERSISTENT_VOLUME_CLAIM.resource,
}
_PAUSE = 1.0


async def fetch(client: Client, refs: Iterable[Ref], pod: Object) -> Mapping[Ref, Object | None]:
    """The objects that are there; None for those that are not."""
    found: dict[Ref, Object | None] = {}
    for ref in refs:
        try:
            found[ref] = await client.get(RESOURCES[ref.kind], ref.name, meta.namespace(pod))
        except NotFound:
            found[ref] = None
    return found


async def wait_for(client: Client, ref: Ref, pod: Object) -> None:
    """Return when the object has appeared, or has changed if it was there."""
    resource, namespace = RESOURCES[ref.kind], meta.namespace(pod)
    seen: str | None = None
    while True:
        try:
            if seen is None:
                before = (await fetch(client, (ref,), pod))[ref]
                seen = meta.resource_version(before) if before is not None else ""
            async with client.watch(resource, namespace, fields=f"metadata.name={ref.name}") as events:
                async for event in events:
                    if event.type in ("ADDED", "MODIFIED") and meta.resource_version(event.object) != seen:
                        return
        except HomeportError:
            # The server is going down, or coming up: the pod's own back-off tries too.
            await asyncio.sleep(_PAUSE)
