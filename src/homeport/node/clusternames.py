"""Keeps the cluster's DNS in step with the API's objects."""

from __future__ import annotations

import asyncio
import logging

from homeport.control.cache import Change
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.node import dns
from homeport.node.pod import TERMINAL
from homeport.node.runtime import Runtime, SandboxError
from homeport.node.worker import Worker

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0


class ClusterNames:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._records = dns.Records()
        self._changed = asyncio.Event()

    async def follow(self, informers: Informers) -> None:
        """Take in what services and endpoints there are, and hear of every change from then on."""
        services, slices = informers.get(core.SERVICE.resource), informers.get(core.ENDPOINT_SLICE.resource)
        await services.synced.wait()
        await slices.synced.wait()
        services.subscribe(self._on_service)
        slices.subscribe(self._on_slice)

    async def run(self) -> None:
        """Tell the runtime whenever an answer has changed."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._runtime.set_records(self._records.snapshot())
            except (SandboxError, OSError) as error:
                _log.warning("the cluster's DNS could not be told its names: %s; again in 1 s", error)
                await asyncio.sleep(_RETRY_SECONDS)
                self._changed.set()

    def see(self, worker: Worker) -> None:
        """Note where a pod of this node is."""
        ended = worker.status.get("phase") in TERMINAL
        self._note(self._records.set_pod(worker.uid, meta.namespace(worker.pod), "" if ended else worker.address))

    def _on_service(self, change: Change) -> None:
        service = change.object
        facts = dns.service_facts(service) if change.type != "DELETED" else None
        self._note(self._records.set_service(meta.namespace(service), meta.name(service), facts))

    def _on_slice(self, change: Change) -> None:
        obj = change.object
        facts = dns.slice_facts(obj) if change.type != "DELETED" else None
        self._note(self._records.set_slice(meta.namespace(obj), meta.name(obj), facts))

    def _note(self, changed: bool) -> None:
        if changed:
            self._changed.set()
