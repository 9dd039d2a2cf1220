"""Bytes that arrive faster than they are used: bounded buffers with backpressure, and a connection as a byte stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

_HIGH, _LOW = 1 << 18, 1 << 16
"""Bytes that may wait before the sender is held up, and at which it may go on."""


class Inflow:
    """What has arrived on a transport and waits for its one reader. Reading from the transport pauses while too much
    waits, so that memory stays bounded whatever the peer sends."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._buffer = bytearray()
        self._ended = False
        self._error: ConnectionError | None = None
        self._paused = False
        self._dropping = False
        self._news: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        if self._dropping:
            return
        self._buffer += data
        if not self._paused and len(self._buffer) > _HIGH:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def feed_eof(self) -> None:
        """Nothing more comes; what is here can still be read."""
        self._ended = True
        self._wake()

    def lose(self) -> None:
        """The connection broke, if the end had not come before."""
        if not self._ended:
            self._error = ConnectionResetError("the connection is closed")
        self._wake()

    def discard(self) -> None:
        """Forget what is here, and what comes."""
        self._dropping = True
        self._buffer.clear()
        self._resume()

    async def read(self, limit: int = 65536) -> bytes:
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        if limit >= len(self._buffer):
            data = bytes(self._buffer)
            self._buffer.clear()
        else:
            data = bytes(self._buffer[:limit])
            del self._buffer[:limit]
        if len(self._buffer) <= _LOW:
            self._resume()
        return data

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            # A transport that is closing refuses.
            with suppress(RuntimeError):
                self._transport.resume_reading()


class Tunnel(Inflow):
    """A connection that has switched protocols (:class:`~homeport.kube.wire.Duplex`).

    `drain` waits until the peer has read enough of what was written.
    """

    def __init__(self, transport: asyncio.Transport, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(transport)
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._active = self._loop.time()

    @property
    def idle_seconds(self) -> float:
        """Since the last byte in either direction."""
        return self._loop.time() - self._active

    def feed(self, data: bytes) -> None:
        self._active = self._loop.time()
        super().feed(data)

    async def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._active = self._loop.time()
        self._transport.write(data)
        await self._drain()

    def write_eof(self) -> None:
        # A connection that can't be closed in one direction, or whose peer has gone, has nobody who waits for the end.
        with suppress(NotImplementedError, OSError):
            if self._transport.can_write_eof():
                self._transport.write_eof()
