"""The state of a store in memory: what is committed, what is under way, and what happened last.

`State` has all of a store but the commit: `stage` checks and encodes a write, then the store makes the events durable
and hands them to `commit`, in the order of `stage`; or it gives all of them up with `rollback`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from homeport.store.encode import encode, labels_of, restamp, shallow
from homeport.store.history import History, Limits
from homeport.store.index import Index
from homeport.store.protocol import Conflicting, Delete, Event, Key, Oversized, Put, Record, TooNew
from homeport.store.watching import Hub, Subscription

EMPTY_REVISION = 1
"""The revision of a store that was never written to."""
LIFE = 1_000_000_000
"""How far revisions jump where a store begins another life: more writes than anybody makes between a backup and its
restoration (the figure that etcd's documentation gives)."""


class _Pending(msgspec.Struct, frozen=True, gc=False):
    """The newest state of a key while it is not yet committed."""

    revision: int
    record: Record | None


class State(ABC):
    """See the module's text and `homeport.store.protocol.Store`."""

    def __init__(
        self,
        records: Iterable[Record] = (),
        revision: int = EMPTY_REVISION,
        limits: Limits | None = None,
        *,
        events: Sequence[Event] = (),
        compacted: int | None = None,
    ) -> None:
        """`records` are the state at `revision`, `events` what led to it since `compacted` (default: `revision`)."""
        groups: dict[str, list[Record]] = {}
        for record in records:
            groups.setdefault(record.key.resource, []).append(record)
        self._indexes = {resource: Index(group) for resource, group in groups.items()}
        self._revision = revision
        self._assigned = revision
        self._pending: dict[str, dict[Key, _Pending]] = {}
        """By resource; a resource without any is not there."""
        limits = limits or Limits()
        self._history = History(limits, oldest=revision if compacted is None else compacted)
        self._history.extend(events)
        self._hub = Hub(limits)
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._number = itertools.count()

    @property
    def revision(self) -> int:
        return self._revision

    def get(self, key: Key) -> Record | None:
        index = self._indexes.get(key.resource)
        return index.get(key.namespace, key.name) if index is not None else None

    def head(self, key: Key) -> Record | None:
        pending = self._pending.get(key.resource)
        newest = pending.get(key) if pending else None
        return newest.record if newest else self.get(key)

    def heads(self, resource: str, namespace: str) -> Sequence[Record]:
        index = self._indexes.get(resource)
        records = index.scan(namespace) if index is not None else ()
        pending = self._pending.get(resource)
        if pending is None:
            return records
        newer = {
            (key.namespace, key.name): newest.record for key, newest in pending.items() if key.namespace == namespace
        }
        return _with(records, newer) if newer else records

    def scan(
        self, resource: str, namespace: str | None = None, *, revision: int | None = None
    ) -> tuple[Sequence[Record], int]:
        index = self._indexes.get(resource)
        records = index.scan(namespace) if index else []
        if revision is None:
            return records, self._revision
        if revision > self._revision:
            raise TooNew(revision, self._revision)
        then = self._history.undo(resource, revision)
        if namespace is not None:
            then = {key: record for key, record in then.items() if key[0] == namespace}
        if then:
            records = _with(records, then)
        return records, revision

    def page(
        self,
        resource: str,
        namespace: str | None = None,
        *,
        after: tuple[str, str] | None = None,
        limit: int,
        revision: int | None = None,
    ) -> tuple[Sequence[Record], int, int]:
        if revision is not None and (revision > self._revision or self._history.after(resource, revision)):
            # Something has changed since: the past is made from all of the present.
            records, revision = self.scan(resource, namespace, revision=revision)
            start = 0 if after is None else bisect_right(records, after, key=_place)
            end = start + limit
            return records[start:end], revision, max(0, len(records) - end)
        index = self._indexes.get(resource)
        found, following = index.page(namespace, after, limit) if index else ([], 0)
        return found, self._revision if revision is None else revision, following

    def named(self, resource: str, name: str) -> Sequence[Record]:
        index = self._indexes.get(resource)
        return index.named(name) if index else []

    def count(self, resource: str) -> int:
        index = self._indexes.get(resource)
        return len(index) if index else 0

    def resources(self) -> Sequence[str]:
        return sorted(self._indexes)

    def watch(self, resource: str, namespace: str | None = None, *, after: int | None = None) -> Subscription:
        backlog: list[Event] = []
        if after is not None:
            if after > self._revision:
                raise TooNew(after, self._revision)
            backlog = self._history.after(resource, after)
            if namespace is not None:
                backlog = [event for event in backlog if event.record.key.namespace == namespace]
        return self._hub.add(resource, namespace, backlog)

    def stage(self, operations: Sequence[Put | Delete]) -> list[Event]:
        """The events of a write on top of the newest state, which they become. Raises Conflicting or
        Oversized with no effect."""
        if len(operations) == 1:
            operation = operations[0]
            key, revision = operation.key, self._assigned + 1
            event = _event_after(operation, self.head(key), revision)
            self._assigned = revision
            pending = _Pending(revision, None if event.type == "DELETED" else event.record)
            self._pending.setdefault(key.resource, {})[key] = pending
            return [event]
        staged: dict[Key, _Pending] = {}
        events: list[Event] = []
        revision = self._assigned
        for operation in operations:
            key = operation.key
            current = staged[key].record if staged and key in staged else self.head(key)
            revision += 1
            event = _event_after(operation, current, revision)
            events.append(event)
            staged[key] = _Pending(revision, None if event.type == "DELETED" else event.record)
        self._assigned = revision
        for key, pending in staged.items():
            self._pending.setdefault(key.resource, {})[key] = pending
        return events

    @abstractmethod
    def write(self, *operations: Put | Delete) -> asyncio.Future[list[Record]]:
        """As `homeport.store.protocol.Store.write`; what a store adds to a state."""

    async def restore(self, records: Iterable[Record], revision: int) -> list[tuple[Put | Delete, Record]]:
        life: int | None = None
        if revision > self._assigned:
            life = self._assigned = revision + LIFE
        operations = self._towards(records)
        written = await self.write(*operations)
        if life is not None:
            self._history.skip_to(life)
        return list(zip(operations, written, strict=True))

    def _towards(self, records: Iterable[Record]) -> list[Put | Delete]:
        """The write that makes `records` the newest state. It says no more than what differs."""
        present = {record.key: record for index in self._indexes.values() for record in index.scan(None)}
        for newest in self._pending.values():
            for key, pending in newest.items():
                if pending.record is None:
                    present.pop(key, None)
                else:
                    present[key] = pending.record
        operations: list[Put | Delete] = []
        for record in records:
            current = present.pop(record.key, None)
            if current is None:
                operations.append(Put(record.key, shallow(record.value), 0))
            elif current.value != record.value:
                obj = shallow(record.value)
                expect = current.revision
                if obj["metadata"].get("uid") != shallow(current.value)["metadata"].get("uid"):
                    # Another object of that name: watchers must not take the two for one.
                    operations.append(Delete(record.key, expect))
                    expect = 0
                operations.append(Put(record.key, obj, expect))
        operations += [Delete(key, record.revision) for key, record in present.items()]
        return operations

    def commit(self, events: Iterable[Event]) -> None:
        """Show staged events to readers and watchers."""
        for event in events:
            record = event.record
            key = record.key
            index = self._indexes.get(key.resource)
            if event.type != "DELETED":
                if index is None:
                    index = self._indexes[key.resource] = Index()
                index.put(record)
            elif index is not None:
                index.remove(key.namespace, key.name)
                if not index:
                    del self._indexes[key.resource]
            pending = self._pending.get(key.resource)
            if pending is not None:
                newest = pending.get(key)
                if newest is not None and newest.revision == record.revision:
                    del pending[key]
                    if not pending:
                        del self._pending[key.resource]
            self._revision = record.revision
            self._history.append(event)
            self._hub.publish(event)
        while self._waiting and self._waiting[0][0] <= self._revision:
            waiter = heapq.heappop(self._waiting)[2]
            if not waiter.done():
                waiter.set_result(None)

    async def reached(self, revision: int) -> None:
        if revision > self._revision:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (revision, next(self._number), waiter)
            heapq.heappush(self._waiting, entry)
            try:
                await waiter
            finally:
                if waiter.cancelled():  # nobody asks any more; the revision may never come
                    self._waiting.remove(entry)
                    heapq.heapify(self._waiting)

    def rollback(self) -> None:
        """Give up everything staged and not committed. Its revisions are not used again."""
        self._pending.clear()

    def end_watches(self) -> None:
        self._hub.close()


def _event_after(operation: Put | Delete, current: Record | None, revision: int) -> Event:
    """What an operation does to the newest record of its key. Raises Conflicting or Oversized."""
    if current is None:
        if operation.expect or isinstance(operation, Delete):
            raise Conflicting(operation.key, None)
    elif operation.expect != current.revision:
        raise Conflicting(operation.key, current)
    return _event(operation, current, revision)


def _event(operation: Put | Delete, current: Record | None, revision: int) -> Event:
    # The key and the labels of the record before are used again where they are equal: long-lived copies cost memory.
    key = current.key if current else operation.key
    if isinstance(operation, Put):
        labels = labels_of(operation.object, current.labels) if current else labels_of(operation.object)
        value = encode(operation.object, revision)
        if operation.most and len(value) > operation.most:
            raise Oversized(operation.key, len(value), operation.most)
        record = Record(key, revision, value, labels)
        return Event("MODIFIED" if current else "ADDED", record, current)
    assert current is not None
    if operation.object is None:
        record = Record(key, revision, restamp(current.value, revision), current.labels)
    else:
        record = Record(key, revision, encode(operation.object, revision), labels_of(operation.object, current.labels))
    return Event("DELETED", record, current)


def _place(record: Record) -> tuple[str, str]:
    return record.key.namespace, record.key.name


def _with(records: Sequence[Record], then: Mapping[tuple[str, str], Record | None]) -> list[Record]:
    """`records` with the entries of `then` in place of theirs, in order."""
    result: list[Record] = []
    at = 0
    for key in sorted(then):
        found = bisect_left(records, key, lo=at, key=lambda record: (record.key.namespace, record.key.name))
        result += records[at:found]
        at = found
        if at < len(records) and (records[at].key.namespace, records[at].key.name) == key:
            at += 1
        record = then[key]
        if record is not None:
            result.append(record)
    result += records[at:]
    return result
