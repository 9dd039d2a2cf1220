"""Keeps the balancing of services in step with the API's objects: kube-proxy's part."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from homeport.control.cache import Change
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.node import services
from homeport.node.runtime import Runtime, SandboxError

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0


class Balancing:
    def __init__(self, runtime: Runtime, node_name: str) -> None:
        self._runtime = runtime
        self._node_name = node_name
        self._frontends = services.Frontends(node_name)
        self._pending: dict[str, dict[str, Any] | None] = {}
        self._changed = asyncio.Event()

    async def follow(self, informers: Informers) -> None:
        """Take in what services and endpoints there are, and hear of every change from then on."""
        found, slices = informers.get(core.SERVICE.resource), informers.get(core.ENDPOINT_SLICE.resource)
        await found.synced.wait()
        await slices.synced.wait()
        slices.subscribe(self._on_slice)
        found.subscribe(self._on_service)
        self._changed.set()

    async def run(self) -> None:
        """Tell the runtime of every change; the first time, of everything."""
        everything = True
        while True:
            await self._changed.wait()
            self._changed.clear()
            changes, self._pending = self._pending, {}
            try:
                if everything:
                    await self._runtime.set_frontends(dict(self._frontends.all), everything=True)
                elif changes:
                    await self._runtime.set_frontends(changes)
                everything = False
            except (SandboxError, OSError) as error:
                _log.warning("services could not be balanced anew: %s; again in 1 s", error)
                everything = True
                await asyncio.sleep(_RETRY_SECONDS)
                self._changed.set()

    def _on_service(self, change: Change) -> None:
        service = change.object
        facts = services.service_facts(service) if change.new is not None else None
        self._note(self._frontends.set_service((meta.namespace(service), meta.name(service)), facts))

    def _on_slice(self, change: Change) -> None:
        obj = change.object
        facts = services.slice_facts(obj, self._node_name) if change.new is not None else None
        self._note(self._frontends.set_slice((meta.namespace(obj), meta.name(obj)), facts))

    def _note(self, changed: dict[str, dict[str, Any] | None]) -> None:
        if changed:
            self._pending.update(changed)
            self._changed.set()
