"""Schedules as cron writes them: five fields, or a word such as ``@hourly``.

Upstream reads them with robfig/cron's standard parser; so do we, down to names of months and days, ``?`` and
``@every``. Its moments are ours too where clocks are changed: one in the hour that is left out does not come that day,
one in the hour that comes twice comes twice. Pure; time zones are those of the machine's database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    name: index + 1
    for index, name in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"))
}
_DAYS = {name: index for index, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_NO_NAMES: dict[str, int] = {}
_FIELDS = ((0, 59, _NO_NAMES), (0, 23, _NO_NAMES), (1, 31, _NO_NAMES), (1, 12, _MONTHS), (0, 6, _DAYS))
_EVERY = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_MAX_SPAN = 128
"""Characters: to look for numbers without a unit takes the square of their length."""
_YEARS = 5
"""How far ahead a moment is looked for: there is none for the 31st of February."""
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Schedule:
    """The moments that a schedule names."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    """0 is Sunday."""
    any_day: bool = False
    """Whether the field of the days is ``*``: then only the weekdays count, and the other way round."""
    any_weekday: bool = False
    every: float = 0.0
    """Seconds from one moment to the next, for ``@every``; then nothing else counts."""
    zone: tzinfo | None = None
    """That of a schedule that begins with one (``CRON_TZ=Asia/Tokyo 0 3 * * *``); it counts before any other."""

    def after(self, moment: datetime, zone: tzinfo = UTC) -> datetime | None:
        """The first moment after `moment`, in UTC; None if there is none in the next years."""
        zone = self.zone or zone
        start = moment.astimezone(UTC).replace(microsecond=0)
        if self.every:
            return start + timedelta(seconds=self.every)
        start += timedelta(seconds=1)
        today = start.astimezone(zone).date()
        for day in self._days(today):
            found = self._within(day, start if day == today else _midnight(day, zone), zone)
            if found is not None:
                return found
        return None

    def _days(self, day: date) -> Iterator[date]:
        last = day.year + _YEARS
        while day.year <= last:
            if day.month not in self.months:
                day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
                continue
            if self._names(day):
                yield day
            day += timedelta(days=1)

    def _names(self, day: date) -> bool:
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_day and by_weekday if self.any_day or self.any_weekday else by_day or by_weekday

    def _within(self, day: date, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first moment of `day` from `moment` on. Hours are those that go by, not those on the clock."""
        while (local := moment.astimezone(zone)).date() == day:
            if local.hour in self.hours:
                first = local.minute + (local.second > 0)
                minute = min((each for each in self.minutes if each >= first), default=None)
                if minute is not None:
                    found = moment + timedelta(minutes=minute - local.minute, seconds=-local.second)
                    then = found.astimezone(zone)
                    if (then.hour, then.minute) == (local.hour, minute):
                        return found
            moment += timedelta(minutes=60 - local.minute, seconds=-local.second)
        return None


def _midnight(day: date, zone: tzinfo) -> datetime:
    """The first moment of `day`, which is later than 0:00 where clocks are put forward at midnight."""
    moment = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    while moment.astimezone(zone).date() < day:
        moment += timedelta(minutes=30)
    return moment


def zone(name: str) -> tzinfo:
    """The time zone of that name; raises ValueError in Go's words if the machine knows none."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # only for those who name a zone

    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name}") from None


def parse(text: str) -> Schedule:
    """Raises ValueError with what is wrong."""
    if text.startswith(("TZ=", "CRON_TZ=")):
        named, space, rest = text.partition("=")[2].partition(" ")
        if not space:
            raise ValueError(f"expected exactly {len(_FIELDS)} fields, found 0: []")
        try:
            own = zone(named)
        except ValueError as error:
            raise ValueError(f"provided bad location {named}: {error}") from None
        return replace(parse(rest.strip()), zone=own)
    if text.startswith("@"):
        if text.startswith("@every "):
            return Schedule(every=_span(text.removeprefix("@every ")))
        if text not in _WORDS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = _WORDS[text]
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"expected exactly {len(_FIELDS)} fields, found {len(parts)}: [{' '.join(parts)}]")
    minutes, hours, days, months, weekdays = (
        _field(part, low, high, words) for part, (low, high, words) in zip(parts, _FIELDS, strict=True)
    )
    return Schedule(minutes, hours, days, months, weekdays, _is_any(parts[2]), _is_any(parts[4]))


def _is_any(text: str) -> bool:
    """Whether the field leaves the choice to the other one: with a step it does not."""
    return any(re.fullmatch(r"[*?](/0*1)?", part) for part in text.split(","))


def _span(text: str) -> float:
    found = _EVERY.findall(text) if len(text) <= _MAX_SPAN else []
    if not found or "".join(number + unit for number, unit in found) != text:
        raise ValueError(f"failed to parse duration @every {text}")
    return max(1.0, float(int(sum(float(number) * _SECONDS[unit] for number, unit in found))))


def _field(text: str, low: int, high: int, words: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        if part:
            found |= _range(part, low, high, words)
    if not found:
        raise ValueError(f"failed to parse int from {text}")
    return frozenset(found)


def _range(text: str, low: int, high: int, words: dict[str, int]) -> set[int]:
    span, slash, step_text = text.partition("/")
    first, dash, last = span.partition("-")
    if text.count("/") > 1:
        raise ValueError(f"too many slashes: {text}")
    if span.count("-") > 1:
        raise ValueError(f"too many hyphens: {text}")
    if first in ("*", "?"):
        if dash:
            raise ValueError(f"failed to parse int from {span}")
        start, end = low, high
    else:
        start = _number(first, words)
        # A step without an end goes on to the last value.
        end = _number(last, words) if dash else (high if slash else start)
    step = _number(step_text, _NO_NAMES) if slash else 1
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")
    if start < low:
        raise ValueError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise ValueError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    return set(range(start, end + 1, step))


def _number(text: str, words: dict[str, int]) -> int:
    if text.lower() in words:
        return words[text.lower()]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"failed to parse int from {text}")
    return int(text)
