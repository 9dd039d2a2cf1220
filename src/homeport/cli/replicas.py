"""What the objects of a job say, read for people: which replica, in which state, since when, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from homeport.kube import meta
from homeport.kube.meta import Object

_TRAINING_LABEL = "training.kubeflow.org/job-name"
_CHAINER_LABEL = "chainerjob.kubeflow.org/name"
JOB_NAME_LABELS = (_TRAINING_LABEL, _CHAINER_LABEL, "batch.kubernetes.io/job-name", "job-name")
"""Labels that name a pod's job, whatever its kind."""
_OPERATOR_LABEL = "training.kubeflow.org/operator-name"
"""Whose job it is that a pod's labels name: those of different kinds may have the same name."""
_OPERATORS = {"MPIJob": ("mpijob-controller", "mpi-operator")}
_SET_UID_LABEL = "jobset.sigs.k8s.io/jobset-uid"
SET_LABEL = "jobset.sigs.k8s.io/jobset-name"
"""Names the job set of a pod, and the TrainJob, which has the same name."""
MADE_OF_SETS = ("JobSet", "TrainJob")
_GROUP_LABEL = "jobset.sigs.k8s.io/replicatedjob-name"
_GROUP_COUNT_LABEL = "jobset.sigs.k8s.io/replicatedjob-replicas"
_JOB_INDEX_LABEL = "jobset.sigs.k8s.io/job-index"
_POD_INDEX = "batch.kubernetes.io/job-completion-index"
_TYPE_LABEL = "training.kubeflow.org/replica-type"
_INDEX_LABEL = "training.kubeflow.org/replica-index"
_ROLE_LABEL = "training.kubeflow.org/job-role"

_SUCCEEDED = ("Succeeded", "Complete", "Completed")
_FAILED = ("Failed",)
_OTHERS_THAT_FINISH = ("JobSet", "Experiment", "Trial", "Workflow")

FINAL_WAITS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
"""Reasons to wait that pass only when somebody does something about them."""
CANNOT_START = ("StartError", "ContainerCannotRun", "RunContainerError")
"""Reasons of a container whose command could not even be started: the next try ends the same way."""


def finishes(kind: str) -> bool:
    """Whether objects of this kind have an end to wait for."""
    return kind == "Pod" or (kind.endswith("Job") and kind != "CronJob") or kind in _OTHERS_THAT_FINISH


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended."""

    succeeded: bool
    reason: str = ""
    message: str = ""


def outcome(obj: Object) -> Outcome | None:
    """How `obj` ended, None while it has not: by its Succeeded, Complete or Failed condition, or a pod's phase."""
    status = meta.status(obj)
    if obj.get("kind") == "Pod":
        phase = status.get("phase")
        if phase not in ("Succeeded", "Failed"):
            return None
        return Outcome(phase == "Succeeded", status.get("reason") or "", status.get("message") or "")
    for condition in status.get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in (*_SUCCEEDED, *_FAILED):
            succeeded = condition["type"] in _SUCCEEDED
            return Outcome(succeeded, condition.get("reason") or "", condition.get("message") or "")
    return None


def belongs(pod: Object, job: Object) -> bool:
    """Whether `pod` is `job` itself, is owned by it, or is owned by what its kind makes and bears its name."""
    if meta.uid(pod) == meta.uid(job):
        return True
    owners = meta.metadata(pod).get("ownerReferences") or ()
    if any(owner.get("uid") == meta.uid(job) for owner in owners):
        return True
    if job.get("kind") == "Pod" or meta.namespace(pod) != meta.namespace(job):
        return False
    # The name alone could be an older job's, or another kind's: then the owner says so.
    controller = meta.controller_of(pod)
    if controller is not None and controller.get("kind") == job.get("kind"):
        return False
    return not _is_older(pod, job) and _bears_name_of(pod, job)


def _is_older(pod: Object, job: Object) -> bool:
    """A job of the same name came before: its pods may still be there."""
    times = [meta.metadata(each).get("creationTimestamp") for each in (pod, job)]
    made, begun = (meta.parse_time(time) if isinstance(time, str) else None for time in times)
    return made is not None and begun is not None and made < begun


