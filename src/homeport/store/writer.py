"""The threads that make writes durable: one commits, one copies the write-ahead log into the file.

Whatever arrives while a commit waits for the disk goes into the next one (group commit). Both threads sleep until
there is something to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Final

import msgspec

from homeport.store.database import Batch, Database, Row, checkpoint, connect_beside
from homeport.store.encode import encode_labels, restamp
from homeport.store.history import Forgotten
from homeport.store.log import PAGE, LogRoom
from homeport.store.protocol import Event, Full, Record, StoreError, Unavailable

_log = logging.getLogger(__name__)

_BATCH_EVENTS: Final = 2_000
_BATCH_BYTES: Final = 16 << 20
_CHECKPOINT_PAGES: Final = 1_000
"""Log pages (an estimate) after which the log is copied in the background: about 4 MB."""
_LOG_PAGES: Final = 16_000
"""Log pages after which the writer itself finishes the copy, so that the log starts over: about 64 MB. A copy in the
background ends where the log ended when it began, and under a constant load there is more by then."""

_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})


class Write(msgspec.Struct, frozen=True):
    """A staged write on its way to the disk."""

    events: Sequence[Event]
    done: asyncio.Future[list[Record]]
    epoch: int
    """Counts the failures that the caller knew of; a write from before the last failure builds on lost state."""
    forgotten: Forgotten | None = None
    """What of the history goes with this write."""


class Writer:
    """Commits writes in order.

    `committed(writes)` and `failed(writes, error, epoch)` are called in the event loop of the writes, in order.
    """

    def __init__(
        self,
        database: Database,
        committed: Callable[[Sequence[Write]], None],
        failed: Callable[[Sequence[Write], StoreError, int], None],
    ) -> None:
        self._database = database
        self._committed = committed
        self._failed = failed
        self._queue: SimpleQueue[Write | None] = SimpleQueue()
        self._epoch = 0
        self._error: StoreError = Unavailable("the store has failed")
        self.failing = False
        """Whether the newest commit failed."""
        self._log_pages = 0
        self._room = LogRoom(database.path)
        self._checkpointer = _Checkpointer(database)
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Write) -> None:
        self._queue.put(write)

    def close(self) -> None:
        """Commit what was submitted, end both threads and close the file. Blocks."""
        self._queue.put(None)
        self._thread.join()
        self._checkpointer.close()
        self._room.close()
        self._database.close()

    def _run(self) -> None:
        more = True
        while more:
            writes, more = self._next()
            current = [write for write in writes if write.epoch == self._epoch]
            if len(current) < len(writes):
                stale = [write for write in writes if write.epoch != self._epoch]
                _in_loop(stale, self._failed, stale, self._error, self._epoch)
            if not current:
                continue
            batch = batch_of(current)
            pages = _pages_of(batch)
            self._room.need(pages)
            try:
                self._database.commit(batch)
            except Exception as error:
                self._epoch += 1
                self.failing = True
                self._error = _translated(error, self._database)
                _in_loop(current, self._failed, current, self._error, self._epoch)
            else:
                self.failing = False
                _in_loop(current, self._committed, current)
                self._checkpoint_after(pages)

    def _next(self) -> tuple[list[Write], bool]:
        """Wait for writes and take all that are there, within bounds; False once there will be no more."""
        writes: list[Write] = []
        events = size = 0
        write = self._queue.get()
        while write is not None:
            writes.append(write)
            for event in write.events:
                events += 1
                size += len(event.record.value)
            if events >= _BATCH_EVENTS or size >= _BATCH_BYTES:
                return writes, True
            try:
                write = self._queue.get_nowait()
            except Empty:
                return writes, True
        return writes, False

    def _checkpoint_after(self, pages: int) -> None:
        if self._checkpointer.done.is_set():
            self._checkpointer.done.clear()
            self._room.copied()
        self._log_pages += pages
        if self._log_pages >= _CHECKPOINT_PAGES:
            self._log_pages = 0
            self._checkpointer.wake()
        if self._checkpointer.finish.is_set():
            self._checkpointer.finish.clear()
            with _reported(self._database):
                self._database.checkpoint()
            self._room.copied()


class _Checkpointer:
    """Copies the log into the file beside the writer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._wanted: SimpleQueue[bool] = SimpleQueue()
        self.finish = threading.Event()
        """The log is long: the writer should copy the rest between two commits."""
        self.done = threading.Event()
        """The log was copied as far as it went then."""
        self._thread = threading.Thread(target=self._run, name="store-checkpoint", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._wanted.put(True)

    def close(self) -> None:
        self._wanted.put(False)
        self._thread.join()
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        while self._wanted.get():
            with _reported(self._database):
                if self._connection is None:
                    self._connection = connect_beside(self._database.path)
                if checkpoint(self._connection) >= _LOG_PAGES:
                    self.finish.set()
                self.done.set()


def _pages_of(batch: Batch) -> int:
    """About how many pages of the log a batch takes."""
    size = sum([len(row.value) for row in batch.rows])
    # Each row dirties about a page of its own where it goes in, and one where it goes away.
    return size // PAGE + len(batch.rows) + len(batch.removed) + 1


def batch_of(writes: Iterable[Write]) -> Batch:
    """What the writes change on disk."""
    rows: list[Row] = []
    removed: list[int] = []
    compacted: int | None = None
    for write in writes:
        for event in write.events:
            key, record, previous = event.record.key, event.record, event.previous
            value = record.value
            deleted = event.type == "DELETED"
            if deleted and previous is not None and restamp(previous.value, record.revision) == value:
                value = b""
            labels = encode_labels(record.labels)
            rows.append(Row(record.revision, key.resource, key.namespace, key.name, labels, value, deleted))
        if write.forgotten is not None:
            removed += write.forgotten.revisions
            compacted = write.forgotten.compacted
    return Batch(rows, removed, rows[-1].revision if rows else None, compacted)


def _in_loop(writes: Sequence[Write], callback: Callable[..., None], *arguments: object) -> None:
    try:
        writes[0].done.get_loop().call_soon_threadsafe(callback, *arguments)
    except RuntimeError:
        # The loop is closed: whoever waited for these writes has gone.
        _log.debug("the event loop closed before %d writes were answered", len(writes))


def _translated(error: Exception, database: Database) -> StoreError:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code & 0xFF in _FULL:
            return Full(f"no room to write {database.path} ({error}); free some space on that disk and try again")
        return Unavailable(f"{database.path} cannot be written: {error}")
    _log.error("unexpected error while writing %s", database.path, exc_info=error)
    return Unavailable(f"{database.path} cannot be written: {error}")


@contextlib.contextmanager
def _reported(database: Database) -> Iterator[None]:
    """Log a failed checkpoint and go on: it loses nothing, and the next one copies the same pages."""
    try:
        yield
    except sqlite3.Error as error:
        _log.warning("the write-ahead log of %s could not be copied: %s", database.path, error)
