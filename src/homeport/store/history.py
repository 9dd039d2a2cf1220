"""The newest events, so that a watch can resume and a list can be of the past. Bounded by count and by bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from homeport.store.protocol import Compacted, Event, Record

_OVERHEAD = 400
"""Bytes of Python objects that an event costs beside the JSON."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of the past a store keeps, and how far a watcher may lag behind."""

    history_events: int = 100_000
    history_bytes: int = 64 << 20
    watch_events: int = 10_000
    watch_bytes: int = 64 << 20


def _cost(event: Event) -> int:
    """Bytes that the history alone keeps alive: states that are no longer current."""
    cost = _OVERHEAD
    if event.previous is not None:
        cost += len(event.previous.value)
    if event.type == "DELETED":
        cost += len(event.record.value)
    return cost


class History:
    """Events by resource. One budget serves all; what is compacted is known for each resource apart, so that a busy
    resource does not take away the past of a quiet one sooner than memory demands."""

    def __init__(self, limits: Limits, oldest: int) -> None:
        self._limits = limits
        self._oldest = oldest
        self._bytes = 0
        self._order: deque[str] = deque()
        self._events: dict[str, deque[Event]] = {}
        self._compacted: dict[str, int] = {}

    def append(self, event: Event) -> None:
        resource = event.record.key.resource
        events = self._events.get(resource)
        if events is None:
            events = self._events[resource] = deque()
        events.append(event)
        self._order.append(resource)
        self._bytes += _cost(event)
        while len(self._order) > self._limits.history_events or (
            self._bytes > self._limits.history_bytes and len(self._order) > 1
        ):
            self._drop()

    def _drop(self) -> None:
        resource = self._order.popleft()
        events = self._events[resource]
        event = events.popleft()
        self._bytes -= _cost(event)
        self._compacted[resource] = event.record.revision
        if not events:
            del self._events[resource]

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
