"""The platform's end of a helper's socket: requests and their answers, and events."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any, cast

from homeport.node.runtime import SandboxError
from homeport.node.sandbox import wire


class Connection(asyncio.Protocol):
    """Requests and their answers, and events, on one socket. Events wait until :meth:`listen` says who hears them."""

    def __init__(self) -> None:
        self._on_event: Callable[[dict[str, Any]], None] | None = None
        self._on_close: Callable[[], None] | None = None
        self._early: list[dict[str, Any]] = []
        self._lines = wire.Lines()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._transport: asyncio.Transport | None = None
        self._is_lost = False

    @classmethod
    async def open(cls, connected: socket.socket) -> Connection:
        """Take over a connected socket."""
        connected.setblocking(False)
        _, connection = await asyncio.get_running_loop().create_unix_connection(cls, sock=connected)
        return connection

    def listen(self, on_event: Callable[[dict[str, Any]], None], on_close: Callable[[], None]) -> None:
        """Hear every event, including those that came before, and the end (at once if it has come)."""
        self._on_event, self._on_close = on_event, on_close
        early, self._early = self._early, []
        for message in early:
            on_event(message)
        if self._is_lost:
            on_close()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def request(self, **message: Any) -> dict[str, Any]:
        """The answer; raises SandboxError with what the other side says against it, ConnectionError if it goes."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._transport.write(wire.encode({"id": number, **message}))
            found = await answer
        finally:
            self._waiting.pop(number, None)
        if "error" in found:
            raise SandboxError(found["error"])
        return found

    def tell(self, **message: Any) -> None:
        """Say something that has no answer; to nobody, if the other side has gone."""
        if self.is_open:
            assert self._transport is not None
            self._transport.write(wire.encode(message))

    def close(self) -> None:
        """Close without telling ``on_close``."""
        self._on_close = None
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by inheritance.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            messages = list(self._lines.feed(data))
        except ValueError:
            # Not one of ours; nothing that it says can be understood.
            assert self._transport is not None
            self._transport.abort()
            return
        for message in messages:
            number = message.get("id")
            if "event" in message:
                if self._on_event is None:
                    self._early.append(message)
                else:
                    self._on_event(message)
            elif isinstance(number, int) and (waiting := self._waiting.get(number)) and not waiting.done():
                waiting.set_result(message)

    def connection_lost(self, error: Exception | None) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionResetError("the other side closed the connection"))
        self._is_lost = True
        if self._on_close is not None:
            self._on_close()


async def readable(descriptor: int) -> None:
    """Return once the descriptor can be read, or once the process has ended that a pidfd stands for."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
