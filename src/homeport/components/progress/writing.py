"""Writes what a job's follower has read into the job's status: every :data:`INTERVAL` seconds at most, less often where
many jobs are followed, and once when all has been read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from homeport.client.client import Client
from homeport.components.progress.leaders import TRAIN_JOBS, Leader
from homeport.kube import meta
from homeport.kube.errors import Conflict, HomeportError, NotFound
from homeport.kube.meta import Object

if TYPE_CHECKING:
    from homeport.components.progress.figures import Figures

_log = logging.getLogger(__name__)
MANAGER = "training-metrics"
_REPORTER = "trainer-status"
"""The field manager of what a program itself reports of a TrainJob, which goes before."""
INTERVAL = 5.0
"""Seconds between two writes of a job's status."""
_FIRST = 1.0
"""Seconds until the first: what ends before is written once."""
_MOST_A_SECOND = 10
"""Writes of all jobs together, but for each one's first and last."""
_TRIES = 5


def interval(jobs: int) -> float:
    """Seconds between two writes of each of so many jobs."""
    return max(INTERVAL, jobs / _MOST_A_SECOND)


class Writer:
    """Of one job. `jobs` says how many are written of at the moment."""

    def __init__(self, client: Client, of: Leader, uid: str, figures: Figures, jobs: Callable[[], int]) -> None:
        self._client, self._of, self._uid, self._figures, self._jobs = client, of, uid, figures, jobs
        self._dirty = asyncio.Event()
        self._written = float("-inf")
        self.reports_itself = False
        """Whether the program tells of its progress itself, so that nothing needs to be read."""

    def note(self) -> None:
        """The figures have changed."""
        self._dirty.set()

    async def run(self) -> None:
        """Write at times, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._dirty.wait()
            await asyncio.sleep(max(_FIRST, self._written + interval(self._jobs()) - loop.time()))
            try:
                await self._write()
            except HomeportError as error:
                title = f"{self._of.resource.kind} {self._of.namespace}/{self._of.job}"
                _log.info("the progress of %s was not stored, and will be: %s", title, error)

    async def finish(self) -> None:
        """Write what is left. Raises HomeportError."""
        for attempt in range(_TRIES):
            if not self._dirty.is_set():
                return
            try:
                await self._write()
            except (NotFound, Conflict):
                return  # the job has gone
            except HomeportError:
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(2.0**attempt)

    async def _write(self) -> None:
        self._dirty.clear()
        self._written = asyncio.get_running_loop().time()
        try:
            if self._of.resource == TRAIN_JOBS:
                await self._write_train_job()
            else:
                await self._patch({"trainingMetrics": self._figures.metrics()})
        except BaseException:
            self._dirty.set()
            raise

    async def _patch(self, status: Object) -> None:
        of = self._of
        body: dict[str, Any] = {"metadata": {"uid": self._uid}, "status": status}
        await self._client.patch(of.resource, of.job, of.namespace, body, subresource="status", field_manager=MANAGER)

    async def _write_train_job(self) -> None:
        managers = await self._managers()
        if _REPORTER not in managers:
            try:
                await self._apply({"status": {"trainerStatus": self._figures.trainer_status()}})
                return
            except Conflict:
                # The program's first report may have come just now: it goes before, and is never overwritten.
                managers = await self._managers()
                if _REPORTER not in managers:
                    raise
        self.reports_itself = True
        if MANAGER in managers:
            await self._apply({})  # What was written here is taken back.

    async def _managers(self) -> set[str]:
        now = await self._client.get(TRAIN_JOBS, self._of.job, self._of.namespace)
        return {str(entry.get("manager")) for entry in meta.metadata(now).get("managedFields") or ()}

    async def _apply(self, wanted: Object) -> None:
        named = {"name": self._of.job, "namespace": self._of.namespace, "uid": self._uid}
        whole = {"apiVersion": TRAIN_JOBS.api_version, "kind": TRAIN_JOBS.kind, "metadata": named, **wanted}
        await self._client.apply(TRAIN_JOBS, whole, subresource="status", field_manager=MANAGER, force=False)


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
