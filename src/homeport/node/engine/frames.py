"""What the engine sends of a container's output: frames of its streams, and entries of its log. Pure.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from homeport.node.cri import moment_key
from homeport.node.sandbox.logs import CHUNK

_HEADER = 8
STREAMS = {1: "stdout", 2: "stderr"}


class Frames:
    """Takes the frames apart in which the engine mixes output and errors."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """(stream, bytes) of the frames that `data` completes."""
        self._buffer += data
        while len(self._buffer) >= _HEADER:
            end = _HEADER + int.from_bytes(self._buffer[4:_HEADER], "big")
            if len(self._buffer) < end:
                return
            stream = STREAMS.get(self._buffer[0])
            content = bytes(self._buffer[_HEADER:end])
            del self._buffer[:end]
            if stream is not None:
                yield stream, content


class Written(NamedTuple):
    """How far a log file has got: the last entry's time stamp, and how many bytes of output have that time stamp.

    The engine's clock may be coarse (Podman's logs had seconds before version 5), so the time alone says too little.
    """

    stamp: bytes
    size: int


def written(log: bytes) -> Written | None:
    """What the whole entries at the end of a log file say; None if there are none."""
    last: bytes | None = None
    size = 0
    for entry in reversed(log[: log.rfind(b"\n") + 1].split(b"\n")[:-1]):
        stamp, _, rest = entry.partition(b" ")
        if last is not None and stamp != last:
            break
        last = stamp
        _stream, tag, text = rest.split(b" ", 2)
        size += len(text) + (tag == b"F")
    return None if last is None else Written(last, size)


class Entries:
    """Turns the engine's log, with its time stamps, into entries of the CRI log format. What comes up to `after` is
    left out. `framed` is false for a container with a terminal."""

    def __init__(self, *, framed: bool, after: Written | None = None) -> None:
        self._frames = Frames() if framed else None
        self._rest = b""
        self._after = moment_key(after.stamp) if after else None
        self._to_skip = after.size if after else 0

    def feed(self, data: bytes) -> bytes:
        """The entries that `data` completes."""
        if self._frames is not None:
            return b"".join(self._entry(stream, content) for stream, content in self._frames.feed(data))
        *lines, self._rest = (self._rest + data).split(b"\n")
        return b"".join(self._entry("stdout", line + b"\n") for line in lines)

    def end(self) -> bytes:
        """A last line without its end."""
        rest, self._rest = self._rest, b""
        return self._entry("stdout", rest) if rest else b""

    def _entry(self, stream: str, content: bytes) -> bytes:
        stamp, _, text = content.partition(b" ")
        if self._after is not None:
            text = self._unwritten(moment_key(stamp), text)
            if not text:
                return b""
        is_whole = text.endswith(b"\n")
        text = text[:-1] if is_whole else text
        head = stamp + b" " + stream.encode()
        parts = [text[at : at + CHUNK] for at in range(0, len(text), CHUNK)] or [b""]
        tags = [b"P"] * (len(parts) - 1) + [b"F" if is_whole else b"P"]
        return b"".join(b"%s %s %s\n" % (head, tag, part) for tag, part in zip(tags, parts, strict=True))

    def _unwritten(self, moment: tuple[bytes, bytes], text: bytes) -> bytes:
        """What of an entry is not in the log yet. Entries are in the order of time."""
        if self._after is None or moment > self._after:
            self._after = None
            return text
        if moment < self._after:
            return b""
        skipped = min(self._to_skip, len(text))
        self._to_skip -= skipped
        return text[skipped:]
