"""No acknowledged write is lost: not by `kill -9`, not on a full disk, not when the power fails.

Each test harms a store at random points, a few dozen times in the quick suite and a thousand times with the slow tests,
and compares what is there afterwards with what was acknowledged before:

* an acknowledged write is there, unless a later one replaced it;
* a write that was not acknowledged is there as a whole or not at all;
* what is there is what was written (each record's checksum and text), and the store goes on.

The power cut is a replay. What SQLite writes and syncs is recorded, and files are put together as a disk may have them
if the power failed at a random step: everything up to the last sync of a file, and of what came after any sectors,
in any order, torn at any of them. It believes the disk that a sync is one; a disk that lies is beyond any program.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from recording import Step

from homeport.store.sqlite import SqliteStore

HERE = Path(__file__).parent
RESOURCE = "/pods"
SECTOR = 512

QUICK = 30
THOUSAND = 1_000


few_or_a_thousand = pytest.mark.parametrize(
    "count", [pytest.param(QUICK, id="few"), pytest.param(THOUSAND, id="thousand", marks=pytest.mark.slow)]
)


class Acknowledged:
    """What a store has to have: the newest acknowledged state of each name."""

    def __init__(self) -> None:
        self.revision = 0
        self.states: dict[str, tuple[int, str]] = {}
        """By name: revision and text, which is empty for what was deleted."""

    def line(self, revision: int, said: str) -> None:
        for number, part in enumerate(said.split()):
            name, _, text = part.partition("=")
            self.states[name] = (revision + number, text)
            self.revision = max(self.revision, revision + number)

    def check(self, path: Path) -> None:
        store = SqliteStore.open(path)
        try:
            assert store.revision >= self.revision, "revisions are never used again"
            there = {record.key.name: record for record in store.scan(RESOURCE)[0]}
            texts = {name: json.loads(r.value)["spec"]["text"][:30] for name, r in there.items()}
            for name, (revision, text) in self.states.items():
                record = there.get(name)
                if record is not None and record.revision > revision:
                    continue  # a later write, not acknowledged, but kept
                if record is None:
                    assert text == "" or store.revision > revision, f"{name} of revision {revision} is lost"
                else:
                    assert (record.revision, texts[name]) == (revision, text)
            check_whole_writes(store)
            for name, record in there.items():
                assert json.loads(record.value)["metadata"]["resourceVersion"] == str(record.revision), name
            # What was not acknowledged counts from now on.
            self.revision = store.revision
            for name in self.states.keys() - there.keys():
                self.states[name] = (store.revision, "")
            for name, record in there.items():
                self.states[name] = (record.revision, texts[name])
        finally:
            asyncio.run(store.close())


def check_whole_writes(store: SqliteStore) -> None:
    """Each write of which the history has the first event has all of them: the text says how many. The history may
    begin in the middle of one."""
    events = store.watch(RESOURCE, after=store._history._oldest).take()
    found: dict[str, int] = {}
    for event in events:
        text = json.loads(event.record.value)["spec"]["text"]
        if event.type != "DELETED":
            found[text] = found.get(text, 0) + 1
    first = [json.loads(event.record.value)["spec"]["text"] for event in events[:2]]
    for text, count in found.items():
        assert count == int(text.split(".")[2]) or text in first, f"half of a write: {text[:30]}"


class Worker:
    """The process of crash_worker.py."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "crash_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def crash(self, path: Path, seed: int, seconds: float) -> list[str]:
        """What a child says that is killed `seconds` after it began."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        print(path, seed, file=stdin, flush=True)
        first = stdout.readline().split()
        assert first[0] == "pid", first
        time.sleep(seconds)
        os.kill(int(first[1]), signal.SIGKILL)
        lines: list[str] = []
        while (line := stdout.readline().strip()) != "dead":
            assert line, "the worker itself has ended"
            lines.append(line)
        return lines

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)


@contextmanager
def worker() -> Iterator[Worker]:
    it = Worker()
    try:
        yield it
    finally:
        it.close()


@few_or_a_thousand
def test_kill_9(tmp_path: Path, count: int) -> None:
    path = tmp_path / "store.db"
    rng = random.Random(count)
    acknowledged = Acknowledged()
    acks = 0
    with worker() as crashing:
        for number in range(count):
            for line in crashing.crash(path, number, rng.uniform(0, 0.08)):
                kind, _, rest = line.partition(" ")
                if kind == "open":
                    assert int(rest) >= acknowledged.revision
                elif kind == "ack":
                    revision, _, said = rest.partition(" ")
                    acknowledged.line(int(revision), said)
                    acks += 1
            # Now and then a crash follows a crash, without a peaceful start in between.
            if rng.random() < 0.6:
                acknowledged.check(path)
    acknowledged.check(path)
    assert acks > count


class Disk:
    """Files as a disk has them: what is durable, and what was written since."""

    def __init__(self) -> None:
        self._durable: dict[str, bytearray] = {}
        self._since: dict[str, list[Step]] = {}

    def take(self, step: Step) -> None:
        if step.kind == "sync":
            content = self._durable.setdefault(step.file, bytearray())
            for since in self._since.pop(step.file, ()):
                apply(content, since)
        else:
            self._since.setdefault(step.file, []).append(step)

    def cut(self, directory: Path, rng: random.Random) -> None:
        """Write the files as they may be if the power fails now."""
        for file in directory.iterdir():
            file.unlink()
        chance = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        for name in self._durable.keys() | self._since.keys():
            content = bytearray(self._durable.get(name, b""))
            since = list(self._since.get(name, ()))
            if rng.random() < 0.5:
                since = since[: rng.randint(0, len(since))]  # in order, up to a point
            else:
                rng.shuffle(since)
            for step in since:
                for part in sectors(step):
                    if rng.random() < chance:
                        apply(content, part)
            if content or name == "store.db":
                (directory / name).write_bytes(content)


def sectors(step: Step) -> Iterator[Step]:
    """The parts of a write that reach the disk apart from each other."""
    if step.kind != "write":
        yield step
        return
    at = 0
    while at < len(step.data):
        end = at + SECTOR - (step.at + at) % SECTOR
        yield step._replace(at=step.at + at, data=step.data[at:end])
        at = end


def apply(content: bytearray, step: Step) -> None:
    if step.kind == "truncate":
        del content[step.at :]
        return
    if len(content) < step.at:
        content.extend(bytes(step.at - len(content)))
    content[step.at : step.at + len(step.data)] = step.data


def recording(directory: Path, seed: int, writes: int, *, workers: int = 4) -> list[Step]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE), *filter(None, sys.path)))}
    command = [sys.executable, str(HERE / "recording.py"), str(directory), str(seed), str(writes), str(workers)]
    subprocess.run(command, env=environment, check=True, timeout=300)
    steps = [Step(*step) for step in pickle.loads((directory / "steps").read_bytes())]
    if not any(step.kind == "write" for step in steps):
        pytest.skip("this Python brings an SQLite of its own, which can't be recorded")
    return steps


@few_or_a_thousand
def test_power_cut(tmp_path: Path, count: int) -> None:
    (tmp_path / "recorded").mkdir()
    (tmp_path / "cut").mkdir()
    steps = recording(tmp_path / "recorded", count, min(20 * count, 2_000))
    # The database is made under another name, whole, before it gets its own: no cut sees half of that.
    begin = next(at for at, step in enumerate(steps) if step.file == "store.db-wal")
    rng = random.Random(count)
    cuts = sorted(rng.sample(range(begin, len(steps)), min(count, len(steps) - begin)))
    disk = Disk()
    acknowledged = Acknowledged()
    acks = 0
    for at, step in enumerate(steps):
        step = step._replace(file=step.file.removesuffix(".new"))
        if step.kind == "ack":
            acknowledged.line(step.at, step.data.decode())
            acks += 1
        elif not step.file.endswith("-journal"):
            disk.take(step)
        if cuts and cuts[0] == at:
            cuts.pop(0)
            disk.cut(tmp_path / "cut", rng)
            here = Acknowledged()
            here.revision, here.states = acknowledged.revision, dict(acknowledged.states)
            here.check(tmp_path / "cut" / "store.db")
    assert acks > count
    assert any(step.kind == "sync" and step.file == "store.db" for step in steps[begin:]), "no checkpoint was recorded"


def test_every_acknowledgement_follows_a_sync(tmp_path: Path) -> None:
    """What the replay above would show as a loss sooner or later, said directly."""
    dirty = False
    acks = 0
    for step in recording(tmp_path, 7, 100, workers=1):
        if step.file == "store.db-wal":
            dirty = step.kind != "sync"
        elif step.kind == "ack":
            acks += 1
            assert not dirty
    assert acks == 100


FULL = """
import asyncio, logging, os, random, resource, signal, sys
import crash_worker
from homeport.store.protocol import Delete, Full, Key, Put
from homeport.store.sqlite import SqliteStore

