"""What only a store on a disk can get wrong: restarts, crashes, full disks, files of others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeport.store import database, sqlite, writer
from homeport.store.database import Locked
from homeport.store.format import APPLICATION_ID, FORMAT, Damaged, Incompatible
from homeport.store.history import History, Limits
from homeport.store.protocol import Compacted, Conflicting, Delete, Event, Full, Key, Put, Record, Unavailable
from homeport.store.sqlite import SqliteStore

PODS = "/pods"


def key(name: str) -> Key:
    return Key(PODS, "default", name)


def obj(text: str = "", **labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": labels}, "spec": {"text": text}}


async def put(store: SqliteStore, name: str, text: str = "", **labels: str) -> Record:
    head = store.head(key(name))
    (record,) = await store.write(Put(key(name), obj(text, **labels), head.revision if head else 0))
    return record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.db"


async def test_restart(path: Path) -> None:
    store = SqliteStore.open(path)
    a = await put(store, "a", "1", app="x")
    b = await put(store, "b", "1", app="x")
    a = await put(store, "a", "2")
    (c,) = await store.write(Put(Key("kubeflow.org/tfjobs", "", "c"), obj("ü"), 0))
    await store.close()

    again = SqliteStore.open(path)
    assert again.revision == c.revision
    assert list(again.scan(PODS)[0]) == [a, b]
    assert again.get(c.key) == c
    assert again.get(key("b")) == b
    assert again.count(PODS) == 2
    assert list(again.resources()) == [PODS, "kubeflow.org/tfjobs"]
    with pytest.raises(Conflicting):
        again.write(Put(key("a"), obj("3"), 0))
    assert (await put(again, "a", "3")).revision == c.revision + 1
    await again.close()


async def test_a_deletion_does_not_turn_the_revision_back(path: Path) -> None:
    store = SqliteStore.open(path)
    a = await put(store, "a")
    b = await put(store, "b")
    await store.write(Delete(key("b"), b.revision))
    await store.write(Delete(key("a"), a.revision))
    revision = store.revision
    await store.close()
    again = SqliteStore.open(path)
    assert again.revision == revision == 5
    assert again.count(PODS) == 0
    await again.close()


async def test_history_goes_on_after_a_restart(path: Path) -> None:
    store = SqliteStore.open(path)
    a = await put(store, "a", app="x")
    b = await put(store, "b")
    (a2,) = await store.write(Put(key("a"), obj("2"), a.revision))
    (gone,) = await store.write(Delete(key("b"), b.revision))
    c = await put(store, "c")
    (last,) = await store.write(Delete(key("c"), c.revision, obj("final", app="y")))
    events = store.watch(PODS, after=1).take()
    pasts = [list(store.scan(PODS, revision=revision)[0]) for revision in range(1, store.revision + 1)]
    await store.close()
    again = SqliteStore.open(path)
    assert again.watch(PODS, after=1).take() == events
    assert [event.record for event in events] == [a, b, a2, gone, c, last]
    assert [list(again.scan(PODS, revision=revision)[0]) for revision in range(1, store.revision + 1)] == pasts
    d = await put(again, "d")
    assert [event.record for event in again.watch(PODS, after=c.revision).take()] == [last, d]
    await again.close()


async def test_what_the_history_forgets_goes_from_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_FORGOTTEN", 5)
    limits = Limits(history_events=10)
    store = SqliteStore.open(path, limits)
    await put(store, "quiet")
    for number in range(100):
        await put(store, f"n{number % 3}", str(number))
        if number % 7 == 0:
            head = store.head(key("n0"))
            assert head is not None
            await store.write(Delete(key("n0"), head.revision))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM record").fetchone()
        (compacted,) = connection.execute("SELECT compacted FROM counter").fetchone()
    assert rows <= 4 + 10 + 5
    state, revision = store.scan(PODS)
    events = store.watch(PODS, after=revision - 9).take()
    await store.close()
    again = SqliteStore.open(path, limits)
    assert again.scan(PODS) == (state, revision)
    assert again.watch(PODS, after=revision - 9).take() == events
    with pytest.raises(Compacted):
        again.watch(PODS, after=compacted - 1)
    await again.close()


async def test_the_history_is_of_the_last_minutes() -> None:
    time = 0.0
    history = History(Limits(history_seconds=300), 1, lambda: time)
    for number in range(2, 22):
        history.append(Event("ADDED", Record(key(str(number)), number, b"{}"), None))
        time += 60
    assert [event.record.revision for event in history.after(PODS, 16)] == [17, 18, 19, 20, 21]
    with pytest.raises(Compacted):
        history.after(PODS, 14)


async def test_a_file_of_the_first_format_is_brought_up_to_date(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"""CREATE TABLE record (revision INTEGER PRIMARY KEY, resource TEXT NOT NULL, namespace TEXT NOT NULL,
                name TEXT NOT NULL, labels BLOB, value BLOB NOT NULL);
            CREATE TABLE counter (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);
            INSERT INTO counter VALUES (1, 9);
            INSERT INTO record VALUES (7, '{PODS}', 'default', 'a', NULL, '{{"metadata":{{"resourceVersion":"7"}}}}');
            PRAGMA application_id = {APPLICATION_ID};
            PRAGMA user_version = 1;"""
        )
    store = SqliteStore.open(path)
    assert store.revision == 9
    record = store.get(key("a"))
    assert record is not None
    assert record.revision == 7
    with pytest.raises(Compacted):
        store.watch(PODS, after=8)
    changed = await put(store, "a", "2")
    await store.close()
    again = SqliteStore.open(path)
    assert [event.record for event in again.watch(PODS, after=9).take()] == [changed]
    assert again.scan(PODS, revision=9)[0] == [record]
    await again.close()


async def test_writes_of_one_batch_replace_each_other(path: Path) -> None:
    store = SqliteStore.open(path)
    await asyncio.gather(*(put(store, "a", str(n)) for n in range(50)), put(store, "b"))
    head = store.head(key("b"))
    assert head is not None
    futures = [store.write(Delete(key("b"), head.revision)), store.write(Put(key("b"), obj("new"), 0))]
    await asyncio.gather(*futures)
    a, b = store.get(key("a")), store.get(key("b"))
    await store.close()
    again = SqliteStore.open(path)
    assert [again.get(key("a")), again.get(key("b"))] == [a, b]
    await again.close()


async def test_close_finishes_accepted_writes(path: Path) -> None:
    store = SqliteStore.open(path)
    futures = [store.write(Put(key(f"n{n}"), obj(), 0)) for n in range(300)]
    await store.close()
    assert all(future.done() for future in futures)
    assert store.count(PODS) == 300
    again = SqliteStore.open(path)
    assert again.count(PODS) == 300
    await again.close()
    assert not path.with_name("store.db-wal").exists(), "a closed store is one file and its lock"


async def test_a_second_opener_is_told_who_has_it(path: Path) -> None:
    store = SqliteStore.open(path)
    with pytest.raises(Locked, match=f"is in use by process {os.getpid()}; stop it first"):
        SqliteStore.open(path)
    await store.close()
    await SqliteStore.open(path).close()


async def test_a_newer_format_is_refused(path: Path) -> None:
    await SqliteStore.open(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(Incompatible, match=f"format {FORMAT + 1}; this one reads up to {FORMAT}"):
        SqliteStore.open(path)


def test_files_of_others_are_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database, but a text of some length" * 100)
    with pytest.raises(Incompatible, match="is not an SQLite database"):
        SqliteStore.open(path)
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(Incompatible, match="a database of another program"):
        SqliteStore.open(path)


def fill(path: Path) -> bytes:
    """The content of a database of some size."""

    async def filling() -> None:
        store = SqliteStore.open(path)
        await asyncio.gather(*(put(store, f"n{n}", "y" * 3_000, app="x") for n in range(60)))
        await store.close()

    asyncio.run(filling())
    return path.read_bytes()


def test_a_damaged_database_is_refused(path: Path) -> None:
    """Whatever has happened to it: the message names the file and what to do, and nothing is served from it."""
    whole = fill(path)
    labels = whole.index(b'{"app":"x"}')
    pages = len(whole) // 4_096
    harmed = {
        "the header is gone": bytes(100) + whole[100:],
        "it is empty": b"",
        "it was cut off": whole[: 4_096 * (pages // 2)],
        "it was cut off within a page": whole[: 4_096 * (pages // 2) + 100],
        "a bit of a value is another": whole.replace(b"yyyy", b"yyxy", 1),
        "a label is another": whole[: labels + 9] + b"z" + whole[labels + 10 :],
        "a page is zero": whole[: 4_096 * 7] + bytes(4_096) + whole[4_096 * 8 :],
        "a page is another page": whole[: 4_096 * 7] + whole[4_096 * 9 : 4_096 * 10] + whole[4_096 * 8 :],
        "the format is nonsense": whole[:60] + bytes(4) + whole[64:],
    }
    for harm, content in harmed.items():
        path.write_bytes(content)
        try:
            SqliteStore.open(path)
        except (Damaged, Incompatible) as error:
            said = str(error)
        else:
            pytest.fail(f"{harm}, and it was opened")
        assert str(path) in said, harm
        assert "homeport restore FILE" in said, harm
        assert path.read_bytes()[100:] == content[100:], f"{harm}: it stays as it is, for whoever can save something"
    path.rename(path.with_name(path.name + "-wal"))
    with pytest.raises(Damaged, match=r"it is missing, and store\.db-wal, which belongs to it, is not"):
        SqliteStore.open(path)


@given(st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_damage(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes anywhere in the file are others: it is refused, or everything in it is as it was (free space, say)."""
    path = tmp_path / "store.db"
    original = tmp_path / "original"
    if not original.exists():
        original.write_bytes(fill(path))
    content = bytearray(original.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        store = SqliteStore.open(path)
    except (Damaged, Incompatible, Unavailable):
        return
    texts = {json.loads(record.value)["spec"]["text"] for record in store.scan(PODS)[0]}
    asyncio.run(store.close())
    assert texts == {"y" * 3_000}


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be opened"):
        SqliteStore.open(tmp_path / "file" / "store.db")


async def test_only_the_owner_may_read_it(path: Path) -> None:
    store = SqliteStore.open(path)
    await put(store, "a")
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == dict.fromkeys(
        ("store.db", "store.db-wal", "store.db-shm", "store.db.lock"), "0o600"
    )
    await store.close()


@pytest.mark.parametrize("step", ["create", "rename", "sync_directory"])
def test_a_crash_while_the_database_is_made(path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there as a whole or not at all: no start takes half of one for a damaged database."""

    def crash(*arguments: object) -> None:
        raise KeyboardInterrupt

    path.parent.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os if step == "rename" else database, step, crash)
        with pytest.raises(KeyboardInterrupt):
            SqliteStore.open(path)
    assert not path.exists() or path.stat().st_size > 0

    async def go_on() -> None:
        store = SqliteStore.open(path)
        await put(store, "a")
        await store.close()

    asyncio.run(go_on())
    assert sorted(file.name for file in path.parent.iterdir()) == ["store.db", "store.db.lock"]


READ_ONLY = """
import os, sys
from homeport.store.protocol import Unavailable
from homeport.store.sqlite import SqliteStore
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    SqliteStore.open(sys.argv[1])
except Unavailable as error:
    print(error)
"""


def test_a_directory_that_may_not_be_written(path: Path) -> None:
    async def fill() -> None:
        store = SqliteStore.open(path)
        await put(store, "a")
        await store.close()

    asyncio.run(fill())
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        command = [sys.executable, "-c", READ_ONLY, str(path)]
        output = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    finally:
        path.parent.chmod(0o755)
        path.chmod(0o600)
    assert "cannot be opened" in output
    assert "Permission denied" in output
    assert str(path) in output


def limit_pages(store: SqliteStore, spare: int) -> None:
    """Make the disk nearly full: `spare` more pages fit. 0: as much as there is to be had."""
    connection = store._writer._database._connection
    (used,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {used + spare if spare else 2**30}").fetchone()


async def test_full_disk(path: Path) -> None:
    store = SqliteStore.open(path)
    watch = store.watch(PODS)
    a = await put(store, "a", "1")
    limit_pages(store, 2)
    too_big = store.write(Put(key("a"), obj("x" * 50_000), a.revision))
    head = store.head(key("a"))
    assert head is not None
    behind = store.write(Put(key("a"), obj("y" * 50_000), head.revision))
    other = store.write(Put(key("b"), obj("3"), 0))
    with pytest.raises(Full, match="free some space"):
        await too_big
    with pytest.raises(Full):
        await behind
    with contextlib.suppress(Full):  # In the same batch it fails too; in a later one it would not have to.
        await other
    assert store.head(key("a")) == store.get(key("a")) == a
    assert [event.record for event in watch.take() if event.record.key == a.key] == [a]

    small = await put(store, "a", "small")
    assert small.revision > a.revision
    await store.probe()
    limit_pages(store, 0)
    big = await put(store, "a", "x" * 50_000)
    assert [event.record for event in watch.take() if event.record.key == a.key] == [small, big]
    await store.close()
    again = SqliteStore.open(path)
    assert again.get(key("a")) == big
    assert again.revision == big.revision
    await again.close()


async def test_nothing_written_while_the_disk_is_full_builds_on_what_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers that go on through failures: each acknowledged state is one that its writer started from."""
    monkeypatch.setattr(sqlite, "_FORGOTTEN", 1)
    store = SqliteStore.open(path, Limits(history_events=3))
    await put(store, "n", "0")
    limit_pages(store, 4)
    acknowledged = ["0"]
    failures = 0
    for number in range(1, 200):
        text = f"{number}:" + "y" * (30_000 if number % 7 == 0 else 10)
        writes = []
        for part in range(3):
            head = store.head(key("n"))
            assert head is not None
            writes.append(store.write(Put(key("n"), obj(f"{part}/{text}"), head.revision)))
        results = await asyncio.gather(*writes, return_exceptions=True)
        failures += sum(isinstance(result, Full) for result in results)
        record = store.get(key("n"))
        assert record is not None
        assert store.head(key("n")) == record
        good = [result[0] for result in results if not isinstance(result, BaseException)]
        if good:
            assert record == good[-1]
            acknowledged.append(json.loads(record.value)["spec"]["text"])
        assert json.loads(record.value)["spec"]["text"] == acknowledged[-1]
    assert failures
    assert len(acknowledged) > 100
    await store.close()
    again = SqliteStore.open(path)
    assert [json.loads(r.value)["spec"]["text"] for r in again.scan(PODS)[0]] == acknowledged[-1:]
    await again.close()


FULL_FILE_SYSTEM = """
import asyncio, resource, signal, sys
from homeport.store.protocol import Full, Key, Put
from homeport.store.sqlite import SqliteStore

async def main(path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = SqliteStore.open(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    kept = 0
    try:
        while True:
            await store.write(Put(Key("/pods", "", f"p{kept}"), {"spec": "x" * 5_000}, 0))
            kept += 1
    except Full as error:
        assert "free some space" in str(error), error
    assert store.count("/pods") == kept
    try:
        await store.probe()
    except Full:
        pass
    else:
        raise AssertionError("the probe says that all is well")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.probe()
    assert not store._writer.failing
    for _ in range(100):
        await store.write(Put(Key("/pods", "", f"p{kept}"), {"spec": "x" * 5_000}, 0))
        kept += 1
    await store.close()
    again = SqliteStore.open(path)
    assert again.count("/pods") == kept > 110
    await again.close()

asyncio.run(main(sys.argv[1]))
"""


def test_a_file_system_without_room(path: Path) -> None:
    """The operating system itself refuses to let the files grow."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_FILE_SYSTEM, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_an_unwritable_database(path: Path) -> None:
    store = SqliteStore.open(path)
    a = await put(store, "a")
    store._writer._database._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(Unavailable, match="cannot be written"):
        await put(store, "a", "2")
    assert store.head(key("a")) == a
    store._writer._database._connection.execute("PRAGMA query_only = OFF")
    await put(store, "a", "2")
    await store.close()


async def test_a_transaction_left_open_is_no_obstacle(path: Path) -> None:
    """As after a commit that failed so badly that it could not be taken back at once."""
    store = SqliteStore.open(path)
    connection = store._writer._database._connection
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO record VALUES (99, 'lost', '', '', NULL, '', 0, NULL)")
    a = await put(store, "a")
    await store.close()
    again = SqliteStore.open(path)
    assert list(again.resources()) == [PODS]
    assert again.revision == a.revision
    await again.close()


CRASHING = """
import asyncio, os, random, sys
from homeport.store.protocol import Delete, Key, Put
from homeport.store.sqlite import SqliteStore

async def worker(store, number):
    rng = random.Random(number)
    while True:
        name = f"w{number}-{rng.randrange(4)}"
        key = Key("/pods", "default", name)
        head = store.head(key)
        size = rng.choice([10, 1000, 9000])
        text = f"{number}.{rng.random()}." + "x" * size
        gone = head is not None and rng.random() < 0.2
        if gone:
            (record,) = await store.write(Delete(key, head.revision))
        else:
            (record,) = await store.write(Put(key, {"spec": {"text": text}}, head.revision if head else 0))
        os.write(1, f"{record.revision} {name} {'-' if gone else text}\\n".encode())

async def main(path):
    store = SqliteStore.open(path)
    os.write(1, f"{store.revision} . opened\\n".encode())
    await asyncio.gather(*(worker(store, number) for number in range(8)))

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("seed", range(4))
def test_kill_9(path: Path, seed: int) -> None:
    """Every write that a process reported before it was killed is there, whenever it was killed."""
    rng = random.Random(seed)
    # The state that the reports leave: name -> (revision, text), "-" for a deletion.
    known: dict[str, tuple[int, str]] = {}
    newest = 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", CRASHING, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            killer = threading.Timer(rng.uniform(0.01, 0.4), child.send_signal, [signal.SIGKILL])
            killer.start()
            reported = [first, *child.stdout.read().split(b"\n")]
            killer.join()
        for line in reported:
            parts = line.decode().split()
            if len(parts) != 3:
                continue  # The last line, cut short.
            revision, name, text = int(parts[0]), parts[1], parts[2]
            newest = max(newest, revision)
            if name != ".":
                known[name] = (revision, text)
        store = SqliteStore.open(path)
        assert store.revision >= newest
        stored = {record.key.name: record for record in store.scan(PODS)[0]}
        for name, (revision, text) in known.items():
            record = stored.get(name)
            if record is not None and record.revision > revision:
                continue  # A later write, not reported any more, but kept.
            if record is None:
                # Gone by the reported deletion, or by a later one that was not reported.
                assert text == "-" or store.revision > revision
            else:
                assert (record.revision, json.loads(record.value)["spec"]["text"]) == (revision, text)
        for name, record in stored.items():
            known[name] = (record.revision, json.loads(record.value)["spec"]["text"])
        for name in known.keys() - stored.keys():
            known[name] = (store.revision, "-")
        asyncio.run(store.close())
        # All that is left open by a crash is gone: a check of the file finds nothing wrong.
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert newest > 3


async def test_the_log_is_copied_in_the_background_and_starts_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_CHECKPOINT_PAGES", 50)
    monkeypatch.setattr(writer, "_LOG_PAGES", 400)
    store = SqliteStore.open(path)
    for number in range(1_500):
        await put(store, f"n{number % 10}", "x" * 4_000)
    log = path.with_name("store.db-wal")
    assert log.stat().st_size < 1_500 * 2 * 4_096 / 2, "without checkpoints it would hold every page ever written"
    await store.close()


async def test_idle_costs_nothing(path: Path) -> None:
    store = SqliteStore.open(path)
    await put(store, "a")
    await asyncio.sleep(0.05)
    before = {file: file.stat().st_size for file in path.parent.iterdir()}
    cpu = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - cpu < 0.02
    assert {file: file.stat().st_size for file in path.parent.iterdir()} == before
    await store.close()


async def test_a_big_store_loads_fast(path: Path) -> None:
    store = SqliteStore.open(path)
    await asyncio.gather(*(store.write(Put(key(f"p{n}"), obj("x" * 500, app=f"a{n % 50}"), 0)) for n in range(20_000)))
    await store.close()
    start = time.process_time()  # CPU time: the machine may have other work.
    again = SqliteStore.open(path)
    took = time.process_time() - start
    assert again.count(PODS) == 20_000
    await again.close()
    assert took < 2, "0.1 s on a quiet machine"
