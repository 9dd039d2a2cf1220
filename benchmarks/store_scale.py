"""The store and what is read from it: 100,000 objects of 2 KB, their start, lists and watches, and what writes cost.

The limits are the ones that we set ourselves: 400 MB, back in 2 s, and lists and watches whose cost does not grow with
the number of other objects. Durable writes are next to the disk's own ``fdatasync``, measured in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness

from homeport.apiserver.server import ApiServer
from homeport.datadir import DataDir
from homeport.kube import core
from homeport.kube.wire import Request, Response, User
from homeport.store.memory import MemoryStore
from homeport.store.protocol import Key, Put, Store
from homeport.store.sqlite import SqliteStore

_USER = User("benchmark", ("system:masters",))
_AT_ONCE = 64
_SMALL = 1_000
"""Objects in the list that is asked for."""
_WATCHERS = 100


def config_map(name: str, number: int, size: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"{number:032x}",
            "labels": {"app": f"a{number % 50}"},
        },
        "data": {"text": "x" * max(0, size - 250)},
    }


def fsync_seconds(directory: Path) -> float:
    """The median of appending 4 kB to a file and having it made durable."""
    taken = []
    with open(directory / "probe", "wb", buffering=0) as file:
        for _ in range(300):
            begin = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def written_bytes() -> int:
    """What this process has had written to disks so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


