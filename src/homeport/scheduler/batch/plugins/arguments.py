"""Reads plugins' arguments, which are text."""

from __future__ import annotations

from homeport.scheduler.batch.configuration import Arguments


def number(arguments: Arguments, name: str, default: float) -> float:
    """What is no number counts as not given, as upstream."""
    try:
        return float(arguments[name])
    except (KeyError, ValueError):
        return default
