"""What should be of a training job, by what is seen of it (upstream: ``trainjob_controller.go``).

First the runtime is kept for the job as it is now; the job set is made of that, so that nothing which happens in
between can make one of them differ from the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from homeport.components.trainer import build, causes, elastic, progress, snapshot
from homeport.components.trainer.draft import PodSet, Unbuildable
from homeport.components.trainer.jobs import MANAGER
from homeport.components.trainer.names import shortened
from homeport.components.trainer.settings import Reporting
from homeport.control.controller import Desired, Note, Observed, Patch
from homeport.kube import meta
from homeport.kube.errors import ApiError
from homeport.kube.meta import Object

SUSPENDED, COMPLETE, FAILED = "Suspended", "Complete", "Failed"
DEADLINE_EXCEEDED = "DeadlineExceeded"
_ENDS = {"Completed": COMPLETE, "Failed": FAILED}
"""Condition of the job set -> the job's."""
_COUNTS = ("name", "ready", "succeeded", "failed", "active", "suspended")
_REFUSALS = frozenset(("Invalid", "Forbidden"))
_GATE = "JobSet 0.12 and later scale running jobs with the feature gate ElasticJobSet"
_AGAIN = 60.0
"""Seconds until a job set that refuses another size is asked again: only its operator can change that."""
_OWNER = "jobset.sigs.k8s.io/jobset-uid"
"""Label of a pod: its job set's UID."""


def sync(reporting: Reporting | None, observed: Observed) -> Desired:
    everything = frozenset((kind, name) for kind, group in observed.children.items() for name in group)
    if (meta.spec(observed.parent).get("managedBy") or MANAGER) != MANAGER:
        return Desired(keep=everything)
    return _Round(reporting, observed, everything).desired()


def is_finished(job: Object) -> bool:
    return any(meta.is_condition_true(job, type) for type in (COMPLETE, FAILED))


