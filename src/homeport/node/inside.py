"""A client's session in a container, on the platform's side: the supervisor has sent the ends, and tells the exit.

The counterpart of :mod:`homeport.node.sandbox.sessions`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from homeport.node.control import Connection, readable
from homeport.node.pipes import PipeReader, PipeWriter
from homeport.node.runtime import Reader, SandboxError, StartError, Writer
from homeport.node.sandbox import spec, terminal, wire


class _Input:
    """A process's input. `closed` is called when it ends."""

    def __init__(self, pipe: PipeWriter, closed: Callable[[], None]) -> None:
        self._pipe = pipe
        self._closed = closed

    async def write(self, data: bytes) -> None:
        await self._pipe.write(data)

    def close(self) -> None:
        self._pipe.close()
        self._closed()


class InsideSession:
    """Implements :class:`homeport.node.runtime.Session`."""

    def __init__(self, ends: dict[str, int], connection: Connection, *, attached: bool) -> None:
        self._connection = connection
        self._attached = attached
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._terminal: int | None = None
        self._readers: list[PipeReader] = []
        self._writer: PipeWriter | None = None
        self.stdin: Writer | None = None
        self.stdout: Reader | None = None
        self.stderr: Reader | None = None
        for name, end in ends.items():
            if name == "terminal":
                self._terminal = os.dup(end)
                self._writer = PipeWriter(end)
                # A terminal has no end of input; who is attached to a container gets a copy of its output besides.
                self.stdin = self._writer
                if not attached:
                    self.stdout = self._reader(os.dup(end))
            elif name == "stdin":
                self._writer = PipeWriter(end)
                self.stdin = _Input(self._writer, self._stdin_closed) if attached else self._writer
            else:
                setattr(self, name, self._reader(end))
        connection.listen(self._event, self._closed)

    def _reader(self, end: int) -> PipeReader:
        reader = PipeReader(end)
        self._readers.append(reader)
        return reader

    def _stdin_closed(self) -> None:
        self._connection.tell(op="close-stdin")

    def _event(self, message: dict[str, Any]) -> None:
        if message["event"] == "exited" and not self._exit.done():
            self._exit.set_result(int(message["code"]))
            if not self._attached:
                # Of an attached container's output the supervisor may still have some, and ends it itself.
                for reader in self._readers:
                    reader.finish()

    def _closed(self) -> None:
        if not self._exit.done():
            self._exit.set_exception(ConnectionResetError("the pod's supervisor has ended"))
            self._exit.exception()  # seen: nobody has to wait

    def resize(self, rows: int, columns: int) -> None:
        if self._terminal is not None:
            terminal.resize(self._terminal, rows, columns)

    async def wait(self) -> int:
        return await asyncio.shield(self._exit)

    def kill(self) -> None:
        if not self._attached:
            self._connection.tell(op="kill")

    def close(self) -> None:
        self._connection.close()
        for reader in self._readers:
            reader.close()
        if self._writer is not None:
            self._writer.close()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None
        self._exit.cancel()


async def ask(directory: str, **message: Any) -> tuple[socket.socket, wire.Message, list[int]]:
    """Ask the supervisor of the pod in that directory, over a connection of its own that the caller gets.

    Raises SandboxError with what it says against it, StartError for a command that can't be started, and OSError if the
    supervisor has gone.
    """
    connected = wire.connect(os.path.join(directory, spec.SOCKET_FILE))
    try:
        connected.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(connected, wire.encode({"id": 0, **message}))
        await readable(connected.fileno())
        answer, descriptors = wire.receive_descriptors(connected)
    except BaseException:
        connected.close()
        raise
    if "error" not in answer:
        return connected, answer, descriptors
    connected.close()
    if "code" in answer:
        raise StartError(str(answer["error"]), int(str(answer["code"])))
    raise SandboxError(str(answer["error"]))


async def open_session(directory: str, *, attached: bool, **message: Any) -> InsideSession:
    """Raises as :func:`ask` does."""
    connected, answer, descriptors = await ask(directory, **message)
    try:
        names = answer.get("ends")
        if not isinstance(names, list) or len(names) != len(descriptors):
            raise SandboxError("the streams of the session were not handed over: its container is about to end")
        connection = await Connection.open(connected)
    except BaseException:
        connected.close()
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return InsideSession(dict(zip(names, descriptors, strict=True)), connection, attached=attached)


async def connect(directory: str, port: int) -> socket.socket:
    """A connection to the pod's own loopback, IPv4 before IPv6. Raises OSError."""
    refused: OSError | None = None
    for family, host in (("ipv4", "127.0.0.1"), ("ipv6", "::1")):
        try:
            connected, _, descriptors = await ask(directory, op="socket", family=family)
        except SandboxError as error:
            raise OSError(errno.ENETDOWN, str(error)) from None
        connected.close()
        made = socket.socket(fileno=descriptors[0])
        try:
            made.setblocking(False)
            await asyncio.get_running_loop().sock_connect(made, (host, port))
            return made
        except OSError as error:
            made.close()
            refused = refused or error
        except BaseException:
            made.close()
            raise
    assert refused is not None
    raise refused
