"""JSON lines over unix sockets, and descriptors beside them.

Paths of unix sockets are limited to 107 bytes and data directories are not, so a socket is bound and dialled through
``/proc/self/fd/<directory>/<name>``, or elsewhere through a link to the directory that is there for that moment.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator

Message = dict[str, object]

_MOST_DESCRIPTORS = 4
_LONGEST_PATH = 100 - 12
"""Bytes of a socket's path: macOS takes 103 (sys/un.h), and while one is made it has a suffix."""
MAX_LINE = 16 << 20
"""Longest message in bytes; a container's environment is limited by the kernel to far less."""


@contextlib.contextmanager
def _through(path: str) -> Iterator[str]:
    """A short name for a path, while it lasts."""
    directory, name = os.path.split(path)
    if sys.platform == "linux":
        descriptor = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}/{name}"
        finally:
            os.close(descriptor)
        return
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield path
        return
    os.stat(directory)  # which says that it is not there as everywhere
    own = f"/tmp/.homeport-{os.getpid()}-{os.urandom(8).hex()}"
    os.mkdir(own, 0o700)
    try:
        os.symlink(os.path.abspath(directory), f"{own}/d")
        yield f"{own}/d/{name}"
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{own}/d")
        os.rmdir(own)


def listen(path: str, backlog: int = 1024) -> socket.socket:
    """A non-blocking listener at the path, for its owner only; takes the place of one left by an earlier process."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        with _through(path) as short:
            temporary = f"{short}.{os.getpid()}"
            # Renamed into place once it listens: whoever finds the name can connect.
            listener.bind(temporary)
            os.chmod(temporary, 0o600)
            listener.listen(backlog)
            os.rename(temporary, short)
    except BaseException:
        listener.close()
        raise
    return listener


def bind(path: str) -> int:
    """A descriptor of a socket at the path that does not listen yet: whoever connects is refused."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _through(path) as short:
            made.bind(short)
            os.chmod(short, 0o600)
        return made.detach()
    finally:
        made.close()


def connect(path: str) -> socket.socket:
    """A connection, blocking. Raises FileNotFoundError or ConnectionRefusedError if nobody listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _through(path) as short:
            connection.connect(short)
    except BaseException:
        connection.close()
        raise
    return connection


def peer_pid(connection: socket.socket) -> int:
    """The process that listens at the other end of a connection made by :func:`connect`."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], sys.byteorder)


def encode(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Bytes in, messages out."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes. Raises ValueError for what is no JSON object or is too long."""
        self._buffer += data
        if len(self._buffer) > MAX_LINE:
            raise ValueError(f"a message is longer than {MAX_LINE} bytes")
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError("a message is a JSON object")
            yield message


def send_descriptors(connection: socket.socket, message: Message, descriptors: list[int]) -> None:
    """One short message with descriptors; all arrive by :func:`receive_descriptors`."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())] if descriptors else []
    connection.sendmsg([encode(message)], rights)


def receive_descriptors(connection: socket.socket) -> tuple[Message, list[int]]:
    """The counterpart of :func:`send_descriptors`. What follows the message stays: to one without descriptors the
    kernel joins the next. Raises ConnectionError at the stream's end."""
    length = connection.recv(65536, socket.MSG_PEEK).find(b"\n") + 1 or 65536
    data, descriptors, _flags, _address = socket.recv_fds(connection, length, _MOST_DESCRIPTORS)
    if not data:
        raise ConnectionResetError("the other side closed the connection")
    return json.loads(data), descriptors


class Peer:
    """A non-blocking connection with an output buffer, for event loops on epoll."""

    __slots__ = ("_out", "connection", "lines")

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.lines = Lines()
        self._out = bytearray()

    def fileno(self) -> int:
        return self.connection.fileno()

    @property
    def queued(self) -> int:
        """Bytes that the socket hasn't taken yet."""
        return len(self._out)

    def send(self, message: Message) -> None:
        """Queue a message and write what the socket takes. Raises OSError if the other side has gone."""
        self._out += encode(message)
        self.flush()

    def flush(self) -> None:
        while self._out:
            try:
                sent = self.connection.send(self._out)
            except BlockingIOError:
                return
            del self._out[:sent]

    def receive(self) -> list[Message] | None:
        """The messages that have arrived; None once the other side has gone or talks nonsense."""
        try:
            data = self.connection.recv(1 << 18)
            return list(self.lines.feed(data)) if data else None
        except BlockingIOError:
            return []
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        self.connection.close()
