"""The SQLite file of a store: who may open it, and how a batch of writes goes in.

What is in it, :mod:`homeport.store.format` says.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from homeport.files import sync
from homeport.store.format import TABLES, Damaged, Incompatible, check_header, checksum_of, reading, upgrade
from homeport.store.loading import Loaded, load
from homeport.store.protocol import StoreError

_CHUNKS: Final = (64, 32, *range(16, 0, -1))
"""Rows per statement. One statement for many rows takes Python's global lock once instead of once a row, and what goes
into one statement needs none to begin and to end a transaction. So few sizes keep all statements prepared."""

_T = TypeVar("_T")


class Locked(StoreError):
    """Another process has the database open."""


class Row(msgspec.Struct, frozen=True, gc=False):
    revision: int
    resource: str
    namespace: str
    name: str
    labels: bytes | None
    value: bytes
    """Of a deletion: empty if the final state is the state before."""
    deleted: bool


class Batch(NamedTuple):
    """What one transaction changes."""

    rows: Sequence[Row]
    removed: Sequence[int]
    """Revisions of the rows that go: no longer part of the history."""
    revision: int | None
    """The counter afterwards; None leaves it."""
    compacted: int | None
    """The revision up to which the history is gone; None leaves it."""


class Database:
    """An open file. Its methods may be called from any thread, one at a time."""

    def __init__(self, path: Path, lock: int, connection: sqlite3.Connection) -> None:
        self.path = path
        self._lock = lock
        self._connection = connection
        self._cursor = connection.cursor()

    @classmethod
    def open(cls, path: Path) -> Database:
        """Open or create. Raises Locked, Incompatible, Damaged, or OSError and sqlite3.Error for what the disk
        refuses."""
        _make_directory(path.parent)
        with contextlib.ExitStack() as undo:
            lock = _take_lock(path)
            undo.callback(os.close, lock)
            if not path.exists():
                _create(path)
            elif not path.stat().st_size:
                raise Damaged(path, "it is empty, which not even a new database is")
            connection = _connect(path)
            undo.callback(connection.close)
            with reading(path):
                _prepare(connection, path)
            undo.pop_all()
        return cls(path, lock, connection)

    def load(self) -> Loaded:
        """All there is. Raises Damaged."""
        with reading(self.path):
            return load(self._connection, self.path)

    def commit(self, batch: Batch) -> None:
        """Make a batch durable, or raise sqlite3.Error and leave the file as it was."""
        statements = list(_statements(batch))
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")  # An earlier commit failed, and so did its own way back.
        if len(statements) == 1:
            self._execute(*statements[0])  # A transaction of its own.
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for statement, values in statements:
                self._execute(statement, values)
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            # Some errors end the transaction themselves.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _execute(self, statement: str, values: Sequence[object]) -> None:
        # For one set of values, this does not ask for the last row's number, for which it would let go of Python's lock
        # once more, to wait for a busy event loop to give it back.
        self._cursor.executemany(statement, (values,))

    def checkpoint(self) -> int:
        """As the function of this name, on the connection that writes."""
        return checkpoint(self._connection)

    def close(self) -> None:
        self._cursor.close()  # which would keep the connection, and so the log, open
        self._connection.close()
        os.close(self._lock)


def connect_beside(path: Path) -> sqlite3.Connection:
    """One more connection to an open database, for checkpoints beside its writes."""
    connection = _connect(path)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def checkpoint(connection: sqlite3.Connection) -> int:
    """Copy the write-ahead log into the file as far as is possible without making anybody wait.

    Gives the log's length in pages. The log starts over with the first commit that finds it copied to its end.
    """
    _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: files made, renamed or removed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def create(path: Path) -> sqlite3.Connection:
    """A new, empty database at a path that is free, for its owner's eyes only. Not durable before it is closed."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = _connect(path)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(TABLES)
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """A new database, whole or not at all: a crash leaves no file that could be taken for a damaged one."""
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise Damaged(path, f"it is missing, and {log.name}, which belongs to it, is not")
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    create(temporary).close()
    os.rename(temporary, path)
    sync_directory(path.parent)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64, timeout=10)
    if sys.platform == "darwin":
        # Else what is synchronous may be in the drive's memory only.
        connection.execute("PRAGMA fullfsync = ON")
    return connection


def _make_directory(path: Path) -> None:
    """Make a directory and those above it, durably."""
    if not path.is_dir():
        _make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def _take_lock(path: Path) -> int:
    """Hold an exclusive lock on a file beside `path` until the descriptor is closed or the process ends."""
    beside = path.with_name(path.name + ".lock")
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        by = f"process {holder}" if holder.isdigit() else "another process"
        raise Locked(f"{path} is in use by {by}; stop it first, or choose another data directory") from None
    except BaseException:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = check_header(connection, path, in_use=True)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise Incompatible(f"the file system of {path} has no shared memory for SQLite's write-ahead log")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    upgrade(connection, version)


def _statements(batch: Batch) -> Iterator[tuple[str, Sequence[object]]]:
    for chunk in _chunks(batch.rows):
        places = ",".join(["(?,?,?,?,?,?,?,?)"] * len(chunk))
        yield f"INSERT INTO record VALUES {places}", _columns(chunk)
    for removed in _chunks(batch.removed):
        yield f"DELETE FROM record WHERE revision IN ({','.join('?' * len(removed))})", removed
    if batch.compacted is not None:
        # Otherwise the newest row itself tells the revision.
        counters = (batch.revision, batch.compacted)
        yield "UPDATE counter SET revision = coalesce(?, revision), compacted = ?", counters
    if not batch.rows:
        # A probe: as much room as an ordinary write takes, and no trace. (SQLite leaves out updates to what is there.)
        yield (
            "INSERT INTO record (revision, resource, namespace, name, value) VALUES (-1, '', '', '', zeroblob(8192))",
            (),
        )
        yield "DELETE FROM record WHERE revision = -1", ()


def _columns(rows: Sequence[Row]) -> list[object]:
    """The values of all columns of all rows, one after the other, of types that the driver knows by themselves: for
    bytes and truth values it looks for somebody who adapts them, each time, which takes longer than to copy them."""
    values: list[object] = []
    for row in rows:
        revision, resource, namespace, name = row.revision, row.resource, row.namespace, row.name
        labels, value, deleted = row.labels, row.value, row.deleted
        checksum = checksum_of(revision, resource, namespace, name, labels, value, deleted)
        stored_labels = None if labels is None else bytearray(labels)
        values += (revision, resource, namespace, name, stored_labels, bytearray(value), int(deleted), checksum)
    return values


def _chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    at = 0
    for size in _CHUNKS:
        while len(items) - at >= size:
            yield items[at : at + size]
            at += size
