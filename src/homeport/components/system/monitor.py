"""The metadata of every object there is, of every resource that the server offers now or later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial

from homeport.client.client import Client
from homeport.client.discovery import ApiResource
from homeport.control.cache import Change
from homeport.control.informer import Informer, Informers
from homeport.kube import core
from homeport.kube.errors import HomeportError
from homeport.kube.kind import Resource

_APISERVICES = ("apiregistration.k8s.io", "apiservices")
_EVENTS = ("", "events"), ("events.k8s.io", "events")
"""Nobody owns events, they own nothing, and there are many."""
_NEEDED = ("list", "watch", "delete")
_FIRST_RETRY = 0.5
_LONGEST_RETRY = 30.0

_log = logging.getLogger(__name__)
Handler = Callable[[Resource, Change], None]


class Monitor:
    """Follows all resources that can be listed, watched and deleted. Custom resources come and go with their
    definitions: discovery is read again whenever those change."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self.name = "monitor"
        self.ready = asyncio.Event()
        """Set once every resource known at the start was listed (or is known to be broken)."""
        self._client = client
        self._informers = informers
        self._handlers: list[Handler] = []
        self._gone: list[Callable[[Resource], None]] = []
        self._discovered: list[Callable[[], None]] = []
        self._followed: dict[Resource, tuple[Informer, Callable[[Change], None]]] = {}
        self._changed = asyncio.Event()

    def subscribe(
        self,
        handler: Handler,
        *,
        gone: Callable[[Resource], None] | None = None,
        discovered: Callable[[], None] | None = None,
    ) -> None:
        """Hear of every change, of each resource that the server no longer has (`gone`), and of discovery having been
        read anew. Call it before `run`."""
        self._handlers.append(handler)
        if gone is not None:
            self._gone.append(gone)
        if discovered is not None:
            self._discovered.append(discovered)

    @property
    def resources(self) -> Mapping[Resource, Informer]:
        return {resource: informer for resource, (informer, _) in self._followed.items()}

    async def run(self) -> None:
        delay = _FIRST_RETRY
        while True:
            self._changed.clear()
            try:
                found = await self._client.discover(refresh=True)
            except HomeportError as error:
                _log.warning("discovery failed: %s; again in %.2g s", error, delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LONGEST_RETRY)
                continue
            delay = _FIRST_RETRY
            self._adjust({entry.resource for entry in found if _is_followed(entry)})
            if not self.ready.is_set():
                for informer, _ in list(self._followed.values()):
                    await informer.attempted.wait()
                self.ready.set()
            await self._changed.wait()

    def _adjust(self, wanted: set[Resource]) -> None:
        for resource in [resource for resource in self._followed if resource not in wanted]:
            informer, handler = self._followed.pop(resource)
            informer.unsubscribe(handler)
            self._informers.drop(resource)
            for gone in self._gone:
                gone(resource)
        for resource in sorted(wanted - self._followed.keys(), key=lambda r: (r.group, r.plural)):
            informer = self._informers.get(resource, metadata_only=True)
            handler = partial(self._tell, resource)
            self._followed[resource] = (informer, handler)
            informer.subscribe(handler)
        for discovered in self._discovered:
            discovered()

    def _tell(self, resource: Resource, change: Change) -> None:
        if resource == core.CRD.resource or (resource.group, resource.plural) == _APISERVICES:
            self._changed.set()
        for handler in self._handlers:
            handler(resource, change)


def _is_followed(entry: ApiResource) -> bool:
    return entry.preferred and entry.can(*_NEEDED) and (entry.resource.group, entry.resource.plural) not in _EVENTS
