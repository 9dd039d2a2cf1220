"""The log format of the Container Runtime Interface: ``<RFC3339Nano> <stdout|stderr> <F|P> <text>`` a line. Pure.

``P`` marks a part of a line that goes on in the next entry of the same stream, ``F`` its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

_ZONED = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)((?:\.\d+)?)([+-]\d\d:\d\d)")
_MOST_HELD = 1 << 20
"""Bytes of an unfinished line that are held back before they are given out in pieces."""


def moment_key(text: bytes) -> tuple[bytes, bytes]:
    """A sort key of a UTC time whatever the number of its decimals."""
    seconds, _, fraction = text.rstrip(b"Z").partition(b".")
    return seconds, fraction.ljust(9, b"0")


def in_utc(text: bytes) -> bytes:
    """The same time as UTC: other runtimes' logs have the machine's own time zone."""
    found = None if text.endswith(b"Z") else _ZONED.fullmatch(text)
    if found is None:
        return text
    seconds, fraction, offset = found.groups()
    moment = datetime.fromisoformat((seconds + offset).decode()).astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S").encode() + fraction + b"Z"


def key_of(moment: datetime) -> tuple[bytes, bytes]:
    return moment_key(moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode())


class Decoder:
    """Turns entries into the container's own lines; parts are joined, each stream's apart.

    `since` leaves out older entries, `stream` those of the other one (``stdout`` or ``stderr``); with `timestamps` each
    line begins with the time of its first part.
    """

    def __init__(self, *, timestamps: bool = False, since: datetime | None = None, stream: bytes | None = None) -> None:
        self._timestamps = timestamps
        self._since = key_of(since) if since is not None else None
        self._stream = stream
        self._open: dict[bytes, bytearray] = {}

    def feed(self, entries: Iterable[bytes]) -> Iterator[bytes]:
        """The lines that these entries (without their newlines) complete. What isn't an entry is passed on as it is."""
        for entry in entries:
            parts = entry.split(b" ", 3)
            if len(parts) < 3 or parts[2] not in (b"F", b"P"):
                yield entry + b"\n"
                continue
            stream, tag = parts[1:3]
            moment = in_utc(parts[0])
            text = parts[3] if len(parts) == 4 else b""
            if self._since is not None:
                if moment_key(moment) < self._since:
                    continue
                self._since = None  # entries are in the order of time
            if self._stream is not None and stream != self._stream:
                continue
            held = self._open.get(stream)
            if held is None and tag == b"F":
                yield b"%s %s\n" % (moment, text) if self._timestamps else text + b"\n"
                continue
            if held is None:
                held = self._open[stream] = bytearray(moment + b" " if self._timestamps else b"")
            held += text
            if tag == b"F":
                del self._open[stream]
                yield bytes(held) + b"\n"
            elif len(held) > _MOST_HELD:
                yield bytes(held)
                held.clear()

    def end(self) -> bytes:
        """What was written without a newline at the end."""
        rest = b"".join(bytes(held) for held in self._open.values())
        self._open.clear()
        return rest


def is_line_end(entry: bytes) -> bool:
    """Whether a line ends with this entry."""
    return entry.split(b" ", 3)[2:3] != [b"P"]
