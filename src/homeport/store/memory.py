"""A store that forgets: for tests and for servers that keep nothing."""

from __future__ import annotations

import asyncio

from homeport.store.history import Limits
from homeport.store.protocol import Delete, Put, Record, Unavailable
from homeport.store.state import State


class MemoryStore(State):
    """Keeps `homeport.store.protocol.Store` without a disk: a write is committed when ``write`` returns."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits=limits)
        self._closed = False

    def write(self, *operations: Put | Delete) -> asyncio.Future[list[Record]]:
        if self._closed:
            raise Unavailable("the store is closed")
        events = self.stage(operations)
        self.commit(events)
        done: asyncio.Future[list[Record]] = asyncio.get_running_loop().create_future()
        done.set_result([event.record for event in events])
        return done

    async def probe(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed")

    async def close(self) -> None:
        self._closed = True
        self.end_watches()
