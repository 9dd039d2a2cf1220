"""Bytes from one task to another, with backpressure."""

from __future__ import annotations

import asyncio

ROOM = 1 << 18
"""Bytes that wait before the writer has to."""


class Pipe:
    """One reader, one writer."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._buffer = bytearray()
        self._ended = False
        self._error: ConnectionError | None = None
        self._changed = asyncio.Event()

    async def write(self, data: bytes) -> None:
        """Returns once the reader has caught up far enough; what comes after the end is dropped."""
        if self._ended:
            return
        self._buffer += data
        self._changed.set()
        while len(self._buffer) > self._room and not self._ended:
            await self._wait()

    def end(self, error: ConnectionError | None = None) -> None:
        """Nothing more comes. With an error the reader gets that instead of the end, at once."""
        if not self._ended:
            self._ended = True
            self._error = error
            if error is not None:
                self._buffer.clear()
            self._changed.set()

    def discard(self) -> None:
        """Nobody will read: the writer need not wait."""
        self._buffer.clear()
        self._room = 0
        self.end()

    async def read(self, limit: int = 65536) -> bytes:
        """What is there; empty at the end."""
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            await self._wait()
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        self._changed.set()
        return data

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()
