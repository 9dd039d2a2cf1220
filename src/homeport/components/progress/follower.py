"""Follows the log of a pod that leads a training job, in one life of its container.

It reads what has come about once a second, and no more than :data:`_MOST_READ` of a log in five seconds: of one that is
written faster it goes on at the end, after a pause. All followers together look at lines for a small share of the time
(:class:`Budget`); beyond it only the last lines of what has come are looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from homeport.client.client import Client
from homeport.components.progress.leaders import TRAIN_JOBS, Leader
from homeport.components.progress.writing import INTERVAL, Writer, ended, interval
from homeport.control.cache import Cache
from homeport.control.events import EventRecorder
from homeport.kube import core, meta
from homeport.kube.errors import ApiError, Forbidden, HomeportError, NotFound
from homeport.kube.meta import Object

if TYPE_CHECKING:
    from homeport.components.progress.figures import Figures
    from homeport.components.progress.lines import Said

_log = logging.getLogger(__name__)
ANNOTATION = "homeport.dev/metrics"
DIRECTORY = "homeport.dev/tensorboard-dir"
REASON = "InvalidMetrics"
"""Of the event that tells of a wrong annotation."""
_TAIL = 500
"""Lines at the end of a log that are read at first."""
_MOST_READ = 256 << 10
"""Bytes of a log that are read in a row, without a wait for the next."""
_BREATH = 1.0
"""Seconds between two reads of a log that is written all the time: to be woken for each line costs more than the
line."""
_PATIENCE = 30.0
"""Most seconds between two tries to reach a log."""
_REFUSED = 300.0
"""Seconds until logs are asked for again that may not be read."""
_PARALLEL = 1000
"""Logs that are followed at a time."""
_SHARE = 0.05
"""Of a processor's time, for looking at lines."""
_WINDOW = 5.0
_LAST_LINES = 20


class Budget:
    """How long lines may be looked at, by all followers together."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begin, self._used = clock(), 0.0

    @property
    def is_spent(self) -> bool:
        """For the present few seconds."""
        if self._clock() - self._begin >= _WINDOW:
            self._begin, self._used = self._clock(), 0.0
        return self._used >= _SHARE * _WINDOW

    def spend(self, seconds: float) -> None:
        self._used += seconds


class Shared:
    """What all followers have. `job` finds a pod's job."""

    def __init__(
        self,
        client: Client,
        pods: Cache,
        job: Callable[[Leader], Object | None],
        recorder: EventRecorder,
        now: Callable[[], datetime],
    ) -> None:
        self.client, self.pods, self.job, self.recorder, self.now = client, pods, job, recorder, now
        self.limit, self.budget = asyncio.Semaphore(_PARALLEL), Budget(asyncio.get_running_loop().time)
        self.count = 0
        self.is_refused = False


