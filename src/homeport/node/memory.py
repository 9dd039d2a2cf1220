"""What the node remembers of a pod between two decisions, and how news changes it. Pure values.

A memory is small and is kept in the pod's directory, so that a killed platform goes on where it was: restart
back-off, the attempt before the newest, a running grace period.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.runtime import ContainerState
from homeport.node.status import container_statuses

BACKOFF_FIRST = 10.0
BACKOFF_MOST = 300.0
BACKOFF_RESET = 600.0
"""A container that ran this long after its restart starts over with a short back-off."""


EndReason: TypeAlias = Literal["", "liveness", "startup", "hook", "resize", "changed"]


class Ending(msgspec.Struct, frozen=True):
    """The end of an attempt that has been asked for."""

    kill_at: datetime
    """When it gets SIGKILL."""
    grace: float
    """The grace period, in seconds, that `kill_at` came from: a shorter one moves it forward."""
    reason: EndReason = ""
    """Why it ends although the pod goes on: a probe or the ``postStart`` hook failed, or it has to be started anew with
    other resources or another image. Empty: the pod ends."""
    hook: Literal["", "running", "done"] = ""
    """How far the ``preStop`` hook is."""
    sent: int = 0
    """The last signal that it was sent; 0 for none."""


class Steps(msgspec.Struct, frozen=True):
    """Seconds that the wall clock has been set forward by, so that pauses stay as long as they were meant to be: the
    moments at which attempts began and ended are written down as the clock had them then."""

    while_running: float = 0.0
    """While the newest attempt ran."""
    since_end: float = 0.0
    """Since it ended."""
    before: float = 0.0
    """Between the end of the attempt before and its start."""


class ContainerMemory(msgspec.Struct, frozen=True):
    current: ContainerState | None = None
    """The newest attempt that the present sandbox has seen."""
    previous: ContainerState | None = None
    """The attempt that ended before it."""
    next_attempt: int = 0
    backoff: float = 0.0
    """Seconds that must lie between the end of the newest attempt and the next start."""
    image: str = ""
    """The name of the image that the newest attempt was started from."""
    resources: Object | None = None
    """The resources that the newest attempt has; None if nobody knows."""
    post_start: Literal["", "due", "running", "done", "failed"] = ""
    """How far the newest attempt's ``postStart`` hook is; empty without one."""
    ending: Ending | None = None
    """The end of the newest attempt, if it was asked for; kept until the next attempt."""
    steps: Steps = Steps()

    @property
    def is_running(self) -> bool:
        return self.current is not None and self.current.phase == "running"

    @property
    def is_exited(self) -> bool:
        return self.current is not None and self.current.phase == "exited"

    @property
    def restarts(self) -> int:
        return max(self.next_attempt - 1, 0)


class Verdict(msgspec.Struct, frozen=True):
    """The node has decided that the pod is to fail, whatever its containers do."""

    reason: str
    message: str
    refuses: bool = False
    """The node never took it; else it takes it no longer."""
    disrupts: bool = False
    """The pod had done nothing wrong: its condition ``DisruptionTarget`` says so to its owner."""


class Memory(msgspec.Struct, frozen=True):
    containers: Mapping[str, ContainerMemory] = msgspec.field(default_factory=dict)
    start_time: str = ""
    """When the node accepted the pod (``status.startTime``)."""
    skew: float = 0.0
    """Seconds that the wall clock has been set forward by since."""
    expired: bool = False
    """``activeDeadlineSeconds`` ran out."""
    verdict: Verdict | None = None
    resize_pending: Literal["", "Deferred", "Infeasible"] = ""
    """Why other resources that the pod asks for have not been given; then containers that start have those of before.
    """
    devices: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """The uuids of the GPUs that are each container's (:mod:`homeport.node.gpus`), from the pod's admission to its
    end."""

    def of(self, name: str) -> ContainerMemory:
        return self.containers.get(name) or ContainerMemory()

    def with_container(self, name: str, container: ContainerMemory) -> Memory:
        return replace(self, containers={**self.containers, name: container})


def stepped(memory: Memory, step: timedelta) -> Memory:
    """The wall clock has been set forward (or back) by `step`: what is due stays as far away as it was."""
    containers = {name: _stepped(known, step) for name, known in memory.containers.items()}
    return replace(memory, containers=containers, skew=memory.skew + step.total_seconds())


def _stepped(known: ContainerMemory, step: timedelta) -> ContainerMemory:
    seconds, steps = step.total_seconds(), known.steps
    if known.is_running:
        steps = replace(steps, while_running=steps.while_running + seconds)
    elif known.current is not None or known.previous is not None:
        steps = replace(steps, since_end=steps.since_end + seconds)
    ending = known.ending
    if ending is not None:
        ending = replace(ending, kill_at=ending.kill_at + step)
    return replace(known, ending=ending, steps=steps)


def observe(memory: ContainerMemory, seen: ContainerState | None, *, has_hook: bool = False) -> ContainerMemory:
    """Fold in what the sandbox says about the container's newest attempt. Old news change nothing. `has_hook`: a new
    attempt has a ``postStart`` hook to come."""
    if seen is None:
        return memory
    current = memory.current
    if current is not None and seen.attempt == current.attempt:
        if current.phase == "exited" or seen == current:
            return memory
        return replace(memory, current=seen)
    if seen.attempt < memory.next_attempt:
        return memory
    return ContainerMemory(
        current=seen,
        previous=current or memory.previous,
        next_attempt=seen.attempt + 1,
        backoff=_next_backoff(memory) if seen.attempt else 0.0,
        post_start="due" if has_hook and seen.phase == "running" else "",
        steps=Steps(before=memory.steps.since_end),
    )


