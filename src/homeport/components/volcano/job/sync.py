"""What should be of a Volcano job: its state machine (upstream: ``pkg/controllers/job/state``), and the two things that
its states do: make what is missing (``syncJob``), or end pods (``killJob``, ``killTarget``).

A whole job that is ended gets another version first, so that what its old pods still do is no event any more; single
pods that are ended are marked. Either is on record before a pod is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from homeport.components.volcano import orders
from homeport.components.volcano.job import plugins, policies, shape
from homeport.components.volcano.job.group import pod_group
from homeport.components.volcano.job.pods import Builder, claim_names, claims, group_name
from homeport.components.volcano.job.policies import Happening, Verdict
from homeport.components.volcano.job.rules import complaint, prepare
from homeport.components.volcano.job.shape import Task
from homeport.components.volcano.job.status import FINISHED, Draft
from homeport.control.controller import Desired, Note, Observed, Patch
from homeport.kube import meta
from homeport.kube.meta import Object

_TARGETED = ("RestartTask", "RestartPod", "RestartPartition")
_STOPS = {"AbortJob": "Aborting", "CompleteJob": "Completing", "TerminateJob": "Terminating"}
_STOPPED = {"Aborting": "Aborted", "Completing": "Completed", "Terminating": "Terminated"}
_ORDERS = ("AbortJob", "ResumeJob", "RestartJob", "TerminateJob", "CompleteJob", "SyncJob")
"""The actions of commands. Those of single tasks and pods can't be ordered: a command names neither."""
_ENDED = ("Succeeded", "Failed")
_CLAIM = "PersistentVolumeClaim"
_REFUSED = "FailedValidation"


def sync(observed: Observed) -> Desired:
    job = prepare(observed.parent, None)
    if meta.is_deleting(job):
        return _leave(observed)
    state = meta.status(job).get("state") or {}
    text = "" if state.get("phase") else complaint(job)
    if text or state.get("reason") == _REFUSED:
        return _refuse(job, text, observed)
    try:
        used = plugins.of(job)
    except ValueError as error:
        text = f"Execute plugin when job add failed, err: {error}"
        return Desired(keep=_leave(observed).keep, notes=(Note("Warning", "PluginError", text),))
    return _Round(job, used, observed).desired()


def _refuse(job: Object, text: str, observed: Observed) -> Desired:
    """A job that webhooks would not have let in has failed, and nothing is made for it. `text`: why, if that is to be
    told yet."""
    draft = Draft(job, observed.now)
    notes: tuple[Note, ...] = ()
    if text:
        draft.enter("Failed")
        draft.tell(text, _REFUSED)
        notes = (Note("Warning", _REFUSED, text),)
    left = _time_to_live(job, draft, observed.now)
    return Desired(
        status=draft.finish(),
        keep=_leave(observed).keep,
        removed=tuple(orders.waiting(observed)[:1]),
        notes=notes,
        requeue_after=left or None,
        delete_parent=left == 0.0,
    )


def _leave(observed: Observed) -> Desired:
    """Touch nothing."""
    keep = ((kind, name) for kind, objects in observed.children.items() for name in objects)
    return Desired(keep=frozenset(keep))


