"""The durable store: everything in memory, every write on disk before it is acknowledged."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from homeport.store.database import Database
from homeport.store.history import Limits
from homeport.store.protocol import Delete, Put, Record, StoreError, Unavailable
from homeport.store.state import State
from homeport.store.writer import Write, Writer

_FORGOTTEN: Final = 256
"""Events that the history has let go of before their rows are removed, with the next write: they lie next to each
other, so that many cost hardly more than one."""


class SqliteStore(State):
    """Keeps `homeport.store.protocol.Store` with an SQLite file (write-ahead log, ``synchronous=FULL``).

    Readers never touch the disk. After a restart the revision goes on where it was, and so does the history.
    """

    def __init__(self, database: Database, limits: Limits | None = None) -> None:
        loaded = database.load()
        super().__init__(loaded.records, loaded.revision, limits, events=loaded.events, compacted=loaded.compacted)
        self._writer = Writer(database, self._on_commit, self._on_failure)
        self._epoch = 0
        self._closing: asyncio.Future[None] | None = None

    @classmethod
    def open(cls, path: str | Path, limits: Limits | None = None) -> SqliteStore:
        """Open or create the database at `path` and load it. Blocks; needs no event loop.

        Raises `homeport.store.database.Locked` if a process has it open, `homeport.store.format.Incompatible` if it
        is of another program or of a newer version, `homeport.store.format.Damaged` if it is not what was written,
        `Unavailable` if it cannot be read.
        """
        try:
            database = Database.open(Path(path))
            try:
                return cls(database, limits)
            except BaseException:
                database.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the database {path} cannot be opened: {error}") from error

    def write(self, *operations: Put | Delete) -> asyncio.Future[list[Record]]:
        if self._closing is not None:
            raise Unavailable("the store is closed")
        done: asyncio.Future[list[Record]] = asyncio.get_running_loop().create_future()
        events = self.stage(operations)
        if events:
            self._writer.submit(Write(events, done, self._epoch, self._history.forgotten(_FORGOTTEN)))
        else:
            done.set_result([])
        return done

    async def restore(self, records: Iterable[Record], revision: int) -> list[tuple[Put | Delete, Record]]:
        changes = await super().restore(records, revision)
        # Where the history begins is part of it.
        done: asyncio.Future[list[Record]] = asyncio.get_running_loop().create_future()
        self._writer.submit(Write((), done, self._epoch, self._history.forgotten(0)))
        await done
        return changes

    async def probe(self) -> None:
        if self._closing is not None:
            raise Unavailable("the store is closed")
        if not self._writer.failing:
            return
        # Only a write can tell whether there is room again. This one changes nothing.
        done: asyncio.Future[list[Record]] = asyncio.get_running_loop().create_future()
        self._writer.submit(Write((), done, self._epoch))
        await done

    async def close(self) -> None:
        if self._closing is None:
            loop = asyncio.get_running_loop()
            self._closing = loop.run_in_executor(None, self._writer.close)
        await asyncio.shield(self._closing)
        self.end_watches()

    def _on_commit(self, writes: Sequence[Write]) -> None:
        for write in writes:
            self.commit(write.events)
        for write in writes:
            if not write.done.done():
                write.done.set_result([event.record for event in write.events])

    def _on_failure(self, writes: Sequence[Write], error: StoreError, epoch: int) -> None:
        if epoch != self._epoch:
            # What was staged meanwhile builds on what is lost; the writer refuses it by its epoch.
            self._epoch = epoch
            self.rollback()
        for write in writes:
            if write.forgotten is not None:
                self._history.remember(write.forgotten)
            if not write.done.done():
                write.done.set_exception(type(error)(*error.args))
