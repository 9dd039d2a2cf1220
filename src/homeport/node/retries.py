"""Steps that failed: why, when they are tried again, and what would make another try worth while before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from msgspec.structs import replace

from homeport.node.references import Ref
from homeport.node.view import Problem

DELAYS = (1.0, 120.0)
"""Seconds before the second try, and at most; each failure in a row doubles them."""


class Retries:
    """One pod's failed steps by key. `appeared` returns once a missing object is there; `wake` is called then."""

    def __init__(
        self, now: Callable[[], datetime], appeared: Callable[[Ref], Awaitable[None]], wake: Callable[[], None]
    ) -> None:
        self._now = now
        self._appeared = appeared
        self._wake = wake
        self._problems: dict[str, Problem] = {}
        self._counts: dict[str, int] = {}
        self._waits: dict[str, asyncio.Task[None]] = {}

    @property
    def problems(self) -> Mapping[str, Problem]:
        return self._problems

    def fail(
        self,
        key: str,
        reason: str,
        message: str,
        *,
        delays: tuple[float, float] = DELAYS,
        waits_for: Ref | None = None,
    ) -> Problem:
        """Note a failure. `waits_for` is the object whose appearance ends the wait early."""
        count = self._counts.get(key, 0)
        self._counts[key] = count + 1
        delay = min(delays[0] * 2.0 ** min(count, 30), delays[1])
        problem = self._problems[key] = Problem(reason, message, self._now() + timedelta(seconds=delay))
        if waits_for is not None and key not in self._waits:
            self._waits[key] = asyncio.get_running_loop().create_task(self._await(key, waits_for))
        return problem

    def stepped(self, step: timedelta) -> None:
        """The wall clock has been set forward (or back): the pauses stay as long as they were."""
        for key, problem in self._problems.items():
            self._problems[key] = replace(problem, retry_at=problem.retry_at + step)

    def succeed(self, key: str) -> None:
        self._problems.pop(key, None)
        self._counts.pop(key, None)
        if task := self._waits.pop(key, None):
            task.cancel()

    def cancel(self) -> None:
        for task in self._waits.values():
            task.cancel()

    async def _await(self, key: str, ref: Ref) -> None:
        await self._appeared(ref)
        self._waits.pop(key, None)
        if key in self._problems:
            self._problems[key] = replace(self._problems[key], retry_at=self._now())
        self._wake()
