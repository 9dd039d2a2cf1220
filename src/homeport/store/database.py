"""The SQLite file of a store: who may open it, what is in it, and how a batch of writes goes in.

One table, keyed by revision, which is the log: each write appends its state, or its deletion, at one end of one B-tree.
The newest row of a key is its state; older ones are the history, and go in bulk, next to each other, when the history
forgets them (`counter.compacted`). The store's memory has every other index.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import sqlite3
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from homeport.store.encode import NO_LABELS, decode_labels, restamp
from homeport.store.protocol import Event, Key, Record, StoreError
from homeport.store.state import EMPTY_REVISION

APPLICATION_ID: Final = 0x484D5054
"""Marks the file as ours (``HMPT``) in SQLite's header."""

FORMAT: Final = 2
"""Version of the tables below (SQLite's ``user_version``).

1: current records only. 2: the history and checksums.
"""

_TABLES: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE record (
    revision  INTEGER PRIMARY KEY,
    resource  TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    labels    BLOB,
    value     BLOB NOT NULL,
    deleted   INTEGER NOT NULL DEFAULT 0,
    checksum  INTEGER
);
CREATE TABLE counter (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    revision  INTEGER NOT NULL,
    compacted INTEGER NOT NULL DEFAULT {EMPTY_REVISION}
);
INSERT INTO counter VALUES (1, {EMPTY_REVISION}, {EMPTY_REVISION});
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
COMMIT;
"""
_FROM_FORMAT_1: Final = f"""
BEGIN IMMEDIATE;
ALTER TABLE record ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE record ADD COLUMN checksum INTEGER;
ALTER TABLE counter ADD COLUMN compacted INTEGER NOT NULL DEFAULT {EMPTY_REVISION};
UPDATE counter SET compacted = max(revision, (SELECT coalesce(max(revision), 0) FROM record));
PRAGMA user_version = 2;
COMMIT;
"""

_FREEZE_ABOVE: Final = 10_000
"""Records loaded from which on they are taken out of the garbage collector's sight for good."""

_CHUNKS: Final = (64, 32, *range(16, 0, -1))
"""Rows per statement. One statement for many rows takes Python's global lock once instead of once a row, and what goes
into one statement needs none to begin and to end a transaction. So few sizes keep all statements prepared."""

_DAMAGE: Final = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_MISMATCH,
    }
)
"""What SQLite says of a file that is not what it wrote. Its ERROR is for statements that do not fit the tables: ours
do."""

_T = TypeVar("_T")


class Locked(StoreError):
    """Another process has the database open."""


class Incompatible(StoreError):
    """The file is no database of ours, or one of a newer version."""


