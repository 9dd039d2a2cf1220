"""A server on a real socket and loop for clients that mean harm, and an honest one that asks it meanwhile."""

from __future__ import annotations

import asyncio
import functools
import gc
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import uvloop
from api_testing import ADMIN, Caller, Clock, make_server, with_default_namespace

from homeport.apiserver.authn import BearerTokens
from homeport.apiserver.tokens import StaticTokens
from homeport.apiserver.transport.http import HttpServer, Limits, serve
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
        answer = await self.talk(PING)
        assert answer.startswith(b"HTTP/1.1 200"), answer[:500]
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


def allow_descriptors(count: int) -> None:
    """Let this process have that many file descriptors, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
