"""A load generator for the API server: a fixed number of TLS connections, each with one request under way.

It does as little as it can for each answer (it finds the end of it), since it shares the machine with the server.
"""

from __future__ import annotations

import asyncio
import gc
import re
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_LENGTH = re.compile(rb"content-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server is and how to prove who asks."""

    port: int
    tls: ssl.SSLContext
    token: str

    def request(self, method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> bytes:
        """One request as it goes on the wire."""
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {self.token}\r\n"
        if body:
            head += f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body


class Refused(Exception):
    """The server answered with an error."""


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last one is complete."""

    def __init__(self, requests: Callable[[], bytes | None], expect: bytes, done: asyncio.Future[None]) -> None:
        self._requests, self._expect, self._done = requests, expect, done
        self._buffer = bytearray()
        self._missing = 0
        """Bytes of the body that are still to come; 0 while the head is read."""
        self.times: list[float] = []
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]

    def begin(self) -> None:
        self._next()

    def _next(self) -> None:
        request = self._requests()
        if request is None:
            self._transport.close()  # type: ignore[attr-defined]
            if not self._done.done():
                self._done.set_result(None)
            return
        self._sent = time.perf_counter()
        self._transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
            if self._missing == 0:
                self._complete()
            return
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        if not self._buffer.startswith(self._expect):
            self._done.set_exception(Refused(bytes(self._buffer[:2000])))
            self._transport.abort()  # type: ignore[attr-defined]
            return
        found = _LENGTH.search(self._buffer, 0, end + 2)
        assert found is not None, bytes(self._buffer[:end])
        self._missing = end + 4 + int(found[1]) - len(self._buffer)
        self._buffer.clear()
        if self._missing == 0:
            self._complete()

    def _complete(self) -> None:
        self.times.append(time.perf_counter() - self._sent)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("the server closed the connection"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round of requests came to."""

    count: int
    seconds: float
    times: Sequence[float]
    """Of each request, in seconds."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.count / self.seconds


async def run(target: Target, requests: Sequence[bytes], connections: int, status: int = 200) -> Outcome:
    """Send all `requests` over so many connections; every answer has to have `status`."""
    waiting = iter(requests)
    loop = asyncio.get_running_loop()
    expect = f"HTTP/1.1 {status} ".encode()
    done = [loop.create_future() for _ in range(connections)]
    opened = [
        await loop.create_connection(
            lambda end=end: _Connection(lambda: next(waiting, None), expect, end),  # type: ignore[misc]
            "127.0.0.1",
            target.port,
            ssl=target.tls,
            server_hostname="localhost",
        )
        for end in done
    ]
    begin = time.perf_counter()
    for _, connection in opened:
        connection.begin()
    await asyncio.gather(*done)
    seconds = time.perf_counter() - begin
    times = [one for _, connection in opened for one in connection.times]
    return Outcome(len(requests), seconds, times)


class _Watcher(asyncio.Protocol):
    """Counts the events of a watch and notes how long after their writing they came."""

    def __init__(self, request: bytes, opened: asyncio.Future[None], seen: Callable[[bytes], None]) -> None:
        self._request, self._opened, self._seen = request, opened, seen
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self._opened.done():
            self._opened.set_result(None)
        self._seen(data)


async def watch(target: Target, path: str, count: int, seen: Callable[[bytes], None]) -> list[asyncio.BaseTransport]:
    """Open `count` watches; `seen` gets every piece that comes in. The connections, for the caller to close."""
    loop = asyncio.get_running_loop()
    request = target.request("GET", path)
    transports = []
    for _ in range(count):
        opened = loop.create_future()
        transport, _ = await loop.create_connection(
            lambda opened=opened: _Watcher(request, opened, seen),  # type: ignore[misc]
            "127.0.0.1",
            target.port,
            ssl=target.tls,
            server_hostname="localhost",
        )
        await opened
        transports.append(transport)
    gc.collect()  # all that was opened stays: no need to look through it while something is measured
    gc.freeze()
    return transports