FREE = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

async def main(path, count):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    logging.disable()  # checkpoints say that they had no room
    crash_worker.make_small()
    rng = random.Random(count)
    store = SqliteStore.open(path, crash_worker.LIMITS)
    refusals = 0
    for number in range(count):
        size = max(os.stat(path + suffix).st_size for suffix in ("", "-wal") if os.path.exists(path + suffix))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + rng.randrange(40_000), resource.RLIM_INFINITY))
        kept = {record.key.name: record for record in store.scan("/pods")[0]}

        async def work(worker):
            nonlocal refusals
            for step in range(60):
                name = f"w{worker}-{rng.randrange(4)}"
                key = Key("/pods", "", name)
                head = store.head(key)
                text = "x" * rng.choice((10, 2_000, 20_000))
                try:
                    if head is not None and rng.random() < 0.1:
                        await store.write(Delete(key, head.revision))
                        kept.pop(name, None)
                    else:
                        put = Put(key, {"spec": {"text": text}}, head.revision if head else 0)
                        (kept[name],) = await store.write(put)
                except Full:
                    refusals += 1
                    if refusals % 3 == 0:
                        return
                assert {r.key.name for r in store.scan("/pods")[0]} >= set(), "reads go on"

        await asyncio.gather(*(work(worker) for worker in range(3)))
        assert {r.key.name: r for r in store.scan("/pods")[0]} == kept, "what was refused was not kept"
        resource.setrlimit(resource.RLIMIT_FSIZE, FREE)
        await store.probe()
        (kept["after"],) = await store.write(
            Put(Key("/pods", "", "after"), {"spec": {"n": number}}, kept["after"].revision if "after" in kept else 0)
        )
        if number % 5 == 0:
            await store.close()
            store = SqliteStore.open(path, crash_worker.LIMITS)
            assert {r.key.name: r for r in store.scan("/pods")[0]} == kept, "what was acknowledged is there"
    await store.close()
    assert refusals >= count, refusals

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@few_or_a_thousand
def test_full_disk(tmp_path: Path, count: int) -> None:
    """The operating system refuses to let files grow beyond a random size, as a full disk does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE), *filter(None, sys.path)))}
    command = [sys.executable, "-c", FULL, str(tmp_path / "store.db"), str(count)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert (done.returncode, done.stderr) == (0, "")
