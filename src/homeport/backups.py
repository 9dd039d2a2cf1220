"""Backups of a data directory: making one, and putting one back, whether or not a platform runs."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.datadir import DataDir
from homeport.kube.errors import Permanent
from homeport.store import backup
from homeport.store.database import sync_directory
from homeport.store.format import Damaged, Incompatible
from homeport.store.protocol import StoreError
from homeport.store.sqlite import SqliteStore


class Restored(NamedTuple):
    objects: int
    """How many the backup holds."""
    written: int
    """How many of them were not there, or were different."""
    removed: int
    """How many were there that the backup does not have."""
    kept: Path | None
    """Where the state from before is now."""


def make(directory: DataDir, target: Path, *, replace: bool) -> backup.Backup:
    """Write the objects of `directory` to the file `target`. Raises Permanent."""
    if not directory.database.exists():
        raise Permanent(f"there is nothing to back up: no platform has been started on {directory.path} yet")
    try:
        return backup.write(directory.database, target, replace=replace)
    except StoreError as error:
        raise Permanent(f"no backup was made: {error}") from error


def put_back(directory: DataDir, source: Path) -> Restored:
    """Make the objects in the file `source` those of `directory`. Raises Permanent or an ApiError; either way nothing
    has changed then."""
    directory.create()
    try:
        if directory.is_running():
            return asyncio.run(_into_a_platform(directory, source))
        with directory.lock():
            return asyncio.run(_into_a_file(directory, source))
    except StoreError as error:
        raise Permanent(f"nothing was restored: {error}") from error


def _keep(directory: DataDir) -> Path:
    """Save the present state, for who restored the wrong file."""
    kept = directory.store / "before-restore.db"
    backup.write(directory.database, kept, replace=True)
    return kept


async def _into_a_platform(directory: DataDir, source: Path) -> Restored:
    # Checked and written anew where the platform looks for it, so that it reads a file that nobody changes.
    backup.write(source, directory.staged, replace=True)
    try:
        kept = _keep(directory)
        async with Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client:
            answer = await client.raw("POST", "/restore", body={})
    finally:
        directory.staged.unlink(missing_ok=True)
    return Restored(**json.loads(answer), kept=kept)


async def _into_a_file(directory: DataDir, source: Path) -> Restored:
    loaded = backup.read(source)
    database, kept = directory.database, None
    if database.exists():
        try:
            kept = _keep(directory)
        except (Damaged, Incompatible):
            kept = _set_aside(database)
    elif database.with_name(database.name + "-wal").exists():
        kept = _set_aside(database)
    store = SqliteStore.open(database)
    try:
        counts = backup.counts(await store.restore(loaded.records, loaded.revision))
    finally:
        await store.close()
    return Restored(len(loaded.records), **counts, kept=kept)


def _set_aside(database: Path) -> Path:
    """Move a database that cannot be read, with its log, out of the way, for whoever may save something of it."""
    suffix = time.strftime(".damaged-%Y%m%d-%H%M%S")
    for part in ("-wal", "-shm", ""):
        path = database.with_name(database.name + part)
        if path.exists():
            os.rename(path, database.with_name(database.name + suffix + part))
    sync_directory(database.parent)
    return database.with_name(database.name + suffix)
