"""Names that are not the cluster's, asked of the machine's own resolvers.

The asking sockets are of the machine's network, not the node's: a thread that never leaves it makes them. (A thread has
its own network namespace, and a socket keeps the one that it was made in.)
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
import threading
from collections.abc import Callable
from queue import SimpleQueue

from homeport.node.sandbox import loop

_PORT = 53
_TRY_SECONDS = 2.0
_TRIES = 2
_MOST_PENDING = 4096


class HostSockets:
    """Sockets of the network namespace that the process was in when this was made."""

    def __init__(self) -> None:
        self._requests: SimpleQueue[tuple[int, int, int]] = SimpleQueue()
        self._answers: SimpleQueue[socket.socket | OSError] = SimpleQueue()
        threading.Thread(target=self._serve, name="host-sockets", daemon=True).start()

    def _serve(self) -> None:
        while True:
            family, kind, protocol = self._requests.get()
            try:
                self._answers.put(socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol))
            except OSError as error:
                self._answers.put(error)

    def open(self, server: str, kind: int) -> socket.socket:
        """A non-blocking socket for that server. Raises OSError."""
        return self.open_raw(socket.AF_INET6 if ":" in server else socket.AF_INET, kind)

    def open_raw(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A non-blocking socket. Raises OSError."""
        self._requests.put((family, kind, protocol))
        made = self._answers.get()
        if isinstance(made, OSError):
            raise made
        return made


class _Question:
    __slots__ = ("data", "is_stream", "reply", "servers", "socket", "timer")

    def __init__(self, data: bytes, reply: Callable[[bytes], None], servers: list[str], *, is_stream: bool) -> None:
        self.data = data
        self.reply = reply
        self.servers = servers
        """Who is still to be asked."""
        self.is_stream = is_stream
        self.socket: socket.socket | None = None
        self.timer: loop.Timer | None = None


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
                return nameservers(file.read())
        except OSError:
            return []

    def ask(self, data: bytes, reply: Callable[[bytes], None], *, stream: bool) -> bool:
        """Ask; `reply` gets the answer's bytes, none at all if no server gave one. False if there is nobody to ask."""
        servers = self._servers()
        if not servers or self._pending >= _MOST_PENDING:
            return False
        self._pending += 1
        self._try(_Question(data, reply, servers * _TRIES, is_stream=stream))
        return True

    def _try(self, question: _Question) -> None:
        """Ask the next server; with none left, say so."""
        self._close(question)
        while question.servers:
            try:
                self._send(question, question.servers.pop(0))
                return
            except OSError:
                self._close(question)
        self._pending -= 1
        question.reply(b"")

    def _send(self, question: _Question, server: str) -> None:
        made = self._sockets.open(server, socket.SOCK_STREAM if question.is_stream else socket.SOCK_DGRAM)
        question.socket = made
        with contextlib.suppress(BlockingIOError):
            made.connect((server, _PORT))
        question.timer = self._loop.after(_TRY_SECONDS, lambda: self._try(question))
        if question.is_stream:
            _Exchange(self._loop, made, question.data, lambda answer: self._answered(question, answer)).begin()
        else:
            made.send(question.data)
            self._loop.watch(made.fileno(), lambda _events: self._datagram(question, made))

    def _datagram(self, question: _Question, made: socket.socket) -> None:
        try:
            answer = made.recv(65535)
        except BlockingIOError:
            return
        except OSError:
            # Nobody listens there.
            answer = b""
        if not answer or answer[:2] == question.data[:2]:
            self._answered(question, answer)

    def _answered(self, question: _Question, answer: bytes) -> None:
        if not answer:
            self._try(question)
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

    def __init__(
        self, events: loop.Loop, connection: socket.socket, data: bytes, done: Callable[[bytes], None]
    ) -> None:
        self._loop = events
        self._socket = connection
        self._out = struct.pack(">H", len(data)) + data
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


def nameservers(text: str) -> list[str]:
    """The servers of resolv.conf(5) text, IPv4 and IPv6."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            found.append(words[1])
    return found
