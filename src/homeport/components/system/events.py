"""Events are kept for a while only. A timer is set to the oldest one; nothing is looked through."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from datetime import datetime, timedelta

from homeport.client.client import Client
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.errors import Conflict, NotFound
from homeport.kube.meta import metadata, parse_time, resource_version

TTL = timedelta(hours=1)
"""As kube-apiserver's ``--event-ttl``."""
_WORKERS = 4
_LONGEST_TIMER = 24 * 3600.0


class EventExpiry:
    """Deletes each event `ttl` after it was last written."""

    def __init__(
        self, client: Client, informers: Informers, *, now: Callable[[], datetime], ttl: timedelta = TTL
    ) -> None:
        self.name = "event expiry"
        self.ready = asyncio.Event()
        self._client = client
        self._now = now
        self._ttl = ttl
        self._informer = informers.get(core.EVENT.resource, metadata_only=True)
        self._due: list[tuple[datetime, ObjectKey, str]] = []
        """When, which, and in which revision: an event that was written again has a later entry too."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop: KeyedLoop[tuple[ObjectKey, str]] = KeyedLoop(self.name, self._delete, workers=_WORKERS)
        self._informer.subscribe(self._changed)

    async def run(self) -> None:
        await self._informer.synced.wait()
        self.ready.set()
        try:
            await self._loop.run()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _changed(self, change: Change) -> None:
        if change.new is None:
            return
        written = self._now()
        if not self._informer.synced.is_set():  # from before our time: it tells only when it was made
            made = metadata(change.new).get("creationTimestamp")
            written = parse_time(made) if made else written
        heapq.heappush(self._due, (written + self._ttl, key_of(change.new), resource_version(change.new)))
        if self._due[0][1] == key_of(change.new) or self._timer is None:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due:
            delay = (self._due[0][0] - self._now()).total_seconds()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(max(delay, 0.0), _LONGEST_TIMER), self._ring)

    def _ring(self) -> None:
        self._timer = None
        moment = self._now()
        while self._due and self._due[0][0] <= moment:
            _, key, version = heapq.heappop(self._due)
            known = self._informer.cache.get(*key)
            if known is not None and resource_version(known) == version:
                self._loop.queue.add((key, version))
        self._set_timer()

    async def _delete(self, item: tuple[ObjectKey, str]) -> None:
        (place, own), version = item
        try:
            await self._client.delete(core.EVENT.resource, own, place, resource_version=version)
        except (NotFound, Conflict):
            return
