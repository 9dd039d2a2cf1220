"""A queue of keys to work on: each key at most once, never twice at a time, failing ones ever more slowly.

The rules are those of client-go's work queue. A key that is added while it is being worked on comes again afterwards,
so that nothing is missed. Delays are timers of the event loop; an idle queue costs nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """`base` and `limit` are the first and the longest delay in seconds after failures in a row (each doubles it)."""

    def __init__(self, *, base: float = 0.005, limit: float = 1000.0) -> None:
        self._base = base
        self._limit = limit
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """Keys that could be worked on now."""
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing is ready and nothing is being worked on. Timers may still be set."""
        return not self._ready and not self._working

    def add(self, key: K) -> None:
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._ready.append(key)
            self._wake()

    def add_after(self, key: K, delay: float) -> None:
        """Add in `delay` seconds; of several such requests the earliest stands."""
        if delay <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + delay:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(delay, self._due, key)

    def hasten(self) -> None:
        """Add now all that was to be added later."""
        for key in list(self._timers):
            self._timers.pop(key).cancel()
            self.add(key)

    def add_rate_limited(self, key: K) -> float:
        """Add after a delay that grows with the failures of this key; gives the delay."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(self._base * 2.0 ** min(failures, 64), self._limit)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure starts with the shortest delay."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often in a row the key has failed."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key; give it back with `done`. A timer of this key is stopped: who works on it decides anew."""
        while not self._ready:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # this wake-up was for a worker that is going away
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._working.add(key)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        return key

    def done(self, key: K) -> None:
        self._working.discard(key)
        if key in self._dirty:
            self._ready.append(key)
            self._wake()

    def close(self) -> None:
        """Stop all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
