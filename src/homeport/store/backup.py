"""A store's state as one file, and back.

A backup is a database of its own, without history: what was committed at one moment, each row checked on the way. It is
taken beside a running store, whose writes go on, and appears under its name when it is whole and on the disk.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from homeport.store.database import Row, create, sync_directory
from homeport.store.format import FORMAT, Damaged, Incompatible, check_header, checksum_of, reading
from homeport.store.loading import Loaded, load
from homeport.store.protocol import Delete, Full, Put, Record, StoreError, Unavailable

_ROWS: Final = 256
"""Rows per step: what is in memory of a backup that is being made."""


class Exists(StoreError):
    """There is a file under the backup's name."""


class Backup(NamedTuple):
    """What a backup holds."""

    objects: int
    revision: int


def write(source: Path, target: Path, *, replace: bool = False) -> Backup:
    """Write the state of the database `source`, which may be in use, to `target`, for its owner's eyes only. Blocks.

    Raises Exists (without `replace`), Full, Unavailable, Incompatible or Damaged, and leaves no half of a file.
    """
    if not replace and target.exists():
        raise Exists(f"{target} exists; choose another name, or replace it with --force")
    with _disk_errors(target), contextlib.ExitStack() as stack:
        origin = stack.enter_context(_open(source))
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}."))
        temporary = Path(folder) / target.name
        with contextlib.closing(create(temporary)) as copy, reading(source):
            made = _copy(origin, copy, source)
        if replace:
            os.replace(temporary, target)
        else:
            # Unlike a rename, a link never takes the place of a file that somebody has made meanwhile.
            try:
                os.link(temporary, target)
            except FileExistsError:
                raise Exists(f"{target} exists; choose another name, or replace it with --force") from None
            except OSError:  # a file system without links
                os.rename(temporary, target)
        sync_directory(target.parent)
    return made


def read(path: Path) -> Loaded:
    """All that a backup holds. Blocks. Raises Unavailable, Incompatible or Damaged."""
    with _open(path) as connection, reading(path):
        return load(connection, path)


def counts(changes: Iterable[tuple[Put | Delete, Record]]) -> dict[str, int]:
    """How many objects a restoration has written and removed."""
    operations = [operation for operation, _ in changes]
    written = {operation.key for operation in operations if isinstance(operation, Put)}
    removed = {operation.key for operation in operations if isinstance(operation, Delete)}
    return {"written": len(written), "removed": len(removed - written)}


def _open(path: Path) -> contextlib.closing[sqlite3.Connection]:
    """A connection that sees one moment of the database at `path` and changes nothing."""
    if not path.is_file():
        raise Unavailable(f"there is no database at {path}")
    if not path.stat().st_size:
        raise Damaged(path, "it is empty")
    try:
        with contextlib.ExitStack() as undo:
            connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=10
            )
            undo.callback(connection.close)
            with reading(path):
                connection.execute("PRAGMA query_only = ON")
                connection.execute("BEGIN")
                version = check_header(connection, path)
            undo.pop_all()
    except sqlite3.OperationalError as error:
        raise Unavailable(f"{path} cannot be read: {error}") from error
    opened = contextlib.closing(connection)
    if version != FORMAT:
        with opened:
            raise Incompatible(
                f"{path} was written by an older version (format {version}); start a platform on its data directory "
                "once, which brings it up to date"
            )
    return opened


def _copy(origin: sqlite3.Connection, copy: sqlite3.Connection, path: Path) -> Backup:
    (revision,) = origin.execute(
        "SELECT max(revision, (SELECT coalesce(max(revision), 0) FROM record)) FROM counter"
    ).fetchone()
    columns = "revision, resource, namespace, name, labels, value, deleted, checksum"
    current = "SELECT max(revision) FROM record GROUP BY resource, namespace, name"
    rows = origin.execute(f"SELECT {columns} FROM record WHERE revision IN ({current}) AND NOT deleted ORDER BY 1")
    objects = 0
    copy.execute("BEGIN IMMEDIATE")
    while chunk := rows.fetchmany(_ROWS):
        whole = []
        for *columns, stored in chunk:
            row = Row(*columns)
            computed = checksum_of(*columns)
            if stored is not None and stored != computed:
                raise Damaged(path, f"the object {row.resource} {row.namespace}/{row.name} is not what was stored")
            whole.append((*columns, computed))
        copy.executemany("INSERT INTO record VALUES (?,?,?,?,?,?,?,?)", whole)
        objects += len(chunk)
    copy.execute("UPDATE counter SET revision = ?, compacted = ?", (revision, revision))
    copy.execute("COMMIT")
    return Backup(objects, revision)


@contextlib.contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise Full(f"no room for {target} ({error}); nothing was written") from error
        raise Unavailable(f"{target} cannot be written: {error}") from error
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror or error}") from error
