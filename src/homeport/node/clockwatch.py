"""Steps of the wall clock: somebody sets it, or it is corrected at once instead of little by little.

What the node has promised in spans of time (grace periods, deadlines, pauses between tries) is kept as moments of the
wall clock, since those outlive the platform. A step moves them along, so that the spans stay as long as they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
import sys
import time
from collections.abc import Callable
from datetime import timedelta

_CLOCK_REALTIME = 0
_TFD_TIMER_ABSTIME, _TFD_TIMER_CANCEL_ON_SET = 1, 2
_FAR = (1 << 62) // 10**9
"""Seconds of a moment that does not come."""
LEAST = timedelta(seconds=1)
"""Less than that is no step worth to be acted on."""


def offset() -> float:
    """Where the wall clock is against the one that nobody can set, which goes on while the machine sleeps; seconds."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


class Timer:
    """A descriptor that is readable once the wall clock has been set (timerfd_create(2)). Linux only."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self._libc.timerfd_create(_CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._arm()

    def _arm(self) -> None:
        # struct itimerspec: no interval, and a moment.
        moment = struct.pack("@4l", 0, 0, _FAR, 0)
        flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
        if self._libc.timerfd_settime(self.descriptor, flags, moment, None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def renew(self) -> None:
        """Take notice, and wait for the next time."""
        with contextlib.suppress(OSError):  # ECANCELED: that is how it says so
            os.read(self.descriptor, 8)
        self._arm()

    def close(self) -> None:
        os.close(self.descriptor)


class Steps:
    """Tells how far the clock has stepped since the last time. `offset` reads both clocks."""

    def __init__(self, offset: Callable[[], float] = offset) -> None:
        self._offset = offset
        self._known = offset()

    def take(self) -> timedelta | None:
        """The step; None if there was none, or one so small that it is left for the next time."""
        now = self._offset()
        step = timedelta(seconds=now - self._known)
        if abs(step) < LEAST:
            return None
        self._known = now
        return step


async def watch(stepped: Callable[[timedelta], None], noticed: Callable[[], None] | None = None) -> None:
    """Tell of each step, until cancelled. Returns at once where the machine does not tell. `noticed` is called whenever
    the kernel says something: also when the machine wakes from sleep, which the clocks of event loops do not count."""
    if sys.platform != "linux":
        return
    timer, steps = Timer(), Steps()
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(timer.descriptor, told.set)
    try:
        while True:
            await told.wait()
            told.clear()
            timer.renew()
            if (step := steps.take()) is not None:
                stepped(step)
            if noticed is not None:
                noticed()
    finally:
        loop.remove_reader(timer.descriptor)
        timer.close()
