"""Reads plugins' arguments, which are text."""

from __future__ import annotations

import math

from homeport.scheduler.batch.configuration import Arguments


def number(arguments: Arguments, name: str, default: float) -> float:
    """What is no number counts as not given, as upstream."""
    found = parsed(arguments[name]) if name in arguments else None
    return default if found is None else found


def parsed(text: str) -> float | None:
    """None: it is no number, or none that can be reckoned with (``nan``, ``inf``)."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
