"""How often a job's reports are stored: training may tell of each of its steps, the API server need not hear of all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

_BURST = 5.0
_RATE = 1.0
"""Reports of a job that are stored at once, and how many a second after that: etcd keeps each of them for a while."""
_KNOWN = 4096
Key = TypeVar("Key")
Report = TypeVar("Report")


class _Job(msgspec.Struct, Generic[Report]):
    tokens: float
    at: float
    waiting: Report | None = None


class Turns(Generic[Key, Report]):
    """Lets a job's reports through, or keeps the newest for later. `clock`: seconds, of any origin.

    What is known of a job is forgotten once it has been quiet for as long as the burst lasts.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._jobs: OrderedDict[Key, _Job[Report]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._jobs)

    def take(self, key: Key, report: Report) -> float | None:
        """0: store it now. Seconds: it was kept; ask `due` then. None: it was kept in place of an older one that waits
        already."""
        now = self._clock()
        job = self._jobs.setdefault(key, _Job(_BURST, now))
        self._jobs.move_to_end(key)
        if job.waiting is not None:
            job.waiting = report
            return None
        job.tokens, job.at = min(_BURST, job.tokens + (now - job.at) * _RATE), now
        if job.tokens >= 1:
            job.tokens -= 1
            self._forget(now)
            return 0.0
        job.waiting = report
        return (1 - job.tokens) / _RATE

    def due(self, key: Key) -> Report | None:
        """The newest report of those that were kept, to be stored now."""
        job = self._jobs.get(key)
        if job is None:
            return None
        report, job.waiting = job.waiting, None
        now = self._clock()
        job.tokens, job.at = max(0.0, min(_BURST, job.tokens + (now - job.at) * _RATE) - 1), now
        return report

    def _forget(self, now: float) -> None:
        """The jobs that were quiet for longest, which come first."""
        while self._jobs:
            key, job = next(iter(self._jobs.items()))
            rested = now - job.at > _BURST / _RATE or len(self._jobs) > _KNOWN
            if job.waiting is not None or not rested:
                return
            del self._jobs[key]
