"""The controller of MPIJobs of ``kubeflow.org/v2beta1``: workers that run ``sshd``, and a launcher that is a Job.

The launcher's Job decides how the job ends, and retries it. Conditions, reasons and events: mpi-operator 0.8.
"""

from __future__ import annotations

from functools import partial

import msgspec

from homeport import mpi
from homeport.components.training import conditions as at
from homeport.components.training import gang, outcome, podgroups, policy
from homeport.components.training.defaults import malformation
from homeport.components.training.framework import Settings
from homeport.components.training.job import COLUMNS
from homeport.components.training.kinds import SchedulingPolicy
from homeport.components.training.mpi2_gang import Failed, Together, never_restarted, once
from homeport.components.training.mpi2_kinds import (
    LAUNCHER,
    MANAGERS,
    SPECS,
    WORKER,
    MPIJob,
    MPIJobSpec,
    check,
    prepare,
    validate,
)
from homeport.components.training.mpi2_objects import OPERATOR, Shape
from homeport.components.training.mpi_versions import CONVERSION, V1, V2BETA1, written_in
from homeport.components.training.pods import JOB_LABEL, OPERATOR_LABEL, ROLE_LABEL
from homeport.control.controller import Child, Controller, Desired, Note, Observed, Patch, Related
from homeport.kube import core, meta
from homeport.kube.kind import Kind
from homeport.kube.meta import Object

KIND = Kind(
    resource=V2BETA1,
    body=MPIJob,
    singular="mpijob",
    columns=COLUMNS,
    prepare=prepare,
    validate=validate,
    conversion=CONVERSION,
)
EVENT_LENGTH = 1024
"""Most characters of an event's message."""
_GATES = ("nodeSelector", "tolerations", "schedulingGates")
"""What a queue may change in a pod template while the job is suspended."""


def controller(settings: Settings) -> Controller:
    return Controller(
        name="mpijob-v2beta1-controller",
        parent=V2BETA1,
        sync=partial(sync, settings),
        children=(
            Child(core.SERVICE.resource),
            Child(core.CONFIG_MAP.resource),
            Child(core.SECRET.resource, "never", complete=mpi.with_keys),
            Child(core.POD.resource, "never"),
            Child(core.JOB.resource, "never", patched=True),
            *podgroups.children(settings),
        ),
        related=(Related(core.POD.resource, _launched_by),),
        on_parent=frozenset({"delete"}),
    )


def _launched_by(pod: Object) -> tuple[tuple[str, str], ...]:
    """The MPIJob that a launcher's pod belongs to, which its Job owns."""
    labels = meta.labels(pod)
    if labels.get(OPERATOR_LABEL) != OPERATOR or labels.get(ROLE_LABEL) != "launcher":
        return ()
    return ((meta.namespace(pod), labels.get(JOB_LABEL, "")),)


def sync(settings: Settings, observed: Observed) -> Desired:
    """What should be of a job, by what is seen of it."""
    parent = prepare(observed.parent, None)
    manager = policy.run_policy(parent).get("managedBy")
    if meta.is_deleting(parent) or manager not in (None, "", MANAGERS[0]) or written_in(parent) == V1.version:
        return policy.leave(observed)
    malformed = malformation(parent.get("spec"), MPIJobSpec)
    if complaints := [malformed] if malformed else [str(error) for error in check(parent)]:
        text = f"Found validation errors: [{', '.join(complaints)}]"[:EVENT_LENGTH]
        left = policy.leave(observed)
        return Desired(keep=left.keep, notes=(Note("Warning", "ValidationError", text),))
    return _Round(Shape(parent, settings.cluster_domain, _gang(settings, parent)), observed).desired()


def _gang(settings: Settings, job: Object) -> podgroups.Gang | None:
    """How the job's pods are placed together; None: each for itself."""
    spec = meta.spec(job)
    templates = (replicas["template"] for replicas in spec[SPECS].values())
    found = podgroups.scheduler(settings, spec["runPolicy"].get("schedulingPolicy"), templates)
    return podgroups.Gang(found, meta.name(job)) if found else None


