"""Binds claims and volumes to each other, and says of each how it stands.

The rules, phases, reasons and words are upstream's (``pkg/controller/volume/persistentvolume``). Making and deleting
volumes is a provisioner's: this asks for one with an annotation of the claim, and releases what nobody claims any more.
 Every write states the version that it was decided on, so that two claims never get one volume.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from homeport.client.client import Client
from homeport.components.system.storage import indexes
from homeport.control.cache import Change, key_of
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core, meta
from homeport.kube.core import claims as rules
from homeport.kube.errors import NotFound
from homeport.kube.meta import Object, name, namespace, spec, status, uid

_COMPONENT = "persistentvolume-controller"
_CLAIM, _VOLUME, _CLASS = (
    core.PERSISTENT_VOLUME_CLAIM.resource,
    core.PERSISTENT_VOLUME.resource,
    core.STORAGE_CLASS.resource,
)


class _Key(NamedTuple):
    kind: Literal["claim", "volume"]
    namespace: str
    name: str


class VolumeBinder:
    """`ready` is set once it works."""

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder) -> None:
        self.name = "volume binder"
        self.ready = asyncio.Event()
        self._client = client
        self._recorder = recorder
        self._claims = informers.get(_CLAIM)
        self._volumes = informers.get(_VOLUME)
        self._classes = informers.get(_CLASS)
        self._pods = informers.get(core.POD.resource)
        self._claims_by = self._claims.cache.index(indexes.of_claim)
        self._volumes_by = self._volumes.cache.index(rules.candidate_key)
        self._users = self._pods.cache.index(indexes.of_pod)
        # One at a time: two claims at once would want the same volume.
        self._being_bound: dict[str, str] = {}
        """Volumes that a claim is about to have: their names, and in which version they were free."""
        self._loop: KeyedLoop[_Key] = KeyedLoop(self.name, self._sync)
        self._claims.subscribe(self._claim_changed)
        self._volumes.subscribe(self._volume_changed)
        self._classes.subscribe(self._class_changed)

    async def run(self) -> None:
        for informer in (self._claims, self._volumes, self._classes, self._pods):
            await informer.synced.wait()
        self.ready.set()
        await self._loop.run()

    # What happened.

    def _claim_changed(self, change: Change) -> None:
        self._loop.queue.add(_Key("claim", *key_of(change.object)))
        for claim in (change.old, change.new):
            if claim is not None and (volume := spec(claim).get("volumeName")):
                self._loop.queue.add(_Key("volume", "", volume))

    def _volume_changed(self, change: Change) -> None:
        volume = change.object
        if self._being_bound.get(name(volume)) != meta.resource_version(volume) or change.new is None:
            self._being_bound.pop(name(volume), None)
        self._loop.queue.add(_Key("volume", *key_of(volume)))
        ref = rules.claim_ref(volume)
        if ref:
            self._loop.queue.add(_Key("claim", ref.get("namespace") or "", ref.get("name") or ""))
        else:
            self._add_unbound(rules.class_name(volume))
        for claim in self._claims_by.get(("volume", name(volume))):
            self._loop.queue.add(_Key("claim", *key_of(claim)))

    def _class_changed(self, change: Change) -> None:
        self._add_unbound(name(change.object))

    def _add_unbound(self, class_name: str) -> None:
        for wanted in (class_name, None):
            for claim in self._claims_by.get(("class", wanted)):
                self._loop.queue.add(_Key("claim", *key_of(claim)))

    async def _sync(self, key: _Key) -> None:
        try:
            if key.kind == "claim":
                claim = self._claims.cache.get(key.namespace, key.name)
                if claim is not None:
                    await self._sync_claim(claim)
            else:
                volume = self._volumes.cache.get("", key.name)
                if volume is not None:
                    await self._sync_volume(volume)
        except NotFound:
            return  # gone meanwhile; the watch tells

    # Claims.

    async def _sync_claim(self, claim: Object) -> None:
        if rules.BIND_COMPLETED in meta.annotations(claim):
            await self._sync_bound(claim)
        elif spec(claim).get("volumeName"):
            await self._bind_to_named(claim)
        else:
            await self._bind_to_any(claim)

    async def _bind_to_any(self, claim: Object) -> None:
        if rules.lacks_class(claim):
            default = rules.default_class(self._classes.cache)
            if default is not None:  # there was none when the claim was made
                await self._client.replace(
                    _CLAIM, {**claim, "spec": {**spec(claim), "storageClassName": name(default)}}
                )
                return
        wanted = rules.class_name(claim)
        storage_class = self._classes.cache.get("", wanted) if wanted else None
        placed = rules.SELECTED_NODE in meta.annotations(claim)
        delayed = rules.delays_binding(storage_class) and not placed
        found = (volume for key in rules.candidate_keys(claim) for volume in self._volumes_by.get(key))
        free = (volume for volume in found if not self._is_being_bound(volume))
        suiting = rules.suiting(free, claim, delayed=delayed)
        if suiting:
            await self._bind_first(suiting[0], claim)
            return
        if delayed:
            self._tell_what_it_waits_for(claim)
        elif wanted:
            await self._ask_for_volume(claim, wanted, storage_class)
        else:
            text = "no persistent volumes available for this claim and no storage class is set"
            self._note(claim, "Normal", "FailedBinding", text)
        await self._set_phase(claim, "Pending")

    def _is_being_bound(self, volume: Object) -> bool:
        """Whether a claim has the volume by now and the cache does not show it yet. Claims that wait together would all
        take the same one otherwise, and all but one would have to try again, ever later."""
        since = self._being_bound.get(name(volume))
        return since is not None and since == meta.resource_version(volume)

    async def _bind_first(self, volume: Object, claim: Object) -> None:
        self._being_bound[name(volume)] = meta.resource_version(volume)
        try:
            await self._bind(volume, claim)
        except BaseException:
            # Who has passed by it meanwhile may have it after all.
            self._being_bound.pop(name(volume), None)
            self._add_unbound(rules.class_name(volume))
            raise

    def _tell_what_it_waits_for(self, claim: Object) -> None:
        waiting = [pod for pod in self._users.get(key_of(claim)) if not spec(pod).get("nodeName")]
        if waiting:
            names = ",".join(sorted(map(name, waiting)))
            self._note(claim, "Normal", "WaitForPodScheduled", f"waiting for pod {names} to be scheduled")
        else:
            text = "waiting for first consumer to be created before binding"
            self._note(claim, "Normal", "WaitForFirstConsumer", text)

    async def _ask_for_volume(self, claim: Object, wanted: str, storage_class: Object | None) -> None:
        if storage_class is None:
            text = f'storageclass.storage.k8s.io "{wanted}" not found'
            self._note(claim, "Warning", "ProvisioningFailed", text)
            return
        provisioner = str(storage_class.get("provisioner") or "")
        if provisioner == rules.NO_PROVISIONER:
            text = f"no volume plugin matched name: {provisioner}"
            self._note(claim, "Warning", "ProvisioningFailed", text)
            return
        asked = dict.fromkeys(rules.PROVISIONERS, provisioner)
        if not asked.items() <= meta.annotations(claim).items():
            await self._client.replace(_CLAIM, _annotated(claim, asked))
        if provisioner != rules.LOCAL_PROVISIONER:
            text = (
                f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by "
                "the system administrator. If volume creation is delayed, please verify that the provisioner is "
                "running and correctly registered."
            )
            self._note(claim, "Normal", "ExternalProvisioning", text)

    async def _bind_to_named(self, claim: Object) -> None:
        volume = self._volumes.cache.get("", spec(claim)["volumeName"])
        if volume is None:
            await self._set_phase(claim, "Pending")
        elif not rules.claim_ref(volume):
            if why := rules.mismatch(volume, claim):
                text = f'Cannot bind to requested volume "{name(volume)}": {why}'
                self._note(claim, "Warning", "VolumeMismatch", text)
                await self._set_phase(claim, "Pending")
            else:
                await self._bind(volume, claim)
        elif rules.is_meant_for(volume, claim):
            await self._bind(volume, claim)
        else:
            text = f'volume "{name(volume)}" already bound to a different claim.'
            self._note(claim, "Warning", "FailedBinding", text)
            await self._set_phase(claim, "Pending")

    async def _sync_bound(self, claim: Object) -> None:
        wanted = spec(claim).get("volumeName")
        if not wanted:
            text = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
            await self._lose(claim, "ClaimLost", text)
            return
        volume = self._volumes.cache.get("", wanted)
        if volume is None:
            try:  # the cache may not have it yet
                volume = await self._client.get(_VOLUME, wanted)
            except NotFound:
                text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
                await self._lose(claim, "ClaimLost", text)
                return
        ref = rules.claim_ref(volume)
        if not ref or ref.get("uid") == uid(claim) or (not ref.get("uid") and rules.is_meant_for(volume, claim)):
            await self._bind(volume, claim)
        else:
            text = "Two claims are bound to the same volume, this one is bound incorrectly"
            await self._lose(claim, "ClaimMisbound", text)

    async def _lose(self, claim: Object, reason: str, text: str) -> None:
        if status(claim).get("phase") != "Lost":
            self._note(claim, "Warning", reason, text)
            await self._set_phase(claim, "Lost")

    async def _bind(self, volume: Object, claim: Object) -> None:
        """The four steps, each left out if it is done: the volume says whose it is, its phase, the claim says what it
        has, its phase."""
        volume = await self._claim_volume(volume, claim)
        volume = await self._set_volume_phase(volume, "Bound")
        notes = meta.annotations(claim)
        wanted = {rules.BIND_COMPLETED: "yes"}
        if spec(claim).get("volumeName") != name(volume):
            wanted[rules.BOUND_BY_CONTROLLER] = "yes"
        if not wanted.items() <= notes.items() or spec(claim).get("volumeName") != name(volume):
            changed = _annotated(claim, wanted)
            claim = await self._client.replace(
                _CLAIM, {**changed, "spec": {**spec(changed), "volumeName": name(volume)}}
            )
        more = {"accessModes": spec(volume).get("accessModes") or []}
        if status(claim).get("phase") != "Bound" or not status(claim).get("capacity"):
            more["capacity"] = {"storage": (spec(volume).get("capacity") or {}).get("storage") or "0"}
        await self._set_phase(claim, "Bound", more)

    async def _claim_volume(self, volume: Object, claim: Object) -> Object:
        ref = rules.claim_ref(volume)
        if ref.get("uid") == uid(claim):
            return volume
        full = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": namespace(claim),
            "name": name(claim),
            "uid": uid(claim),
            "resourceVersion": meta.resource_version(claim),
        }
        changed = {**volume, "spec": {**spec(volume), "claimRef": full}}
        if not ref:
            changed = _annotated(changed, {rules.BOUND_BY_CONTROLLER: "yes"})
        return await self._client.replace(_VOLUME, changed)

    async def _set_phase(self, claim: Object, phase: str, more: Mapping[str, Any] | None = None) -> None:
        wanted = {**status(claim), "phase": phase, **(more or {})}
        if phase == "Pending":
            wanted.pop("accessModes", None)
            wanted.pop("capacity", None)
        if wanted != status(claim):
            await self._client.replace(_CLAIM, {**claim, "status": wanted}, subresource="status")

    # Volumes.

    async def _sync_volume(self, volume: Object) -> None:
        ref = rules.claim_ref(volume)
        if not ref.get("uid"):  # nobody's, or reserved for a claim that is yet to come
            await self._set_volume_phase(volume, "Available")
            return
        claim = await self._claim_of(ref)
        if claim is None:
            await self._release(volume)
        elif not spec(claim).get("volumeName"):
            if rules.mode(claim) != rules.mode(volume):
                text = "Cannot bind PersistentVolume to requested PersistentVolumeClaim due to incompatible volumeMode."
                self._note(volume, "Warning", "VolumeMismatch", text)
                self._note(claim, "Warning", "VolumeMismatch", text)
            elif rules.BOUND_BY_CONTROLLER in meta.annotations(volume) or rules.PROVISIONED_BY in meta.annotations(
                volume
            ):
                self._loop.queue.add(_Key("claim", *key_of(claim)))
        elif spec(claim)["volumeName"] == name(volume):
            await self._set_volume_phase(volume, "Bound")
        elif rules.PROVISIONED_BY in meta.annotations(volume) and _policy(volume) == "Delete":
            await self._release(volume)  # made for this claim, which took another meanwhile
        else:
            await self._unbind(volume)

    async def _claim_of(self, ref: Mapping[str, Any]) -> Object | None:
        """The claim that a volume is bound to; None if it is gone for certain. Data may hang on the answer: what the
        cache lacks is asked for."""
        place, called = ref.get("namespace") or "", ref.get("name") or ""
        claim = self._claims.cache.get(place, called)
        if claim is None or uid(claim) != ref["uid"]:
            try:
                claim = await self._client.get(_CLAIM, called, place)
            except NotFound:
                return None
        return claim if uid(claim) == ref["uid"] else None

    async def _release(self, volume: Object) -> None:
        if status(volume).get("phase") not in ("Released", "Failed"):
            volume = await self._set_volume_phase(volume, "Released")
        policy, maker = _policy(volume), meta.annotations(volume).get(rules.PROVISIONED_BY)
        if status(volume).get("phase") == "Failed":
            return
        if policy == "Recycle":
            text = "the Recycle reclaim policy is deprecated and not supported; delete the volume, or set Retain"
            await self._fail(volume, "VolumeFailedRecycle", text)
        elif policy == "Delete" and not maker:
            text = (
                f'error getting deleter volume plugin for volume "{name(volume)}": no deletable volume plugin matched; '
                "what was made by hand is deleted by hand"
            )
            await self._fail(volume, "VolumeFailedDelete", text)

    async def _fail(self, volume: Object, reason: str, text: str) -> None:
        self._note(volume, "Warning", reason, text)
        await self._set_volume_phase(volume, "Failed", text)

    async def _unbind(self, volume: Object) -> None:
        changed = {**volume, "spec": dict(spec(volume))}
        if rules.BOUND_BY_CONTROLLER in meta.annotations(volume):
            changed["spec"].pop("claimRef")
            notes = {k: v for k, v in meta.annotations(volume).items() if k != rules.BOUND_BY_CONTROLLER}
            changed["metadata"] = {**volume["metadata"], "annotations": notes}
        else:  # whoever made the volume has reserved it for the claim's name
            ref = rules.claim_ref(volume)
            changed["spec"]["claimRef"] = {k: v for k, v in ref.items() if k not in ("uid", "resourceVersion")}
        await self._set_volume_phase(await self._client.replace(_VOLUME, changed), "Available")

    async def _set_volume_phase(self, volume: Object, phase: str, message: str = "") -> Object:
        if status(volume).get("phase") == phase and (status(volume).get("message") or "") == message:
            return volume
        kept = {key: value for key, value in status(volume).items() if key not in ("phase", "message", "reason")}
        wanted = {**kept, "phase": phase, **({"message": message} if message else {})}
        return await self._client.replace(_VOLUME, {**volume, "status": wanted}, subresource="status")

    def _note(self, obj: Object, type: Literal["Normal", "Warning"], reason: str, text: str) -> None:
        self._recorder.record(obj, type, reason, text, component=_COMPONENT)


def _policy(volume: Object) -> str:
    return str(spec(volume).get("persistentVolumeReclaimPolicy") or "Retain")


def _annotated(obj: Object, wanted: Mapping[str, str]) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "annotations": {**meta.annotations(obj), **wanted}}}
