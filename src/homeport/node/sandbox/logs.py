"""Container output on its way to the log file, in the CRI log format: ``<RFC3339Nano> <stream> <F|P> <text>``.

``P`` marks a piece of a line that goes on in the next entry: lines longer than 16 KiB, and a last line without its end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import Protocol

CHUNK = 16 << 10
_READ = 256 << 10
_LOG = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Stamps:
    """Times as RFC 3339 with nanoseconds, UTC. The seconds' part is kept between calls."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def now(self) -> str:
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{rest:09d}Z"


class LogFile:
    """One container's log, shared by its two streams. What the disk refuses is kept until it doesn't.

    A file that has grown to `most_bytes` makes room for a new one: it goes on as ``<path>.1``, the next one as
    ``<path>.2``, and of all of them the newest `most_files` stay. With 0 bytes it is one file for ever.
    """

    __slots__ = ("_descriptor", "_most_bytes", "_most_files", "_number", "_path", "_pending", "_size")

    def __init__(self, path: str, most_bytes: int = 0, most_files: int = 2, *, number: int = 0) -> None:
        """`number` is that of the newest file that has made room already. Raises OSError if the file can't be made."""
        self._path = path
        self._most_bytes = most_bytes
        self._most_files = max(most_files, 2)
        self._number = number
        try:
            self._descriptor = os.open(path, _LOG, 0o640)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            self._descriptor = os.open(path, _LOG, 0o640)
        self._size = os.fstat(self._descriptor).st_size
        self._pending = bytearray()

    @property
    def is_stuck(self) -> bool:
        """Whether something waits for room on the disk."""
        return bool(self._pending)

    def write(self, data: bytes) -> None:
        self._pending += data
        self.flush()

    def flush(self) -> bool:
        """Write what waits. False if the disk refused again."""
        while self._pending:
            try:
                written = os.write(self._descriptor, self._pending)
            except OSError:
                return False
            self._size += written
            del self._pending[:written]
        # What was pending is whole entries: nothing is torn apart here.
        if 0 < self._most_bytes <= self._size:
            with contextlib.suppress(OSError):  # there is none: this file grows on, and the next entry tries again
                self._make_room()
        return True

    def _make_room(self) -> None:
        """Begin a new file. Whoever looks finds the name there at any time, and the old content under the new name."""
        fresh, old = f"{self._path}.new", f"{self._path}.{self._number + 1}"
        descriptor = os.open(fresh, _LOG | os.O_TRUNC, 0o640)
        try:
            os.link(self._path, old)
            self._number += 1
            os.rename(fresh, self._path)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(self._descriptor)
        self._descriptor, self._size = descriptor, 0
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._path}.{self._number - self._most_files + 1}")

    def close(self) -> None:
        os.close(self._descriptor)


class Listener(Protocol):
    """Somebody who gets a copy of what a container writes."""

    @property
    def is_full(self) -> bool:
        """Whether the container has to wait."""

    def write(self, data: bytes) -> None: ...


class Stream:
    """One pipe from a container, or its terminal."""

    __slots__ = ("_line", "_log", "_stamps", "descriptor", "listeners", "name")

    def __init__(self, descriptor: int, name: str, log: LogFile, stamps: Stamps) -> None:
        self.descriptor = descriptor
        self.name = name
        self.listeners: list[Listener] = []
        self._log = log
        self._stamps = stamps
        self._line = b""

    def pump(self) -> bool:
        """Move one portion of what has arrived. False at the end of the stream; BlockingIOError if nothing has."""
        try:
            data = os.read(self.descriptor, _READ)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            # A terminal that no process has open any more.
            return False
        if not data:
            return False
        entries, self._line = format_entries(self._line + data, self._stamps.now(), self.name)
        self._log.write(entries)
        for listener in tuple(self.listeners):
            listener.write(data)
        return True

    def drain(self) -> None:
        """Move everything that is in the pipe now, and a last line without its end."""
        try:
            while self.pump():
                pass
        except BlockingIOError:
            # Somebody outside the container holds the other end too; what the container wrote is here.
            pass
        if self._line:
            self._log.write(f"{self._stamps.now()} {self.name} P ".encode() + self._line + b"\n")
            self._line = b""

    @property
    def is_held(self) -> bool:
        """Whether somebody who listens has to catch up first."""
        return any(listener.is_full for listener in self.listeners)

    def close(self) -> None:
        os.close(self.descriptor)


def format_entries(data: bytes, stamp: str, stream: str) -> tuple[bytes, bytes]:
    """The log entries of whole lines and of whole chunks of a long line, and the rest that waits for more."""
    full, part = f"{stamp} {stream} F ".encode(), f"{stamp} {stream} P ".encode()
    lines = data.split(b"\n")
    rest = lines.pop()
    out: list[bytes] = []
    for line in lines:
        while len(line) > CHUNK:
            out.append(part + line[:CHUNK])
            line = line[CHUNK:]
        out.append(full + line)
    while len(rest) > CHUNK:
        out.append(part + rest[:CHUNK])
        rest = rest[CHUNK:]
    out.append(b"")
    return b"\n".join(out), rest
