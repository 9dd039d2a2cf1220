"""Following jobs to their end: their pods, logs, reasons to wait, and how it all came out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from homeport.cli import output
from homeport.cli.connection import Connection, mirror
from homeport.cli.follow import WHOLE, Extent, PodLogs
from homeport.cli.replicas import (
    JOB_NAME_LABELS,
    MADE_OF_SETS,
    SET_LABEL,
    Container,
    Outcome,
    Replica,
    belongs,
    outcome,
    replica,
)
from homeport.cli.terminal import BOLD, DIM, RED, YELLOW, Terminal, prefix_color
from homeport.client.transport import Unreachable
from homeport.kube import core, meta
from homeport.kube.errors import HomeportError
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

_LINGER = 2.0
"""Seconds that replicas get to end after their job has."""
_SETTLE = 10.0
"""Seconds that logs and pods get to end after their job has."""
_STORIES = ("Restarting", "Suspended")
"""Conditions worth a line when they become true; how a job ends is told at the end."""
_QUIET_EVENTS = frozenset({"Failed", "BackOff", "FailedScheduling"})
"""Warnings that the pod's own status tells better."""
_OF_OTHER_LABELS = ("ChainerJob", "Experiment", "Trial")
"""Kinds of ``kubeflow.org`` whose pods do not carry the Training Operator's labels."""


@dataclass(slots=True)
class Job:
    """One object that is followed, and what is known of its end."""

    resource: Resource
    object: Object
    outcome: Outcome | None = None
    stuck: str = ""
    """Why it can't go on unless somebody does something."""

    @property
    def title(self) -> str:
        return f"{self.resource.kind} {meta.name(self.object)}"

    @property
    def is_over(self) -> bool:
        return self.outcome is not None or bool(self.stuck)

    @property
    def cleans_up(self) -> bool:
        """Whether the controller ends what still runs once the job is over."""
        policy = meta.spec(self.object).get("runPolicy") or {}
        return policy.get("cleanPodPolicy") in ("Running", "All")


