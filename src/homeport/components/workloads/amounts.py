"""Numbers that users may give as a percentage (upstream: ``intstr`` and ``ResolveFenceposts``)."""

from __future__ import annotations

from typing import Any


def scaled(value: Any, total: int, *, up: bool) -> int:
    """`value`, or that percentage of `total`, rounded up or down. None is 0."""
    if not isinstance(value, str):
        return int(value or 0)
    percent = int(value.removesuffix("%") or 0)
    return -(-percent * total // 100) if up else percent * total // 100


def fenceposts(rolling: dict[str, Any], total: int) -> tuple[int, int]:
    """The surge and the number of unavailable pods of a rolling update. Both can't be 0: it would never go on."""
    surge = scaled(rolling.get("maxSurge"), total, up=True)
    unavailable = scaled(rolling.get("maxUnavailable"), total, up=False)
    return surge, unavailable if surge or unavailable else 1
