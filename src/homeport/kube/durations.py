"""Lengths of time as Go writes them: ``1h30m``, ``250ms``, ``-1.5s``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([^0-9.]*)")
_SECONDS: Final[Mapping[str, float]] = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_LONGEST: Final = 2**63 / 1e9
"""Seconds that 64 bits of nanoseconds hold."""
_MAX_LENGTH: Final = 128


def seconds(text: str) -> float:
    """The length of a duration. Raises ValueError in the words of Go's ``time.ParseDuration``."""
    shown = f'"{text[:_MAX_LENGTH]}"'
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    total, at = 0.0, 0
    while at < len(rest):
        part = _PART.match(rest, at) if len(rest) <= _MAX_LENGTH else None
        if part is None:
            raise ValueError(f"time: invalid duration {shown}")
        number, unit = part.groups()
        if not unit:
            raise ValueError(f"time: missing unit in duration {shown}")
        if unit not in _SECONDS:
            raise ValueError(f'time: unknown unit "{unit}" in duration {shown}')
        total += float(number) * _SECONDS[unit]
        at = part.end()
    if not rest or total >= _LONGEST:
        raise ValueError(f"time: invalid duration {shown}")
    return -total if text[0] == "-" else total