class _Round:
    """One sync of a job that can run."""

    def __init__(self, shape: Shape, observed: Observed) -> None:
        self._shape, self._observed, self._now = shape, observed, meta.timestamp(observed.now)
        self._status = dict(meta.status(observed.parent))
        self._conditions: list[at.Condition] = list(self._status.get("conditions") or ())
        self._title = f"MPIJob {meta.namespace(shape.job)}/{shape.name}"
        self._suspended = bool(shape.spec["runPolicy"].get("suspend"))
        self._launcher = observed.child("Job", shape.launcher_name)
        self._pods = observed.children.get("Pod", {})
        launched = observed.related.get("Pod", {}).values()
        self._together: Together | None = None
        if gang.is_asked_for(shape.job):
            self._together = Together(shape.job, self._launcher, launched, self._pods, shape.main_container)
            self._launcher = self._together.launcher
        owner = meta.uid(self._launcher) if self._launcher else ""
        self._launched = [pod for pod in launched if (meta.controller_of(pod) or {}).get("uid") == owner != ""]
        self._notes: list[Note] = []

    def desired(self) -> Desired:
        if not self._conditions:
            self._tell(at.CREATED, "MPIJobCreated", f"{self._title} is created.")
        if self._is_over:
            return self._ended()
        if not self._suspended:
            self._status.setdefault("startTime", self._now)
        self._suspend_or_resume()
        self._count()
        self._judge()
        self._record_attempts()
        if self._is_over:
            return self._ended()
        return self._go_on()

    def _set(self, type: str, reason: str, message: str, status: bool = True) -> bool:
        """Whether that changed the condition's status."""
        before = meta.holds(self._conditions, type), meta.find_condition(self._conditions, type) is None
        self._conditions = at.set_condition(self._conditions, type, status, reason, message, self._now)
        return before != (status, False)

    def _tell(self, type: str, reason: str, message: str, *, event: str = "", warning: bool = False) -> None:
        """A condition that is true, and an event when it becomes so."""
        message = message if len(message) <= EVENT_LENGTH else message[: EVENT_LENGTH - 1] + "…"
        if self._set(type, reason, message):
            self._notes.append(Note("Warning" if warning else "Normal", event or reason, message))

    @property
    def _is_over(self) -> bool:
        return meta.holds(self._conditions, at.SUCCEEDED) or meta.holds(self._conditions, at.FAILED)

    def _suspend_or_resume(self) -> None:
        if self._suspended:
            self._tell(at.SUSPENDED, "MPIJobSuspended", "MPIJob suspended")
        elif meta.holds(self._conditions, at.SUSPENDED) and self._set(
            at.SUSPENDED, "MPIJobResumed", "MPIJob resumed", status=False
        ):
            self._notes.append(Note("Normal", "MPIJobResumed", "MPIJob resumed"))
            self._status["startTime"] = self._now

    def _workers(self, phase: str) -> list[str]:
        return [name for name in self._shape.workers if _phase(self._pods.get(name)) == phase]

    @property
    def _running_launchers(self) -> int:
        return sum(_phase(pod) == "Running" for pod in self._launched)

    def _count(self) -> None:
        launcher = meta.status(self._launcher or {})
        finish = _finish(self._launcher)
        counts = {
            LAUNCHER: {
                "active": 0 if finish else self._running_launchers,
                "succeeded": int(finish == "Complete"),
                "failed": launcher.get("failed") or 0,
            },
            WORKER: {
                "active": len(self._workers("Running")),
                "succeeded": len(self._workers("Succeeded")),
                "failed": len(self._workers("Failed")),
            },
        }
        if self._launcher is None:
            del counts[LAUNCHER]
        shown = {type: {key: n for key, n in entry.items() if n} for type, entry in counts.items()}
        self._status["replicaStatuses"] = shown

    def _judge(self) -> None:
        """Whether the job has ended, or runs."""
        finish = _finish(self._launcher)
        evicted = [name for name in self._workers("Failed") if meta.status(self._pods[name]).get("reason") == "Evicted"]
        workers = len(self._shape.workers)
        failed = self._together.failed() if self._together else None
        if finish == "Complete":
            self._end(at.SUCCEEDED, "MPIJobSucceeded", f"{self._title} successfully completed.")
        elif self._together and failed:
            self._restart(self._together, failed)
        elif finish == "Failed":
            self._end(at.FAILED, *self._why(), warning=True)
        elif evicted and not self._together:
            text = f"{len(evicted)}/{workers} workers are evicted"
            self._end(at.FAILED, "MPIJobEvicted", text, warning=True)
        elif self._suspended:
            if meta.holds(self._conditions, at.RUNNING):
                self._set(at.RUNNING, "MPIJobSuspended", f"{self._title} is suspended.", status=False)
        elif self._running_launchers and len(self._workers("Running")) == workers:
            self._tell(at.RUNNING, "MPIJobRunning", f"{self._title} is running.")

    def _restart(self, together: Together, failed: Failed) -> None:
        """Begin another attempt, or fail if it would be one too many."""
        if together.is_spent:
            count = "1 restart is" if together.count == 0 else f"{together.count + 1} restarts are"
            text = f"{count} more than backoffLimit {together.limit} allows. The last failure was {failed}"
            self._end(at.FAILED, "BackoffLimitExceeded", text, warning=True)
            return
        together.begin()
        text = f"{self._title} is restarting all replicas ({together.count}): {failed}"[:EVENT_LENGTH]
        self._set(at.RESTARTING, "MPIJobRestarting", text)
        self._notes.append(Note("Warning", "MPIJobRestarting", text))

    def _record_attempts(self) -> None:
        if self._together is None:
            return
        if self._together.count:
            self._status["gangRestarts"] = self._together.count
        counts = self._status["replicaStatuses"]
        for type, fields in zip((LAUNCHER, WORKER), self._together.fields(), strict=True):
            if fields:
                self._status["replicaStatuses"] = counts = {**counts, type: {**counts.get(type, {}), **fields}}

    def _end(self, type: str, reason: str, message: str, *, warning: bool = False) -> None:
        done = meta.status(self._launcher or {}).get("completionTime") if type == at.SUCCEEDED else None
        self._status["completionTime"] = done or self._now
        if meta.find_condition(self._conditions, at.RUNNING) is None:
            # Who computes how long it ran looks for this condition.
            text = f"{self._title} is finished but Running condition was never set."
            self._set(at.RUNNING, "MPIJobRunning", text, status=False)
        self._tell(type, reason, message, warning=warning)

    def _why(self) -> tuple[str, str]:
        """Reason and message of a launcher that has failed: its Job's, and why its last pod failed."""
        found = meta.find_condition(meta.status(self._launcher or {}).get("conditions"), "Failed") or {}
        reason = str(found.get("reason") or "MPIJobFailed")
        message = str(found.get("message") or f"{self._title} has failed")
        failed = [pod for pod in self._launched if _phase(pod) == "Failed"]
        if reason == "BackoffLimitExceeded" and failed:
            last = max(failed, key=lambda pod: str(meta.metadata(pod).get("creationTimestamp") or ""))
            if why := meta.status(last).get("reason"):
                reason += f"/{why}"
            message += f": {outcome.failure(last, self._shape.main_container)}"
        return reason, message

    def _go_on(self) -> Desired:
        shape = self._shape
        children = [shape.service(), shape.config(self._workers("Running")), shape.secret()]
        held_back = False
        if not self._suspended and (group := shape.group(self._scheduling_policy())) and shape.gang:
            children.append(group)
            held_back = shape.gang.holds_back(self._observed.child(podgroups.KIND, shape.name))
        remains = self._together.remains(self._observed.now) if self._together else None
        if remains is not None:
            stays, pause = remains
            return Desired(
                status=self._changed_status(),
                children=tuple(children),
                keep=frozenset(stays),
                notes=tuple(self._notes),
                requeue_after=pause or None,
            )
        workers = [] if self._suspended else shape.workers
        if held_back:
            return self._hold_back(children)
        children += [self._worker(index) for index, name in enumerate(workers) if name not in self._pods]
        keep = {("Pod", name) for name in workers if name in self._pods}
        patches: tuple[Patch, ...] = ()
        if self._launcher is not None:
            keep.add(("Job", shape.launcher_name))
            patches = self._align(self._launcher)
        elif shape.spec["launcherCreationPolicy"] == "AtStartup" or self._are_ready(workers):
            children.append(self._new_launcher())
        return Desired(
            status=self._changed_status(),
            children=tuple(children),
            keep=frozenset(keep),
            patches=patches,
            notes=tuple(self._notes),
        )

    def _worker(self, index: int) -> Object:
        worker = self._shape.worker(index)
        return never_restarted(worker) if self._together else worker

    def _new_launcher(self) -> Object:
        launcher = self._shape.launcher()
        if not self._together:
            return launcher
        return once(launcher, outcome.moment(self._status.get("startTime")), self._observed.now)

    def _scheduling_policy(self) -> SchedulingPolicy | None:
        given = self._shape.spec["runPolicy"].get("schedulingPolicy")
        return None if given is None else msgspec.convert(given, SchedulingPolicy)

    def _hold_back(self, children: list[Object]) -> Desired:
        """While the gang waits for its turn, nothing is made that takes room; what is there stays."""
        pods = (("Pod", name) for name in self._shape.workers if name in self._pods)
        launcher = [("Job", self._shape.launcher_name)] if self._launcher is not None else []
        status, notes = self._changed_status(), tuple(self._notes)
        return Desired(status=status, children=tuple(children), keep=frozenset([*pods, *launcher]), notes=notes)

    def _are_ready(self, workers: list[str]) -> bool:
        return all(meta.is_condition_true(self._pods.get(name) or {}, "Ready") for name in workers)

    def _align(self, launcher: Object) -> tuple[Patch, ...]:
        """Suspend or resume the launcher's Job. While it was suspended a queue may have chosen nodes for it."""
        if bool(meta.spec(launcher).get("suspend")) == self._suspended:
            return ()
        changes: Object = {"suspend": self._suspended}
        if not self._suspended:
            template, old = self._shape.launcher_template(), meta.spec(launcher).get("template") or {}
            metadata = {key: value for key, value in template["metadata"].items() if value}
            spec = {key: template["spec"].get(key) for key in _GATES}
            before = old.get("spec") or {}
            chosen = {key: value for key, value in spec.items() if value != before.get(key)}
            changes["template"] = {"metadata": metadata} | ({"spec": chosen} if chosen else {})
        return (Patch(launcher, {"spec": changes}),)

    def _ended(self) -> Desired:
        """The remains: workers by the policy; a launcher that still runs is stopped."""
        policies = self._shape.spec["runPolicy"]
        gone = policies.get("cleanPodPolicy")
        keep = {kept for kept in policy.leave(self._observed).keep if kept[0] != podgroups.KIND}
        for name, pod in self._pods.items():
            if gone == "All" or (gone == "Running" and _phase(pod) in ("Running", "Pending")):
                keep.discard(("Pod", name))
        if gone in ("All", "Running"):
            counts = self._status.get("replicaStatuses") or {}
            entry = {key: n for key, n in (counts.get(WORKER) or {}).items() if key != "active"}
            self._status["replicaStatuses"] = {**counts, WORKER: entry}
        patches: tuple[Patch, ...] = ()
        if self._launcher is not None and not _finish(self._launcher) and not meta.spec(self._launcher).get("suspend"):
            patches = (Patch(self._launcher, {"spec": {"suspend": True}}),)
        end, seconds = outcome.moment(self._status.get("completionTime")), policies.get("ttlSecondsAfterFinished")
        left = policy.time_left(end, seconds, self._observed.now)
        return Desired(
            status=self._changed_status(),
            keep=frozenset(keep),
            patches=patches,
            notes=tuple(self._notes),
            requeue_after=left or None,
            delete_parent=left == 0.0,
        )

    def _changed_status(self) -> Object | None:
        """None if it is as it was."""
        old = {key: value for key, value in meta.status(self._observed.parent).items() if key != "lastReconcileTime"}
        new = {key: value for key, value in self._status.items() if key != "lastReconcileTime"}
        new["conditions"] = self._conditions
        return None if new == old else {**new, "lastReconcileTime": self._now}


def _phase(pod: Object | None) -> str:
    """Of a pod that isn't on its way out."""
    return "" if pod is None or meta.is_deleting(pod) else str(meta.status(pod).get("phase") or "")


def _finish(job: Object | None) -> str:
    """``Complete`` or ``Failed``; empty for a Job that goes on."""
    conditions = meta.status(job or {}).get("conditions")
    return next((type for type in ("Complete", "Failed") if meta.holds(conditions, type)), "")
