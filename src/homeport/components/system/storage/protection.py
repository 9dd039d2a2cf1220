"""Claims that pods use, and volumes that claims have, outlive their deletion until nobody needs them.

Upstream: ``pkg/controller/volume/pvcprotection`` and ``pvprotection``. The finalizers are put there when an object is
made (admission); this one puts them where they are missing, and takes them away.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from homeport.client.client import Client
from homeport.components.system.storage import indexes
from homeport.control.cache import Change, key_of
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.core.claims import CLAIM_PROTECTION, VOLUME_PROTECTION, NotOwner, check_owner, claim_names
from homeport.kube.errors import NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, is_deleting, metadata, name, namespace, spec, status

_CLAIM, _VOLUME = core.PERSISTENT_VOLUME_CLAIM.resource, core.PERSISTENT_VOLUME.resource


class _Key(NamedTuple):
    is_claim: bool
    namespace: str
    name: str


class InUseProtection:
    """`ready` is set once it works."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self.name = "storage protection"
        self.ready = asyncio.Event()
        self._client = client
        self._claims = informers.get(_CLAIM)
        self._volumes = informers.get(_VOLUME)
        self._pods = informers.get(core.POD.resource)
        self._users = self._pods.cache.index(indexes.of_pod)
        self._loop: KeyedLoop[_Key] = KeyedLoop(self.name, self._sync, workers=2)
        self._claims.subscribe(lambda change: self._changed(change, is_claim=True))
        self._volumes.subscribe(lambda change: self._changed(change, is_claim=False))
        self._pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        for informer in (self._claims, self._volumes, self._pods):
            await informer.synced.wait()
        self.ready.set()
        await self._loop.run()

    def _changed(self, change: Change, *, is_claim: bool) -> None:
        if change.new is not None:
            self._loop.queue.add(_Key(is_claim, *key_of(change.new)))

    def _pod_changed(self, change: Change) -> None:
        pod = change.object
        if change.new is None or _is_shut_down(pod):
            for claim, _ in claim_names(pod).values():
                self._loop.queue.add(_Key(True, namespace(pod), claim))

    async def _sync(self, key: _Key) -> None:
        informer = self._claims if key.is_claim else self._volumes
        resource, finalizer = (_CLAIM, CLAIM_PROTECTION) if key.is_claim else (_VOLUME, VOLUME_PROTECTION)
        obj = informer.cache.get(key.namespace, key.name)
        if obj is None:
            return
        present = finalizer in (metadata(obj).get("finalizers") or ())
        try:
            if not is_deleting(obj):
                if not present:
                    await self._write(resource, obj, [*(metadata(obj).get("finalizers") or ()), finalizer])
            elif present and not await self._is_needed(obj, key):
                await self._write(resource, obj, [f for f in metadata(obj)["finalizers"] if f != finalizer])
        except NotFound:
            return

    async def _is_needed(self, obj: Object, key: _Key) -> bool:
        if not key.is_claim:
            return status(obj).get("phase") == "Bound"
        if any(_uses(pod, obj) for pod in self._users.get((key.namespace, key.name))):
            return True
        # Data may hang on the answer, and the cache may be behind.
        listed = await self._client.list(core.POD.resource, key.namespace)
        return any(_uses(pod, obj) for pod in listed.items)

    async def _write(self, resource: Resource, obj: Object, finalizers: list[str]) -> None:
        await self._client.replace(resource, {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}})


def _is_shut_down(pod: Object) -> bool:
    """Whether its node has let go of everything, and only finalizers keep the object."""
    return is_deleting(pod) and metadata(pod).get("deletionGracePeriodSeconds") == 0


def _uses(pod: Object, claim: Object) -> bool:
    """A pod that no node has does not count: no node takes it on once the claim is being deleted. One that has ended
    does, as its node may still be at the volume."""
    if not spec(pod).get("nodeName"):
        return False
    for used, is_ephemeral in claim_names(pod).values():
        if used != name(claim):
            continue
        if not is_ephemeral:
            return True
        try:
            check_owner(pod, claim)
        except NotOwner:
            continue
        if not _is_shut_down(pod):
            return True
    return False
