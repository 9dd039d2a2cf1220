"""Timestamps and durations: their texts, and what a calendar says of them."""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any

from homeport.kube.cel.functions import Library
from homeport.kube.cel.library.operators import in_range
from homeport.kube.cel.values import NANOSECONDS, Duration, EvaluationError, Timestamp

LIBRARY = Library()
_member = LIBRARY.member

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)", re.ASCII)


def parse_timestamp(text: str) -> Timestamp:
    """A moment in RFC 3339. Raises EvaluationError."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise EvaluationError(f'parsing time "{text[:64]}": it has to be in RFC 3339')
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, hours, minutes = match.groups()[6:]
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise EvaluationError(f'parsing time "{text}": {error}') from error
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if sign:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds -= offset if sign == "+" else -offset
    return in_range(seconds * NANOSECONDS + int((fraction or "").ljust(9, "0")))


def format_timestamp(moment: Timestamp) -> str:
    """RFC 3339 with as many digits as needed, in UTC."""
    seconds, nanoseconds = divmod(moment.ns, NANOSECONDS)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%m-%dT%H:%M:%S")
    year = (_EPOCH + timedelta(seconds=seconds)).year
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return f"{year:04d}-{text}{fraction}Z"


def parse_duration(text: str) -> Duration:
    """As Go's ``time.ParseDuration``. Raises EvaluationError."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return Duration(0)
    total, at = 0, 0
    while at < len(rest):
        match = _PART.match(rest, at)
        if match is None or not (match[1] or match[2]) or len(rest) > 128:
            break
        unit = _UNITS[match[3]]
        total += int(match[1] or 0) * unit
        if match[2]:
            total += int(match[2]) * unit // 10 ** len(match[2])
        at = match.end()
    if not rest or at < len(rest):
        raise EvaluationError(f'time: invalid duration "{text[:64]}"')
    return Duration(-total if text[0] == "-" else total)


def format_duration(length: Duration) -> str:
    """Seconds, as protocol buffers write a duration: ``3600s``, ``1.5s``."""
    seconds, nanoseconds = divmod(abs(length.ns), NANOSECONDS)
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return f"{'-' if length.ns < 0 else ''}{seconds}{fraction}s"


@lru_cache(64)
def _zone(name: str) -> tzinfo:
    match = _OFFSET.fullmatch(name)
    if match is not None:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset >= timedelta(hours=24):
            raise EvaluationError(f"unknown time zone {name}")
        return timezone(-offset if match[1] == "-" else offset)
    if name in ("", "UTC"):
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise EvaluationError(f"unknown time zone {name}") from error


def _local(moment: Timestamp, zone: str) -> datetime:
    try:
        return (_EPOCH + timedelta(seconds=moment.ns // NANOSECONDS)).astimezone(_zone(zone))
    except OverflowError as error:
        raise EvaluationError("range error: timestamp overflow") from error


def _calendar(name: str, read: Any) -> None:
    @_member(f"{name}(timestamp): int", f"{name}(timestamp, string): int")
    def get(moment: Timestamp, zone: str = "UTC") -> int:
        return int(read(_local(moment, zone)))


_calendar("getFullYear", lambda moment: moment.year)
_calendar("getMonth", lambda moment: moment.month - 1)
_calendar("getDate", lambda moment: moment.day)
_calendar("getDayOfMonth", lambda moment: moment.day - 1)
_calendar("getDayOfWeek", lambda moment: moment.isoweekday() % 7)
_calendar("getDayOfYear", lambda moment: moment.timetuple().tm_yday - 1)
_calendar("getHours", lambda moment: moment.hour)
_calendar("getMinutes", lambda moment: moment.minute)
_calendar("getSeconds", lambda moment: moment.second)


@_member("getMilliseconds(timestamp): int", "getMilliseconds(timestamp, string): int")
def _milliseconds(moment: Timestamp, zone: str = "UTC") -> int:
    _zone(zone)
    return moment.ns % NANOSECONDS // 10**6


def _towards_zero(length: Duration, unit: int) -> int:
    whole = abs(length.ns) // unit
    return -whole if length.ns < 0 else whole


@_member("getHours(duration): int")
def _hours(length: Duration) -> int:
    return _towards_zero(length, _UNITS["h"])


@_member("getMinutes(duration): int")
def _minutes(length: Duration) -> int:
    return _towards_zero(length, _UNITS["m"])


@_member("getSeconds(duration): int")
def _seconds(length: Duration) -> int:
    return _towards_zero(length, NANOSECONDS)


@_member("getMilliseconds(duration): int")
def _duration_milliseconds(length: Duration) -> int:
    return _towards_zero(Duration(abs(length.ns) % NANOSECONDS * (-1 if length.ns < 0 else 1)), 10**6)
