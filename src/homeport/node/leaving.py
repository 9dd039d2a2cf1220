"""Jobs' pods on their way out: from the end of their object until it is settled whether their logs are kept, they are
shown as those whose logs are, so that whoever lists pods, then these, misses none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from homeport.client.client import Client
from homeport.kube import core, meta
from homeport.kube.meta import Object
from homeport.node import logs, tale
from homeport.node.ended import EndedPods
from homeport.node.inotify import Watches

if TYPE_CHECKING:
    from homeport.node.worker import Worker


class Leaving:
    """`workers` are those that have not ended, by the uids of their pods."""

    def __init__(self, client: Client, workers: Mapping[str, Worker], kept: EndedPods) -> None:
        self._client, self._workers, self._kept = client, workers, kept
        self._leaving: dict[str, tuple[Worker, asyncio.Event]] = {}
        """Of those whose end is to be settled."""

    def see(self, worker: Worker) -> None:
        """A worker ends; :meth:`keep` is for later."""
        self._leaving[worker.uid] = (worker, asyncio.Event())

    async def keep(self, worker: Worker) -> None:
        """Keep the logs of a pod if they are to be kept."""
        try:
            await self._kept.keep(worker.pod, worker.status, worker.directory)
        finally:
            self._leaving.pop(worker.uid)[1].set()

    async def listed(self, namespace: str) -> list[Object]:
        """Jobs' pods that are gone and whose logs are there; of all namespaces if none is given."""
        here = [worker for worker in self._here() if _is_of_job(worker.pod, namespace)]
        gone: dict[str, Object] = {}
        if here:
            # The news of an object's end may be on its way.
            listing = await self._client.list(core.POD.resource, namespace)
            present = {meta.uid(pod) for pod in listing.items} | ({one.uid for one in here} - set(self._uids()))
            gone = {one.uid: tale.told(one.pod, one.status) for one in here if one.uid not in present}
        kept = await self._kept.listed(namespace)
        for pod in kept:
            gone.pop(meta.uid(pod), None)
        return [*kept, *gone.values()]

    async def logs(
        self, pod: tuple[str, str, str], container: str, options: logs.LogOptions, watches: Watches, now: datetime
    ) -> AsyncIterator[bytes]:
        """As :meth:`EndedPods.logs`."""
        namespace, name, uid = pod
        worker = self._workers.get(uid)
        if worker is not None and meta.name(worker.pod) == name and _is_of_job(worker.pod, namespace):
            names = [one["name"] for one in meta.spec(worker.pod)["containers"]]
            source = worker.log_source(container or names[0], previous=bool(options.previous))
            return logs.read(source, options, watches, now)
        if uid in self._leaving:
            await self._leaving[uid][1].wait()
        return await self._kept.logs(pod, container, options, watches)

    def _here(self) -> list[Worker]:
        return [*self._workers.values(), *(worker for worker, _ in self._leaving.values())]

    def _uids(self) -> list[str]:
        return [*self._workers, *self._leaving]


def _is_of_job(pod: Object, namespace: str) -> bool:
    return namespace in ("", meta.namespace(pod)) and tale.is_of_job(pod)
