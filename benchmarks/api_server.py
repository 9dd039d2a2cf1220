"""How fast the API server is: TLS, a service account's token, RBAC, validation and admission on, everything durable.

The server runs in a process of its own, the load generator in this one, on the same machine. The limits are the targets
that we set; in the same run the bare HTTP layer (the same TLS and parser, an answer that is always the same) and the
disk's own fdatasync say what could be had at most.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import harness
import load
import uvloop
from harness import Figure

from homeport.apiserver import pki
from homeport.apiserver.transport import http
from homeport.datadir import DataDir
from homeport.kube.wire import Request, Response
from homeport.platform import API_PARTS, Platform
from homeport.platform.memory import settle_memory

NAMESPACE = "bench"
OBJECT_BYTES = 2048
SETTLE_SECONDS = 1.0
"""After so many connections were opened, before something is measured."""
PIECES = 10
"""Into which reads are cut, to take turns with those of the bare HTTP layer."""
TARGETS = {"get": 15_000, "list": 200, "create": 2_500, "update": 2_000, "create pod": 1_500}
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_STAMP = re.compile(rb'"stamp":"(\d+)"')


# -- the server


async def _serve(directory: Path) -> None:
    """The API server alone: data directory, store, server; then one line with its port."""
    async with Platform(DataDir.at(directory), parts=API_PARTS):
        settle_memory()
        print(DataDir.at(directory).endpoint().port, flush=True)  # type: ignore[union-attr]
        await asyncio.Event().wait()


class _Same:
    """Always answers the same 2 KB, at once."""

    def __init__(self) -> None:
        self._body = json.dumps({"kind": "ConfigMap", "data": {"text": "x" * (OBJECT_BYTES - 60)}}).encode()

    async def handle(self, request: Request) -> Response:
        return Response(200, {"content-type": "application/json"}, self._body)

    def at_once(self, request: Request, memory: dict[str, object]) -> Response:
        return Response(200, {"content-type": "application/json"}, self._body)


async def _bare(directory: Path) -> None:
    """The HTTP layer with a handler that has nothing to do."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    await http.serve(_Same(), listener, pki.server_context(pki.ensure(directory)))
    settle_memory()
    print(listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()


class _Told(asyncio.Protocol):
    """A peer that is sent the same as all others."""

    everyone: ClassVar[set[_Told]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.everyone.add(self)

    def data_received(self, data: bytes) -> None:
        """What a peer sends goes to all of them, as long as an event."""
        stamp = _STAMP.search(data)
        event = (stamp[0] if stamp else b"ready").ljust(OBJECT_BYTES, b"x")
        for one in self.everyone:
            one._transport.write(event)  # type: ignore[attr-defined]

    def connection_lost(self, error: Exception | None) -> None:
        self.everyone.discard(self)


async def _fan(directory: Path) -> None:
    """The event loop and its TLS with nothing else: the least that it can take to tell many."""
    tls = pki.server_context(pki.ensure(directory))
    listening = await asyncio.get_running_loop().create_server(_Told, "127.0.0.1", 0, ssl=tls)
    settle_memory()
    print(listening.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


@contextlib.contextmanager
def server(kind: str, directory: Path) -> Iterator[tuple[int, int, float]]:
    """A server process: its port, its process id, and the seconds until it answered."""
    begin = time.perf_counter()
    command = [sys.executable, __file__, f"--{kind}", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=harness.ENVIRONMENT)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid, time.perf_counter() - begin
    finally:
        process.terminate()
        process.wait(30)


# -- what is sent


def config_map(name: str, filler: str = "x") -> bytes:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"app": "bench", "part": name[-1]}}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"text": ""}}
    body["data"] = {"text": filler * (OBJECT_BYTES - len(json.dumps(body)) - 400)}  # room for what the server adds
    return json.dumps(body).encode()


def pod(name: str) -> bytes:
    container = {
        "name": "main",
        "image": "registry.example.com/team/trainer:1.0",
        "command": ["python", "-m", "trainer", "--epochs", "3"],
        "env": [{"name": f"VARIABLE_{number}", "value": f"value {number}"} for number in range(8)],
        "ports": [{"containerPort": 2222, "name": "port"}],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [{"name": "data", "emptyDir": {}}]}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"app": "bench", "job": "one"}}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).encode()


def fsync_milliseconds(directory: Path) -> float:
    """The median time of a 4 KiB write with fdatasync, the least that a durable write can take."""
    times = []
    with (directory / "fsync").open("wb", buffering=0) as file:
        for _ in range(200):
            begin = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


# -- measuring


def target_of(directory: DataDir, port: int) -> load.Target:
    tls = ssl.create_default_context(cafile=str(pki.paths(directory.pki).ca))
    return load.Target(port, tls, (directory.pki / "admin.token").read_text().strip())