def _bears_name_of(pod: Object, job: Object) -> bool:
    """By the labels of what the job's kind makes. (A Job's pods are its own, so that their labels are not asked.)"""
    labels, kind, name = meta.labels(pod), str(job.get("kind") or ""), meta.name(job)
    if kind in MADE_OF_SETS:
        theirs = labels.get(_SET_UID_LABEL) if kind == "JobSet" else None
        return labels.get(SET_LABEL) == name and theirs in (None, meta.uid(job))
    if kind == "ChainerJob":
        return labels.get(_CHAINER_LABEL) == name
    operators = _OPERATORS.get(kind, (f"{kind.lower()}-controller",))
    return labels.get(_TRAINING_LABEL) == name and labels.get(_OPERATOR_LABEL) in operators


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a replica, in its newest attempt."""

    name: str
    state: Literal["waiting", "running", "terminated"]
    attempt: int
    """The restart count: 0 for the first run."""
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    """Of the attempt that ended last, if one has."""
    started: str = ""
    finished: str = ""
    ended_reason: str = ""
    ended_message: str = ""
    """Reason and message of the attempt that ended last."""

    @property
    def has_log(self) -> bool:
        return self.state != "waiting" or self.attempt > 0 or self.exit_code is not None


@dataclass(frozen=True, slots=True)
class Replica:
    """One pod of a job."""

    uid: str
    namespace: str
    name: str
    title: str
    """``worker-0``, or the pod's name where it has no replica type."""
    type: str
    index: int
    phase: str
    reason: str
    message: str
    start: str
    """When its first attempt started, as far as the pod still says; else the pod's start. RFC 3339 or empty."""
    finish: str
    deleting: bool
    containers: tuple[Container, ...] = field(default_factory=tuple)
    """Init containers first."""
    main: str = ""
    """The container that logs without its name and gives the exit code."""
    created: str = ""
    """When the pod was made: RFC 3339."""
    kept: bool = False
    """The pod is gone, and its logs were kept with the job."""
    was_stopped: bool = False
    """Its containers ended after somebody had asked for the pod's deletion: whatever they said then is no failure."""

    @property
    def is_final(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def restarts(self) -> int:
        return sum(container.attempt for container in self.containers)

    @property
    def exit_code(self) -> int | None:
        codes = {container.name: container.exit_code for container in self.containers}
        return codes.get(self.main)

    @property
    def waiting(self) -> tuple[str, str] | None:
        """Reason and message if something keeps the pod from running."""
        if self.is_final:
            return None
        for container in self.containers:
            if container.state == "waiting" and container.reason not in ("PodInitializing", ""):
                return container.reason, container.message
        if self.phase == "Pending":
            return self.reason or "Pending", self.message
        return None

    @property
    def stuck(self) -> tuple[str, str] | None:
        """Reason and message if it can't go on unless somebody does something."""
        for container in self.containers:
            if container.state == "waiting" and container.reason in FINAL_WAITS:
                return container.reason, container.message
            if not self.is_final and container.ended_reason in CANNOT_START and container.state != "running":
                return container.ended_reason, container.ended_message
        return None

    @property
    def order(self) -> tuple[str, str, int, str]:
        return (self.namespace, self.type, self.index, self.name)


def replica(pod: Object, *, kept: bool = False) -> Replica:
    status = meta.status(pod)
    type, text = _place(pod)
    index = int(text) if text.isdigit() else 0
    spec = meta.spec(pod)
    statuses = {
        entry.get("name"): entry
        for key in ("initContainerStatuses", "containerStatuses")
        for entry in status.get(key) or ()
    }
    names = [entry["name"] for key in ("initContainers", "containers") for entry in spec.get(key) or ()]
    containers = tuple(_container(name, statuses.get(name) or {}) for name in names)
    regular = [entry["name"] for entry in spec.get("containers") or ()]
    main = meta.annotations(pod).get("kubectl.kubernetes.io/default-container") or (regular or [""])[0]
    scheduled = meta.find_condition(status.get("conditions"), "PodScheduled") or {}
    reason, message = status.get("reason") or "", status.get("message") or ""
    if not reason and scheduled.get("status") == "False":
        reason, message = scheduled.get("reason") or "", scheduled.get("message") or ""
    starts = [container.started for container in containers if container.started and container.attempt == 0]
    ends = [container.finished for container in containers if container.state == "terminated" and container.finished]
    return Replica(
        uid=meta.uid(pod),
        namespace=meta.namespace(pod),
        name=meta.name(pod),
        title=f"{type}-{index}" if type else meta.name(pod),
        type=type or meta.name(pod),
        index=index,
        phase=status.get("phase") or "Pending",
        reason=reason,
        message=message,
        start=min(starts, default=status.get("startTime") or ""),
        finish=max(ends, default=""),
        deleting=meta.is_deleting(pod),
        containers=containers,
        main=main if main in regular else (regular or [""])[0],
        created=meta.metadata(pod).get("creationTimestamp") or "",
        kept=kept,
        was_stopped=_was_stopped(pod, max(ends, default="")),
    )


def _was_stopped(pod: Object, finish: str) -> bool:
    about = meta.metadata(pod)
    if not finish or not about.get("deletionTimestamp"):
        return False
    # The timestamp is when it will be forced. What ended in the same second may have been the reason for it.
    asked = meta.parse_time(about["deletionTimestamp"]) - timedelta(
        seconds=about.get("deletionGracePeriodSeconds") or 0
    )
    return meta.parse_time(finish) > asked


def _place(pod: Object) -> tuple[str, str]:
    """Type and index of a pod's replica; the type is empty if nothing says."""
    labels = meta.labels(pod)
    if _TYPE_LABEL in labels:
        return labels[_TYPE_LABEL] or "", labels.get(_INDEX_LABEL) or ""
    group, role = labels.get(_GROUP_LABEL), labels.get(_ROLE_LABEL)
    if not group and role:
        # MPIJobs of v2beta1: a launcher may be a host with an index before the workers', whose names tell theirs.
        return role, meta.name(pod).rpartition("-")[2] if role == "worker" else "0"
    if not group:
        return "", ""
    number = meta.annotations(pod).get(_POD_INDEX) or labels.get(_POD_INDEX) or ""
    if labels.get(_GROUP_COUNT_LABEL) == "1":
        return group, number
    return f"{group}-{labels.get(_JOB_INDEX_LABEL) or 0}", number


def _container(name: str, entry: Mapping[str, Any]) -> Container:
    state = entry.get("state") or {}
    ended = state.get("terminated") or (entry.get("lastState") or {}).get("terminated") or {}
    kind: Literal["waiting", "running", "terminated"]
    kind = "running" if "running" in state else "terminated" if "terminated" in state else "waiting"
    now = state.get(kind) or {}
    return Container(
        name=name,
        state=kind,
        attempt=entry.get("restartCount") or 0,
        reason=now.get("reason") or "",
        message=now.get("message") or "",
        exit_code=ended.get("exitCode"),
        started=(now if kind != "waiting" else ended).get("startedAt") or "",
        finished=ended.get("finishedAt") or "",
        ended_reason=ended.get("reason") or "",
        ended_message=ended.get("message") or "",
    )


def seconds_between(start: str, finish: str, now: datetime) -> float | None:
    """Seconds from `start` to `finish`, or to `now` without a finish; None without a start."""
    if not start:
        return None
    end = meta.parse_time(finish) if finish else now
    return (end - meta.parse_time(start)).total_seconds()


def blame(replicas: Iterable[Replica]) -> str:
    """Which replica failed first and how, in words; empty if none did."""
    failed = [one for one in replicas if one.phase == "Failed" or one.exit_code not in (None, 0)]
    if not failed:
        return ""
    first = min(failed, key=lambda one: (one.finish or "~", one.order))
    container = next((entry for entry in first.containers if entry.exit_code not in (None, 0)), None)
    if container is None:
        return f"{first.title} failed" + _because(first.reason, first.message)
    told = container.ended_reason if container.ended_reason not in ("", "Error") else ""
    return f"{first.title} ended with exit code {container.exit_code}" + _because(told, container.ended_message)


def _because(reason: str, message: str) -> str:
    text = ": ".join(part for part in (reason, message.strip()) if part)
    return f" ({text})" if text else ""
