"""What happens to a job's pods, and which action its policies want then (upstream: ``applyPolicies``). Pure.

Upstream sees each change once; here an event is a state of affairs that lasts until something is done about it. So none
is lost, and what was done about is told apart by the job's version (a pod of an earlier one counts no more) and by the
mark on pods that the controller itself deletes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from homeport.components.volcano.job import shape
from homeport.components.volcano.job.shape import Task
from homeport.kube import durations, meta
from homeport.kube.meta import Object

ANY = "*"


class Happening(NamedTuple):
    """Something that policies may be about."""

    event: str
    task: str = ""
    pod: str = ""
    uid: str = ""
    exit_code: int = 0
    partition: str = ""

    @property
    def key(self) -> str:
        return f"{self.event}/{self.pod or self.task}/{self.uid}"


class Verdict(NamedTuple):
    """What is to be done, and about what."""

    action: str
    about: Happening


class Decision(NamedTuple):
    """What policies want now."""

    verdict: Verdict | None
    waiting: Mapping[str, str]
    """Since when each happening lasts whose action has to wait: key -> time."""
    wake: float | None
    """Seconds until the first of them is due."""


def happenings(job: Object, pods: Mapping[str, Object], group: Object | None) -> Iterator[Happening]:
    """All that is going on, pods first."""
    version = meta.status(job).get("version") or 0
    for task in shape.tasks(job):
        members = [pods[name] for name in map(task.pod_name, range(task.replicas)) if name in pods]
        current = [pod for pod in members if shape.version_of(pod) == version and not is_marked(pod)]
        for pod in current:
            if event := _event(pod):
                yield _about(pod, event, task)
        if task.replicas and len(members) == task.replicas == sum(_phase(pod) == "Succeeded" for pod in current):
            yield Happening("TaskCompleted", task.name)
        most = task.spec.get("maxRetry") or 3
        if most != -1 and sum(map(_restarts, current)) >= most:
            yield Happening("TaskFailed", task.name)
    if meta.status(group or {}).get("phase") == "Unknown":
        yield Happening("Unknown")


def is_marked(pod: Object) -> bool:
    return meta.annotations(pod).get(shape.OUT_OF_SYNC) == "true"


def _phase(pod: Object) -> str:
    return str(meta.status(pod).get("phase") or "")


def _event(pod: Object) -> str:
    if meta.is_deleting(pod):
        # One that had ended and is removed is no loss.
        return "PodEvicted" if _phase(pod) not in ("Succeeded", "Failed") else ""
    return {"Failed": "PodFailed", "Pending": "PodPending"}.get(_phase(pod), "")


def _about(pod: Object, event: str, task: Task) -> Happening:
    code = _ending(pod).get("exitCode") if event == "PodFailed" else 0
    partition = meta.labels(pod).get(shape.PARTITION_ID) or ""
    return Happening(event, task.name, meta.name(pod), meta.uid(pod), code or 0, partition)


def _ending(pod: Object) -> Mapping[str, Any]:
    """How the first container has ended: the one whose exit code counts."""
    first: Object = next(iter(meta.status(pod).get("containerStatuses") or ()), {})
    return (first.get("state") or {}).get("terminated") or {}


def last_failure(pods: Iterable[Object]) -> str:
    """Of the pods that have failed, the one that did last, and how; empty if none has."""
    failed = [pod for pod in pods if _phase(pod) == "Failed"]
    if not failed:
        return ""
    pod = max(failed, key=lambda one: (str(_ending(one).get("finishedAt") or ""), meta.name(one)))
    code, reason = _ending(pod).get("exitCode"), meta.status(pod).get("reason")
    how = f"with exit code {code}" if code is not None else f"({reason})" if reason else ""
    return f"pod {meta.name(pod)} failed {how}".rstrip()


def _restarts(pod: Object) -> int:
    """Of the containers of a pod that has not ended."""
    status = meta.status(pod)
    if _phase(pod) not in ("Pending", "Running"):
        return 0
    both = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    return sum(container.get("restartCount") or 0 for container in both)


def decide(job: Object, going_on: Iterable[Happening], since: Mapping[str, Any], now: datetime) -> Decision:
    """The first action that is due. `since`: ``Decision.waiting`` of the last time."""
    waiting: dict[str, str] = {}
    wake: float | None = None
    for one in going_on:
        policy = _policy(job, one)
        if policy is None or policy.get("action") in (None, "", "SyncJob"):
            continue
        if policy.get("timeout"):
            begin = since.get(one.key) or meta.timestamp(now)
            due = meta.parse_time(begin) + timedelta(seconds=durations.seconds(policy["timeout"]))
            left = (due - now).total_seconds()
            if left > 0:
                waiting[one.key] = begin
                wake = left if wake is None else min(wake, left)
                continue
        return Decision(Verdict(policy["action"], one), waiting, wake)
    return Decision(None, waiting, wake)


def _policy(job: Object, one: Happening) -> Mapping[str, Any] | None:
    """The first policy about it: the task's come before the job's."""
    spec = meta.spec(job)
    own: Mapping[str, Any] = next(
        (task for task in spec.get("tasks") or () if one.task and task.get("name") == one.task), {}
    )
    for policies in (own.get("policies") or (), spec.get("policies") or ()):
        if found := _matching(policies, one):
            return found
    return None


def _matching(policies: Sequence[Mapping[str, Any]], one: Happening) -> Mapping[str, Any] | None:
    for policy in policies:
        events = {*(policy.get("events") or ()), policy.get("event") or ""} - {""}
        # A pod always begins as Pending: that alone is no reason to act.
        if (one.event in events or ANY in events) and (one.event != "PodPending" or policy.get("timeout")):
            return policy
        if policy.get("exitCode") and policy["exitCode"] == one.exit_code:
            return policy
    return None
