"""The format of a store's SQLite file: its tables, and how a file that is ours and whole is told from another.

One table, keyed by revision, which is the log: each write appends its state, or its deletion, at one end of one B-tree.
The newest row of a key is its state; older ones are the history, and go in bulk, next to each other, when the history
forgets them (`counter.compacted`). The store's memory has every other index.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from homeport.store.protocol import StoreError
from homeport.store.state import EMPTY_REVISION

APPLICATION_ID: Final = 0x484D5054
"""Marks the file as ours (``HMPT``) in SQLite's header."""

FORMAT: Final = 2
"""Version of the tables below (SQLite's ``user_version``).

1: current records only. 2: the history and checksums.
"""

TABLES: Final = f"""
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


class Incompatible(StoreError):
    """The file is no database of ours, or one of a newer version."""


class Damaged(StoreError):
    """The file is ours, but not what was written: nothing is served from it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"the database {path} is damaged: {why}. Put a backup in its place with `homeport restore FILE`, or move "
            "the file away to start with nothing"
        )


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


def checksum_of(
    revision: int, resource: str, namespace: str, name: str, labels: bytes | None, value: bytes, deleted: bool
) -> int:
    """What is stored beside a row, which has these columns, to find out that it is not what was written."""
    head = f"{revision} {resource} {namespace} {name} {deleted:d} ".encode()
    return zlib.crc32(value, zlib.crc32(head + labels if labels else head))
