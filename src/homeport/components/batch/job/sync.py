"""What should be of a job, by what is seen of it and its pods (upstream: ``pkg/controller/job/job_controller.go``).

Each pod is counted once, whatever happens in between: it is made with a finalizer; once it has ended, its UID goes into
``status.uncountedTerminatedPods``; when that is on record its finalizer is taken off; and when that is seen it moves
from the UIDs to the counters. For an indexed job the indexes in the status do what the UIDs do.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec

from homeport.components.batch.job import conditions as at
from homeport.components.batch.job import failures, indexes, pods, success
from homeport.components.batch.job.conditions import with_condition
from homeport.control.controller import Desired, Note, Observed
from homeport.kube import meta
from homeport.kube.core import pod_state
from homeport.kube.meta import Object

MANAGER = "kubernetes.io/job-controller"
"""The value of ``managedBy`` that means this controller, as does no value at all."""
_MOST_CHANGES = 500
"""Pods made or deleted in one sync."""
_MOST_UNCOUNTED = 500
"""Pods in the status that wait for their finalizer to be removed; others wait for a later sync."""


def sync(observed: Observed) -> Desired:
    job, found = observed.parent, observed.children.get("Pod", {})
    everything = frozenset(("Pod", name) for name in found)
    if (meta.spec(job).get("managedBy") or MANAGER) != MANAGER:
        return Desired(keep=everything)
    ended = at.finish(job)
    if ended is None and not meta.is_deleting(job):
        return _Round(observed).desired()
    tracked = frozenset(("Pod", name) for name, pod in found.items() if pods.is_tracked(pod))
    left = None if ended is None or meta.is_deleting(job) else _life_left(observed, ended)
    return Desired(keep=everything, finalized=tracked, requeue_after=left or None, delete_parent=left == 0.0)


def _life_left(observed: Observed, ended: Object) -> float | None:
    """Seconds until a job that has ended is deleted (upstream: the ``ttl-after-finished`` controller)."""
    life = meta.spec(observed.parent).get("ttlSecondsAfterFinished")
    if life is None:
        return None
    end = meta.parse_time(ended["lastTransitionTime"]) + timedelta(seconds=life)
    return max(0.0, (end - observed.now).total_seconds())


class _End(msgspec.Struct, frozen=True):
    """How a job that is about to end does so."""

    succeeds: bool
    reason: str
    message: str


_ROW = "failures"


class _Round:
    """One sync of a job that has not ended."""

    def __init__(self, observed: Observed) -> None:
        self._job, self._now, self._failures = observed.parent, observed.now, observed.failures
        self._spec, self._status = meta.spec(self._job), dict(meta.status(self._job))
        self._indexed = pods.is_indexed(self._job)
        self._suspended = bool(self._spec.get("suspend"))
        found = observed.children.get("Pod", {})
        self._pods = [found[name] for name in sorted(found)]
        self._tracked = [pod for pod in self._pods if pods.is_tracked(pod)]
        self._active = [pod for pod in self._pods if pod_state.is_active(pod)]
        self._terminating = sum(map(pod_state.is_terminating, self._pods))
        self._conditions: list[Object] = list(self._status.get("conditions") or ())
        self._notes: list[Note] = []
        self._create: list[Object] = []
        self._delete: list[Object] = []
        self._release: set[str] = set()
        self._delays: list[float] = []
        self._row = self._failures_in_a_row(observed.memory.get(_ROW) or {})
        self._count()

    def _count(self) -> None:
        """Take into the counters what has lost its finalizer, and see what has ended since."""
        with_finalizer = {meta.uid(pod) for pod in self._tracked}
        uncounted = self._status.get("uncountedTerminatedPods") or {}
        self._uncounted: dict[str, list[str]] = {}
        self._counted: dict[str, int] = {}
        for kind in ("succeeded", "failed"):
            uids = uncounted.get(kind) or []
            self._uncounted[kind] = left = [uid for uid in uids if uid in with_finalizer]
            self._counted[kind] = (self._status.get(kind) or 0) + len(uids) - len(left)
        self._new_failed = [
            pod
            for pod in self._tracked
            if meta.uid(pod) not in self._uncounted["failed"] and self._is_valid(pod) and self._has_failed(pod)
        ]
        self._failed = self._counted["failed"] + len(self._uncounted["failed"])
        self._failed += sum(failures.judge(self._job, pod).counts for pod in self._new_failed)
        new = [pod for pod in self._tracked if pods.has_succeeded(pod) and self._is_valid(pod)]
        if self._indexed:
            completions = self._spec["completions"]
            done = indexes.parse(self._status.get("completedIndexes") or "", completions)
            self._done = indexes.with_indexes(done, (pods.index_of(pod) or 0 for pod in new))
            self._lost = self._lost_indexes(completions)
            self._succeeded = indexes.total(self._done)
        else:
            uids = [meta.uid(pod) for pod in new if meta.uid(pod) not in self._uncounted["succeeded"]]
            self._succeeded = self._counted["succeeded"] + len(self._uncounted["succeeded"]) + len(uids)

    def _is_valid(self, pod: Object) -> bool:
        if not self._indexed:
            return True
        index = pods.index_of(pod)
        return index is not None and index < self._spec["completions"]

    def _has_failed(self, pod: Object) -> bool:
        return pods.has_failed(self._job, pod)

    def _lost_indexes(self, completions: int) -> indexes.Intervals | None:
        """The indexes that have failed for good, for a job with a limit for each index."""
        limit = self._spec.get("backoffLimitPerIndex")
        if limit is None:
            return None
        lost = set()
        for pod in self._tracked:
            if self._is_valid(pod) and self._has_failed(pod):
                verdict = failures.judge(self._job, pod)
                past = verdict.counts and pods.count_of(pod, pods.FAILURES) >= limit
                if past or verdict.action == "FailIndex":
                    lost.add(pods.index_of(pod) or 0)
        return indexes.with_indexes(indexes.parse(self._status.get("failedIndexes") or "", completions), lost)

    def desired(self) -> Desired:
        resumed = not self._suspended and meta.holds(self._conditions, at.SUSPENDED)
        if resumed or (not self._suspended and "startTime" not in self._status):
            # Anew with each resumption, before anything is judged by it: activeDeadlineSeconds count from there.
            self._status["startTime"] = meta.timestamp(self._now)
        end = self._end()
        if end is not None:
            self._delete = list(self._active)
        else:
            self._manage()
            end = self._completion()
            if end is None:
                self._suspend()
        # A pod that is deleted because the job ends is counted as what it becomes by that: with its finalizer.
        replaceable = {} if end is not None else self._awaiting_replacement()
        complete = self._track(end, replaceable)
        self._report(end, complete)
        return self._result()

    def _end(self) -> _End | None:
        """How the job ends, if it does by what is seen: first what a former sync has found."""
        met = meta.find_condition(self._conditions, at.SUCCESS_CRITERIA_MET)
        if met and met["status"] == "True":
            return _End(True, met.get("reason") or "", met.get("message") or "")
        target = meta.find_condition(self._conditions, at.FAILURE_TARGET)
        if target and target["status"] == "True":
            return _End(False, target.get("reason") or "", target.get("message") or "")
        return self._failure() or self._failure_by_index() or self._success_by_policy()

    def _failure(self) -> _End | None:
        for pod in self._pods if self._spec.get("podFailurePolicy") else ():
            if self._has_failed(pod):
                verdict = failures.judge(self._job, pod)
                if verdict.action == "FailJob":
                    return _End(False, "PodFailurePolicy", verdict.message)
        limit = self._spec["backoffLimit"]
        if self._failed > limit or self._has_restarted(limit):
            return _End(False, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        deadline = self._spec.get("activeDeadlineSeconds")
        if deadline is not None and not self._suspended:
            end = meta.parse_time(self._status["startTime"]) + timedelta(seconds=deadline)
            left = (end - self._now).total_seconds()
            if left <= 0:
                return _End(False, "DeadlineExceeded", "Job was active longer than specified deadline")
            self._delays.append(left)
        return None

    def _has_restarted(self, limit: int) -> bool:
        """Whether containers that start again in place have done so as often as pods may fail."""
        if self._spec["template"].get("spec", {}).get("restartPolicy") != "OnFailure":
            return False
        restarts = pods.restarts(self._pods)
        return restarts > 0 if limit == 0 else restarts >= limit

    def _failure_by_index(self) -> _End | None:
        if not self._indexed or self._lost is None:
            return None
        lost, most = indexes.total(self._lost), self._spec.get("maxFailedIndexes")
        if most is not None and lost > most:
            words = "Job has exceeded the specified maximal number of failed indexes"
            return _End(False, "MaxFailedIndexesExceeded", words)
        if lost and lost + self._succeeded >= self._spec["completions"]:
            return _End(False, "FailedIndexes", "Job has failed indexes")
        return None

    def _success_by_policy(self) -> _End | None:
        message = success.met(self._job, self._done) if self._indexed else ""
        return _End(True, "SuccessPolicy", message) if message else None

    def _completion(self) -> _End | None:
        completions = self._spec.get("completions")
        enough = self._succeeded > 0 if completions is None else self._succeeded >= completions
        if enough and len(self._active) == len(self._delete) and not self._create:
            return _End(True, "CompletionsReached", "Reached expected number of succeeded pods")
        return None

    def _suspend(self) -> None:
        before = meta.holds(self._conditions, at.SUSPENDED)
        if self._suspended:
            change = (True, "JobSuspended", "Job suspended")
        else:
            change = (False, "JobResumed", "Job resumed")
        self._conditions = with_condition(self._conditions, at.SUSPENDED, *change, self._now)
        if self._suspended != before:
            self._notes.append(Note("Normal", "Suspended" if self._suspended else "Resumed", change[2]))

    def _manage(self) -> None:
        """Make the pods that are missing, or delete those that are too many; never both in one sync."""
        active, wanted = len(self._active), self._wanted()
        surplus = pods.surplus(self._job, self._active, wanted)
        if not self._suspended:
            surplus = surplus[:_MOST_CHANGES]
        if surplus:
            # What is deleted here counts as nothing: its finalizer goes first.
            self._delete = surplus
            self._release.update(meta.name(pod) for pod in surplus if pods.is_tracked(pod))
        elif not self._suspended:
            going = self._terminating if pods.replaces_failed_only(self._job) else 0
            missing = min(wanted - going - active, _MOST_CHANGES)
            if missing > 0:
                self._create = list(self._made(missing))

    def _wanted(self) -> int:
        if self._suspended:
            return 0
        parallelism: int = self._spec["parallelism"]
        completions = self._spec.get("completions")
        if completions is None:
            # Once one has succeeded the others run to their end, and nothing new is started.
            return len(self._active) if self._succeeded else parallelism
        return max(0, min(int(completions) - self._succeeded, parallelism))

    def _made(self, missing: int) -> Iterator[Object]:
        by_index = self._spec.get("backoffLimitPerIndex") is not None
        if not by_index and (pause := failures.pause_of(self._row, self._now)):
            self._delays.append(pause)
            return
        template = pods.Template(self._job, self._pods)
        if not self._indexed:
            yield from template.some(missing)
            return
        former = self._awaiting_replacement()
        pauses = []
        for index in self._pending(missing):
            pod = former.get(index)
            if not by_index:
                yield template.indexed(index)
            elif pod is None:
                yield template.indexed(index, {pods.FAILURES: "0"})
            elif pause := failures.pause_left(_attempts(pod) + 1, failures.finished_at(pod), self._now):
                pauses.append(pause)
            else:
                yield template.indexed(index, self._attempts_after(pod))
        self._delays += pauses

    def _failures_in_a_row(self, memory: Object) -> Object:
        """Pods that were deleted on purpose have lost their finalizer."""
        failed = [
            pod
            for pod in self._pods
            if self._has_failed(pod) and (meta.status(pod).get("phase") == "Failed" or pods.is_tracked(pod))
        ]
        return failures.in_a_row(memory, failed, filter(pods.has_succeeded, self._pods))

    def _pending(self, count: int) -> list[int]:
        """The first indexes that nobody works on."""
        there = [pods.index_of(pod) for pod in self._active]
        if pods.replaces_failed_only(self._job):
            there += [pods.index_of(pod) for pod in self._pods if pod_state.is_terminating(pod)]
        busy = indexes.with_indexes(self._done, (index for index in there if index is not None))
        pending = indexes.missing(indexes.merged(busy, self._lost or ()), self._spec["completions"])
        return [index for index, _ in zip(pending, range(count), strict=False)]

    def _awaiting_replacement(self) -> dict[int, Object]:
        """By index, the failed pod that keeps its finalizer until the next one of its index has taken over its count of
        failures."""
        if not self._indexed or self._lost is None:
            return {}
        covered = {pods.index_of(pod) for pod in self._active}
        found: dict[int, Object] = {}
        for pod in self._tracked:
            index = pods.index_of(pod)
            if index is None or not self._is_valid(pod) or not self._has_failed(pod) or index in covered:
                continue
            if indexes.has(self._done, index) or indexes.has(self._lost, index):
                continue
            if index not in found or _later(pod, found[index]):
                found[index] = pod
        return found

    def _attempts_after(self, pod: Object) -> Object:
        counts = failures.judge(self._job, pod).counts
        ignored = pods.count_of(pod, pods.IGNORED_FAILURES) + (not counts)
        result = {pods.FAILURES: str(pods.count_of(pod, pods.FAILURES) + counts)}
        return {**result, pods.IGNORED_FAILURES: str(ignored)} if ignored else result

    def _track(self, end: _End | None, replaceable: dict[int, Object]) -> bool:
        """Write down which pods have ended, and let go of them. Gives whether that was all."""
        lost = {meta.uid(pod) for pod in replaceable.values()}
        done: list[int] = []
        for pod in sorted(self._tracked, key=lambda pod: pods.index_of(pod) or 0) if self._indexed else self._tracked:
            uid, failed = meta.uid(pod), self._has_failed(pod)
            succeeded = pods.has_succeeded(pod)
            if not (end is not None or succeeded or failed) or (uid in lost and not succeeded):
                continue
            if len(done) + sum(map(len, self._uncounted.values())) >= _MOST_UNCOUNTED:
                return False
            self._release.add(meta.name(pod))
            if succeeded and uid not in self._uncounted["failed"]:
                if not self._indexed:
                    self._note_uncounted("succeeded", uid)
                elif self._is_valid(pod):
                    done.append(pods.index_of(pod) or 0)
            elif (failed or (end is not None and not end.succeeds)) and self._counts(pod):
                self._note_uncounted("failed", uid)
        return True

    def _counts(self, pod: Object) -> bool:
        return self._is_valid(pod) and failures.judge(self._job, pod).counts

    def _note_uncounted(self, kind: str, uid: str) -> None:
        if uid not in self._uncounted[kind]:
            self._uncounted[kind] = [*self._uncounted[kind], uid]

    def _report(self, end: _End | None, complete: bool) -> None:
        """The status, and the terminal condition once no pod is left to count or to go away."""
        gone = set(map(meta.name, self._delete))
        staying = [pod for pod in self._active if meta.name(pod) not in gone]
        terminating = self._terminating + len(gone)
        # Pods being made are counted as made, unless that has just failed: one write less for each job.
        made = 0 if any(failure.verb == "create" for failure in self._failures) else len(self._create)
        counters = {"active": len(staying) + made, "failed": self._counted["failed"]}
        if self._indexed:
            counters["succeeded"] = self._succeeded
            self._put("completedIndexes", indexes.text(self._done))
            if self._lost is not None:
                self._status["failedIndexes"] = indexes.text(self._lost)
        else:
            counters["succeeded"] = self._counted["succeeded"]
        for name, value in counters.items():
            self._put(name, value)
        self._status["ready"] = sum(map(pod_state.is_ready, staying))
        self._status["terminating"] = terminating
        self._status["uncountedTerminatedPods"] = {kind: uids for kind, uids in self._uncounted.items() if uids}
        if end is not None:
            interim, final = (at.SUCCESS_CRITERIA_MET, at.COMPLETE) if end.succeeds else (at.FAILURE_TARGET, at.FAILED)
            if not meta.holds(self._conditions, interim):
                self._set(interim, end)
            if complete and not (terminating or self._release or any(self._uncounted.values())):
                self._set(final, end)
                self._finish(end)
        if self._conditions:
            self._status["conditions"] = self._conditions

    def _put(self, field: str, value: Any) -> None:
        """A field that is left out when it is empty."""
        if value:
            self._status[field] = value
        else:
            self._status.pop(field, None)

    def _set(self, type: str, end: _End) -> None:
        self._conditions = with_condition(self._conditions, type, True, end.reason, end.message, self._now)

    def _finish(self, end: _End) -> None:
        if not end.succeeds:
            self._notes.append(Note("Warning", end.reason, end.message))
            return
        self._status["completionTime"] = meta.timestamp(self._now)
        completions = self._spec.get("completions")
        if completions is not None and (self._status.get("succeeded") or 0) > completions:
            words = "Too many succeeded pods running after completion count reached"
            self._notes.append(Note("Warning", "TooManySucceededPods", words))
        self._notes.append(Note("Normal", "Completed", "Job completed"))
        life = self._spec.get("ttlSecondsAfterFinished")
        if life is not None:
            self._delays.append(float(life))

    def _result(self) -> Desired:
        gone = set(map(meta.name, self._delete))
        return Desired(
            status=self._status,
            children=tuple(self._create),
            keep=frozenset(("Pod", meta.name(pod)) for pod in self._pods if meta.name(pod) not in gone),
            finalized=frozenset(("Pod", name) for name in self._release),
            notes=tuple(self._notes),
            requeue_after=min(self._delays, default=None),
            memory={_ROW: self._row} if self._row else {},
        )


def _attempts(pod: Object) -> int:
    return pods.count_of(pod, pods.FAILURES) + pods.count_of(pod, pods.IGNORED_FAILURES)


def _later(pod: Object, other: Object) -> bool:
    return _attempts(other) <= _attempts(pod) and failures.finished_at(pod) >= failures.finished_at(other)
