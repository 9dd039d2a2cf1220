"""The SQLite file of a store: who may open it, what is in it, and how a batch of writes goes in.

One table of current records, keyed by revision. The store's memory has every other index, and it knows which row a
write replaces, so that a commit appends at one end of one B-tree and removes single rows elsewhere in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from homeport.store.encode import NO_LABELS, decode_labels
from homeport.store.protocol import Key, Record, StoreError
from homeport.store.state import EMPTY_REVISION

APPLICATION_ID: Final = 0x484D5054
"""Marks the file as ours (``HMPT``) in SQLite's header."""

FORMAT: Final = 1
"""Version of the tables below (SQLite's ``user_version``)."""

_TABLES: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE record (
    revision  INTEGER PRIMARY KEY,
    resource  TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    labels    BLOB,
    value     BLOB NOT NULL
);
CREATE TABLE counter (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);
INSERT INTO counter VALUES (1, {EMPTY_REVISION});
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
COMMIT;
"""

_FREEZE_ABOVE: Final = 10_000
"""Records loaded from which on they are taken out of the garbage collector's sight for good."""

_CHUNKS: Final = (64, 8, 1)
"""Rows per statement. One statement for many rows takes Python's global lock once instead of once a row, and few
sizes keep all statements prepared."""


_T = TypeVar("_T")


class Locked(StoreError):
    """Another process has the database open."""


class Incompatible(StoreError):
    """The file is no database of ours, or one of a newer version."""


class Row(NamedTuple):
    revision: int
    resource: str
    namespace: str
    name: str
    labels: bytes | None
    value: bytes


class Batch(NamedTuple):
    """What one transaction changes."""

    rows: Sequence[Row]
    removed: Sequence[int]
    """Revisions of the rows that go."""
    revision: int
    """The counter afterwards."""


class Database:
    """An open file. Its methods may be called from any thread, one at a time."""

    def __init__(self, path: Path, lock: int, connection: sqlite3.Connection) -> None:
        self.path = path
        self._lock = lock
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Database:
        """Open or create. Raises Locked, Incompatible, or OSError and sqlite3.Error for what the disk refuses."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            lock = _take_lock(path)
            undo.callback(os.close, lock)
            # Made here, so that it and the files that SQLite adds are for the owner's eyes only.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, cached_statements=64, timeout=10
            )
            undo.callback(connection.close)
            try:
                _prepare(connection, path)
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                    raise Incompatible(f"{path} is not an SQLite database; move it away to start afresh") from error
                raise
            undo.pop_all()
        return cls(path, lock, connection)

    def load(self) -> tuple[list[Record], int]:
        """Every record and the revision counter."""
        query = "SELECT revision, resource, namespace, name, labels, value FROM record ORDER BY revision"
        known: dict[bytes | None, Mapping[str, str]] = {None: NO_LABELS}  # Equal labels share one dict.
        intern, make_key, make = sys.intern, Key, Record
        records: list[Record] = []
        collecting = gc.isenabled()
        gc.disable()  # Nothing below makes garbage; collections would take half of the time.
        try:
            for revision, resource, namespace, name, labels, value in self._connection.execute(query):
                parsed = known.get(labels)
                if parsed is None:
                    parsed = known[labels] = decode_labels(labels)
                records.append(make(make_key(intern(resource), intern(namespace), name), revision, value, parsed))
        finally:
            if collecting:
                gc.enable()
        (counter,) = self._connection.execute("SELECT revision FROM counter").fetchone()
        if len(records) > _FREEZE_ABOVE:
            gc.freeze()
        return records, max(counter, records[-1].revision) if records else counter

    def commit(self, batch: Batch) -> None:
        """Make a batch durable, or raise sqlite3.Error and leave the file as it was."""
        statements = list(_statements(batch))
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")  # An earlier commit failed, and so did its own way back.
        if len(statements) == 1:
            self._connection.execute(*statements[0])  # A transaction of its own.
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for statement, values in statements:
                self._connection.execute(statement, values)
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            # Some errors end the transaction themselves.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def checkpoint(self) -> int:
        """As the function of this name, on the connection that writes."""
        return checkpoint(self._connection)

    def close(self) -> None:
        self._connection.close()
        os.close(self._lock)


def connect_beside(path: Path) -> sqlite3.Connection:
    """One more connection to an open database, for checkpoints beside its writes."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def checkpoint(connection: sqlite3.Connection) -> int:
    """Copy the write-ahead log into the file as far as is possible without making anybody wait.

    Gives the log's length in pages. The log starts over with the first commit that finds it copied to its end.
    """
    _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages)


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
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or objects):
        raise Incompatible(f"{path} is a database of another program; choose another data directory")
    if version > FORMAT:
        raise Incompatible(
            f"{path} was written by a newer version (format {version}; this one reads up to {FORMAT}); "
            "install that version or a newer one"
        )
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise Incompatible(f"the file system of {path} has no shared memory for SQLite's write-ahead log")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    if not objects:
        connection.executescript(_TABLES)


def _statements(batch: Batch) -> Iterator[tuple[str, Sequence[object]]]:
    for chunk in _chunks(batch.rows):
        places = ",".join(["(?,?,?,?,?,?)"] * len(chunk))
        yield f"INSERT INTO record VALUES {places}", [value for row in chunk for value in row]
    for removed in _chunks(batch.removed):
        yield f"DELETE FROM record WHERE revision IN ({','.join('?' * len(removed))})", removed
    # Otherwise the newest row itself tells the revision.
    if not batch.rows or batch.rows[-1].revision < batch.revision:
        yield "UPDATE counter SET revision = ?", (batch.revision,)


def _chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    at = 0
    for size in _CHUNKS:
        while len(items) - at >= size:
            yield items[at : at + size]
            at += size
