"""What a terminal can show: colours, one live line below the output, tables, durations.

Colours and the live line appear on a terminal only. ``NO_COLOR`` (https://no-color.org) turns colours off,
``FORCE_COLOR`` on. A live line goes to standard error, so that standard output can be piped as it is.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
import sys
import time
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from typing import IO

RESET = "\x1b[0m"
BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"
PREFIXES = ("36", "32", "33", "35", "34", "96", "92", "93", "95", "94")
"""The colours of log prefixes. Red stays free for what went wrong."""

_ERASE_LINE = "\r\x1b[2K"
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TICK = 0.12
"""Seconds between two pictures of the spinner."""
_REDRAW = 0.04
"""Seconds that output may go on before the live line comes back below it."""


def wants_color(stream: IO[str]) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def prefix_color(replica_type: str, index: int) -> str:
    """The same replica has the same colour in every run; neighbours of one type differ."""
    return PREFIXES[(zlib.crc32(replica_type.encode()) + index) % len(PREFIXES)]


def width(text: str) -> int:
    """Columns that `text` takes on a terminal: no escape sequences, wide characters count twice."""
    plain = _ESCAPE.sub("", text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in plain
    )


def clip(text: str, columns: int) -> str:
    """At most `columns` columns of a plain text; an ellipsis stands for the rest."""
    if width(text) <= columns:
        return text
    used, kept = 0, []
    for char in text:
        used += width(char)
        if used > columns - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 9.95 and seconds != round(seconds):
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns are as wide as they must be. The first row is the heading."""
    columns = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell + " " * (room - width(cell)) for cell, room in zip(row, columns, strict=True)).rstrip()
        for row in rows
    ]


class Terminal:
    """Where a verb writes: `out` for what it is asked for, `err` for what it has to say about it.

    On a terminal a live line (`live`) stays below everything else, with a spinner and the time since it was set.
    """

    def __init__(self, out: IO[str] | None = None, err: IO[str] | None = None) -> None:
        self.out = out if out is not None else sys.stdout
        self.err = err if err is not None else sys.stderr
        self.is_live = self.err.isatty() and os.environ.get("TERM") != "dumb"
        self._color = {id(stream): wants_color(stream) for stream in (self.out, self.err)}
        self._text = ""
        self._since = time.monotonic()
        self._shown = False
        self._timer: asyncio.TimerHandle | None = None
        self._frames = itertools.cycle(_SPINNER if _can_encode(self.err, _SPINNER) else "-\\|/")

    def paint(self, text: str, *codes: str, stream: IO[str] | None = None) -> str:
        """`text` in colours if the stream (default: `out`) shows them."""
        if not codes or not text or not self._color[id(stream or self.out)]:
            return text
        return f"\x1b[{';'.join(codes)}m{text}{RESET}"

    def print(self, line: str = "") -> None:
        """A line of output."""
        self._write(self.out, line)

    def note(self, line: str, *codes: str) -> None:
        """A line about the work, for the reader and not for a pipe."""
        self._write(self.err, self.paint(line, *codes, stream=self.err))

    def live(self, text: str, *, echo: str | None = None) -> None:
        """Show `text` in the live line; an empty one ends it. Where there is no live line, write `echo` (default:
        `text`) as a line unless it was the last one written so."""
        if not self.is_live:
            line = text if echo is None else echo
            if line and line != self._text:
                self._text = line
                self.note(line)
            return
        if text == self._text:
            return
        self._text, self._since = text, time.monotonic()
        self._erase()
        if text:
            self._draw()
        else:
            self._cancel()

    def close(self) -> None:
        """Take the live line away."""
        self._text = ""
        self._erase()
        self._cancel()

    def _write(self, stream: IO[str], line: str) -> None:
        self._erase()
        stream.write(line + "\n")
        stream.flush()
        if self._text and self.is_live:
            self._schedule(_REDRAW)

    def _erase(self) -> None:
        if self._shown:
            self.err.write(_ERASE_LINE)
            self.err.flush()
            self._shown = False

    def _draw(self) -> None:
        self._cancel()
        seconds = time.monotonic() - self._since
        tail = f" {duration(seconds)}" if seconds >= 2 else ""
        columns = shutil.get_terminal_size().columns - 1
        text = clip(self._text, max(10, columns - 2 - width(tail)))
        self.err.write(f"{_ERASE_LINE}{next(self._frames)} {self.paint(text + tail, DIM, stream=self.err)}")
        self.err.flush()
        self._shown = True
        self._schedule(_TICK)

    def _schedule(self, delay: float) -> None:
        if self._timer is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # without a loop the line stands still
        self._timer = loop.call_later(delay, self._draw)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _can_encode(stream: IO[str], text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def joined(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else last
