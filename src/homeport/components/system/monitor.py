"""Changes to the objects of every resource that the server offers now or later.

No object is held for it: what others in this process hold anyway is heard of through their informers, and of the rest
only changes pass by. Who needs to remember an object says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from homeport.client.client import Client
from homeport.client.discovery import ApiResource
from homeport.client.partial import Meta
from homeport.control.cache import Change
from homeport.control.informer import Informer, Informers
from homeport.control.reflector import Follower, Reflector
from homeport.kube import core
from homeport.kube.errors import HomeportError
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

_APISERVICES = ("apiregistration.k8s.io", "apiservices")
_EVENTS = ("", "events"), ("events.k8s.io", "events")
"""Nobody owns events, they own nothing, and there are many."""
_NEEDED = ("list", "watch", "delete")
_FIRST_RETRY = 0.5
_LONGEST_RETRY = 30.0

_log = logging.getLogger(__name__)
Handler = Callable[[Resource, Change], None]
Matters = Callable[[Meta], bool]
Remembered = Callable[[Resource], Iterable[tuple[str, Object]]]


class _Followed(NamedTuple):
    reflector: Reflector
    informer: Informer | None
    """The same, if it holds the objects."""
    handler: Callable[[Change], None]


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
        self._matters: list[Matters] = []
        self._remembered: list[Remembered] = []
        self._gone: list[Callable[[Resource], None]] = []
        self._discovered: list[Callable[[], None]] = []
        self._followed: dict[Resource, _Followed] = {}
        self._changed = asyncio.Event()

    def subscribe(
        self,
        handler: Handler,
        *,
        matters: Matters | None = None,
        remembered: Remembered | None = None,
        gone: Callable[[Resource], None] | None = None,
        discovered: Callable[[], None] | None = None,
    ) -> None:
        """Hear of every change, of each resource that the server no longer has (`gone`), and of discovery having been
        read anew. Call it before `run`.

        Of the objects that a list shows, those that `matters` are told of (perhaps more). Of those that `remembered`
        gives for a resource, by uid, it is told if they have gone while nobody watched.
        """
        self._handlers.append(handler)
        if matters is not None:
            self._matters.append(matters)
        if remembered is not None:
            self._remembered.append(remembered)
        if gone is not None:
            self._gone.append(gone)
        if discovered is not None:
            self._discovered.append(discovered)

    def passing(self, resource: Resource) -> Resource | None:
        """The resource, in the version that is followed, if every change from here on is heard of and nobody holds its
        objects."""
        for known, followed in self._followed.items():
            if (known.group, known.plural) == (resource.group, resource.plural):
                return known if followed.informer is None and followed.reflector.watching else None
        return None

    def cached(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """An object as last seen, if its resource is one whose objects somebody holds. None says nothing."""
        followed = self._followed.get(resource)
        return followed.informer.cache.get(namespace, name) if followed and followed.informer is not None else None

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
                for followed in list(self._followed.values()):
                    await followed.reflector.attempted.wait()
                self.ready.set()
            await self._changed.wait()

    def _adjust(self, wanted: set[Resource]) -> None:
        for resource in [resource for resource in self._followed if resource not in wanted]:
            self._forget(resource)
        for resource in sorted(wanted - self._followed.keys(), key=lambda r: (r.group, r.plural)):
            self._follow(resource)
        for discovered in self._discovered:
            discovered()

    def _follow(self, resource: Resource) -> None:
        handler = partial(self._tell, resource)
        informer = self._informers.find(resource)
        if informer is None and _tells_of_resources(resource):
            # There are few, and the difference that a new list makes has to be known.
            informer = self._informers.get(resource, metadata_only=True)
        if informer is not None:
            self._followed[resource] = _Followed(informer, informer, handler)
            informer.subscribe(handler)
            return
        follower = Follower(
            self._client,
            resource,
            handler,
            matters=self._any_matters(),
            remembered=lambda: [each for remembered in self._remembered for each in remembered(resource)],
        )
        self._followed[resource] = _Followed(follower, None, handler)
        self._informers.follow(follower)

    def _any_matters(self) -> Matters:
        if len(self._matters) == 1:  # as usual; it is asked of every object that there is
            return self._matters[0]
        return lambda meta: any(matters(meta) for matters in self._matters)

    def _forget(self, resource: Resource) -> None:
        followed = self._followed.pop(resource)
        if followed.informer is not None:
            followed.informer.unsubscribe(followed.handler)
        else:
            self._informers.drop(resource)
        for gone in self._gone:
            gone(resource)

    def _tell(self, resource: Resource, change: Change) -> None:
        if _tells_of_resources(resource):
            self._changed.set()
        for handler in self._handlers:
            handler(resource, change)


def _tells_of_resources(resource: Resource) -> bool:
    return resource == core.CRD.resource or (resource.group, resource.plural) == _APISERVICES


def _is_followed(entry: ApiResource) -> bool:
    return entry.preferred and entry.can(*_NEEDED) and (entry.resource.group, entry.resource.plural) not in _EVENTS
