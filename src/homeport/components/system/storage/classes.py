"""The storage class that claims get which name none: directories of the machine, made once a pod is there to use them.

It is made if there is no class of its name, and never changed: who wants another default says so as on any cluster.
"""

from __future__ import annotations

import asyncio
import contextlib

from homeport.client.client import Client
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.core.claims import LOCAL_PROVISIONER
from homeport.kube.errors import AlreadyExists
from homeport.kube.meta import Object

NAME = "standard"
CLASS: Object = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": NAME, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": LOCAL_PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
    "allowVolumeExpansion": True,
}


class DefaultClass:
    """`ready` is set once the class is there."""

    def __init__(self, client: Client) -> None:
        self.name = "default storage class"
        self.ready = asyncio.Event()
        self._client = client
        self._loop: KeyedLoop[str] = KeyedLoop(self.name, self._make)

    async def run(self) -> None:
        self._loop.queue.add(NAME)
        await self._loop.run()

    async def _make(self, _: str) -> None:
        with contextlib.suppress(AlreadyExists):
            await self._client.create(core.STORAGE_CLASS.resource, CLASS)
        self.ready.set()
