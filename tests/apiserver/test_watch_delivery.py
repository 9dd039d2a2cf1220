"""Watches on the network: events go straight to the connections that keep up, and nobody notices the difference."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from api_testing import ADMIN, Caller, Clock, config_map, make_server, namespace

from homeport.apiserver.frames import View
from homeport.apiserver.streams import WatchStream
from homeport.apiserver.transport.http import HttpServer, serve
from homeport.kube.errors import InternalError
from homeport.kube.wire import Request, Response
from homeport.store.history import Limits
from homeport.store.memory import MemoryStore
from homeport.store.protocol import Event

MAPS = "/api/v1/namespaces/default/configmaps"


class Served:
    """A server on a socket, and a caller of its own inside the process."""

    def __init__(self, api: Caller, http: HttpServer, port: int) -> None:
        self.api, self.http, self.port = api, http, port

    @asynccontextmanager
    async def watch(self, query: str = "", **headers: str) -> AsyncIterator[Chunks]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        target = f"{MAPS}?watch=1&resourceVersion={self.api.store.revision}{query}"
        writer.write(f"GET {target} HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200 "), head
        try:
            yield Chunks(reader)
        finally:
            writer.close()

    async def make(self, name: str, size: int = 1, **labels: str) -> None:
        (await self.api.post(MAPS, config_map(name, {"text": "x" * size}, labels=labels))).ok(201)


class Chunks:
    """Reads a chunked body."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._ready: list[Any] = []

    async def next(self) -> Any:
        """The next event; None at the end of the body."""
        if not self._ready:
            size = int(await asyncio.wait_for(self._reader.readuntil(b"\r\n"), 10), 16)
            chunk = await self._reader.readexactly(size)
            assert await self._reader.readexactly(2) == b"\r\n"
            if not size:
                return None
            assert chunk.endswith(b"\n")
            self._ready = [json.loads(line) for line in chunk.splitlines()]
        return self._ready.pop(0)

    async def names(self, count: int) -> list[str]:
        return [(await self.next())["object"]["metadata"]["name"] for _ in range(count)]

    async def rest(self) -> list[Any]:
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


@asynccontextmanager
async def serving(limits: Limits | None = None) -> AsyncIterator[Served]:
    clock, store = Clock(), MemoryStore(limits)
    server = make_server(store, clock)

    async def handle(request: Request) -> Response:
        return await server.handle(msgspec.structs.replace(request, user=ADMIN))

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    http = await serve(handle, listener)
    api = Caller(server, store, clock)
    (await api.post("/api/v1/namespaces", namespace("default"))).ok(201)
    try:
        yield Served(api, http, listener.getsockname()[1])
    finally:
        await http.close(1)
        await server.close()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each step of a watch's own task."""
    taken: list[int] = []
    step = WatchStream.__anext__

    async def counted(self: WatchStream) -> bytes:
        taken.append(len(taken))
        return await step(self)

    monkeypatch.setattr(WatchStream, "__anext__", counted)
    return taken


async def test_events_wake_nobody(steps: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    joined = 0
    join = View.join

    def counted(self: View, events: Any) -> bytes:
        nonlocal joined
        joined += 1
        return join(self, events)

    monkeypatch.setattr(View, "join", counted)
    async with (
        serving() as served,
        served.watch() as a,
        served.watch() as b,
        served.watch("&labelSelector=x%3D1") as c,
        served.watch("&fieldSelector=metadata.name%3Dm1") as d,
    ):
        begun = len(steps)
        for n in range(4):
            await served.make(f"m{n}", x=str(n % 2))
            assert await a.names(1) == await b.names(1) == [f"m{n}"]
        assert await c.names(2) == ["m1", "m3"]
        assert await d.names(1) == ["m1"]
        assert len(steps) == begun, "the tasks sleep"
        assert joined <= 3 * 4, "watches that ask for the same share their chunks"


async def test_a_reader_that_is_behind_gets_everything_in_order(steps: list[int]) -> None:
    """What a connection does not take waits for its task; later the events go straight to it again."""
    size, count = 1 << 18, 64
    async with serving() as served, served.watch() as slow, served.watch() as quick:
        begun = len(steps)
        for n in range(count):
            await served.make(f"m{n:03}", size)
            assert await quick.names(1) == [f"m{n:03}"]
        assert await slow.names(count) == [f"m{n:03}" for n in range(count)]
        assert len(steps) > begun, "it was more than the sockets hold"
        await asyncio.sleep(0.05)
        begun = len(steps)
        await served.make("last")
        assert await slow.names(1) == await quick.names(1) == ["last"]
        assert len(steps) == begun


async def test_a_reader_that_never_reads_is_cut_off_alone() -> None:
    async with serving(Limits(watch_events=20)) as served, served.watch() as slow, served.watch() as quick:
        for n in range(80):
            await served.make(f"m{n:03}", 1 << 18)
            assert await quick.names(1) == [f"m{n:03}"]
        seen = [event["object"]["metadata"]["name"] for event in await slow.rest()]
        assert seen == [f"m{n:03}" for n in range(len(seen))]
        assert 0 < len(seen) < 80
        await served.make("last")
        assert await quick.names(1) == ["last"]


async def test_an_error_ends_one_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    join = View.join

    def failing(self: View, events: list[Event]) -> bytes:
        if self._options is not None:
            raise InternalError("this form can't be written", details={})
        return join(self, events)

    async with serving() as served, served.watch("&labelSelector=x") as bad, served.watch() as good:
        monkeypatch.setattr(View, "join", failing)
        await served.make("m", x="1")
        (event,) = await bad.rest()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 500)
        assert await good.names(1) == ["m"]


async def test_a_time_limit_ends_a_watch_that_was_written_to_directly() -> None:
    async with serving() as served, served.watch("&timeoutSeconds=1&allowWatchBookmarks=true") as watch:
        await served.make("a")
        await served.make("b")
        events = await watch.rest()
    assert [event["type"] for event in events] == ["ADDED", "ADDED", "BOOKMARK"]
    assert events[-1]["object"]["metadata"]["resourceVersion"] == str(served.api.store.revision)


async def test_a_watcher_that_has_gone_is_forgotten() -> None:
    async with serving() as served:
        async with served.watch():
            await served.make("a")
        await served.make("b")
        hub = served.api.store._hub  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            while ("/configmaps", "default") in hub._watches:
                await asyncio.sleep(0)
        await served.make("c")


async def test_a_server_that_stops_ends_watches_as_complete() -> None:
    async with serving() as served, served.watch() as watch:
        await served.make("a")
        assert await watch.names(1) == ["a"]
        await served.http.close(1)
        assert await watch.rest() == []


async def test_many_watchers_are_served_in_turns() -> None:
    """More than are served in one turn of the loop, some of them going while the others are served."""
    async with serving() as served:
        opened = [served.watch() for _ in range(300)]
        watches = [await each.__aenter__() for each in opened]
        for n in range(3):
            await served.make(f"m{n}")
        for each in opened[:20]:
            await each.__aexit__(None, None, None)
        await served.make("last")
        for watch in watches[20:]:
            assert await watch.names(4) == ["m0", "m1", "m2", "last"]
        for each in opened[20:]:
            await each.__aexit__(None, None, None)
