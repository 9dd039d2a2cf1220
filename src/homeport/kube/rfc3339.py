"""Moments as Kubernetes' Go types read and write them (upstream: ``metav1.Time``, ``metav1.MicroTime``, Go's
``time.Parse``)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, NamedTuple

SECONDS_LAYOUT: Final = "2006-01-02T15:04:05Z07:00"
"""Of ``metav1.Time``, in the words of Go's errors."""
MICRO_LAYOUT: Final = "2006-01-02T15:04:05.000000Z07:00"
"""Of ``metav1.MicroTime``."""


class _Step(NamedTuple):
    layout: str
    pattern: re.Pattern[str]
    name: str = ""
    low: int = 0
    high: int = 0


def _step(layout: str, pattern: str, name: str = "", low: int = 0, high: int = 0) -> _Step:
    return _Step(layout, re.compile(pattern, re.ASCII), name, low, high)


_HEAD: Final = (
    _step("2006", r"\d{4}"),
    _step("-", "-"),
    _step("01", r"\d\d", "month", 1, 12),
    _step("-", "-"),
    _step("02", r"\d\d", "day", 1, 31),
    _step("T", "T"),
    _step("15", r"\d\d", "hour", 0, 23),
    _step(":", ":"),
    _step("04", r"\d\d", "minute", 0, 59),
    _step(":", ":"),
    _step("05", r"\d\d", "second", 0, 59),
)
_FRACTION: Final = _step("", r"(?:[.,]\d+)?")
_MICROS: Final = _step(".000000", r"[.,]\d{6}(?!\d)")
_ZONE: Final = _step("Z07:00", r"Z|[+-]\d\d:\d\d")
_LAYOUTS: Final = {SECONDS_LAYOUT: (*_HEAD, _FRACTION, _ZONE), MICRO_LAYOUT: (*_HEAD, _MICROS, _ZONE)}

_COMMON: Final = {
    SECONDS_LAYOUT: re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII),
    MICRO_LAYOUT: re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII),
}
"""What a moment looks like that is written as it will be stored."""


def canonical(text: str, layout: str) -> str:
    """The one way to write the moment: in UTC, in whole seconds or with six decimals. Raises ValueError in Go's
    words."""
    if _COMMON[layout].fullmatch(text) and _exists(text):
        return text
    parts, offset = _parse(text, layout)
    try:
        moment = datetime(*parts, tzinfo=UTC)
        moment = moment.replace(tzinfo=timezone(offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        # Go knows the year 0 and years beyond 9999 by way of a zone; nobody else does.
        raise ValueError(f"parsing time {quoted(text)}: day out of range") from None
    written = moment.replace(tzinfo=None).isoformat()
    if layout == SECONDS_LAYOUT:
        return f"{written}Z"
    fraction = re.search(r"[.,](\d{6})", text)
    return f"{written}.{fraction[1] if fraction else '000000'}Z"


def _exists(text: str) -> bool:
    """Whether there is the moment that is written in the common way."""
    year, month, day, hour = int(text[:4]), int(text[5:7]), int(text[8:10]), int(text[11:13])
    try:
        datetime(year, month, day, hour, int(text[14:16]), int(text[17:19]), tzinfo=UTC)
    except ValueError:
        return False
    return True


def _parse(text: str, layout: str) -> tuple[tuple[int, int, int, int, int, int], timedelta]:
    position = 0
    numbers: list[int] = []
    zone = "Z"
    for step in _LAYOUTS[layout]:
        found = step.pattern.match(text, position)
        if found is None:
            rest, wanted = text[position:], step.layout
            where = f"{quoted(text)} as {quoted(layout)}"
            raise ValueError(f"parsing time {where}: cannot parse {quoted(rest)} as {quoted(wanted)}")
        position = found.end()
        if step.name and not step.low <= int(found[0]) <= step.high:
            raise ValueError(f"parsing time {quoted(text)}: {step.name} out of range")
        if step.layout[:1].isdigit():
            numbers.append(int(found[0]))
        zone = found[0]
    if position < len(text):
        raise ValueError(f"parsing time {quoted(text)}: extra text: {quoted(text[position:])}")
    year, month, day, hour, minute, second = numbers
    return (year, month, day, hour, minute, second), _offset(zone)


def _offset(zone: str) -> timedelta:
    if zone == "Z":
        return timedelta()
    sign = -1 if zone[0] == "-" else 1
    return sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))


def quoted(text: str) -> str:
    """`text` in quotes, as Go's errors have it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