class Damaged(StoreError):
    """The file is ours, but not what was written: nothing is served from it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"the database {path} is damaged: {why}. Put a backup in its place with `homeport restore FILE`, or move "
            "the file away to start with nothing"
        )


class Row(NamedTuple):
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


class Loaded(NamedTuple):
    """What a file holds."""

    records: list[Record]
    """The current ones, in no order."""
    revision: int
    events: list[Event]
    """The history: every event after `compacted`."""
    compacted: int


class Database:
    """An open file. Its methods may be called from any thread, one at a time."""

    def __init__(self, path: Path, lock: int, connection: sqlite3.Connection) -> None:
        self.path = path
        self._lock = lock
        self._connection = connection

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


def load(connection: sqlite3.Connection, path: Path) -> Loaded:
    """What the database of `path` holds, each row checked against its checksum. Raises Damaged or sqlite3.Error."""
    collecting = gc.isenabled()
    gc.disable()  # Nothing below makes garbage; collections would take half of the time.
    try:
        loaded = _load(connection, path)
    finally:
        if collecting:
            gc.enable()
    if len(loaded.records) > _FREEZE_ABOVE:
        gc.freeze()
    return loaded


def _load(connection: sqlite3.Connection, path: Path) -> Loaded:
    counters = connection.execute("SELECT revision, compacted FROM counter").fetchone()
    if counters is None:
        raise Damaged(path, "its revision counter is missing")
    revision, compacted = counters
    query = "SELECT revision, resource, namespace, name, labels, value, deleted, checksum FROM record ORDER BY revision"
    known: dict[bytes | None, Mapping[str, str]] = {None: NO_LABELS}  # Equal labels share one dict.
    places: dict[tuple[str, str], dict[str, Record]] = {}
    """The current records by resource and namespace, then by name."""
    events: list[Event] = []
    last = 0
    for number, resource, namespace, name, labels, value, deleted, checksum in connection.execute(query):
        if checksum is not None and checksum != checksum_of(number, resource, namespace, name, labels, value, deleted):
            raise Damaged(path, f"the object {resource} {namespace}/{name} of revision {number} is not what was stored")
        if number <= last:
            raise Damaged(path, f"revision {number} comes after revision {last}")
        last = number
        parsed = known.get(labels)
        if parsed is None:
            parsed = known[labels] = decode_labels(labels or b"{}")
        place = places.get((resource, namespace))
        if place is None:
            place = places[sys.intern(resource), sys.intern(namespace)] = {}
        previous = place.get(name)
        key = previous.key if previous else Key(sys.intern(resource), sys.intern(namespace), name)
        if number <= compacted:
            place[name] = Record(key, number, value, parsed)
        elif not deleted:
            record = place[name] = Record(key, number, value, parsed)
            events.append(Event("MODIFIED" if previous else "ADDED", record, previous))
        elif previous is not None:
            del place[name]
            final = Record(key, number, value or restamp(previous.value, number), parsed)
            events.append(Event("DELETED", final, previous))
        else:
            raise Damaged(path, f"{resource} {namespace}/{name} was deleted at revision {number}, but never created")
    newest = events[-1].record.revision if events else compacted
    records = list(chain.from_iterable(place.values() for place in places.values()))
    return Loaded(records, max(revision, newest), events, compacted)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of a damaged file that it is: Damaged in place of SQLite's own errors."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # Text that is no UTF-8 comes without a code.
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _DAMAGE:
            raise Damaged(path, str(error)) from error
        raise
    except (ValueError, TypeError, msgspec.MsgspecError) as error:
        raise Damaged(path, f"it holds what cannot be read: {error}") from error


def check_header(connection: sqlite3.Connection, path: Path, *, in_use: bool = False) -> int:
    """The format of a database that is ours. Raises Incompatible or Damaged, and says what to do if the database is to
    be worked with (`in_use`): of a backup there is nothing more to say."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) == sqlite3.SQLITE_NOTADB:
            advice = "; put a backup in its place with `homeport restore FILE`, or move it away to start with nothing"
            raise Incompatible(
                f"{path} is not an SQLite database, or the beginning of it is damaged{advice if in_use else ''}"
            ) from error
        raise
    if application != APPLICATION_ID:
        advice = "; choose another data directory"
        raise Incompatible(f"{path} is a database of another program{advice if in_use else ''}")
    if version > FORMAT:
        raise Incompatible(
            f"{path} was written by a newer version (format {version}; this one reads up to {FORMAT}); "
            "install that version or a newer one"
        )
    if version < 1 or not tables >= {"record", "counter"}:
        raise Damaged(path, f"its header says format {version}, and its tables are {sorted(tables) or 'none'}")
    return int(version)


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring a database of an older format up to date, in one transaction."""
    if version == 1:
        connection.executescript(_FROM_FORMAT_1)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: files made, renamed or removed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create(path: Path) -> sqlite3.Connection:
    """A new, empty database at a path that is free, for its owner's eyes only. Not durable before it is closed."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = _connect(path)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_TABLES)
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
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64, timeout=10)


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


def checksum_of(
    revision: int, resource: str, namespace: str, name: str, labels: bytes | None, value: bytes, deleted: bool
) -> int:
    """What is stored beside a row, to find out that the row is not what was written."""
    head = f"{revision} {resource} {namespace} {name} {deleted:d} ".encode()
    return zlib.crc32(value, zlib.crc32(head + labels if labels else head))


def _statements(batch: Batch) -> Iterator[tuple[str, Sequence[object]]]:
    for chunk in _chunks(batch.rows):
        places = ",".join(["(?,?,?,?,?,?,?,?)"] * len(chunk))
        values = [value for row in chunk for value in (*row, checksum_of(*row))]
        yield f"INSERT INTO record VALUES {places}", values
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


def _chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    at = 0
    for size in _CHUNKS:
        while len(items) - at >= size:
            yield items[at : at + size]
            at += size
