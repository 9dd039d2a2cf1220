"""Connections that leave HTTP: switching, backpressure, ends, and what must never be taken for a request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from homeport.apiserver.transport.http import HttpServer, Limits, serve
from homeport.kube.wire import Duplex, Request, Response

UPGRADE = b"Host: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"
SWITCH = {"connection": "Upgrade", "upgrade": "echo"}


class Echo:
    """Switches where it is asked to, and says back what it hears."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.cancelled = False
        self.reading = asyncio.Event()
        self.reading.set()

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        if "upgrade" not in request.headers or request.path == "/refused":
            return Response(200, {}, b"plain")
        return Response(101, dict(SWITCH), upgrade=self.talk)

    async def talk(self, peer: Duplex) -> None:
        try:
            await self.reading.wait()
            while data := await peer.read():
                await peer.write(data)
            await peer.write(b"bye")
        except asyncio.CancelledError:
            self.cancelled = True
            raise


@pytest.fixture
def echo() -> Echo:
    return Echo()


@asynccontextmanager
async def serving(echo: Echo, **limits: float) -> AsyncIterator[tuple[HttpServer, int]]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = await serve(echo, listener, limits=Limits(**limits))  # type: ignore[arg-type]
    try:
        yield server, listener.getsockname()[1]
    finally:
        await server.close(1)


async def test_a_connection_switches_and_half_closes(echo: Echo) -> None:
    async with serving(echo) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        # What follows at once belongs to the new protocol, and so does what looks like a request.
        writer.write(b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"content-length" not in head
        writer.write(b"more")
        writer.write_eof()
        assert await reader.read() == b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\nmorebye"
        writer.close()
    assert [request.path for request in echo.requests] == ["/"]


@pytest.mark.parametrize(
    "request_",
    [b"GET /refused HTTP/1.1\r\n" + UPGRADE + b"\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: echo\r\n\r\n"],
)
async def test_without_the_switch_nothing_behind_the_request_is_parsed(echo: Echo, request_: bytes) -> None:
    """The second has no ``Connection: Upgrade``: it asks for nothing, and its connection is HTTP's as before."""
    async with serving(echo) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_ + b"GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    if b"/refused" in request_:
        assert [request.path for request in echo.requests] == ["/refused"]
        assert answer.count(b"HTTP/1.1") == 1
    else:
        assert [request.path for request in echo.requests] == ["/", "/next"]
        assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("framing", [b"Content-Length: 4", b"Transfer-Encoding: chunked"])
async def test_a_body_and_an_upgrade_do_not_go_together(echo: Echo, framing: bytes) -> None:
    async with serving(echo) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST / HTTP/1.1\r\n" + UPGRADE + b"Content-Length: 4\r\n\r\nbodyGET /x HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"can't have a body" in answer
    assert echo.requests == []


async def test_a_peer_that_sends_too_fast_is_held_up(echo: Echo) -> None:
    echo.reading.clear()
    async with serving(echo) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.set_write_buffer_limits(0)  # type: ignore[attr-defined]
        writer.write(bytes(64 << 20))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.drain(), 0.3)
        echo.reading.set()
        got = 0
        while got < 64 << 20:
            got += len(await reader.read(1 << 20))
        writer.write_eof()
        assert await reader.read() == b"bye"
        writer.close()


async def test_the_conversation_is_cancelled_when_the_peer_goes_or_the_server_stops(echo: Echo) -> None:
    async with serving(echo) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await server.close(1)
        assert await reader.read() == b""
        writer.close()
    assert echo.cancelled


async def test_an_idle_conversation_ends(echo: Echo) -> None:
    async with serving(echo, tunnel_idle_seconds=0.05, idle_seconds=0.05, header_seconds=0.05) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