def lose(memory: ContainerMemory, now: datetime, message: str) -> ContainerMemory:
    """The sandbox has gone: what ran in it has ended, nobody knows how."""
    if memory.current is None or memory.current.phase == "exited":
        return memory
    state = dataclasses.replace(
        memory.current,
        phase="exited",
        finished_at=meta.micro_timestamp(now),
        exit_code=137,
        reason="ContainerStatusUnknown",
        message=message,
    )
    return replace(memory, current=state)


def leave(memory: ContainerMemory) -> ContainerMemory:
    """A new sandbox is about to be made: the attempts of the old one are history."""
    return replace(memory, current=None, previous=memory.current or memory.previous, post_start="", ending=None)


def restart_due(memory: ContainerMemory, now: datetime) -> datetime:
    """When the container may be started again: at once the first time, then 10, 20, 40 ... 300 s after its end.

    After a probe has failed, the attempt before counts, as with the kubelet: the failed one's time was waiting enough.
    """
    ended = memory.current or memory.previous
    if ended is None or not ended.finished_at or not memory.backoff:
        return now
    if memory.ending is not None and memory.ending.reason in ("resize", "changed"):
        return now
    steps = memory.steps
    ran_skew, skew = steps.while_running, steps.since_end
    if memory.ending is not None and memory.ending.reason in ("liveness", "startup"):
        ended = memory.previous
        if ended is None or not ended.finished_at:
            return now
        ran_skew, skew = 0.0, steps.before + steps.while_running + steps.since_end
    finished = meta.parse_time(ended.finished_at) + timedelta(seconds=skew)
    if _ran(ended, ran_skew) > BACKOFF_RESET or finished > now + timedelta(seconds=1):
        # It ran well for long; or the clock was set back while nobody looked: the old time may never come again.
        return now
    return finished + timedelta(seconds=memory.backoff)


def _ran(ended: ContainerState, skew: float) -> float:
    """How many seconds an attempt ran, whatever was done to the clock meanwhile."""
    if not ended.started_at or not ended.finished_at:
        return 0.0
    return (meta.parse_time(ended.finished_at) - meta.parse_time(ended.started_at)).total_seconds() - skew


def _next_backoff(memory: ContainerMemory) -> float:
    if memory.ending is not None and memory.ending.reason == "changed":
        return 0.0  # another image begins anew
    ended = memory.current or memory.previous
    if ended is not None and _ran(ended, memory.steps.while_running) > BACKOFF_RESET:
        return BACKOFF_FIRST
    return min(memory.backoff * 2, BACKOFF_MOST) if memory.backoff else BACKOFF_FIRST


def resume(memory: Memory) -> Memory:
    """The memory at the start of a new life of the node: a signal that was decided may not have been sent, and a hook
    that was running has lost whoever waited for it. It runs again: hooks are promised at least once."""
    return replace(memory, containers={name: _resumed(c) for name, c in memory.containers.items()})


def _resumed(memory: ContainerMemory) -> ContainerMemory:
    ending = memory.ending
    if ending is not None:
        ending = replace(ending, sent=0, hook="" if ending.hook == "running" else ending.hook)
    return replace(memory, ending=ending, post_start="due" if memory.post_start == "running" else memory.post_start)


def unsent(memory: Memory, name: str, attempt: int) -> Memory:
    """The last signal that an attempt was to get could not be sent: its end is where it was before. What was due then
    still is, so that a SIGKILL that failed is not preceded by another SIGTERM."""
    known = memory.of(name)
    if known.ending is None or known.current is None or known.current.attempt != attempt:
        return memory
    sent = signal.SIGTERM if known.ending.sent == signal.SIGKILL else 0
    return memory.with_container(name, replace(known, ending=replace(known.ending, sent=sent)))


def recall(pod: Object) -> Memory:
    """A memory from the pod's status, for a pod that another life of the node has started and left no notes of."""
    status = meta.status(pod)
    containers: dict[str, ContainerMemory] = {}
    for entry in container_statuses(status):
        attempt = int(entry.get("restartCount") or 0)
        state = entry.get("state") or {}
        last = (entry.get("lastState") or {}).get("terminated")
        name = entry["name"]
        if running := state.get("running"):
            current = ContainerState(name, attempt, "running", 0, running.get("startedAt") or "", ids=_ids(entry))
            previous = _ended(name, attempt - 1, last) if last else None
            containers[name] = ContainerMemory(
                current, previous, attempt + 1, image=str(entry.get("image") or ""), resources=entry.get("resources")
            )
        elif ended := state.get("terminated"):
            previous = _ended(name, attempt - 1, last) if last else None
            current = dataclasses.replace(_ended(name, attempt, ended), ids=_ids(entry))
            containers[name] = ContainerMemory(current, previous, attempt + 1)
        elif last:
            containers[name] = ContainerMemory(_ended(name, attempt, last), None, attempt + 1)
    return Memory(containers, start_time=status.get("startTime") or "")


def _ids(entry: Mapping[str, Any]) -> tuple[int, ...]:
    user = (entry.get("user") or {}).get("linux") or {}
    if not user:
        return ()
    further = (group for group in user.get("supplementalGroups") or () if group != user["gid"])
    return user["uid"], user["gid"], *further


def _ended(name: str, attempt: int, body: Mapping[str, Any]) -> ContainerState:
    return ContainerState(
        name=name,
        attempt=max(attempt, 0),
        phase="exited",
        pid=0,
        started_at=body.get("startedAt") or "",
        finished_at=body.get("finishedAt") or "",
        exit_code=int(body.get("exitCode") or 0),
        signal=int(body.get("signal") or 0),
        reason=body.get("reason") or "",
        message=body.get("message") or "",
    )
