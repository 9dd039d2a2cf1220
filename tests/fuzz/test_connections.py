"""Connections that are meant to hurt, against the real server on real sockets and on the loop that it runs on: whoever
else comes is served at once, and memory stays where it was."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from api_testing import ADMIN, Caller, Clock, config_map, make_server, with_default_namespace

from homeport.apiserver import pki
from homeport.apiserver.authn import BearerTokens
from homeport.apiserver.http import HttpServer, Limits, serve
from homeport.apiserver.tokens import StaticTokens
from homeport.store.memory import MemoryStore

TOKEN = "the-token-of-the-administrator"
HEAD = b"Host: h\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n"
PING = b"GET /api/v1/namespaces/default HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n\r\n"
SOON = 2.0
"""Seconds in which an honest client is answered, whatever others do."""


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The loop decides what happens when there are no file descriptors left, and how TLS connections end."""

    @functools.wraps(test)
    def run(*args: Any, **options: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*args, **options))

    return run


class Served:
    """A listening server, and somebody who asks it."""

    def __init__(self, http: HttpServer, port: int, caller: Caller) -> None:
        self.http, self.port, self.caller = http, port, caller

    async def answers(self) -> None:
        """An honest client is served, soon."""
        begin = time.monotonic()
        assert (await self.talk(PING)).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - begin < SOON

    async def talk(self, data: bytes, *, end: bool = False, seconds: float = 10) -> bytes:
        """All that the server says to `data` until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = b""
        with suppress(ConnectionError):
            writer.write(data)
            if end:
                writer.write_eof()
            while chunk := await asyncio.wait_for(reader.read(1 << 16), seconds):
                answer += chunk
        writer.close()
        return answer

    def open(self, data: bytes = b"") -> socket.socket:
        """A connection that nobody reads."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.sendall(data)
        return sock


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None, **limits: float) -> AsyncIterator[Served]:
    store, clock = MemoryStore(), Clock()
    authenticators = [BearerTokens([StaticTokens({TOKEN: ADMIN})], ())]
    api = make_server(store, clock, authenticators=authenticators)
    caller = await with_default_namespace(Caller(api, store, clock))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    http = await serve(api, listener, context, limits=Limits(**limits))  # type: ignore[arg-type]
    try:
        yield Served(http, listener.getsockname()[1], caller)
    finally:
        await http.close(0.1)
        await api.close()


def memory() -> int:
    """Resident bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def gone(served: Served, seconds: float = 5) -> None:
    """All connections have ended."""
    async with asyncio.timeout(seconds):
        while served.http.connections:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"G",
        b"GET /api HTTP/1.1\r\nHost: h\r\nX: ",
        b"POST /api HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{",
        b"POST /api HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n{",
        b"POST /api HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: ",
    ],
)
@on_uvloop
async def test_clients_that_never_end_a_request(start: bytes) -> None:
    async with serving(header_seconds=0.3, body_seconds=0.3, linger_seconds=0.05) as served:
        idle = [served.open(start) for _ in range(200)]
        await served.answers()
        await gone(served)
        for sock in idle:
            sock.close()
        await served.answers()


@on_uvloop
async def test_a_drop_now_and_then_does_not_keep_headers_open() -> None:
    async with serving(header_seconds=0.5, linger_seconds=0.05) as served:
        sock = served.open(b"GET / HTTP/1.1\r\nHost: h\r\n")
        begin = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - begin < 5 and served.http.connections:
                sock.sendall(b"X: y\r\n")
                await asyncio.sleep(0.05)
        assert time.monotonic() - begin < 3
        sock.close()


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET / HTTP/1.1\r\n\r\n"])
@on_uvloop
async def test_handshakes_that_never_end(tmp_path: Path, said: bytes) -> None:
    context = pki.server_context(pki.ensure(tmp_path))
    async with serving(context, handshake_seconds=0.5) as served:
        idle = [served.open(said) for _ in range(50)]
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=trusting)
        writer.write(PING)
        assert (await asyncio.wait_for(reader.read(), SOON)).startswith(b"HTTP/1.1 200")
        writer.close()
        for sock in idle:
            sock.settimeout(0)
        async with asyncio.timeout(5):  # the server has hung up on each
            for sock in idle:
                while True:
                    with suppress(BlockingIOError):
                        try:
                            if not sock.recv(100):
                                break
                        except ConnectionError:
                            break
                    await asyncio.sleep(0.01)
                sock.close()


@on_uvloop
async def test_no_file_descriptors_are_left() -> None:
    """Honest clients wait until there are some again; the server neither spins nor dies."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(header_seconds=1.0) as served:
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, hard))
        held: list[socket.socket] = []
        try:
            with suppress(OSError):
                while True:
                    held.append(served.open())
                    await asyncio.sleep(0)
            begin = time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - begin < 0.4, "the server spins"
        finally:
            for sock in held:
                sock.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await gone(served)
        async with asyncio.timeout(5):
            await served.answers()


SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HEAD + b"\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Content-Length: 4\r\nContent-Length: 5",
        b"Content-Length: 4, 5",
        b"Content-Length: +4",
        b"Content-Length: 0x4",
        b"Content-Length : 4",
        b"Content-Length: 4 4",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b" Folded: x",
        b"X: a\r\n folded",
        b"X: a\rTransfer-Encoding: chunked",
        b"X\x00: a",
        b": a",
        b"X",
        b"Host: other",
    ],
)
@on_uvloop
async def test_requests_that_two_servers_would_read_differently(lines: bytes) -> None:
    async with serving(linger_seconds=0.05, header_seconds=0.5, body_seconds=0.5) as served:
        raw = await served.talk(b"POST /api HTTP/1.1\r\n" + HEAD + lines + b"\r\n\r\n0\r\n\r\n" + SMUGGLED)
        assert raw.startswith(b"HTTP/1.1 4"), raw
        assert raw.count(b"HTTP/1.1 ") == 1
        await served.answers()


@pytest.mark.parametrize(
    "chunks",
    [
        b"-1\r\n",
        b"0x1\r\nx",
        b"1 \r\nx",
        b"ffffffffffffffffff\r\n",
        b"1\r\nxy",
        b"1\nx\n0\n\n",
        b"\r\n",
        b"1;" + b"a" * (5 << 20),
    ],
    ids=range(8),
)
@on_uvloop
async def test_chunks_that_are_none(chunks: bytes) -> None:
    async with serving(linger_seconds=0.05, header_seconds=0.5, body_seconds=0.5) as served:
        head = b"POST /api HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        raw = await served.talk(head + chunks + b"\r\n0\r\n\r\n" + SMUGGLED)
        assert raw.startswith(b"HTTP/1.1 4") or not raw, raw
        assert raw.count(b"HTTP/1.1 ") <= 1
        await served.answers()


@on_uvloop
async def test_framing_without_end() -> None:
    """A body of nothing, with trailers or extensions that go on as long as the client likes."""
    async with serving(linger_seconds=0.05) as served:
        before = memory()
        head = b"POST /api HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        for endless in (b"0\r\nX: " + b"y" * (4 << 20), b"0\r\n" + b"X: y\r\n" * 700_000, b"1;" + b"a" * (4 << 20)):
            raw = await served.talk(head + endless)
            assert raw.startswith(b"HTTP/1.1 431") or not raw, raw[:200]
        assert memory() - before < 64 << 20
        await served.answers()


async def talk_in_small_chunks(served: Served) -> bytes:
    body = b'{"metadata":{"name":"small"},"data":{"a":"' + b"x" * 30_000 + b'"}}'
    head = b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    return await served.talk(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX: y\r\n\r\n")


@on_uvloop
async def test_chunks_of_one_byte_are_a_body() -> None:
    async with serving() as served:
        assert (await talk_in_small_chunks(served)).startswith(b"HTTP/1.1 201")


@on_uvloop
async def test_clients_that_ask_and_never_read() -> None:
    """Lists, watches, pipelined requests: what the sockets hold, and no more."""
    async with serving() as served:
        path = "/api/v1/namespaces/default/configmaps"
        for number in range(50):
            (await served.caller.post(path, config_map(f"m{number}", {"a": "x" * 50_000}))).ok(201)
        await served.answers()
        before = memory()
        ask = f"GET {path} HTTP/1.1\r\n".encode() + HEAD + b"\r\n"
        watch = f"GET {path}?watch=true HTTP/1.1\r\n".encode() + HEAD + b"\r\n"
        idle = [served.open(ask * 200) for _ in range(20)] + [served.open(watch) for _ in range(20)]
        await asyncio.sleep(0.5)
        for number in range(50):
            (await served.caller.post(path, config_map(f"n{number}", {"a": "x" * 50_000}))).ok(201)
            await asyncio.sleep(0)
        await served.answers()
        assert memory() - before < 300 << 20
        for sock in idle:
            sock.close()
        await gone(served)


@on_uvloop
async def test_a_thousand_watches_of_one_client() -> None:
    async with serving() as served:
        path = "/api/v1/namespaces/default/configmaps"
        before = memory()
        watch = f"GET {path}?watch=true HTTP/1.1\r\n".encode() + HEAD + b"\r\n"
        watching = []
        for _ in range(400):
            watching.append(served.open(watch))
            await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        await served.answers()
        (await served.caller.post(path, config_map("m"))).ok(201)
        await served.answers()
        assert memory() - before < 100 << 20
        for sock in watching:
            sock.close()
        await gone(served, 10)
