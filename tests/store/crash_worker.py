"""A process that forks children which write to a store until somebody kills them (see test_crash.py).

For each line ``PATH SEED`` on standard input it forks one, which says ``pid N``, ``open REVISION``, and then for each
write that was acknowledged ``ack REVISION NAME=TEXT NAME=TEXT ...`` (an empty text for a deletion). ``dead`` follows.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys

from homeport.store import log, sqlite, writer
from homeport.store.history import Limits
from homeport.store.protocol import Delete, Key, Put
from homeport.store.sqlite import SqliteStore

RESOURCE = "/pods"
LIMITS = Limits(history_events=40)


def make_small() -> None:
    """Everything that otherwise happens now and then happens all the time: checkpoints, new logs, compaction."""
    writer._CHECKPOINT_PAGES = 40  # type: ignore[misc]
    writer._LOG_PAGES = 120  # type: ignore[misc]
    sqlite._FORGOTTEN = 7  # type: ignore[misc]
    log._PIECE = 60_000  # type: ignore[misc]
    log._ZEROS = memoryview(bytes(log._PIECE))  # type: ignore[misc]


def key(name: str) -> Key:
    return Key(RESOURCE, "default", name)


def choose(store: SqliteStore, rng: random.Random, number: int) -> tuple[list[Put | Delete], str]:
    """A write of one to three objects, and how it is reported. All have the same text: after a crash all are there, or
    none."""
    heads = {
        name: store.head(key(name))
        for n in rng.sample(range(6), rng.choice((1, 1, 2, 3)))
        for name in [f"w{number}-{n}"]
    }
    gone = {name for name, head in heads.items() if head is not None and rng.random() < 0.2}
    text = f"{number}.{rng.getrandbits(40):x}.{len(heads) - len(gone)}." + "x" * rng.choice((10, 1_000, 9_000))
    operations: list[Put | Delete] = []
    for name, head in heads.items():
        if head is not None and name in gone:
            operations.append(Delete(key(name), head.revision))
        else:
            operations.append(Put(key(name), {"spec": {"text": text}}, head.revision if head else 0))
    return operations, " ".join(f"{name}={'' if name in gone else text[:30]}" for name in heads)


async def work(store: SqliteStore, number: int, rng: random.Random) -> None:
    while True:
        operations, said = choose(store, rng, number)
        records = await store.write(*operations)
        os.write(1, f"ack {records[0].revision} {said}\n".encode())


async def child(path: str, seed: int) -> None:
    os.write(1, f"pid {os.getpid()}\n".encode())
    store = SqliteStore.open(path, LIMITS)
    os.write(1, f"open {store.revision}\n".encode())
    await asyncio.gather(*(work(store, number, random.Random(f"{seed} {number}")) for number in range(6)))


def main() -> None:
    make_small()
    gc.disable()
    for line in sys.stdin:
        path, seed = line.split()
        pid = os.fork()
        if pid == 0:
            asyncio.run(child(path, int(seed)))
        os.waitpid(pid, 0)
        os.write(1, b"dead\n")


if __name__ == "__main__":
    main()