class Follower:
    def __init__(self, shared: Shared, of: Leader, pod: str, container: str, job: Object) -> None:
        self._all, self._of, self._pod, self._container, self._job = shared, of, pod, container, job
        self._ended = asyncio.Event()
        self._annotation: str | None = None
        self._told: set[str] = set()
        self._figures: Figures
        self._writer: Writer

    def container_ended(self) -> None:
        """What is there is all that will be."""
        self._ended.set()

    async def run(self) -> None:
        try:
            async with self._all.limit:
                self._all.count += 1
                try:
                    await self._run()
                finally:
                    self._all.count -= 1
        except HomeportError as error:
            _log.info("the progress of %s was not read: %s", self._title, error)
        except Exception:
            _log.exception("the progress of %s was not read", self._title)

    @property
    def _title(self) -> str:
        return f"{self._of.resource.kind} {self._of.namespace}/{self._of.job}"

    async def _run(self) -> None:
        from homeport.components.progress.figures import Figures  # for the first job

        self._figures = Figures()
        self._choose()
        if self._figures.is_off and not self._directory():
            return
        status = meta.status(self._job)
        known = (status.get("trainerStatus") or {}).get("metrics") if self._of.resource == TRAIN_JOBS else None
        self._figures.restore(known or status.get("trainingMetrics") or [])
        self._writer = Writer(self._all.client, self._of, meta.uid(self._job), self._figures, lambda: self._all.count)
        writing = asyncio.create_task(self._writer.run())
        scalars = asyncio.create_task(self._read_scalars())
        try:
            if not self._figures.is_off:
                await self._read_all()
            await scalars
        finally:
            await ended(scalars)
            await ended(writing)
        await self._writer.finish()

    def _choose(self) -> None:
        """What the job's annotation says, whenever it says something else than before."""
        job = self._all.job(self._of) or self._job
        annotation = str(meta.annotations(job).get(ANNOTATION) or "")
        if annotation == self._annotation:
            return
        from homeport.components.progress.lines import choice

        self._annotation = annotation
        chosen = choice(annotation)
        self._figures.choose(chosen)
        for complaint in chosen.complaints:
            remedy = "Write one name=pattern a line (RE2), or off; a change counts for lines from then on"
            self._complain(ANNOTATION, f"{complaint}. {remedy}")

    def _complain(self, annotation: str, text: str) -> None:
        """Tell the job's user, once of the same."""
        told = f"metadata.annotations[{annotation}]: {text}"
        if told not in self._told:
            self._told.add(told)
            self._all.recorder.record(self._all.job(self._of) or self._job, "Warning", REASON, told)

    # -- event files

    def _directory(self) -> str:
        job = self._all.job(self._of) or self._job
        return str(meta.annotations(job).get(DIRECTORY) or "").strip()

    async def _read_scalars(self) -> None:
        if not self._directory():
            return
        from homeport.components.progress.scalars import Scalars  # for the first job that has some

        reading = Scalars(self._all.client, self._of, lambda text: self._complain(DIRECTORY, text))
        await reading.follow(
            self._directory,
            self._say,
            lambda: self._pause(interval(self._all.count)),
            lambda: self._ended.is_set() or self._writer.reports_itself,
        )

    def _say(self, told: list[Said]) -> None:
        now = self._all.now()
        taken = [self._figures.say(one, now) for one in told]
        if any(taken):
            self._writer.note()

    # -- reading

    async def _read_all(self) -> None:
        pause, since = 0.0, ""
        while not self._writer.reports_itself:
            runs = self._runs()
            begun = meta.timestamp(self._all.now())
            try:
                is_whole = await self._read(since, follow=runs)
                self._all.is_refused = False
                since, pause = "", min(_PATIENCE, pause * 2 or 1.0) if is_whole else INTERVAL
            except NotFound:
                return
            except Forbidden as error:
                if not self._all.is_refused:
                    _log.warning("progress is not read from logs: %s. It is tried again", error)
                self._all.is_refused = True
                is_whole, pause = True, _REFUSED
            except HomeportError as error:
                if isinstance(error, ApiError) and error.code < 500 and error.code != 429:
                    raise
                is_whole, since, pause = False, begun, min(_PATIENCE, pause * 2 or 1.0)
            if (is_whole and not self._runs()) or not runs:
                return
            # The log of a container that still runs ends where the server, or the node, went away.
            await self._pause(pause)

    def _runs(self) -> bool:
        """Whether it is the same container still, and has not ended."""
        pod = self._all.pods.get(self._of.namespace, self._of.pod)
        if pod is None or meta.uid(pod) != self._pod:
            return False
        state = container_status(pod, self._of.container) or {}
        return state.get("containerID") == self._container and bool((state.get("state") or {}).get("running"))

    async def _pause(self, seconds: float) -> None:
        """Wait, but not past the container's end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    async def _read(self, since: str, *, follow: bool) -> bool:
        """Read to the end; False: it was broken off because there is too much."""
        from homeport.components.progress.figures import Lines

        of, loop = self._of, asyncio.get_running_loop()
        query = [("container", of.container), ("tailLines", str(_TAIL))]
        query += [("follow", "true")] if follow else []
        query += [("sinceTime", since)] if since else []
        path = core.POD.resource.path(of.namespace, of.pod, "log")
        lines, amount, last = Lines(), 0, loop.time()
        async with self._all.client.stream(path, query) as chunks:
            async for chunk in chunks:
                if loop.time() - last >= INTERVAL:
                    amount = 0
                    last = loop.time()
                amount += len(chunk)
                self._take(list(lines.feed(chunk)))
                if self._writer.reports_itself:
                    return True
                if amount > _MOST_READ:
                    return False
                if follow and not self._ended.is_set():
                    await self._pause(_BREATH)
        self._take(list(lines.end()))
        return True

    def _take(self, lines: list[str]) -> None:
        self._choose()
        if self._all.budget.is_spent:
            lines = lines[-_LAST_LINES:]
        clock = asyncio.get_running_loop().time
        begun = clock()
        if self._figures.take(lines, self._all.now()):
            self._writer.note()
        self._all.budget.spend(clock() - begun)


def container_status(pod: Object, container: str) -> Object | None:
    for each in meta.status(pod).get("containerStatuses") or ():
        if each.get("name") == container:
            found: Object = each
            return found
    return None
