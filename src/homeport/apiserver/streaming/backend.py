"""HTTP/1.1 to what runs in a pod: one request on one connection, its answer as a stream."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httptools

from homeport.kube.errors import ServiceUnavailable

log = logging.getLogger(__name__)
_MOST_HEAD = 1 << 16
_READ = 1 << 16
BODILESS = frozenset({204, 304})


class Exchange:
    """One request and its answer, on a connection that is closed with it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser: Any = httptools.HttpResponseParser(self)
        self._has_head = False
        self._complete = False
        self._chunks: deque[bytes] = deque()
        self._head_size = 0
        self._sending: asyncio.Task[None] | None = None
        self.headers: list[tuple[str, str]] = []
        """Lower-case names, in order; as often as each came."""
        self.status = 0

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | bytes,
        repeated: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Begin to send the request; the answer may come before it has been read. A body without ``content-length``
        goes in chunks. `repeated` are headers that may come several times."""
        head = [f"{method} {target} HTTP/1.1\r\n"]
        head += [f"{name}: {value}\r\n" for name, value in (*headers.items(), *repeated)]
        self._writer.write("".join((*head, "\r\n")).encode("latin-1", "replace"))
        if isinstance(body, bytes):
            self._writer.write(body)
        else:
            self._sending = asyncio.create_task(self._send(body, chunked="content-length" not in headers))

    async def _send(self, body: AsyncIterator[bytes], *, chunked: bool) -> None:
        try:
            async for part in body:
                self._writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
                await self._writer.drain()
            if chunked:
                self._writer.write(b"0\r\n\r\n")
        except ConnectionError as error:
            # The answer tells what the backend makes of it; if there is none, whoever waits for that will see.
            log.debug("a backend has closed its connection within a request: %s", error)

    async def receive(self, *, is_head: bool, upgrade: bool = False) -> None:
        """Return once the answer's status and headers are here; `upgrade` says whether they may switch protocols.
        Raises ServiceUnavailable if none comes, or one that nobody asked for."""
        while not self._has_head:
            await self._feed()
            if self._has_head and 100 <= self.status < 200 and self.status != 101:
                # Provisional: the answer proper follows.
                self._has_head, self.headers = False, []
        if self.status == 101 and not upgrade:
            raise ServiceUnavailable("error trying to reach service: it switched protocols unasked")
        if is_head or self.status in BODILESS:
            self._complete = True

    @property
    def leftover(self) -> bytes:
        """What has arrived behind an answer that switches protocols."""
        data = b"".join(self._chunks)
        self._chunks.clear()
        return data

    def body(self) -> Body:
        """The answer's body. A backend that breaks off raises ConnectionError: what was said is not all."""
        return Body(self)

    async def next(self) -> bytes | None:
        """A part of the answer's body; None at its end."""
        while not self._chunks:
            if self._complete:
                return None
            await self._feed()
        return self._chunks.popleft()

    def unread(self, data: bytes) -> None:
        """Let `data` be the next part of the body."""
        self._chunks.appendleft(data)

    def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
        self._writer.transport.abort()

    async def _feed(self) -> None:
        try:
            data = await self._reader.read(_READ)
        except OSError as error:
            raise ServiceUnavailable(f"error trying to reach service: {error}") from error
        if not data:
            if not self._has_head:
                raise ServiceUnavailable("error trying to reach service: EOF")
            if any(name in ("content-length", "transfer-encoding") for name, _ in self.headers):
                raise ConnectionResetError("the backend closed the connection within its answer")
            self._complete = True
            return
        if not self._has_head:
            self._head_size += len(data)
            if self._head_size > _MOST_HEAD + _READ:
                raise ServiceUnavailable("error trying to reach service: the answer's headers are too large")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._chunks.append(data[upgrade.args[0] :])
            self._complete = True
        except httptools.HttpParserError as error:
            if self._has_head:
                raise ConnectionResetError(f"the backend's answer is not HTTP/1.1: {error}") from error
            raise ServiceUnavailable(f"error trying to reach service: malformed HTTP response: {error}") from error

    # Called by the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:
            self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self._complete = True


class Body:
    """An answer's body as a stream. Closing it closes the connection, whether or not any of it was read."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        try:
            part = await self._exchange.next()
        except BaseException:
            self._exchange.close()
            raise
        if part is None:
            self._exchange.close()
            raise StopAsyncIteration
        return part

    async def aclose(self) -> None:
        self._exchange.close()