class _Round:
    """One sync of a job."""

    def __init__(self, job: Object, used: Mapping[str, plugins.Arguments], observed: Observed) -> None:
        self._job, self._used, self._observed = job, used, observed
        self._spec, self._draft = meta.spec(job), Draft(job, observed.now)
        self._tasks = shape.tasks(job)
        self._pods = observed.children.get("Pod", {})
        self._group = observed.child("PodGroup", group_name(job))
        self._notes: list[Note] = []
        self._commands = orders.waiting(observed)
        self._since: Mapping[str, str] = observed.memory.get("waiting") or {}
        self._waiting: Mapping[str, str] = {}
        self._wake: float | None = None

    def desired(self) -> Desired:
        draft = self._draft
        if not draft.phase:
            draft.enter("Pending")
            draft.need(self._spec.get("minAvailable") or 0)
        verdict = self._verdict()
        if verdict is not None and self._is_in_vain(verdict):
            words = f"Command {verdict.action} changes nothing: the job is {draft.phase}"
            self._notes.append(Note("Warning", "CommandIgnored", words))
        elif verdict is not None:
            self._notes.append(Note("Normal", "ExecuteAction", f"Start to execute action {verdict.action} "))
        match draft.phase:
            case "Pending" | "Running":
                return self._act(verdict)
            case "Restarting":
                return self._restart(verdict)
            case "Aborting" | "Aborted" if verdict is not None and verdict.action == "ResumeJob":
                draft.count_retry()
                return self._kill("Restarting", soft=True)
            case "Aborting" | "Completing" | "Terminating":
                return self._stop()
            case _:
                return self._end(soft=True)

    # -- what is to be done

    def _verdict(self) -> Verdict | None:
        """The first order, or else what policies want. Orders are deleted with this sync."""
        if self._commands:
            action = str(self._commands[0].get("action") or "")
            if why := orders.why_not(self._observed.parent, self._commands[0], _ORDERS):
                self._notes.append(Note("Warning", "CommandIgnored", why))
                return None
            text = f"Start to execute command {action}, and clean it up to make sure executed not more than once."
            self._notes.append(Note("Normal", "CommandIssued", text))
            return Verdict(action, Happening("CommandIssued"))
        if self._draft.phase not in ("Pending", "Running", "Restarting"):
            return None
        going_on = policies.happenings(self._job, self._pods, self._group)
        decision = policies.decide(self._job, going_on, self._since, self._observed.now)
        if decision.verdict is None:
            self._waiting, self._wake = decision.waiting, decision.wake
        return decision.verdict

    def _is_in_vain(self, verdict: Verdict) -> bool:
        """Of an order: whether the job's phase has no use for it."""
        match self._draft.phase if self._commands else "":
            case "Pending" | "Running":
                return verdict.action == "ResumeJob"
            case "Aborting" | "Aborted":
                return verdict.action != "ResumeJob"
            case "":
                return False
            case _:
                return True

    def _act(self, verdict: Verdict | None) -> Desired:
        action = verdict.action if verdict else ""
        if action == "RestartJob":
            # What is left of the last attempt can be looked at.
            soft = self._draft.number("retryCount") >= self._spec["maxRetry"] - 1
            self._draft.count_retry()
            return self._kill("Restarting", soft=soft)
        if action in _STOPS:
            return self._kill(_STOPS[action], soft=True)
        if verdict is not None and (names := self._targets(verdict)):
            self._draft.count_retry()
            if self._is_out_of_tries:  # what has failed can be looked at
                self._draft.enter("Restarting")
                return self._sync(self._restarted)
            return self._kill_some(names)
        return self._sync(self._begin if self._draft.phase == "Pending" else self._judge)

    def _restart(self, verdict: Verdict | None) -> Desired:
        if verdict is not None and (names := self._targets(verdict)):
            return self._kill_some(names)
        return self._sync(self._restarted)

    def _targets(self, verdict: Verdict) -> list[str]:
        """The pods that an action is about, of those that have its target."""
        about = verdict.about
        task = next((task for task in self._tasks if task.name == about.task), None)
        if verdict.action not in _TARGETED or task is None:
            return []
        members = [name for name in map(task.pod_name, range(task.replicas)) if name in self._pods]
        if verdict.action == "RestartPod":
            return [about.pod] if about.pod in members else []
        if verdict.action == "RestartPartition" and about.partition:
            label = shape.PARTITION_ID
            return [name for name in members if meta.labels(self._pods[name]).get(label) == about.partition]
        return members

    # -- how states go on

    def _begin(self, waits: bool) -> None:
        draft = self._draft
        if (self._spec.get("minAvailable") or 0) <= sum(map(draft.number, ("running", "succeeded", "failed"))):
            draft.enter("Running")

    def _judge(self, waits: bool) -> None:
        draft, least = self._draft, self._spec.get("minAvailable") or 0
        total = sum(task.replicas for task in self._tasks)
        if not total or waits:  # scaled to nothing, or an action is due that may still change everything
            return
        succeeded, enough = draft.number("succeeded"), self._spec.get("minSuccess")
        if enough is not None and succeeded >= enough:
            draft.enter("Completed")
        elif succeeded + draft.number("failed") == total:
            is_short = least >= sum(task.least for task in self._tasks) and self._lacks_successes()
            failed = is_short or enough is not None or succeeded < least
            if failed:
                self._fail(self._shortfall(is_short))
            else:
                draft.enter("Completed")
        elif draft.number("pending") > total - least:
            draft.enter("Pending")

    def _lacks_successes(self) -> bool:
        return next(self._lacking(), None) is not None

    def _lacking(self) -> Iterator[Task]:
        """Tasks of which fewer have succeeded than have to."""
        counted = self._draft.succeeded_by_task
        return (task for task in self._tasks if task.name in counted and counted[task.name] < task.least)

    def _shortfall(self, is_short: bool) -> str:
        """How many should have succeeded, now that all pods have ended. `is_short`: it is a task that lacks some."""
        if is_short:
            task = next(self._lacking())
            succeeded = self._draft.succeeded_by_task[task.name]
            return f"{succeeded} of task {task.name}'s {task.replicas} pods succeeded, {task.least} have to"
        succeeded, least = self._draft.number("succeeded"), self._spec.get("minAvailable") or 0
        enough = self._spec.get("minSuccess")
        wanted = f"{least} have to (minAvailable)" if enough is None else f"{enough} have to (minSuccess)"
        return f"{succeeded} of {sum(task.replicas for task in self._tasks)} pods succeeded, {wanted}"

    def _fail(self, why: str) -> None:
        """Upstream gives no cause. Here it stays in the status, with the last pod that failed."""
        self._draft.enter("Failed")
        self._draft.tell("; ".join(filter(None, (why, policies.last_failure(self._pods.values())))))

    @property
    def _is_out_of_tries(self) -> bool:
        return self._draft.number("retryCount") >= int(self._spec["maxRetry"])

    def _restarted(self, waits: bool) -> None:
        draft, total = self._draft, sum(task.replicas for task in self._tasks)
        if self._is_out_of_tries:
            self._fail(f"the job has no try left (maxRetry {self._spec['maxRetry']})")
        elif total - draft.number("terminating") >= draft.number("minAvailable"):
            draft.enter("Pending")

    # -- making what is missing

    def _sync(self, go_on: Callable[[bool], None]) -> Desired:
        draft, build = self._draft, Builder(self._job, self._used)
        startable = {task.name: self._may_start(task) for task in self._tasks}
        held_back = meta.status(self._group or {}).get("phase") in (None, "", "Pending") or (
            draft.phase == "Restarting" and self._is_out_of_tries
        )
        keep: set[tuple[str, str]] = set()
        counted: list[Object] = []
        new: list[Object] = []
        for task in self._tasks:
            for index in range(task.replicas):
                name = task.pod_name(index)
                pod = self._pods.get(name)
                if pod is None:
                    if startable[task.name] and not held_back:
                        new.append(build.pod(task, index))
                elif not meta.is_deleting(pod) and not self._is_left_over(pod):
                    keep.add(("Pod", name))
                    counted.append(pod)
        draft.count(counted, len(self._pods) - len(counted))
        draft.need(self._spec.get("minAvailable") or 0)
        draft.control(self._controlled(with_plugins=True))
        go_on(bool(self._waiting))
        self._explain()
        priorities = {
            name: int(found.get("value") or 0)
            for name, found in self._observed.related.get("PriorityClass", {}).items()
        }
        group = pod_group(self._job, startable, priorities)
        return self._result(children=[group, *plugins.objects(self._job, self._used), *new], keep=keep)

    def _is_left_over(self, pod: Object) -> bool:
        """Of an attempt that was ended, and should have gone with it."""
        if policies.is_marked(pod):
            return True
        if shape.version_of(pod) == self._draft.number("version"):
            return False
        if meta.status(pod).get("phase") not in _ENDED:
            return True
        if self._is_out_of_tries:
            return False  # of the last attempt, which can be looked at
        return self._draft.phase == "Restarting" and not self._draft.came_from("Aborting", "Aborted")

    def _may_start(self, task: Task) -> bool:
        """Whether what the task depends on is ready."""
        depends: Mapping[str, Any] = task.spec.get("dependsOn") or {}
        wanted = depends.get("name") or []
        ready = [self._is_ready(other) for other in self._tasks if other.name in wanted]
        return any(ready) if len(wanted) > 1 and depends.get("iteration") == "any" else all(ready)

    def _is_ready(self, task: Task) -> bool:
        members = (self._pods.get(task.pod_name(index)) for index in range(task.replicas))
        return sum(pod is not None and _runs(pod) for pod in members) >= task.least

    def _explain(self) -> None:
        """Say why the job waits, in the words of its group; once."""
        if self._draft.phase == "Failed":
            return
        before = (meta.status(self._observed.parent).get("state") or {}).get("message")
        why = _condition(self._group) if self._draft.phase == "Pending" else None
        text = ""
        if why is not None:
            where = f"{meta.namespace(self._job)}:{meta.name(self._job)}"
            text = f"PodGroup {where} {str(why.get('type')).lower()}, reason: {why.get('message') or ''}"
            if text != before:
                self._notes.append(Note("Warning", "PodGroupPending", text))
        self._draft.tell(text)

    # -- ending pods

    def _kill(self, phase: str, *, soft: bool) -> Desired:
        """End the whole job and go on to `phase`."""
        self._draft.raise_version()
        self._draft.enter(phase)
        self._draft.run(meta.parse_time(meta.metadata(self._job)["creationTimestamp"]))
        return self._end(soft=soft)

    def _stop(self) -> Desired:
        result = self._end(soft=True)
        if any(map(self._draft.number, ("terminating", "pending", "running"))):
            return result
        self._draft.enter(_STOPPED[self._draft.phase])
        return self._end(soft=True)

    def _end(self, *, soft: bool) -> Desired:
        """End pods; `soft`: but for those that have ended. A job that does not go on loses what its plug-ins made."""
        kept = {
            name: pod
            for name, pod in self._pods.items()
            if soft and meta.status(pod).get("phase") in _ENDED and not meta.is_deleting(pod)
        }
        goes_on = self._draft.phase == "Restarting"
        self._draft.count(kept.values(), len(self._pods) - len(kept))
        self._draft.control(self._controlled(with_plugins=goes_on))
        if self._draft.phase != "Failed":
            self._draft.tell("")
        own = plugins.objects(self._job, self._used) if goes_on else ()
        return self._result(children=own, keep={("Pod", name) for name in kept})

    def _kill_some(self, names: Iterable[str]) -> Desired:
        """End single pods: the job keeps its turn and all the others."""
        doomed = [self._pods[name] for name in names]
        gone = {meta.name(pod) for pod in doomed}
        kept = {name: pod for name, pod in self._pods.items() if name not in gone and not meta.is_deleting(pod)}
        self._draft.count(kept.values(), len(self._pods) - len(kept))
        if self._draft.phase == "Restarting":
            self._restarted(False)
        else:
            self._draft.enter("Restarting")
        mark = {"metadata": {"annotations": {shape.OUT_OF_SYNC: "true"}}}
        keep = {("Pod", name) for name in kept} | {
            (kind, name) for kind, objects in self._observed.children.items() if kind != "Pod" for name in objects
        }
        patches = tuple(Patch(pod, mark) for pod in doomed if not policies.is_marked(pod))
        return self._result(children=(), keep=keep, patches=patches)

    def _controlled(self, *, with_plugins: bool) -> dict[str, str]:
        named = {f"plugin-{name}": name for name in self._used} if with_plugins else {}
        return named | {f"volume-pvc-{name}": name for name in claim_names(self._job)}

    def _result(
        self, *, children: Iterable[Object], keep: set[tuple[str, str]], patches: tuple[Patch, ...] = ()
    ) -> Desired:
        left = _time_to_live(self._job, self._draft, self._observed.now)
        there = {(_CLAIM, name) for name in self._observed.children.get(_CLAIM, {})}
        missing = [claim for claim in claims(self._job) if (_CLAIM, meta.name(claim)) not in there]
        times = [time for time in (self._wake, left) if time]
        return Desired(
            status=self._draft.finish(),
            children=(*missing, *children),
            keep=frozenset(keep | there),
            patches=patches,
            removed=tuple(self._commands[:1]),
            notes=tuple(self._notes),
            memory={"waiting": dict(self._waiting)} if self._waiting else {},
            requeue_after=min(times, default=None),
            delete_parent=left == 0.0,
        )


def _time_to_live(job: Object, draft: Draft, now: datetime) -> float | None:
    """Seconds until a finished job is deleted; None if it stays."""
    seconds, end = meta.spec(job).get("ttlSecondsAfterFinished"), draft.since()
    if seconds is None or end is None or draft.phase not in FINISHED:
        return None
    return max(0.0, float(seconds) - (now - end).total_seconds())


def _runs(pod: Object) -> bool:
    """Whether those that depend on it may start."""
    status = meta.status(pod)
    if status.get("phase") == "Succeeded":
        return True
    if meta.is_deleting(pod):
        return False
    return status.get("phase") == "Running" and all(one.get("ready") for one in status.get("containerStatuses") or ())


def _condition(group: Object | None) -> Object | None:
    """What the group's last true condition complains of."""
    true: list[Object] = [one for one in meta.status(group or {}).get("conditions") or () if one["status"] == "True"]
    last = max(true, key=lambda one: str(one.get("lastTransitionTime") or ""), default=None)
    return last if last is not None and last.get("type") != "Scheduled" else None
