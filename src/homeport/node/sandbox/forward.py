"""Names that are not the cluster's, asked of the machine's own resolvers.

The asking sockets are of the machine's network, not the node's: a thread that never leaves it makes them. (A thread has
its own network namespace, and a socket keeps the one that it was made in.)
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from queue import SimpleQueue

from homeport.node.sandbox import dns, loop

_TRY_SECONDS = 2.0
_TRIES = 2
_MOST_PENDING = 4096


class HostSockets:
    """Sockets of the network namespace that the process was in when this was made."""

    def __init__(self) -> None:
        self._requests: SimpleQueue[tuple[int, int]] = SimpleQueue()
        self._answers: SimpleQueue[socket.socket | OSError] = SimpleQueue()
        threading.Thread(target=self._serve, name="host-sockets", daemon=True).start()

    def _serve(self) -> None:
        while True:
            family, kind = self._requests.get()
            try:
                self._answers.put(socket.socket(family, kind | socket.SOCK_NONBLOCK))
            except OSError as error:
                self._answers.put(error)

    def open(self, server: str, kind: int) -> socket.socket:
        """A non-blocking socket for that server. Raises OSError."""
        self._requests.put((socket.AF_INET6 if ":" in server else socket.AF_INET, kind))
        made = self._answers.get()
        if isinstance(made, OSError):
            raise made
        return made


class _Question:
    __slots__ = ("data", "reply", "server", "socket", "timer", "tries")

    def __init__(self, data: bytes, reply: Callable[[bytes], None]) -> None:
        self.data = data
        self.reply = reply
        self.server = ""
        self.socket: socket.socket | None = None
        self.timer: loop.Timer | None = None
        self.tries = 0


class Forwarder:
    """Asks over UDP what came by UDP, and over TCP what came by TCP. Each question has a socket of its own, hence a
    random port and no doubt about what an answer belongs to."""

    def __init__(self, events: loop.Loop, sockets: HostSockets, resolv_conf: str = "/etc/resolv.conf") -> None:
        self._loop = events
        self._sockets = sockets
        self._path = resolv_conf
        self._pending = 0

    def _servers(self) -> list[str]:
        """Read each time: it changes when a laptop moves."""
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                return dns.nameservers(file.read())
        except OSError:
            return []

    def ask(self, data: bytes, reply: Callable[[bytes], None], *, stream: bool) -> bool:
        """Ask; `reply` gets the answer's bytes, or an empty string if no server gave one. False if there is nobody to ask."""
        servers = self._servers()
        if not servers or self._pending >= _MOST_PENDING:
            return False
        self._pending += 1
        self._try(_Question(data, reply), servers * _TRIES, stream)
        return True

    def _try(self, question: _Question, servers: list[str], stream: bool) -> None:
        self._close(question)
        while servers:
            server, servers = servers[0], servers[1:]
            try:
                question.socket = self._sockets.open(server, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
                with contextlib.suppress(BlockingIOError):
                    question.socket.connect((server, 53))
                if not stream:
                    question.socket.send(question.data)
            except OSError:
                self._close(question)
                continue
            rest = servers
            question.timer = self._loop.after(_TRY_SECONDS, lambda: self._try(question, rest, stream))
            if stream:
                _Exchange(self._loop, question, lambda answer: self._answered(question, answer, rest, stream)).begin()
            else:
                self._loop.watch(question.socket.fileno(), lambda _events: self._datagram(question, rest))
            return
        self._pending -= 1
        question.reply(b"")

    def _datagram(self, question: _Question, rest: list[str]) -> None:
        assert question.socket is not None
        try:
            answer = question.socket.recv(65535)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        if answer and answer[:2] != question.data[:2]:
            return
        self._answered(question, answer, rest, stream=False)

    def _answered(self, question: _Question, answer: bytes, rest: list[str], stream: bool) -> None:
        if not answer:
            self._try(question, rest, stream)
            return
        self._close(question)
        self._pending -= 1
        question.reply(answer)

    def _close(self, question: _Question) -> None:
        if question.timer is not None:
            question.timer.cancel()
            question.timer = None
        if question.socket is not None:
            self._loop.forget(question.socket.fileno())
            question.socket.close()
            question.socket = None


class _Exchange:
    """One question and answer on a TCP connection that is being made."""

    def __init__(self, events: loop.Loop, question: _Question, done: Callable[[bytes], None]) -> None:
        assert question.socket is not None
        self._loop = events
        self._socket = question.socket
        self._out = struct.pack(">H", len(question.data)) + question.data
        self._in = bytearray()
        self._done = done

    def begin(self) -> None:
        self._loop.watch(self._socket.fileno(), self._ready, loop.WRITE)

    def _ready(self, _events: int) -> None:
        try:
            if self._out:
                self._out = self._out[self._socket.send(self._out) :]
                if not self._out:
                    self._loop.watch(self._socket.fileno(), self._ready)
                return
            data = self._socket.recv(65537)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._in += data
        if not data:
            self._done(b"")
        elif len(self._in) >= 2 and len(self._in) >= 2 + (length := int.from_bytes(self._in[:2], "big")):
            self._done(bytes(self._in[2 : 2 + length]))


def random_number() -> bytes:
    """A query number that nobody can guess."""
    return os.urandom(2)
