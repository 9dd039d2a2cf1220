"""Makes the claims of pods' generic ephemeral volumes. They belong to their pods and go with them.

Upstream: ``pkg/controller/volume/ephemeral``.
"""

from __future__ import annotations

import asyncio

from homeport.client.client import Client
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core, meta
from homeport.kube.core.claims import NotOwner, check_owner, claim_names
from homeport.kube.errors import AlreadyExists, ApiError, Forbidden, Invalid
from homeport.kube.meta import Object, is_deleting, namespace, owner_reference, spec

_CLAIM = core.PERSISTENT_VOLUME_CLAIM.resource
_WORKERS = 4


class EphemeralVolumes:
    """`ready` is set once it works."""

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder) -> None:
        self.name = "ephemeral volumes"
        self.ready = asyncio.Event()
        self._client = client
        self._recorder = recorder
        self._pods = informers.get(core.POD.resource)
        self._claims = informers.get(_CLAIM)
        self._loop: KeyedLoop[ObjectKey] = KeyedLoop(self.name, self._sync, workers=_WORKERS)
        self._pods.subscribe(self._pod_changed)
        self._claims.subscribe(self._claim_changed)

    async def run(self) -> None:
        await self._pods.synced.wait()
        await self._claims.synced.wait()
        self.ready.set()
        await self._loop.run()

    def _pod_changed(self, change: Change) -> None:
        # A pod's volumes never change.
        if change.old is None and change.new is not None and _has_any(change.new):
            self._loop.queue.add(key_of(change.new))

    def _claim_changed(self, change: Change) -> None:
        owner = meta.controller_of(change.object)
        if change.new is None and owner is not None and owner.get("kind") == "Pod":
            self._loop.queue.add((namespace(change.object), str(owner.get("name"))))

    async def _sync(self, key: ObjectKey) -> None:
        pod = self._pods.cache.get(*key)
        if pod is None or is_deleting(pod) or core.has_ended(pod):
            return
        used = claim_names(pod)
        for volume in spec(pod).get("volumes") or ():
            claim, is_ephemeral = used.get(volume["name"], ("", False))
            if is_ephemeral:
                await self._have(pod, claim, volume["ephemeral"].get("volumeClaimTemplate") or {})

    async def _have(self, pod: Object, claim: str, template: Object) -> None:
        known = self._claims.cache.get(namespace(pod), claim)
        if known is None:
            described = template.get("metadata") or {}
            wanted = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": claim,
                    "namespace": namespace(pod),
                    "ownerReferences": [owner_reference(pod)],
                    **{key: described[key] for key in ("labels", "annotations") if described.get(key)},
                },
                "spec": template.get("spec") or {},
            }
            try:
                await self._client.create(_CLAIM, wanted)
                return
            except AlreadyExists:
                known = await self._client.get(_CLAIM, claim, namespace(pod))
            except (Forbidden, Invalid) as error:
                self._fail(pod, error)
                raise
        try:
            check_owner(pod, known)
        except NotOwner as error:
            self._fail(pod, error)

    def _fail(self, pod: Object, error: ApiError | NotOwner) -> None:
        text = f"ephemeral volume controller: {error}"
        self._recorder.record(pod, "Warning", "FailedBinding", text, component="ephemeral_volume")


def _has_any(pod: Object) -> bool:
    return any(is_ephemeral for _, is_ephemeral in claim_names(pod).values())