async def write_all(store: Store, count: int, put: Callable[[int], Put]) -> float:
    """Writes per second, _AT_ONCE of them on their way at a time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await store.write(put(number))

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    return count / (time.perf_counter() - begin)


def in_child(stage: str, *arguments: object) -> dict[str, float]:
    """Run a stage in a process of its own: memory is its own, and nothing is warm."""
    command = [sys.executable, __file__, "--stage", stage, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=harness.ENVIRONMENT)
    result: dict[str, float] = json.loads(done.stdout)
    return result


async def fill(path: str, count: int, size: int) -> dict[str, float]:
    store = SqliteStore.open(path)

    def create(number: int) -> Put:
        name = f"object-{number:06}"
        return Put(Key("/configmaps", "default", name), config_map(name, number, size), 0)

    before = written_bytes()
    creates = await write_all(store, count, create)
    created = written_bytes() - before
    values = sum(len(record.value) for record in store.scan("/configmaps")[0])
    updated = min(20_000, count)

    def update(number: int) -> Put:
        name = f"object-{number:06}"
        head = store.head(Key("/configmaps", "default", name))
        assert head is not None
        return Put(head.key, config_map(name, number, size), head.revision)

    before = written_bytes()
    updates = await write_all(store, updated, update)
    changed = written_bytes() - before
    memory = harness.memory([os.getpid()])
    await store.close()
    return {
        "creates": creates,
        "updates": updates,
        "memory": memory,
        "create amplification": created / values,
        "update amplification": changed / (values * updated / count),
        "bytes": float(os.stat(path).st_size),
    }


async def start(path: str) -> dict[str, float]:
    begin = time.perf_counter()
    store = SqliteStore.open(path)
    seconds = time.perf_counter() - begin
    memory = harness.memory([os.getpid()])
    await store.close()
    return {"seconds": seconds, "memory": memory}


async def read_body(response: Response) -> int:
    if isinstance(response.body, bytes):
        return len(response.body)
    return sum([len(chunk) async for chunk in response.body])


async def reads(others: int, size: int) -> dict[str, float]:
    """A list of _SMALL objects and a change of one of them that _WATCHERS hear of, beside `others` of another kind."""
    store = MemoryStore()
    api = ApiServer(store, core.KINDS, now=lambda: datetime.now(UTC))
    for resource, count in (("/configmaps", others), ("/secrets", _SMALL)):
        for number in range(count):
            obj = config_map(f"object-{number:06}", number, size)
            if resource == "/secrets":
                obj |= {"kind": "Secret"}
            store.write(Put(Key(resource, "default", obj["metadata"]["name"]), obj, 0))

    def request(*query: tuple[str, str], **headers: str) -> Request:
        return Request("GET", "/api/v1/namespaces/default/secrets", query, headers, b"", _USER)

    taken = []
    for _ in range(30):
        begin = time.perf_counter()
        assert await read_body(await api.handle(request())) > _SMALL * size * 0.9
        taken.append(time.perf_counter() - begin)
    events = 300
    streams = [
        (await api.handle(request(("watch", "1"), ("resourceVersion", str(store.revision))))).body
        for _ in range(_WATCHERS)
    ]

    async def hear(stream: Any) -> None:
        heard = 0
        async for chunk in stream:
            heard += chunk.count(b"\n")
            if heard == events:
                return

    hearing = [asyncio.ensure_future(hear(stream)) for stream in streams]
    await asyncio.sleep(0)
    begin = time.perf_counter()
    key = Key("/secrets", "default", "object-000000")
    for number in range(events):
        head = store.head(key)
        assert head is not None
        store.write(Put(key, config_map("object-000000", number, size) | {"kind": "Secret"}, head.revision))
        await asyncio.sleep(0)
    await asyncio.gather(*hearing)
    heard = events * _WATCHERS / (time.perf_counter() - begin)
    longest = await longest_wait(api, store, others)
    await api.close()
    return {"list": statistics.median(taken), "events": heard, "longest wait": longest}


async def longest_wait(api: ApiServer, store: Store, others: int) -> float:
    """The longest that anybody waits for the event loop while everything is listed, as objects and as a table."""
    waits = [0.0]

    async def watch_loop() -> None:
        while True:
            begin = time.perf_counter()
            await asyncio.sleep(0)
            waits.append(time.perf_counter() - begin)

    watching = asyncio.ensure_future(watch_loop())
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    for accept, query in (("application/json", ()), ("application/json", (("labelSelector", "app=a1"),)), (table, ())):
        target = Request("GET", "/api/v1/configmaps", query, {"accept": accept}, b"", _USER)
        await read_body(await api.handle(target))
    watching.cancel()
    return max(waits)


def figures(options: argparse.Namespace) -> list[harness.Figure]:
    count, size = options.objects, options.size
    with tempfile.TemporaryDirectory(prefix="homeport-bench-", dir=options.directory) as place:
        data = DataDir.at(Path(place) / "data")
        path = data.database
        fsync = fsync_seconds(Path(place))
        filled = in_child("fill", path, count, size)
        started = in_child("start", path)
        with harness.platform(data.path) as running:
            ready, resident = running.seconds_to_ready, harness.memory(running.processes())
    alone, beside = in_child("reads", 0, size), in_child("reads", count, size)
    per_second = 1 / fsync
    return [
        harness.Figure(f"creates, {_AT_ONCE} at once", filled["creates"], "/s", "fdatasync of 4 kB", per_second),
        harness.Figure(f"updates, {_AT_ONCE} at once", filled["updates"], "/s", "fdatasync of 4 kB", per_second),
        harness.Figure("written to disk by creates", filled["create amplification"], "B/B", "stored", 1.0),
        harness.Figure("written to disk by updates", filled["update amplification"], "B/B", "stored", 1.0),
        harness.Figure(f"memory, {count} objects of {size} B", filled["memory"] / 1e6, "MB", "limit", 400.0),
        harness.Figure("memory after a start", started["memory"] / 1e6, "MB", "limit", 400.0),
        harness.Figure("start", started["seconds"], "s", "limit", 2.0),
        harness.Figure("a platform with them: ready", ready, "s", "of which the store", started["seconds"]),
        harness.Figure(
            "a platform with them: memory", resident / 1e6, "MB", "the store alone", started["memory"] / 1e6
        ),
        harness.Figure(
            f"list of {_SMALL} beside {count} others", 1000 * beside["list"], "ms", "alone", 1000 * alone["list"]
        ),
        harness.Figure(
            f"events to {_WATCHERS} watchers beside {count} others", beside["events"], "/s", "alone", alone["events"]
        ),
        harness.Figure("longest wait while all is listed", 1000 * beside["longest wait"], "ms", "limit", 20.0),
    ]


def main() -> None:
    arguments = harness.parser(__doc__)
    arguments.add_argument("--objects", type=int, default=100_000)
    arguments.add_argument("--size", type=int, default=2_000, help="bytes of one object")
    arguments.add_argument("--directory", help="where the database goes: on the disk to be measured")
    arguments.add_argument("--stage", nargs="+", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    match options.stage:
        case ["fill", path, count, size]:
            print(json.dumps(asyncio.run(fill(path, int(count), int(size)))))
        case ["start", path]:
            print(json.dumps(asyncio.run(start(path))))
        case ["reads", others, size]:
            print(json.dumps(asyncio.run(reads(int(others), int(size)))))
        case _:
            harness.report("The store", figures(options), options)


if __name__ == "__main__":
    main()