async def prepared(admin: load.Target) -> load.Target:
    """A namespace, a service account that may edit in it, and the target with that account's token."""
    objects = [
        ("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        (
            f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
            {"kind": "ServiceAccount", "metadata": {"name": "default"}},
        ),
        (f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"kind": "ServiceAccount", "metadata": {"name": "load"}}),
        (
            f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/rolebindings",
            {
                "kind": "RoleBinding",
                "metadata": {"name": "load"},
                "subjects": [{"kind": "ServiceAccount", "name": "load", "namespace": NAMESPACE}],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            },
        ),
    ]
    for path, body in objects:
        await load.run(admin, [admin.request("POST", path, json.dumps(body).encode())], 1, 201)
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/load/token"
    answer = await _ask(admin, admin.request("POST", path, b'{"spec":{"expirationSeconds":7200}}'))
    return load.Target(admin.port, admin.tls, json.loads(answer)["status"]["token"])


async def _ask(target: load.Target, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", target.port, ssl=target.tls, server_hostname="localhost"
    )
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    found = _LENGTH.search(head)
    assert found is not None, head
    body = await reader.readexactly(int(found[1]))
    writer.close()
    return body


async def measure(directory: Path, pid: int, target: load.Target, bare: load.Target, scale: float) -> list[Figure]:
    maps = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    figures: list[Figure] = []

    def count(number: int) -> int:
        return max(20, int(number * scale))

    async def rate(
        name: str, requests: list[bytes], status: int = 200, connections: int = 8, pieces: int = 1
    ) -> list[load.Outcome]:
        """How fast `requests` go; in several pieces, as many answers of the bare layer after each, which are
        returned: the machine's speed differs by half from minute to minute."""
        peers, outcomes = [], []
        cpu = 0.0
        for piece in range(pieces):
            part = requests[piece::pieces]
            cpu -= harness.cpu_seconds([pid])
            outcomes.append(await load.run(target, part, connections, status))
            cpu += harness.cpu_seconds([pid])
            if pieces > 1:
                peers.append(await load.run(bare, [bare.request("GET", "/bare")] * len(part), connections))
        each = 1e6 * cpu / len(requests)
        p99 = 1000 * harness.percentile([one for outcome in outcomes for one in outcome.times], 99)
        about = f"{name}, {connections} connections ({each:.0f} us CPU, p99 {p99:.1f} ms)"
        figures.append(Figure(about, _rate(outcomes), "/s", "target", TARGETS[name]))
        return peers

    names = [f"map-{number}" for number in range(count(5000))]
    await rate("create", [target.request("POST", maps, config_map(name)) for name in names], 201)
    await rate("create pod", [target.request("POST", pods, pod(f"pod-{number}")) for number in range(count(3000))], 201)
    await rate("update", [target.request("PUT", f"{maps}/{name}", config_map(name, "y")) for name in names])
    reads = [target.request("GET", f"{maps}/{names[i % len(names)]}") for i in range(count(30_000))]
    ceiling = await rate("get", reads, pieces=PIECES)
    figures.append(Figure("get, against the bare HTTP layer", figures[-1].value, "/s", "bare layer", _rate(ceiling)))
    await rate("list", [target.request("GET", f"{maps}?limit=1000") for _ in range(count(400))])
    figures.append(Figure("resident memory after that", harness.memory([pid]) / 1e6, "MB", "limit", 400))
    figures.append(Figure("fdatasync of 4 KiB", fsync_milliseconds(directory), "ms", "a fast disk", 0.1))
    return figures


def _rate(outcomes: list[load.Outcome]) -> float:
    """Requests per second of all of them."""
    return sum(one.count for one in outcomes) / sum(one.seconds for one in outcomes)


class Delays:
    """From the moment that is written in an event to its arrival, in milliseconds, of all watchers."""

    def __init__(self) -> None:
        self._moments: list[int] = []
        self._pieces: list[bytes] = []
        self._milliseconds: list[float] = []

    def seen(self, data: bytes) -> None:
        """A piece has come. Nothing more than to note that: the next one waits, and the server on the same cores."""
        self._moments.append(time.perf_counter_ns())
        self._pieces.append(data)

    def settle(self) -> None:
        """Look into what has come, when nothing is on its way."""
        for moment, piece in zip(self._moments, self._pieces, strict=True):
            self._milliseconds += [(moment - int(stamp)) / 1e6 for stamp in _STAMP.findall(piece)]
        self._moments.clear()
        self._pieces.clear()

    @property
    def p99(self) -> float:
        self.settle()
        return harness.percentile(self._milliseconds, 99)


