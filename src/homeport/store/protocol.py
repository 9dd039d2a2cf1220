"""What every store promises.

One counter, the *revision*, orders all writes. A write is checked at once against the newest state (`head`), then
committed to disk together with the writes that arrived meanwhile (group commit); only then do its result, `get`,
`scan` and watchers show it. So nobody ever acts on a write that a crash could take back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec


class Key(msgspec.Struct, frozen=True, order=True, gc=False):
    """``resource`` is ``group/plural`` (``/pods``, ``kubeflow.org/tfjobs``); ``namespace`` is empty for cluster
    scope.

    As there are as many as records, the garbage collector does not visit them either.
    """

    resource: str
    namespace: str
    name: str


class Record(msgspec.Struct, frozen=True, gc=False):
    """A stored object: its JSON, encoded once and handed out as it is. Never changed in place.

    There are many, they live long and hold no cycles: hence a struct that the garbage collector does not visit.
    """

    key: Key
    revision: int
    value: bytes
    """JSON with ``metadata.resourceVersion`` equal to `revision`."""
    labels: Mapping[str, str] = {}


class Put(msgspec.Struct, frozen=True, gc=False):
    """Write an object."""

    key: Key
    object: Mapping[str, Any]
    """Not kept; the store stamps the resourceVersion on a copy."""
    expect: int
    """The revision it must replace; 0: it must not exist."""
    most: int = 0
    """Bytes that its JSON may have; 0: as many as it has."""


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Remove an object."""

    key: Key
    expect: int
    """The revision that must be the newest."""
    object: Mapping[str, Any] | None = None
    """The final state that watchers see, if it differs from the stored one (a last finalizer removed)."""


class Event(msgspec.Struct, frozen=True, gc=False):
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    record: Record
    """New state; for DELETED the final state, stamped with the revision of the deletion."""
    previous: Record | None
    """The state before; None for ADDED. Selectors need it: an object that stops to match is DELETED for that
    watcher."""


class StoreError(Exception):
    """Root of the store's errors."""


class Conflicting(StoreError):
    """`expect` did not hold. `current` is the newest record, None if there is none."""

    def __init__(self, key: Key, current: Record | None) -> None:
        super().__init__(f"{key.resource}/{key.namespace}/{key.name}: expected another revision")
        self.key = key
        self.current = current


class Compacted(StoreError):
    """The history no longer reaches back to the asked revision (HTTP 410)."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"revision {asked} is older than {oldest}, the oldest kept")
        self.asked = asked
        self.oldest = oldest


class TooNew(StoreError):
    """The asked revision has not happened (HTTP 504, ResourceVersionTooLarge)."""

    def __init__(self, asked: int, current: int) -> None:
        super().__init__(f"revision {asked} is newer than {current}, the current one")
        self.asked = asked
        self.current = current


class Oversized(StoreError):
    """An object is larger than its write allows. Nothing of the write was kept."""

    def __init__(self, key: Key, size: int, most: int) -> None:
        super().__init__(f"{key.resource} {key.namespace}/{key.name}: {size} bytes, and {most} are allowed")
        self.size = size


class Full(StoreError):
    """The disk is full: nothing of the write was kept. The store works again once there is room."""


class Lagging(StoreError):
    """This watcher read too slowly and was cut off instead of growing memory."""


class Unavailable(StoreError):
    """The store is closed, or its disk refuses writes for another reason than room. Nothing of the write was kept."""


class Watch(Protocol):
    """A stream of events in revision order, for one reader. Iterate once; ``close`` when done.

    Raises `Lagging` once more events waited than a watch may keep; those are let go of, and the reader resumes with a
    new watch from the last revision that it saw. Ends when the watch or the store is closed.
    """

    def __aiter__(self) -> AsyncIterator[Event]: ...

    def take(self, most: int | None = None) -> list[Event]:
        """The events that are here already, or the first `most` of them, without waiting; perhaps none. Once it is
        empty the reader has seen every event up to `Store.revision`, unless the watch is `lagging`."""

    async def wait(self, until: float, deliver: Callable[[], bool] | None = None) -> None:
        """Wait until there is something to take, the watch has `ended`, or the event loop's time is about `until`:
        whoever called looks which. Cheaper than iterating with a timeout.

        With `deliver` the wait goes on when events come. That is called instead, in a turn of the event loop of its
        own, and takes some of them (`take`), until none is left; if it says False, the wait ends after all. It does not
        raise.
        """

    @property
    def ended(self) -> bool:
        """Whether nothing is to be had any more: the watch is closed, or lagging and empty."""

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to take and nothing was lost."""

    @property
    def lagging(self) -> bool:
        """Whether events were lost: iterating raises Lagging after those that are here."""

    def close(self) -> None: ...


class Store(Protocol):
    @property
    def revision(self) -> int:
        """The newest committed revision. An empty store starts at 1, since clients take 0 to mean "any"."""

    def get(self, key: Key) -> Record | None:
        """The committed state."""

    def head(self, key: Key) -> Record | None:
        """The newest state, perhaps not yet on disk: what a read-modify-write starts from. Never answer a
        reader with it."""

    def heads(self, resource: str, namespace: str) -> Sequence[Record]:
        """The newest states of a namespace's records, as `head`: what a decision over all of them starts from."""

    def scan(
        self, resource: str, namespace: str | None = None, *, revision: int | None = None
    ) -> tuple[Sequence[Record], int]:
        """All records of a resource (in one namespace), ordered by (namespace, name), and the revision they are of.

        With `revision`, the state as of then; raises Compacted or TooNew.
        """

    def page(
        self,
        resource: str,
        namespace: str | None = None,
        *,
        after: tuple[str, str] | None = None,
        limit: int,
        revision: int | None = None,
    ) -> tuple[Sequence[Record], int, int]:
        """As `scan`, of at most `limit` records behind `after` (namespace and name); and how many follow them. What it
        costs grows with the page, not with the collection, unless `revision` is one since which that has changed."""

    def named(self, resource: str, name: str) -> Sequence[Record]:
        """The committed records of one name, of all namespaces in order."""

    def count(self, resource: str) -> int:
        """How many records the resource has in all namespaces."""

    def resources(self) -> Sequence[str]:
        """Every resource that has at least one record."""

    def write(self, *operations: Put | Delete) -> Awaitable[list[Record]]:
        """Apply all operations, in order, or none. Checks `expect` before it returns (raises Conflicting); await the
        result for durability (raises Full or Unavailable). It has one record per operation, stamped with the
        operation's own revision; for a Delete the final state. Cancelling the awaitable does not take a write back."""

    async def restore(self, records: Iterable[Record], revision: int) -> list[tuple[Put | Delete, Record]]:
        """Make `records`, of a backup taken at `revision`, the state: one write of what differs, which it gives.

        A backup of a later revision than this store's is of another life of it. Revisions then go on far above both,
        and the history begins anew, so that whoever remembers a revision of that life has to list again.
        """

    def watch(self, resource: str, namespace: str | None = None, *, after: int | None = None) -> Watch:
        """Events with a revision greater than `after` (default: from now). Raises Compacted or TooNew at once."""

    async def reached(self, revision: int) -> None:
        """Wait until `revision` is committed. It may never be: the caller sets the time."""

    async def probe(self) -> None:
        """Raises Full or Unavailable if writes cannot be made durable now."""

    async def close(self) -> None:
        """Finish all accepted writes and release the files."""