class _Round:
    def __init__(self, reporting: Reporting | None, observed: Observed, everything: frozenset[tuple[str, str]]) -> None:
        self._reporting, self._observed, self._job, self._now = reporting, observed, observed.parent, observed.now
        self._name = meta.name(self._job)
        self._spec, self._status = meta.spec(self._job), dict(meta.status(self._job))
        self._conditions: list[Object] = list(self._status.get("conditions") or ())
        self._suspended = bool(self._spec.get("suspend"))
        self._job_set = observed.child("JobSet", self._name)
        self._keep = set(everything)
        self._made: tuple[Object, ...] = ()
        self._patches: tuple[Patch, ...] = ()
        self._notes: list[Note] = []
        self._trouble = ""
        self._delay: float | None = None
        # A cluster whose definition of the kind is upstream's keeps no such field.
        before = self._status.pop("firstFailure", None) or observed.memory.get("cause")
        self._cause = causes.cause(self._pods(), before)

    def desired(self) -> Desired:
        if not is_finished(self._job):
            refused = snapshot.unsupported(self._job)
            if refused:
                self._set(FAILED, "True", "TrainingRuntimeNotSupported", refused)
            else:
                self._note_suspension()
                self._make()
                self._take_over()
                self._wait(self._time_left())
        else:
            self._take_over()
            self._keep.discard((elastic.AUTOSCALER, self._name))
        end = meta.find_condition(self._conditions, FAILED)
        if end is not None and end.get("reason") == DEADLINE_EXCEEDED:
            self._keep.discard(("JobSet", self._name))
            self._made = ()
        if self._cause and not self._has(COMPLETE) and not self._has(FAILED):
            self._status["firstFailure"] = self._cause
        if self._conditions:
            self._status["conditions"] = self._conditions
        if self._status.get("selector"):
            nodes = self._status["selector"].rpartition("=")[2]
            self._status["nodes"] = elastic.present(self._pods(), nodes)
        return Desired(
            status=self._status or None,
            children=self._made,
            keep=frozenset(self._keep),
            patches=self._patches,
            notes=tuple(self._notes),
            memory=self._memory(),
            requeue_after=self._delay,
        )

    def _wait(self, seconds: float | None) -> None:
        if seconds is not None:
            self._delay = seconds if self._delay is None else min(seconds, self._delay)

    def _pods(self) -> Iterator[Object]:
        """The job set's: one of the same name that came before may have left some."""
        owner = {None, meta.uid(self._job_set)} if self._job_set else {None}
        pods = self._observed.related.get("Pod", {}).values()
        return (pod for pod in pods if meta.labels(pod).get(_OWNER) in owner)

    def _memory(self) -> dict[str, Object]:
        trouble: dict[str, Object] = {"trouble": {"message": self._trouble}} if self._trouble else {}
        return trouble | ({"cause": self._cause} if self._cause and not is_finished(self._job) else {})

    def _note_suspension(self) -> None:
        if self._suspended:
            self._set(SUSPENDED, "True", "Suspended", "TrainJob is suspended")
        elif meta.holds(self._conditions, SUSPENDED):
            self._set(SUSPENDED, "False", "Resumed", "TrainJob is resumed")

    def _make(self) -> None:
        try:
            kept = self._observed.child("ConfigMap", snapshot.snapshot_name(self._name))
            if kept is None:
                self._made = (snapshot.taken(self._job, snapshot.found(self._job, self._observed.related)),)
                return
            draft = build.drawn(self._job, snapshot.kept(self._job, kept), self._reporting)
            policy, made = elastic.elastic(draft), build.objects(draft)
        except (Unbuildable, ApiError) as error:
            self._complain(str(error))
            return
        made = (*self._authority(), *made)
        runs = self._job_set is not None and not meta.spec(self._job_set).get("suspend")
        # What runs is never changed but for its size. What is kept (and shown by its name) stays as it is.
        self._made = tuple(obj for obj in made if not (obj["kind"] == "JobSet" and runs and not self._suspended))
        self._autoscale(policy)
        if policy is not None and draft.trainer_set is not None:
            self._status["selector"] = elastic.selector(self._name, draft.trainer_set.name)
            if self._job_set is not None and runs and not self._suspended:
                self._resize(self._job_set, draft.trainer_set)

    def _autoscale(self, policy: elastic.Elastic | None) -> None:
        if policy is None or not policy.metrics or self._suspended:
            self._keep.discard((elastic.AUTOSCALER, self._name))
        else:
            self._made = (*self._made, elastic.autoscaler(self._name, policy))

    def _resize(self, job_set: Object, nodes: PodSet) -> None:
        before, wanted = elastic.size(job_set, nodes.name), nodes.count
        if before is None:
            return
        told = f"TrainJob is scaled from {before} to {wanted} nodes"
        ending = elastic.ending(job_set, self._pods(), nodes.name, self._now)
        if ending is not None:
            row, left = ending
            if left > 0:
                self._wait(left)
            wanted = before if left > 0 or row > before else row
            told = f"Training has ended on {row} of {before} nodes: the others are no longer waited for"
        if wanted == before:
            return
        failures = (each for each in self._observed.failures if (each.verb, each.kind) == ("patch", "JobSet"))
        refusal = next((each for each in failures if each.reason in _REFUSALS), None)
        if refusal is not None:
            why = shortened(f"{refusal.message} ({_GATE})")
            self._notes.append(Note("Warning", "ScalingFailed", f"TrainJob stays at {before} nodes: {why}"))
            self._wait(_AGAIN)
            return
        self._patches = (*self._patches, Patch(job_set, elastic.resized(job_set, nodes.name, wanted)))
        self._notes.append(Note("Normal", "Scaled", told))

    def _authority(self) -> tuple[Object, ...]:
        """What the job's pods believe the server of reports by: made once, changed when its certificate is."""
        wanted = None if self._reporting is None else progress.authority(self._job, self._reporting)
        if wanted is None:
            return ()
        there = self._observed.child("ConfigMap", meta.name(wanted))
        if there is not None and there.get("data") != wanted["data"]:
            self._patches = (*self._patches, Patch(there, {"data": wanted["data"]}))
        return (wanted,)

    def _complain(self, words: str) -> None:
        self._trouble = words
        if (self._observed.memory.get("trouble") or {}).get("message") != words:
            told = shortened(words)
            message = f"TrainJob resources reconciliation failed: {told}"
            self._notes.append(Note("Warning", "TrainJobResourcesCreationFailed", message))

    def _take_over(self) -> None:
        """What the job set says of its end and of its jobs."""
        if self._job_set is None:
            return
        status = meta.status(self._job_set)
        for own, type in _ENDS.items():
            ended = meta.find_condition(status.get("conditions"), own)
            if ended is not None and ended.get("status") == "True" and not self._has(type):
                why = self._cause["text"] if type == FAILED and self._cause else ""
                told = ": ".join(part for part in (ended.get("message") or "", why) if part)
                self._set(type, "True", ended.get("reason") or own, told)
        jobs = status.get("replicatedJobsStatus")
        if jobs:
            self._status["jobsStatus"] = [{key: each[key] for key in _COUNTS} for each in jobs]

    def _has(self, type: str) -> bool:
        return meta.holds(self._conditions, type)

    def _time_left(self) -> float | None:
        limit = self._spec.get("activeDeadlineSeconds")
        if not limit or self._suspended or self._has(COMPLETE) or self._has(FAILED):
            return None
        resumed = meta.find_condition(self._conditions, SUSPENDED)
        start = meta.metadata(self._job).get("creationTimestamp")
        if resumed is not None and resumed.get("status") == "False":
            start = resumed.get("lastTransitionTime")
        if not start:
            return None
        left = (meta.parse_time(start) + timedelta(seconds=limit) - self._now).total_seconds()
        if left > 0:
            return left
        self._set(FAILED, "True", DEADLINE_EXCEEDED, "TrainJob exceeded its active deadline")
        return None

    def _set(self, type: str, status: str, reason: str, message: str) -> None:
        told = {"type": type, "status": status, "reason": reason, "message": message}
        old = meta.find_condition(self._conditions, type)
        if old is not None and all(old.get(key) == value for key, value in told.items()):
            return
        new = meta.with_transition(told, self._conditions, self._now)
        self._conditions = [new if each["type"] == type else each for each in self._conditions]
        if old is None:
            self._conditions = [*self._conditions, new]
        self._notes.append(Note("Warning" if type == FAILED else "Normal", reason, message))
