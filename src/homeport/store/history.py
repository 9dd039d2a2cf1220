"""The newest events, so that a watch can resume and a list can be of the past. Bounded by count and by bytes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from homeport.store.protocol import Compacted, Event, Record

_OVERHEAD = 400
"""Bytes of Python objects that an event costs beside the JSON."""


class Limits(msgspec.Struct, frozen=True):
    """How much of the past a store keeps, and how far a watcher may lag behind."""

    history_seconds: float = 300.0
    """As long as etcd's usual compaction leaves it, unless one of the next two is reached before."""
    history_events: int = 100_000
    history_bytes: int = 64 << 20
    watch_events: int = 10_000
    watch_bytes: int = 64 << 20


_DROP = 256
"""Events at most that are forgotten with one that is new, so that no write pays for a burst of earlier ones."""


def _cost(event: Event) -> int:
    """Bytes that the history alone keeps alive: states that are no longer current."""
    cost = _OVERHEAD
    if event.previous is not None:
        cost += len(event.previous.value)
    if event.type == "DELETED":
        cost += len(event.record.value)
    return cost


class Forgotten(NamedTuple):
    """What the history has let go of since it was asked last."""

    revisions: Sequence[int]
    """States that nothing needs any more: replaced ones and deletions."""
    compacted: int
    """Events up to this revision are gone."""


class History:
    """Events by resource. One budget serves all; what is compacted is known for each resource apart, so that a busy
    resource does not take away the past of a quiet one sooner than memory demands."""

    def __init__(self, limits: Limits, oldest: int, now: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._oldest = oldest
        self._now = now
        self._bytes = 0
        self._order: deque[tuple[str, float]] = deque()
        self._events: dict[str, deque[Event]] = {}
        self._compacted: dict[str, int] = {}
        self._forgotten: list[int] = []
        self._dropped = 0
        self._last_dropped = oldest

    def extend(self, events: Sequence[Event]) -> None:
        """As `append` for each, of events that a store begins with: they count as new, all at once."""
        now = self._now()
        marks: dict[str, tuple[str, float]] = {}
        for event in events:
            resource = event.record.key.resource
            mark = marks.get(resource)
            if mark is None:
                mark = marks[resource] = (resource, now)
                self._events.setdefault(resource, deque())
            self._events[resource].append(event)
            self._order.append(mark)
            self._bytes += _cost(event)
        self._shrink()

    def append(self, event: Event) -> None:
        resource = event.record.key.resource
        events = self._events.get(resource)
        if events is None:
            events = self._events[resource] = deque()
        events.append(event)
        now = self._now()
        order = self._order
        order.append((resource, now))
        self._bytes += _cost(event)
        self._shrink()
        old = now - self._limits.history_seconds
        for _ in range(_DROP):
            if order[0][1] >= old:
                break
            self._drop()

    def _shrink(self) -> None:
        order, limits = self._order, self._limits
        while len(order) > limits.history_events or (self._bytes > limits.history_bytes and len(order) > 1):
            self._drop()

    def _drop(self) -> None:
        resource, _ = self._order.popleft()
        events = self._events[resource]
        event = events.popleft()
        self._bytes -= _cost(event)
        self._dropped += 1
        self._last_dropped = self._compacted[resource] = event.record.revision
        if event.previous is not None:
            self._forgotten.append(event.previous.revision)
        if event.type == "DELETED":
            self._forgotten.append(event.record.revision)
        if not events:
            del self._events[resource]

    def forgotten(self, at_least: int) -> Forgotten | None:
        """What was let go of since the last call; None while that is less than `at_least` events."""
        if self._dropped < at_least:
            return None
        revisions, self._forgotten, self._dropped = self._forgotten, [], 0
        return Forgotten(revisions, self._last_dropped)

    def remember(self, forgotten: Forgotten) -> None:
        """What `forgotten` gave was not removed from the disk: give it again."""
        self._forgotten = [*forgotten.revisions, *self._forgotten]
        self._dropped += max(1, len(forgotten.revisions))

    def skip_to(self, revision: int) -> None:
        """Let go of everything up to `revision`: nobody can resume from before."""
        while self._order and self._events[self._order[0][0]][0].record.revision <= revision:
            self._drop()
        self._oldest = self._last_dropped = revision
        self._dropped += 1

    def after(self, resource: str, revision: int) -> list[Event]:
        """The resource's events newer than `revision`, oldest first. Raises Compacted if some are gone."""
        oldest = max(self._oldest, self._compacted.get(resource, 0))
        if revision < oldest:
            raise Compacted(revision, oldest)
        found: list[Event] = []
        for event in reversed(self._events.get(resource, ())):
            if event.record.revision <= revision:
                break
            found.append(event)
        found.reverse()
        return found

    def undo(self, resource: str, revision: int) -> Mapping[tuple[str, str], Record | None]:
        """What differed at `revision` from now: (namespace, name) -> the record then, None if there was none."""
        then: dict[tuple[str, str], Record | None] = {}
        for event in self.after(resource, revision):
            then.setdefault((event.record.key.namespace, event.record.key.name), event.previous)
        return then
