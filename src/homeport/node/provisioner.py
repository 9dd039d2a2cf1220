"""Makes volumes for claims: directories of this machine, deleted with their volumes and never otherwise.

It speaks the protocol of provisioners outside Kubernetes (``sig-storage-lib-external-provisioner``): the binder asks
with an annotation of the claim, a volume made for the claim is the answer, and a volume that is Released and whose
policy is Delete is deleted, its data first. The events are those of that library and of the external resizer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, NamedTuple

from homeport.client.client import Client
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core, meta
from homeport.kube.core import claims as rules
from homeport.kube.errors import AlreadyExists, HomeportError, NotFound, Permanent
from homeport.kube.meta import Object, name, namespace, spec, status, uid

HOSTNAME = "kubernetes.io/hostname"
_CLAIM, _VOLUME = core.PERSISTENT_VOLUME_CLAIM.resource, core.PERSISTENT_VOLUME.resource
_COPYING, _REMOVING = ".copying-", ".removing-"
_MARGIN = 255 - len("pvc-") - 36 - len("__")
"""How many bytes a directory's name has for what tells a person whose it is."""


class _Key(NamedTuple):
    kind: Literal["claim", "volume"]
    namespace: str
    name: str


class Provisioner:
    """`directory` is where the volumes' directories are; `remove` deletes a tree and `copy` makes another
    one, whichever user ids own its files."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        node_name: str,
        directory: Path,
        remove: Callable[[str], Awaitable[None]],
        copy: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self.name = "provisioner"
        self._client = client
        self._recorder = recorder
        self._node = node_name
        self._directory = directory.absolute()
        self._remove = remove
        self._copy = copy
        self._abandoned: dict[ObjectKey, Object] = {}
        """Claims that are gone, by whose names there may be others by now."""
        self._claims = informers.get(_CLAIM)
        self._volumes = informers.get(_VOLUME)
        self._classes = informers.get(core.STORAGE_CLASS.resource)
        self._loop: KeyedLoop[_Key] = KeyedLoop(self.name, self._sync, workers=4, failed=self._failed)
        self._claims.subscribe(lambda change: self._changed("claim", change))
        self._volumes.subscribe(lambda change: self._changed("volume", change))

    async def run(self) -> None:
        for informer in (self._claims, self._volumes, self._classes):
            await informer.synced.wait()
        for left in await asyncio.to_thread(_unfinished, self._directory):
            await self._remove(str(self._directory / left))
        await self._loop.run()

    def _changed(self, kind: Literal["claim", "volume"], change: Change) -> None:
        if change.new is not None:
            self._loop.queue.add(_Key(kind, *key_of(change.new)))
        elif kind == "claim":
            self._abandoned[key_of(change.object)] = change.object
            self._loop.queue.add(_Key(kind, *key_of(change.object)))

    async def _sync(self, key: _Key) -> None:
        try:
            if key.kind == "claim":
                claim = self._claims.cache.get(key.namespace, key.name)
                if claim is not None and self._is_asked_for(claim):
                    await self._provision(claim)
                elif claim is not None and self._shall_grow(claim):
                    await self._grow(claim)
                if (former := self._abandoned.pop((key.namespace, key.name), None)) is not None:
                    await self._abandon(former)
            else:
                volume = self._volumes.cache.get("", key.name)
                if volume is not None and self._is_to_go(volume):
                    await self._delete(volume)
        except NotFound:
            return  # gone meanwhile; the watch tells

    def _failed(self, key: _Key, error: Exception) -> None:
        """Tell whoever looks at the object; the loop tries again."""
        if key.kind == "claim":
            obj = self._claims.cache.get(key.namespace, key.name)
            text = f'failed to provision volume with StorageClass "{rules.class_name(obj or {})}": {_words(error)}'
            self._note(obj, "Warning", "ProvisioningFailed", text)
        else:
            self._note(self._volumes.cache.get("", key.name), "Warning", "VolumeFailedDelete", _words(error))

    def _note(self, obj: Object | None, type: Literal["Normal", "Warning"], reason: str, text: str) -> None:
        if obj is not None:
            self._recorder.record(obj, type, reason, text, component=rules.LOCAL_PROVISIONER)

    # Making.

    def _is_asked_for(self, claim: Object) -> bool:
        notes = meta.annotations(claim)
        return (
            not spec(claim).get("volumeName")
            and not meta.is_deleting(claim)
            and any(notes.get(key) == rules.LOCAL_PROVISIONER for key in rules.PROVISIONERS)
            and notes.get(rules.SELECTED_NODE, self._node) == self._node
        )

    async def _provision(self, claim: Object) -> None:
        called = f"pvc-{uid(claim)}"
        if self._volumes.cache.get("", called) is not None:
            return
        storage_class = self._classes.cache.get("", rules.class_name(claim))
        if storage_class is None or storage_class.get("provisioner") != rules.LOCAL_PROVISIONER:
            return
        _check(claim)
        text = f'External provisioner is provisioning volume for claim "{namespace(claim)}/{name(claim)}"'
        self._note(claim, "Normal", "Provisioning", text)
        origin = await self._origin(claim)
        path = self._directory / directory_name(claim)
        if origin is not None and not await asyncio.to_thread(path.exists):
            # Under another name until it is whole.
            begun = self._directory / f"{_COPYING}{called}"
            await asyncio.to_thread(_make_parent, begun)
            await self._remove(str(begun))
            await self._copy(str(origin), str(begun))
            await asyncio.to_thread(begun.rename, path)
        await asyncio.to_thread(_make_directory, path)
        try:
            await self._client.create(_VOLUME, self._volume(called, claim, storage_class, path))
        except AlreadyExists:
            return  # the cache was behind
        self._note(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {called}")

    async def _abandon(self, claim: Object) -> None:
        """A claim that went before its volume was there has left an empty directory at most."""
        try:
            await self._client.get(_VOLUME, f"pvc-{uid(claim)}")
        except NotFound:
            path = self._directory / directory_name(claim)
            with contextlib.suppress(OSError):  # there is none, or something is in it: then it is not for us to say
                await asyncio.to_thread(path.rmdir)

    async def _origin(self, claim: Object) -> Path | None:
        """What a clone begins with."""
        source = spec(claim).get("dataSource") or spec(claim).get("dataSourceRef")
        if not source:
            return None
        kind = source.get("kind")
        if kind != "PersistentVolumeClaim":
            raise Permanent(f"claims can't be filled from a {kind} here")
        other = await self._client.get(_CLAIM, source.get("name") or "", namespace(claim))
        if not rules.is_fully_bound(other):
            raise HomeportError(f"the PVC {name(other)} that it is to be a copy of is not bound")
        if rules.requested(claim) < rules.requested(other):
            raise Permanent(f"requested volume size is less than the size of the source PVC {name(other)}")
        volume = await self._client.get(_VOLUME, spec(other)["volumeName"])
        path = self._own(volume)
        if path is None:
            raise Permanent(f"the volume of the PVC {name(other)} was not made by {rules.LOCAL_PROVISIONER}")
        return path

    def _volume(self, called: str, claim: Object, storage_class: Object, path: Path) -> Object:
        term = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [self._node]}]}
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": called, "annotations": {rules.PROVISIONED_BY: rules.LOCAL_PROVISIONER}},
            "spec": {
                "capacity": {"storage": ((spec(claim).get("resources") or {}).get("requests") or {})["storage"]},
                "accessModes": spec(claim)["accessModes"],
                "volumeMode": "Filesystem",
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": namespace(claim),
                    "name": name(claim),
                    "uid": uid(claim),
                    "resourceVersion": meta.resource_version(claim),
                },
                "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
                "storageClassName": name(storage_class),
                "local": {"path": str(path)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            },
        }

    # Growing.

    def _shall_grow(self, claim: Object) -> bool:
        if not rules.is_fully_bound(claim) or meta.is_deleting(claim):
            return False
        volume = self._volumes.cache.get("", spec(claim)["volumeName"])
        if volume is None or self._own(volume) is None:
            return False
        held = (status(claim).get("capacity") or {}).get("storage")
        wanted = (spec(claim).get("resources") or {})["requests"]["storage"]
        return rules.requested(claim) > rules.capacity(volume) or (
            held != wanted and rules.requested(claim) == rules.capacity(volume)
        )

    async def _grow(self, claim: Object) -> None:
        """A directory holds what its disk does: that the claim may have more is all there is to it."""
        wanted = spec(claim)["resources"]["requests"]["storage"]
        volume = await self._client.get(_VOLUME, spec(claim)["volumeName"])
        if rules.capacity(volume) < rules.requested(claim):
            self._note(claim, "Normal", "Resizing", f"External resizer is resizing volume {name(volume)}")
            changed = {**spec(volume), "capacity": {**spec(volume)["capacity"], "storage": wanted}}
            await self._client.replace(_VOLUME, {**volume, "spec": changed})
        grown = {**status(claim), "capacity": {**(status(claim).get("capacity") or {}), "storage": wanted}}
        await self._client.replace(_CLAIM, {**claim, "status": grown}, subresource="status")
        self._note(claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded")

    # Deleting.

    def _own(self, volume: Object) -> Path | None:
        """The directory of a volume that was made here; None for any other. Nothing else is ever deleted."""
        if meta.annotations(volume).get(rules.PROVISIONED_BY) != rules.LOCAL_PROVISIONER:
            return None
        path = Path((spec(volume).get("local") or {}).get("path") or "/")
        called = name(volume)
        if path.parent != self._directory or not called.startswith("pvc-") or not path.name.endswith(called):
            return None
        return path

    def _is_to_go(self, volume: Object) -> bool:
        return (
            status(volume).get("phase") == "Released"
            and spec(volume).get("persistentVolumeReclaimPolicy") == "Delete"
            and self._own(volume) is not None
        )

    async def _delete(self, volume: Object) -> None:
        # Data hangs on the answer, and the cache may be behind: somebody may have chosen to retain it.
        volume = await self._client.get(_VOLUME, name(volume))
        path = self._own(volume)
        if path is None or not self._is_to_go(volume):
            return
        ref = rules.claim_ref(volume)
        try:
            claim = await self._client.get(_CLAIM, ref.get("name") or "", ref.get("namespace") or "")
            if uid(claim) == ref.get("uid"):
                return
        except NotFound:
            pass
        await self._remove(str(path))
        await self._client.delete(_VOLUME, name(volume), uid=uid(volume))


def directory_name(claim: Object) -> str:
    """``NAMESPACE_CLAIM_pvc-UID``: a person finds it by what they know, and no two are alike."""
    return f"{f'{namespace(claim)}_{name(claim)}'[:_MARGIN]}_pvc-{uid(claim)}"


def _check(claim: Object) -> None:
    if rules.mode(claim) == "Block":
        raise Permanent("raw block volumes (volumeMode: Block) are not supported; use volumeMode Filesystem")
    if spec(claim).get("selector"):
        raise Permanent("claim.Spec.Selector is not supported for dynamic provisioning")


def _make_parent(path: Path) -> None:
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)


def _unfinished(directory: Path) -> list[str]:
    """What a former life has left in the middle of copying or deleting it."""
    try:
        return [name for name in os.listdir(directory) if name.startswith((_COPYING, _REMOVING))]
    except FileNotFoundError:
        return []


def _make_directory(path: Path) -> None:
    """For whatever user a pod has, as other provisioners of local paths have it; nobody of the machine but the
    platform's user and root gets at it, by what is above."""
    _make_parent(path)
    path.mkdir(mode=0o777, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise HomeportError(f"{path} is in the way")
    if found.st_uid == os.geteuid():
        path.chmod(0o777)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
