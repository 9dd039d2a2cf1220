"""The room in SQLite's write-ahead log that is made before it is needed (:mod:`homeport.store.log`)."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from homeport.store import log, writer
from homeport.store.protocol import Key, Put
from homeport.store.sqlite import SqliteStore

FRAME = 4096 + 24


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def put(store: SqliteStore, name: str, size: int = 2_000) -> None:
    key = Key("/pods", "default", name)
    head = store.head(key)
    await store.write(Put(key, {"spec": {"text": "x" * size}}, head.revision if head else 0))


async def test_commits_go_over_room_that_was_made(path: Path) -> None:
    store = SqliteStore.open(path)
    await put(store, "a")
    file = path.with_name("store.db-wal")
    before = file.stat().st_size
    assert before >= log._PIECE
    for number in range(50):
        await put(store, f"n{number}")
    assert file.stat().st_size == before, "50 commits of two pages have made it no longer"
    await store.close()


async def test_what_was_written_is_there_after_a_crash(path: Path, tmp_path: Path) -> None:
    """The log is read up to where the zeros begin, wherever that is."""
    store = SqliteStore.open(path)
    for number in range(20):
        await put(store, f"n{number}")
        copy = tmp_path / f"copy{number}" / "store.db"
        copy.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
        again = SqliteStore.open(copy)
        assert {record.key.name for record in again.scan("/pods")[0]} == {f"n{each}" for each in range(number + 1)}
        await put(again, "more")
        await again.close()
    await store.close()


def test_a_log_of_nothing_but_zeros_is_empty(path: Path) -> None:
    """As after a crash before the first commit."""

    async def work() -> None:
        store = SqliteStore.open(path)
        await put(store, "a")
        await store.close()

    asyncio.run(work())
    path.with_name("store.db-wal").write_bytes(bytes(1 << 20))
    store = SqliteStore.open(path)
    assert [record.key.name for record in store.scan("/pods")[0]] == ["a"]
    asyncio.run(store.close())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_log_that_starts_over_gets_no_longer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_CHECKPOINT_PAGES", 50)
    monkeypatch.setattr(writer, "_LOG_PAGES", 100)
    monkeypatch.setattr(log, "_PIECE", 20 * FRAME)
    monkeypatch.setattr(log, "_ZEROS", memoryview(bytes(20 * FRAME)))
    store = SqliteStore.open(path)
    for number in range(2_000):
        await put(store, f"n{number % 10}")
    size = path.with_name("store.db-wal").stat().st_size
    assert size < 2_000 * 2 * FRAME / 2, "without starting over it would hold every page ever written"
    await store.close()


async def test_a_disk_that_is_nearly_full_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(f_bavail=100, f_frsize=4096)
    monkeypatch.setattr(os, "fstatvfs", lambda file: free)
    store = SqliteStore.open(path)
    await put(store, "a")
    assert path.with_name("store.db-wal").stat().st_size < 20 * FRAME
    free.f_bavail = 1 << 30
    for number in range(300):
        await put(store, f"n{number}")
    assert path.with_name("store.db-wal").stat().st_size > log._PIECE, "there is room again"
    await store.close()


async def test_a_disk_that_refuses_is_no_obstacle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(file: int, size: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log, "append", refused)
    store = SqliteStore.open(path)
    await put(store, "a")
    assert store.head(Key("/pods", "default", "a")) is not None
    await store.close()
