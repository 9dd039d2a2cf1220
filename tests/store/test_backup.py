"""Backups: what they hold, what is refused, and what a restoration does to a store that goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from homeport.store import backup
from homeport.store.format import FORMAT, Damaged, Incompatible
from homeport.store.memory import MemoryStore
from homeport.store.protocol import Compacted, Delete, Key, Put, Record, Store, Unavailable
from homeport.store.sqlite import SqliteStore
from homeport.store.state import LIFE

PODS = "/pods"


def key(name: str) -> Key:
    return Key(PODS, "default", name)


def obj(text: str = "", uid: str = "u") -> dict[str, Any]:
    return {"metadata": {"labels": {"text": text or "none"}, "uid": uid}, "spec": {"text": text}}


async def put(store: Store, name: str, text: str = "", uid: str = "u") -> Record:
    head = store.head(key(name))
    (record,) = await store.write(Put(key(name), obj(text, uid), head.revision if head else 0))
    return record


def texts(store: Store) -> dict[str, str]:
    return {record.key.name: json.loads(record.value)["spec"]["text"] for record in store.scan(PODS)[0]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.db"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


async def test_a_backup_is_of_one_moment_while_writes_go_on(path: Path, target: Path) -> None:
    store = SqliteStore.open(path)
    for n in range(500):
        await put(store, f"n{n:03}", "0")

    async def writing() -> None:
        for n in range(1, 10_000):
            await store.write(
                *(Put(key(name), obj(str(n)), store.head(key(name)).revision) for name in ("n000", "n499"))  # type: ignore[union-attr]
            )

    writer = asyncio.ensure_future(writing())
    for number in range(5):
        made = await asyncio.to_thread(backup.write, path, target, replace=bool(number))
        loaded = await asyncio.to_thread(backup.read, target)
        assert made == (500, loaded.revision)
        states = {record.key.name: json.loads(record.value)["spec"]["text"] for record in loaded.records}
        assert states["n000"] == states["n499"], "both ends of one write, or neither"
        assert max(record.revision for record in loaded.records) <= loaded.revision <= store.revision
        assert loaded.events == []
    writer.cancel()
    await store.close()
    assert files(target.parent) == {"state": "0o700", "backup.db": "0o600"}


def files(directory: Path) -> dict[str, str]:
    return {file.name: oct(file.stat().st_mode & (0o700 if file.is_dir() else 0o777)) for file in directory.iterdir()}


async def test_a_restoration_is_a_write_of_what_differs(path: Path, target: Path) -> None:
    store = SqliteStore.open(path)
    same, changed, gone = [await put(store, name, "before") for name in ("same", "changed", "gone")]
    remade = await put(store, "remade", "before", uid="first")
    revision = store.revision
    backup.write(path, target)
    await put(store, "changed", "after")
    await store.write(Delete(key("gone"), gone.revision), Delete(key("remade"), remade.revision))
    await put(store, "remade", "after", uid="second")
    await put(store, "new", "after")
    before = store.revision
    watch = store.watch(PODS)
    loaded = backup.read(target)
    assert loaded.revision == revision
    changes = await store.restore(loaded.records, loaded.revision)
    assert backup.counts(changes) == {"written": 3, "removed": 1}
    assert texts(store) == dict.fromkeys(("same", "changed", "gone", "remade"), "before")
    assert store.get(key("same")) == same
    assert [(event.type, event.record.key.name) for event in watch.take()] == [
        ("MODIFIED", "changed"), ("ADDED", "gone"), ("DELETED", "remade"), ("ADDED", "remade"), ("DELETED", "new"),
    ]  # fmt: skip
    assert before < store.revision < before + 10
    restored = store.get(key("changed"))
    assert restored is not None
    assert restored.revision > before
    assert json.loads(restored.value)["metadata"]["resourceVersion"] == str(restored.revision)
    assert restored.labels == changed.labels
    await store.close()
    again = SqliteStore.open(path)
    assert texts(again) == dict.fromkeys(("same", "changed", "gone", "remade"), "before")
    await again.close()


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
async def test_a_store_that_gets_the_state_of_another_begins_another_life(path: Path, target: Path, kind: str) -> None:
    """Whoever remembers a revision of the life before must not take it for one of this."""
    store = SqliteStore.open(path)
    for n in range(20):
        await put(store, f"n{n}", "x")
    backup.write(path, target)
    old = store.revision
    await store.close()
    other = path.with_name("other.db")
    fresh: Store = SqliteStore.open(other) if kind == "sqlite" else MemoryStore()
    await put(fresh, "mine", "y")
    loaded = backup.read(target)
    await fresh.restore(loaded.records, loaded.revision)
    for _ in range(2):
        assert sorted(texts(fresh)) == sorted(f"n{n}" for n in range(20))
        assert fresh.revision > old + LIFE
        for revision in (1, 3, old, old + 1000):
            with pytest.raises(Compacted):
                fresh.watch(PODS, after=revision)
        assert len(fresh.watch(PODS, after=old + LIFE).take()) == 21
        if kind == "sqlite":
            await fresh.close()
            fresh = SqliteStore.open(other)
    await fresh.close()


async def test_restoring_while_others_write(path: Path, target: Path) -> None:
    """What was accepted before is replaced, and what builds on it is refused as a conflict, like after any write."""
    store = SqliteStore.open(path)
    await put(store, "a", "1")
    backup.write(path, target)
    loaded = backup.read(target)
    accepted = [store.write(Put(key("b"), obj("2"), 0)), store.write(Put(key("c"), obj("2"), 0))]
    await asyncio.gather(store.restore(loaded.records, loaded.revision), *accepted)
    assert texts(store) == {"a": "1"}
    await store.close()


def fill(path: Path, count: int) -> int:
    """A store with objects of 3 kB; its revision."""

    async def filling() -> int:
        store = SqliteStore.open(path)
        for n in range(count):
            await put(store, f"n{n}", "x" * 3_000)
        await store.close()
        return store.revision

    return asyncio.run(filling())


def test_an_existing_file_is_kept(path: Path, target: Path) -> None:
    revision = fill(path, 1)
    target.write_text("precious")
    with pytest.raises(backup.Exists, match="exists; choose another name"):
        backup.write(path, target)
    assert target.read_text() == "precious"
    backup.write(path, target, replace=True)
    assert backup.read(target).revision == revision


def test_what_is_no_backup_is_refused(path: Path, target: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="there is no database at"):
        backup.read(target)
    target.write_bytes(b"")
    with pytest.raises(Damaged, match="it is empty"):
        backup.read(target)
    target.write_bytes(b"some text, and more of it" * 500)
    with pytest.raises(Incompatible, match=r"not an SQLite database, or the beginning of it is damaged$"):
        backup.read(target)
    target.unlink()
    with contextlib.closing(sqlite3.connect(target)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(Incompatible, match=r"another program$"):
        backup.read(target)
    target.unlink()
    fill(path, 50)
    backup.write(path, target)
    whole = target.read_bytes()
    for size in range(1_000, len(whole) - 1, 7_001):
        target.write_bytes(whole[:size])
        with pytest.raises((Damaged, Incompatible)):
            backup.read(target)
    target.write_bytes(whole.replace(b"x" * 200, b"y" * 200, 1))
    with pytest.raises(Damaged, match="is not what was stored"):
        backup.read(target)
    with pytest.raises(Damaged):
        backup.write(target, tmp_path / "second.db")
    assert not (tmp_path / "second.db").exists()
    target.write_bytes(whole)
    with contextlib.closing(sqlite3.connect(target)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(Incompatible, match="a newer version"):
        backup.read(target)


BACKUP_WITHOUT_ROOM = """
import resource, signal, sys
from pathlib import Path
from homeport.store import backup
from homeport.store.protocol import Full
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
try:
    backup.write(Path(sys.argv[1]), Path(sys.argv[2]))
except Full as error:
    assert "no room" in str(error), error
else:
    raise AssertionError("it was written")
"""


def test_a_full_disk_leaves_nothing_behind(path: Path, target: Path) -> None:
    fill(path, 50)
    command = [sys.executable, "-c", BACKUP_WITHOUT_ROOM, str(path), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(files(target.parent)) == ["state"]
