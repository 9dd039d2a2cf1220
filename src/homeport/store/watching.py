"""Watches: who hears of which events. Event-driven, bounded, and each event reaches only those it concerns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from homeport.store.history import Limits
from homeport.store.protocol import Event, Lagging

_AT_ONCE: Final = 64
"""Readers that are handed their events in one turn of the event loop: it takes some two milliseconds."""


class Subscription:
    """One watch. The store puts events in, one reader takes them out (`homeport.store.protocol.Watch`)."""

    __slots__ = (
        "_alarm",
        "_backlog",
        "_bytes",
        "_closed",
        "_deliver",
        "_due",
        "_hub",
        "_lagging",
        "_queue",
        "_waiter",
        "namespace",
        "resource",
    )

    def __init__(self, hub: Hub, resource: str, namespace: str | None, backlog: Iterable[Event]) -> None:
        self.resource = resource
        self.namespace = namespace
        self._hub = hub
        # Apart from the queue, because the limits are not for it: it is at most what the (bounded) history holds.
        self._backlog: deque[Event] = deque(backlog)
        self._queue: deque[Event] = deque()
        self._bytes = 0
        self._lagging = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self._deliver: Callable[[], bool] | None = None
        """What takes events in place of the reader, while that waits."""
        self._due = False
        """Whether the hub is about to have them taken."""
        self._alarm: asyncio.TimerHandle | None = None

    def offer(self, event: Event) -> bool:
        """Queue an event for the reader, or cut the reader off if it is too far behind. Whether the hub has to have it
        taken now."""
        limits = self._hub.limits
        size = len(event.record.value)
        if self._queue and (len(self._queue) >= limits.watch_events or self._bytes + size > limits.watch_bytes):
            # What waits is let go of at once: the reader may be stuck for long, and the history has most of it.
            self._lagging = True
            self._hub.remove(self)
            self._backlog.clear()
            self._queue.clear()
            self._bytes = 0
            self._wake()
        else:
            self._queue.append(event)
            self._bytes += size
            if self._deliver is None:
                self._wake()
            elif not self._due:
                self._due = True
                return True
        return False

    def hand_over(self) -> None:
        """Have the events that are here taken, by what the reader has left for that or by the reader itself."""
        self._due = False
        waiter, deliver = self._waiter, self._deliver
        while self._queue and waiter is not None and not waiter.done():  # else the reader takes them
            if deliver is None or not deliver():
                self._wake()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        while not (self._queue or self._backlog):
            if self._closed:
                raise StopAsyncIteration
            if self._lagging:
                raise Lagging("this watch was read too slowly; list again and watch from there")
            await self._news(asyncio.get_running_loop())
        if self._closed:
            raise StopAsyncIteration
        if self._backlog:
            return self._backlog.popleft()
        event = self._queue.popleft()
        self._bytes -= len(event.record.value)
        return event

    async def wait(self, until: float, deliver: Callable[[], bool] | None = None) -> None:
        if self._queue or self._backlog or self._closed or self._lagging:
            return
        loop = asyncio.get_running_loop()
        alarm = self._alarm
        if alarm is None or alarm.when() > until:
            # One timer serves many waits: it is moved only forward in time, and one that rings early does no harm.
            if alarm is not None:
                alarm.cancel()
            self._alarm = loop.call_at(until, self._ring)
        self._deliver = deliver
        try:
            await self._news(loop)
        finally:
            self._deliver = None

    async def _news(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiter is not None:
            raise RuntimeError("a watch has one reader")
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _ring(self) -> None:
        self._alarm = None
        self._wake()

    @property
    def ended(self) -> bool:
        return self._closed or (self._lagging and not self._queue and not self._backlog)

    def take(self, most: int | None = None) -> list[Event]:
        """The events that are here already, without waiting; perhaps none."""
        if self._closed:
            return []
        queue = self._queue
        if not self._backlog and (most is None or len(queue) <= most):
            events = list(queue)
            queue.clear()
            self._bytes = 0
            return events
        waiting = len(self._backlog) + len(self._queue)
        if most is None or waiting <= most:
            events = [*self._backlog, *self._queue]
            self._backlog.clear()
            self._queue.clear()
            self._bytes = 0
            return events
        events = []
        while len(events) < most:
            if self._backlog:
                events.append(self._backlog.popleft())
            else:
                event = self._queue.popleft()
                self._bytes -= len(event.record.value)
                events.append(event)
        return events

    @property
    def quiet(self) -> bool:
        return not (self._queue or self._backlog or self._lagging)

    @property
    def lagging(self) -> bool:
        return self._lagging

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._hub.remove(self)
            self._backlog.clear()
            self._queue.clear()
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Hub:
    """All open watches, found by resource and namespace."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        # Insertion-ordered sets: the oldest watch hears first. Namespace None: watches of all namespaces.
        self._watches: dict[tuple[str, str | None], dict[Subscription, None]] = {}
        self._due: deque[Subscription] = deque()

    def add(self, resource: str, namespace: str | None, backlog: Iterable[Event]) -> Subscription:
        subscription = Subscription(self, resource, namespace, backlog)
        self._watches.setdefault((resource, namespace), {})[subscription] = None
        return subscription

    def remove(self, subscription: Subscription) -> None:
        key = (subscription.resource, subscription.namespace)
        watches = self._watches.get(key)
        if watches is not None:
            watches.pop(subscription, None)
            if not watches:
                del self._watches[key]

    def publish(self, event: Event) -> None:
        key = event.record.key
        for concerned in ((key.resource, None), (key.resource, key.namespace)):
            watches = self._watches.get(concerned)
            if watches:
                # A copy, because a lagging watch removes itself.
                due = [subscription for subscription in list(watches) if subscription.offer(event)]
                if due and not self._due:
                    asyncio.get_running_loop().call_soon(self._hand_over)
                self._due += due

    def _hand_over(self) -> None:
        """Have events taken, in a later turn of the loop than that in which they come: all that are here, at once."""
        for _ in range(min(len(self._due), _AT_ONCE)):
            self._due.popleft().hand_over()
        if self._due:
            asyncio.get_running_loop().call_soon(self._hand_over)

    def close(self) -> None:
        for watches in list(self._watches.values()):
            for subscription in list(watches):
                subscription.close()
