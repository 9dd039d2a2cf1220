"""A moment at which something happens, unless it is put off, as it is with every request of a busy connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timer:
    """Calls `expired` once its time has come. To put it off costs next to nothing: the timer stays where it is, and
    when it goes off too early it is set anew."""

    __slots__ = ("_at", "_expired", "_loop", "_timer", "_timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._at = 0.0
        """In the loop's time; 0: never."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def arm(self, seconds: float) -> None:
        """It comes in so many seconds; 0: never."""
        if not seconds:
            self._at = 0.0
            return
        self._at = at = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._set()

    def cancel(self) -> None:
        """It never comes."""
        self._at = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        self._timer_at = self._at
        self._timer = self._loop.call_at(self._at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if not self._at:
            return
        if self._at > self._loop.time():
            self._set()
        else:
            self._expired()
