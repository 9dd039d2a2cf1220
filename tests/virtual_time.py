"""An event loop on which nobody waits: when there is nothing left to do before the next timer, it is that time.

For tests of parts that meet in one process. "Nothing happens for an hour" takes no time to see there, is true of the
whole hour, and a busy machine makes no timeout come early. A test directory chooses it in its conftest::

    from virtual_time import pytest_asyncio_loop_factories

Time passes really while a thread of the loop's executor works or a socket or pipe is watched: those know no other.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any


class _Selector(selectors.DefaultSelector):  # type: ignore[valid-type,misc]
    """A selector that passes the time by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.outside = 0
        """Calls that run in threads."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None and not self.outside and len(self.get_map()) <= 1:  # one: the loop's own pipe
            self.now += timeout
            return ready
        begin = time.monotonic()
        ready = super().select(timeout)
        self.now += time.monotonic() - begin
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    newest: VirtualTimeLoop | None = None

    def __init__(self) -> None:
        VirtualTimeLoop.newest = self
        self._selector_ = _Selector()
        super().__init__(self._selector_)
        self.began = datetime.now(UTC)
        """The time of day then: certificates, for one, hold by the real one."""

    def time(self) -> float:
        return self._selector_.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._selector_.outside += 1
        future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _: asyncio.Future[Any]) -> None:
        self._selector_.outside -= 1


def now() -> datetime:
    """The time of day on the running loop; on the newest in a thread, which works for one."""
    try:
        loop: object = asyncio.get_running_loop()
    except RuntimeError:
        loop = VirtualTimeLoop.newest
    assert isinstance(loop, VirtualTimeLoop)
    return loop.began + timedelta(seconds=loop.time())


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual time": VirtualTimeLoop}
