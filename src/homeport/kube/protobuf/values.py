"""Moments and spans of time in protobuf and in JSON: Go's ``metav1.Time``, ``MicroTime`` and ``Duration``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62135596800, 253402300799
"""Years 1 to 9999, in seconds from 1970: what RFC 3339 can write."""
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_MAX_DURATION = 128
_PART = re.compile(r"([0-9]*\.?[0-9]*)(ns|us|µs|μs|ms|s|m|h)")


def time_text(seconds: int, nanoseconds: int = 0, *, micro: bool = False) -> str:
    """RFC 3339 in UTC, to the second or the microsecond. Raises ValueError outside the years 1 to 9999."""
    if not _FIRST <= seconds <= _LAST:
        raise ValueError(f"a moment {seconds} seconds from 1970 can't be written in RFC 3339")
    moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000 if micro else 0)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{text}.{moment.microsecond:06d}Z" if micro else f"{text}Z"


def time_parts(text: str) -> tuple[int, int]:
    """Seconds from 1970, and nanoseconds. Raises ValueError for what is not RFC 3339."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    since = moment - _EPOCH
    return since.days * 86400 + since.seconds, since.microseconds * 1000


def duration_text(nanoseconds: int) -> str:
    """As Go's ``time.Duration`` prints itself: ``1h30m0s``, ``1.5s``, ``100ms``."""
    if not nanoseconds:
        return "0s"
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if left < 10**9:
        unit, size = next((unit, size) for unit, size in (("ms", 10**6), ("µs", 1000), ("ns", 1)) if left >= size)
        return f"{sign}{_decimal(left, size)}{unit}"
    minutes, rest = divmod(left, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 10**9)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else sign + text


def _decimal(value: int, size: int) -> str:
    text = format(Decimal(value) / size, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration_nanoseconds(text: str) -> int:
    """What Go's ``time.ParseDuration`` makes of `text`. Raises ValueError."""
    if len(text) > _MAX_DURATION:
        raise ValueError("a duration is too long")
    body = text.lstrip("+-")
    parts = _PART.findall(body)
    if body != "0" and (not parts or "".join(n + u for n, u in parts) != body):
        raise ValueError(f"{text!r} is not a duration")
    total = sum(int(Decimal(number) * _UNITS[unit]) for number, unit in parts)
    return -total if text.startswith("-") else total
