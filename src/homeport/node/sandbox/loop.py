"""A small event loop on epoll, or what the system has instead, for the helper processes: callbacks by descriptor, and
deadlines."""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import time
from collections.abc import Callable

if not hasattr(select, "epoll"):
    import selectors

READ: int = getattr(select, "EPOLLIN", 1)
WRITE: int = getattr(select, "EPOLLOUT", 4)


class _Selector:
    """The methods of epoll by what the system has instead."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, descriptor: int, events: int) -> None:
        self._selector.register(descriptor, _asked(events))

    def modify(self, descriptor: int, events: int) -> None:
        self._selector.modify(descriptor, _asked(events))

    def unregister(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        return [(key.fd, _told(events)) for key, events in self._selector.select(timeout)]

    def close(self) -> None:
        self._selector.close()


def _asked(events: int) -> int:
    return (selectors.EVENT_READ if events & READ else 0) | (selectors.EVENT_WRITE if events & WRITE else 0)


def _told(events: int) -> int:
    return (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0)


def _poller() -> select.epoll | _Selector:
    return select.epoll() if hasattr(select, "epoll") else _Selector()


class Timer:
    __slots__ = ("callback", "due", "order")

    def __init__(self, due: float, order: int, callback: Callable[[], None] | None) -> None:
        self.due = due
        self.order = order
        self.callback = callback

    def __lt__(self, other: Timer) -> bool:
        return (self.due, self.order) < (other.due, other.order)

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Sleeps until a descriptor is ready or a timer is due; never wakes for anything else."""

    def __init__(self) -> None:
        self._epoll = _poller()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._fresh: set[int] = set()
        """Descriptors that are watched since the events of this round were told."""
        self._timers: list[Timer] = []
        self._order = 0
        self.is_running = True

    def watch(self, descriptor: int, callback: Callable[[int], None], events: int = READ) -> None:
        """Call back with the events whenever the descriptor is ready. A second call changes events and callback."""
        if descriptor in self._callbacks:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
            self._fresh.add(descriptor)
        self._callbacks[descriptor] = callback

    def forget(self, descriptor: int) -> None:
        """Stop watching; before the descriptor is closed. No error if it is not watched."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def forget_process(self, pid: int, pidfd: int) -> None:
        """Stop watching a process by its pidfd, close that, and reap it if it is a child; it has ended."""
        self.forget(pidfd)
        os.close(pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self._order += 1
        timer = Timer(time.monotonic() + seconds, self._order, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def run(self) -> None:
        while self.is_running:
            ready = self._epoll.poll(self._timeout())
            self._fresh.clear()
            for descriptor, events in ready:
                callback = self._callbacks.get(descriptor)
                # An earlier callback of the same round may have forgotten it, and its number may be another's by now:
                # what is ready of that one is told in the next round.
                if callback is not None and descriptor not in self._fresh:
                    callback(events)
            self._run_timers()

    def _timeout(self) -> float | None:
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0].due - time.monotonic()) if self._timers else None

    def _run_timers(self) -> None:
        while self._timers and (self._timers[0].callback is None or self._timers[0].due <= time.monotonic()):
            callback = heapq.heappop(self._timers).callback
            if callback is not None:
                callback()

    def close(self) -> None:
        self._epoll.close()