async def watchers(
    target: load.Target, fan: load.Target, count: int, per_second: float, seconds: float, limit: float
) -> list[Figure]:
    """`count` watchers of one collection while `per_second` writes are made, evenly spread. In the same way as many
    connections of `fan` are told something as long."""
    maps = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    name = f"watched-{count}"
    await load.run(target, [target.request("POST", maps, config_map(name))], 1, 201)
    delays = Delays()
    open_watches = await load.watch(
        target, f"{maps}?watch=true&fieldSelector=metadata.name%3D{name}", count, delays.seen
    )
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", target.port, ssl=target.tls, server_hostname="localhost"
    )
    await asyncio.sleep(SETTLE_SECONDS)
    for _ in range(int(per_second * seconds)):
        begin = time.perf_counter()
        patch = json.dumps({"data": {"stamp": str(time.perf_counter_ns())}}).encode()
        writer.write(target.request("PATCH", f"{maps}/{name}", patch, "application/merge-patch+json"))
        head = await reader.readuntil(b"\r\n\r\n")
        found = _LENGTH.search(head)
        assert found is not None, head
        await reader.readexactly(int(found[1]))
        await asyncio.sleep(max(0, 1 / per_second - (time.perf_counter() - begin)))
        delays.settle()
    writer.close()
    for transport in open_watches:
        transport.close()
    least = await told(fan, count, per_second, seconds)
    title = f"{count} watchers, {per_second:g} writes/s: p99 from write to event"
    return [
        Figure(title, delays.p99, "ms", "limit", limit),
        Figure(f"the same, against {count} bare TLS connections", delays.p99, "ms", "bare TLS", least),
    ]


async def told(fan: load.Target, count: int, per_second: float, seconds: float) -> float:
    """The p99 in milliseconds from a message to its arrival at `count` connections that are all told it."""
    delays = Delays()
    connections = await load.watch(fan, "/", count, delays.seen)
    await asyncio.sleep(SETTLE_SECONDS)
    for _ in range(int(per_second * seconds)):
        begin = time.perf_counter()
        connections[0].write(b'"stamp":"%d"' % time.perf_counter_ns())  # type: ignore[attr-defined]
        await asyncio.sleep(max(0, 1 / per_second - (time.perf_counter() - begin)))
        delays.settle()
    await asyncio.sleep(1 / per_second)
    for connection in connections:
        connection.close()
    return delays.p99


async def storm(target: load.Target, count: int, writes: int) -> Figure:
    """Events per second that reach `count` watchers while writes come as fast as they can."""
    maps = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    events = 0
    complete = asyncio.Event()

    def seen(data: bytes) -> None:
        nonlocal events
        events += data.count(b'{"type":"')
        if events >= count * writes:
            complete.set()

    path = f"{maps}?watch=true&labelSelector=storm&resourceVersion=0"
    open_watches = await load.watch(
        target, path + "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", count, seen
    )
    events = 0
    bodies = []
    for number in range(writes):
        body = json.loads(config_map(f"storm-{number}"))
        body["metadata"]["labels"] = {"storm": "1"}
        bodies.append(target.request("POST", maps, json.dumps(body).encode()))
    begin = time.perf_counter()
    await load.run(target, bodies, 8, 201)
    await asyncio.wait_for(complete.wait(), 120)
    seconds = time.perf_counter() - begin
    for transport in open_watches:
        transport.close()
    return Figure(f"events to {count} watchers", count * writes / seconds, "/s", "target", 25_000)


async def _main(options: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as name:
        directory = DataDir.at(Path(name) / "data")
        with server("serve", Path(name) / "compiled"):
            pass  # leaves compiled modules, which an installation has and a checkout has not
        with server("serve", directory.path) as (_, _, first):
            pass
        with (
            server("serve", directory.path) as (port, pid, again),
            server("bare", Path(name) / "bare") as (bare_port, _, _),
            server("fan", Path(name) / "bare") as (fan_port, _, _),
        ):
            admin = target_of(directory, port)
            figures = [
                Figure("API server alone ready, new directory", first, "s", "limit", 0.7),
                Figure("API server alone ready, again", again, "s", "limit", 0.7),
                Figure("API server alone, idle memory", harness.memory([pid]) / 1e6, "MB", "limit", 80),
            ]
            target = await prepared(admin)
            tls = ssl.create_default_context(cafile=str(pki.paths(Path(name) / "bare").ca))
            bare = load.Target(bare_port, tls, "none")
            fan = load.Target(fan_port, tls, "none")
            figures += await measure(Path(name), pid, target, bare, options.scale)
            figures.append(await storm(target, 100, max(10, int(400 * options.scale))))
            figures += await watchers(target, fan, 100, 20, 10 * options.scale, 15)
            figures += await watchers(target, fan, 1000, 4, 10 * options.scale, 50)
            return figures


def main() -> int:
    parser = harness.parser(__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="how many requests, as a multiple of the usual number")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fan", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(_serve(options.serve))
    elif options.bare:
        options.bare.mkdir(parents=True, exist_ok=True)
        uvloop.run(_bare(options.bare))
    elif options.fan:
        uvloop.run(_fan(options.fan))
    else:
        harness.report("API server", uvloop.run(_main(options)), options)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
