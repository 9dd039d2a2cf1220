"""Level-based work on keys: what every controller has in common, whatever it does with a key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from homeport.control.queue import WorkQueue
from homeport.kube.errors import Conflict, Ending, HomeportError, Permanent, Superseded

K = TypeVar("K", bound=Hashable)
_log = logging.getLogger(__name__)
_TELLING = 3
"""So many failures of a key in a row are a warning."""
_ODD = 10
"""So many times in a row nobody is only unlucky."""
_QUICK = 1.0
"""Seconds: a warning is not repeated for attempts that follow sooner than that."""


class KeyedLoop(Generic[K]):
    """Calls `reconcile(key)` for every added key, `workers` at a time, each key alone.

    `reconcile` gives the seconds after which to come back, or None. An exception means: later again, ever more slowly;
    Permanent means not before the key is added again. `failed` hears of each exception. A key that `admit` refuses is
    dropped; `admit` sees to it that it is added again.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Awaitable[float | None]],
        *,
        workers: int = 1,
        admit: Callable[[K], bool] | None = None,
        failed: Callable[[K, Exception], None] | None = None,
    ) -> None:
        self.name = name
        self.queue: WorkQueue[K] = WorkQueue()
        self._reconcile = reconcile
        self._workers = workers
        self._admit = admit
        self._failed = failed

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._workers):
                    group.create_task(self._work(), name=f"{self.name}-{number}")
        finally:
            self.queue.close()

    async def _work(self) -> None:
        queue = self.queue
        while True:
            key = await queue.get()
            if self._admit is not None and not self._admit(key):
                queue.done(key)
                continue
            try:
                delay = await self._reconcile(key)
            except Exception as error:
                self._report(key, error)
            else:
                queue.forget(key)
                if delay is not None:
                    queue.add_after(key, delay)
            finally:
                queue.done(key)

    def _report(self, key: K, error: Exception) -> None:
        if isinstance(error, Ending):
            self.queue.forget(key)
            _log.debug("%s %s: %s", self.name, _text(key), error)
            return
        if isinstance(error, Permanent):
            self.queue.forget(key)
            _log.error("%s %s: %s; not tried again before something changes", self.name, _text(key), error)
        else:
            delay = self.queue.add_rate_limited(key)
            level = self._level(key, error, delay)
            if isinstance(error, HomeportError):
                _log.log(level, "%s %s: %s; again in %.3g s", self.name, _text(key), error, delay)
            else:
                _log.error("%s %s: again in %.3g s", self.name, _text(key), delay, exc_info=error)
        if self._failed is not None:
            self._failed(key, error)

    def _level(self, key: K, error: Exception, delay: float) -> int:
        """Two writers that meet are no news before it goes on and on; what fails once mostly goes through the next
        time; and the attempts of a second all tell the same."""
        failures = self.queue.failures(key)
        first = _ODD if isinstance(error, Superseded | Conflict) else _TELLING
        if failures < first:
            return logging.DEBUG if first == _ODD else logging.INFO
        return logging.WARNING if failures == first or delay >= _QUICK else logging.DEBUG


def _text(key: object) -> str:
    return "/".join(str(part) for part in key if part) if isinstance(key, tuple) else str(key)
