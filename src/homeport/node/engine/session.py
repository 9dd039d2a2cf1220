"""A client's session in a container of the engine: a command in it, or its own streams."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from homeport.node.engine.api import EngineError
from homeport.node.engine.frames import STREAMS, Frames
from homeport.node.runtime import Reader, SandboxError, Wanted, Writer

_HIGH_WATER = 256 << 10
"""Bytes that wait for a reader before the engine has to."""

Resize = Callable[[int, int], Awaitable[None]]


class _Output:
    """One stream of the session, to be read."""

    def __init__(self, drained: asyncio.Event) -> None:
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self._drained = drained
        self._is_over = False

    def put(self, data: bytes) -> None:
        self._buffer += data
        self._arrived.set()

    def end(self) -> None:
        self._is_over = True
        self._arrived.set()

    @property
    def is_full(self) -> bool:
        return len(self._buffer) > _HIGH_WATER

    async def read(self, limit: int = 65536) -> bytes:
        while not self._buffer and not self._is_over:
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        self._drained.set()
        return data


class _Input:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    async def write(self, data: bytes) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(self._connection, data)
        except (OSError, ValueError) as error:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)


class EngineSession:
    """Implements :class:`homeport.node.runtime.Session` on a hijacked connection. `exited` gives the exit code, after
    the connection has ended for a command, whenever it comes for a container; `resize` is for the terminal, and `kill`
    ends a command."""

    def __init__(
        self,
        connection: socket.socket,
        early: bytes,
        wanted: Wanted,
        *,
        tty: bool,
        exited: Callable[[], Awaitable[int]],
        resize: Resize,
        kill: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._connection = connection
        self._exited = exited
        self._resize = resize
        self._kill = kill
        self._tasks: set[asyncio.Task[None]] = set()
        self._drained = asyncio.Event()
        self._size: tuple[int, int] | None = None
        self._has_spoken = False
        shown = {"stdout"} if tty else {name for name in STREAMS.values() if getattr(wanted, name)}
        self._outputs = {name: _Output(self._drained) for name in shown}
        self._frames = None if tty else Frames()
        self.stdin: Writer | None = _Input(connection) if wanted.stdin else None
        self.stdout: Reader | None = self._outputs.get("stdout")
        self.stderr: Reader | None = self._outputs.get("stderr")
        self._pump = asyncio.get_running_loop().create_task(self._read(early))

    async def _read(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                if data:
                    self._take(data)
                while any(output.is_full for output in self._outputs.values()):
                    self._drained.clear()
                    await self._drained.wait()
                data = await loop.sock_recv(self._connection, 65536)
                if not data:
                    return
        except OSError:
            return  # the engine has gone: the streams end here
        finally:
            for output in self._outputs.values():
                output.end()

    def _take(self, data: bytes) -> None:
        if self._frames is None:
            if not self._has_spoken and self._size is not None:
                # Podman takes a size for a terminal that is not there yet, and forgets it. Now there is one.
                self.resize(*self._size)
            self._has_spoken = True
            self._outputs["stdout"].put(data)
            return
        for stream, content in self._frames.feed(data):
            if stream in self._outputs:
                self._outputs[stream].put(content)

    def resize(self, rows: int, columns: int) -> None:
        self._size = (rows, columns)
        self._spawn(self._resized(rows, columns))

    def kill(self) -> None:
        if self._kill is not None:
            self._spawn(self._killed(self._kill))

    async def _killed(self, kill: Callable[[], Awaitable[None]]) -> None:
        # It may just have ended.
        with contextlib.suppress(EngineError, SandboxError):
            await kill()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _resized(self, rows: int, columns: int) -> None:
        # Of a process that has just ended there is no terminal.
        with contextlib.suppress(ConnectionError):
            await self._resize(rows, columns)

    async def wait(self) -> int:
        return await self._exited()

    async def drained(self) -> None:
        """Return once the connection has ended."""
        await asyncio.shield(self._pump)

    def close(self) -> None:
        self._pump.add_done_callback(lambda _: self._connection.close())
        self._pump.cancel()
