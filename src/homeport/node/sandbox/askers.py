"""Connections over which names are asked for by TCP, as resolvers do for long answers."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Protocol

from homeport.node.sandbox.loop import Loop

_IDLE_SECONDS = 10.0
_MOST = 128
"""Connections at a time; one more ends the oldest: a pod that keeps many open must not use up our descriptors."""


class Answer(Protocol):
    def __call__(self, data: bytes, reply: Callable[[bytes], None], *, stream: bool, asker: str = "") -> None:
        """Give `reply` the answer to a query, now or later. `asker` is the address that it came from."""


class StreamAskers:
    """Takes every connection of `listener`, and has its queries answered."""

    def __init__(self, events: Loop, listener: socket.socket, answer: Answer) -> None:
        self._loop = events
        self._listener = listener
        self._answer = answer
        self._open: dict[_Asker, None] = {}
        """The oldest first."""
        events.watch(listener.fileno(), self._accept)

    def _accept(self, _events: int) -> None:
        try:
            connection, address = self._listener.accept()
        except OSError:
            return  # the asker has gone before it was its turn
        asker = _Asker(self._loop, connection, address[0], self._answer, self._closed)
        self._open[asker] = None
        if len(self._open) > _MOST:
            next(iter(self._open)).close()

    def _closed(self, asker: _Asker) -> None:
        self._open.pop(asker, None)


class _Asker:
    """One connection; closed when idle."""

    def __init__(
        self,
        events: Loop,
        connection: socket.socket,
        address: str,
        answer: Answer,
        closed: Callable[[_Asker], None],
    ) -> None:
        connection.setblocking(False)
        self._loop = events
        self._connection = connection
        self._address = address
        self._answer = answer
        self._closed = closed
        self._in = bytearray()
        self._is_open = True
        self._timer = events.after(_IDLE_SECONDS, self.close)
        events.watch(connection.fileno(), self._ready)

    def _ready(self, _events: int) -> None:
        try:
            data = self._connection.recv(65537)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._timer.cancel()
        self._timer = self._loop.after(_IDLE_SECONDS, self.close)
        self._in += data
        while self._is_open and len(self._in) >= 2:
            length = int.from_bytes(self._in[:2], "big")
            if len(self._in) < 2 + length:
                return
            query = bytes(self._in[2 : 2 + length])
            del self._in[: 2 + length]
            self._answer(query, self._reply, stream=True, asker=self._address)

    def _reply(self, answer: bytes) -> None:
        if not self._is_open:
            return
        try:
            self._connection.sendall(struct.pack(">H", len(answer)) + answer)
        except OSError:
            self.close()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._timer.cancel()
            self._loop.forget(self._connection.fileno())
            self._connection.close()
            self._closed(self)