class Follower:
    """Follows `jobs` on `terminal`. `run` returns once all are over; cancel it to stop looking, the jobs go on."""

    def __init__(
        self,
        connection: Connection,
        jobs: Sequence[Job],
        terminal: Terminal,
        *,
        wanted: Callable[[Replica], bool] = lambda one: True,
        extent: Extent = WHOLE,
        ended: Callable[[Job], Awaitable[Sequence[Replica]]] | None = None,
    ) -> None:
        """`wanted` says which replicas, `extent` how much of their logs. `ended` finds those of a job that are gone and
        whose logs are there, and were not shown before: a pod may come and go where no watch sees it."""
        self.jobs = list(jobs)
        self._wanted, self._extent = wanted, extent
        self.lines: dict[str, str] = {}
        """Title of a replica -> the last line of its log."""
        self._ended = ended
        self._connection = connection
        self._terminal = terminal
        self._pods: dict[str, PodLogs] = {}
        self._owner: dict[str, Job] = {}
        self._versions: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._told: set[object] = set()
        self._away = False
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def replicas(self, job: Job) -> list[Replica]:
        return [logs.replica for uid, logs in self._pods.items() if self._owner[uid] is job]

    def stopped(self) -> frozenset[str]:
        """Pods that were ended from outside before they ended by themselves."""
        return frozenset(uid for uid, logs in self._pods.items() if logs.gone or logs.replica.deleting)

    async def run(self) -> None:
        """Raises what a watch or a log can't wait out (Forbidden, ...)."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for work in self._watches():
                    self._tasks.append(group.create_task(work))
                await self._over()
                self._group = None
                for task in self._tasks:
                    task.cancel()
        except BaseExceptionGroup as errors:
            raise _the_one(errors) from None
        finally:
            self._group = None
            self._terminal.live("")

    def server_away(self, away: bool) -> None:
        """News of the connection."""
        self._away = away
        if away:
            self._terminal.live("the platform does not answer; waiting for it (homeport up starts it)")
        else:
            self._terminal.note("the platform is back", DIM)
            self._show_waiting()

    # What is watched.

    def _watches(self) -> Iterator[Coroutine[None, None, None]]:
        for job in self.jobs:
            if job.resource.kind == "Pod":
                continue  # the pods are watched anyway
            space, name = meta.namespace(job.object), meta.name(job.object)
            yield mirror(self._connection, job.resource, space, self._job_changed, fields=f"metadata.name={name}")
        for space in sorted({meta.namespace(job.object) for job in self.jobs}):
            inside = [job for job in self.jobs if meta.namespace(job.object) == space]
            yield mirror(
                self._connection,
                core.POD.resource,
                space,
                self._pod_changed,
                labels=_selector(inside),
                listed=partial(self._look_at_ended, inside),
            )
            yield mirror(self._connection, core.EVENT.resource, space, self._event_came, fields="type=Warning")

    def _job_changed(self, obj: Object, gone: bool) -> None:
        job = next((job for job in self.jobs if meta.uid(job.object) == meta.uid(obj)), None)
        if job is None:
            return
        job.object = obj
        job.outcome = job.outcome or outcome(obj)
        if gone and job.outcome is None:
            job.outcome = Outcome(False, "Deleted", "it was deleted")
        for condition in meta.status(obj).get("conditions") or ():
            if condition.get("type") in _STORIES and condition.get("status") == "True":
                self._tell(
                    (meta.uid(obj), condition["type"], condition.get("lastTransitionTime")),
                    output.story(job.title, condition.get("message") or condition["type"]),
                )
        self._note_change()

    def _pod_changed(self, pod: Object, gone: bool) -> None:
        job = next((job for job in self.jobs if belongs(pod, job.object)), None)
        if job is None:
            return
        now = replica(pod)
        if not self._wanted(now) or not self._is_news(pod, now.uid):
            return
        logs = self._pods.get(now.uid) or self._begin(now, job)
        if logs is None:
            return
        restarted = now.restarts > logs.replica.restarts
        logs.update(now, gone=gone)
        if restarted:
            container = next((one for one in now.containers if one.attempt), None)
            ended = f", exit code {container.exit_code}" if container and container.exit_code is not None else ""
            self._tell((now.uid, now.restarts), f"[{self._prefix(now)}] restarted ({now.restarts}{ended})")
        if now.stuck and not gone and job.outcome is None:
            reason, message = now.stuck
            job.stuck = f"{now.title}: {message}" if message else f"{now.title}: {reason}"
        if job.resource.kind == "Pod":
            self._job_changed(pod, gone)
        else:
            self._note_change()

    def _begin(self, now: Replica, job: Job) -> PodLogs | None:
        """Read a pod's logs from now on, unless all is over."""
        if self._group is None:
            return None
        logs = PodLogs(self._connection, now, self._log_line, self._extent)
        logs.gone = now.kept
        self._pods[now.uid] = logs
        self._owner[now.uid] = job
        self._tasks.append(self._group.create_task(logs.run(), name=f"logs of {now.name}"))
        return logs

    async def _look_at_ended(self, jobs: Sequence[Job]) -> None:
        for job in jobs if self._ended is not None else ():
            assert self._ended is not None
            for one in await self._ended(job):
                if one.uid not in self._pods and self._wanted(one):
                    self._begin(one, job)
        self._note_change()

    def _is_news(self, pod: Object, uid: str) -> bool:
        """Whether this state is at least as new as the one that is known: a list may run ahead of a watch."""
        version = meta.resource_version(pod)
        number = int(version) if version.isdigit() else 0
        if number < self._versions.get(uid, 0):
            return False
        self._versions[uid] = number
        return True

    def _event_came(self, event: Object, gone: bool) -> None:
        about = event.get("involvedObject") or {}
        logs = self._pods.get(about.get("uid") or "")
        if gone or logs is None or event.get("reason") in _QUIET_EVENTS:
            return
        reason, message = event.get("reason") or "", event.get("message") or ""
        self._tell((about["uid"], reason, message), f"[{self._prefix(logs.replica)}] {reason}: {message}", YELLOW)

    # What is shown.

    def _prefix(self, one: Replica) -> str:
        return output.prefix(one, Container(one.main, "waiting", 0), job=self._job_name(one))

    def _job_name(self, one: Replica) -> str:
        return meta.name(self._owner[one.uid].object) if len(self.jobs) > 1 else ""

    def _log_line(self, one: Replica, container: Container, text: str) -> None:
        self.lines[one.title] = print_line(self._terminal, one, container, text, job=self._job_name(one))

    def _tell(self, key: object, line: str, *codes: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._terminal.note(line, *(codes or (DIM,)))

    def _note_change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        self._show_waiting()

    def _show_waiting(self) -> None:
        if self._away:
            return
        if all(job.is_over for job in self.jobs):
            self._terminal.live("")
            return
        open_pods = [logs for logs in self._pods.values() if not logs.gone]
        live, told = output.waiting([logs.replica for logs in open_pods], len(self._pods) - len(open_pods))
        self._terminal.live(live, echo="" if told in self._told else told)
        self._told.add(told)

    # The end.

    async def _over(self) -> None:
        """Wait until every job is over and its logs are read."""
        while not all(job.is_over for job in self.jobs):
            await self._changed.wait()
        if any(job.stuck and job.outcome is None for job in self.jobs):
            return
        await self._look_at_pods()
        # Replicas mostly end together, and the last lines of all of them are wanted; but some serve for ever.
        await self._until_read(lambda logs: not logs.done.is_set(), _LINGER)
        await self._until_read(self._is_awaited, _SETTLE)

    async def _until_read(self, is_awaited: Callable[[PodLogs], bool], seconds: float) -> None:
        """Wait until no log is awaited any more, for so many seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while unread := [logs for logs in self._pods.values() if is_awaited(logs)]:
                    done = [asyncio.ensure_future(logs.done.wait()) for logs in unread]
                    news = asyncio.ensure_future(self._changed.wait())
                    try:
                        await asyncio.wait([*done, news], return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        for future in (*done, news):
                            future.cancel()

    async def _look_at_pods(self) -> None:
        """The news of a job's end may have come before that of its pods."""
        for space in sorted({meta.namespace(job.object) for job in self.jobs}):
            inside = [job for job in self.jobs if meta.namespace(job.object) == space]
            with contextlib.suppress(Unreachable):  # then the watch will tell, once there is one again
                listing = await self._connection.client.list(core.POD.resource, space, labels=_selector(inside))
                for pod in listing.items:
                    self._pod_changed(pod, False)

    def _is_awaited(self, logs: PodLogs) -> bool:
        if logs.done.is_set():
            return False
        one = logs.replica
        return one.is_final or one.deleting or logs.gone or self._owner[one.uid].cleans_up


def print_line(terminal: Terminal, one: Replica, container: Container, text: str, *, job: str = "") -> str:
    """Print a line of a log with its replica's name (and `job` in front) in its colour; the line without."""
    head = terminal.paint(f"[{output.prefix(one, container, job=job)}]", prefix_color(one.type, one.index))
    line = output.log_text(text)
    terminal.print(f"{head} {line}" if line else head)
    return line


def _the_one(errors: BaseExceptionGroup) -> BaseException:
    """The error of a group (of groups) that tells most: the first whose text is for the user, else the first."""
    leaves: list[BaseException] = []
    groups: list[BaseException] = [errors]
    while groups:
        one = groups.pop(0)
        if isinstance(one, BaseExceptionGroup):
            groups += one.exceptions
        else:
            leaves.append(one)
    return next((one for one in leaves if isinstance(one, HomeportError)), leaves[0])


def _selector(jobs: Sequence[Job]) -> str:
    """A label selector that leaves out other jobs' pods, where every job's pods are known to carry its name."""
    names = ",".join(sorted(meta.name(job.object) for job in jobs))
    if all(job.resource.group == "kubeflow.org" and job.resource.kind not in _OF_OTHER_LABELS for job in jobs):
        return f"{JOB_NAME_LABELS[0]} in ({names})"
    if all(job.resource.kind in MADE_OF_SETS for job in jobs):
        return f"{SET_LABEL} in ({names})"
    return ""


def result_line(job: Job, replicas: Sequence[Replica]) -> tuple[str, tuple[str, ...]]:
    """What to say of a job that did not succeed, and its colour; empty if it did."""
    if job.outcome is not None and not job.outcome.succeeded:
        return output.failure(job.title, job.outcome, replicas), (RED, BOLD)
    if job.stuck and job.outcome is None:
        return f"{job.title} can't go on: {job.stuck}", (RED, BOLD)
    return "", ()
