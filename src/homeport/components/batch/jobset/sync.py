"""What should be of a job set, by what is seen of it and its jobs (upstream: ``jobset_controller.go``)."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from homeport.components.batch.job import conditions as job_at
from homeport.components.batch.jobset import children, placement, shape
from homeport.components.batch.jobset.failures import consequence
from homeport.control.controller import Desired, Note, Observed, Patch
from homeport.kube import meta
from homeport.kube.jobset import MANAGER
from homeport.kube.meta import Object

COMPLETED, FAILED, SUSPENDED, RESTARTING = "Completed", "Failed", "Suspended", "RestartingJobSet"
STARTING, STARTED = "StartupPolicyInProgress", "StartupPolicyCompleted"
_EXCLUDES = {STARTING: STARTED, STARTED: STARTING}
_MERGED_MAPS = (("metadata", "labels"), ("metadata", "annotations"), ("spec", "nodeSelector"))
_MERGED_LISTS = (("spec", "tolerations"), ("spec", "schedulingGates"))


def sync(observed: Observed) -> Desired:
    everything = frozenset((kind, name) for kind, group in observed.children.items() for name in group)
    if (meta.spec(observed.parent).get("managedBy") or MANAGER) != MANAGER:
        return Desired(keep=everything)
    return _Round(observed, everything).desired()


class _Round:
    def __init__(self, observed: Observed, everything: frozenset[tuple[str, str]]) -> None:
        self._observed, self._set, self._now = observed, observed.parent, observed.now
        self._spec, self._status = meta.spec(self._set), dict(meta.status(self._set))
        self._conditions: list[Object] = list(self._status.get("conditions") or ())
        self._suspended = bool(self._spec.get("suspend"))
        self._in_order = (self._spec.get("startupPolicy") or {}).get("startupPolicyOrder") == "InOrder"
        self._keep = set(everything)
        self._made: list[Object] = []
        self._others: list[Object] = []
        self._patches: list[Patch] = []
        self._changes: dict[str, dict[str, object]] = {}
        self._removed: list[Object] = []
        self._notes: list[Note] = []
        jobs = observed.children.get("Job", {})
        self._names = frozenset(jobs)
        self._previous: list[Object] = []
        self._active: list[Object] = []
        self._succeeded: list[Object] = []
        self._failed: list[Object] = []
        for name in sorted(jobs):
            self._bucket(jobs[name]).append(jobs[name])
        self._counts = self._counted()

    def _bucket(self, job: Object) -> list[Object]:
        """A job whose run is over, as somebody else has begun since, or whose run nobody knows, is made anew."""
        run = meta.labels(job).get(shape.RESTARTS, "")
        if not run.isdigit() or int(run) < (self._status.get("restarts") or 0):
            return self._previous
        type = (job_at.finish(job) or {}).get("type")
        return {job_at.COMPLETE: self._succeeded, job_at.FAILED: self._failed}.get(type or "", self._active)

    def _counted(self) -> dict[str, Object]:
        names = [group["name"] for group in shape.groups(self._set)]
        zero = dict.fromkeys(("ready", "succeeded", "failed", "active", "suspended"), 0)
        counts: dict[str, Object] = {name: {"name": name, **zero} for name in names}
        for jobs, field in ((self._active, ""), (self._succeeded, "succeeded"), (self._failed, "failed")):
            for job in jobs:
                found = counts.get(meta.labels(job).get(shape.REPLICATED_JOB, ""))
                if found is None:
                    continue
                if field:
                    found[field] += 1
                    continue
                spec, status = meta.spec(job), meta.status(job)
                pods = min(spec.get("parallelism", 1), spec.get("completions") or spec.get("parallelism", 1))
                found["ready"] += (status.get("succeeded") or 0) + (status.get("ready") or 0) >= pods
                found["active"] += (status.get("active") or 0) > 0
                found["suspended"] += bool(spec.get("suspend"))
        return counts

    def desired(self) -> Desired:
        self._status["replicatedJobsStatus"] = [self._counts[name] for name in sorted(self._counts, reverse=True)]
        self._status.setdefault("restarts", 0)
        delay, gone = self._decide()
        for job in self._active:
            if (changes := self._changes.get(meta.name(job))) is not None:
                self._patches.append(Patch(job, {"spec": changes}))
        if self._conditions:
            self._status["conditions"] = self._conditions
        return Desired(
            status=self._status,
            children=tuple(self._made),
            keep=frozenset(self._keep),
            patches=tuple(self._patches),
            removed=tuple(self._removed),
            others=tuple(self._others),
            notes=tuple(self._notes),
            requeue_after=delay,
            delete_parent=gone,
        )

    def _decide(self) -> tuple[float | None, bool]:
        """The seconds until the next look, and whether the job set's time to live has run out."""
        end = next((c for c in self._conditions if c["type"] in (COMPLETED, FAILED) and c["status"] == "True"), None)
        if end is not None:
            self._delete(self._active)
            left = self._life_left(end)
            return left or None, left == 0.0
        self._delete(self._previous)
        self._mend_placement()
        if not self._suspended and self._all_ready():
            self._set_condition(RESTARTING, False, "JobsReady", "all jobs are ready")
        if self._failed:
            self._fail()
        elif not self._complete():
            self._go_on()
        return None, False

    def _mend_placement(self) -> None:
        pods = self._observed.related.get("Pod", {})
        if not pods:
            return
        for pod in placement.misplaced(pods.values(), self._observed.related.get("Node", {})):
            changes = placement.disruption(pod, self._now)
            if changes is None:
                self._removed.append(pod)
            else:
                self._patches.append(Patch(pod, changes, "status"))

    def _life_left(self, end: Object) -> float | None:
        life = self._spec.get("ttlSecondsAfterFinished")
        if life is None:
            return None
        moment = meta.parse_time(end["lastTransitionTime"]) + timedelta(seconds=life)
        return max(0.0, (moment - self._now).total_seconds())

    def _delete(self, jobs: list[Object]) -> None:
        self._keep.difference_update(("Job", meta.name(job)) for job in jobs)

    def _all_ready(self) -> bool:
        ready = sum(count["ready"] + count["succeeded"] for count in self._counts.values())
        return bool(ready == sum(map(shape.replicas, shape.groups(self._set))))

    def _fail(self) -> None:
        follows = consequence(self._set, self._failed)
        if not follows.restart:
            self._set_condition(FAILED, True, follows.reason, follows.message, "Warning")
            self._set_condition(RESTARTING, False, "JobSetFailed", "jobset failed")
            self._status["terminalState"] = FAILED
            return
        self._status["restarts"] += 1
        if follows.counts:
            self._status["restartsCountTowardsMax"] = (self._status.get("restartsCountTowardsMax") or 0) + 1
        self._set_condition(RESTARTING, True, follows.reason, follows.message, "Warning")
        self._notes.append(Note("Warning", follows.action, follows.message))

    def _complete(self) -> bool:
        """Whether the success policy is met."""
        policy = self._spec.get("successPolicy") or {}
        targets = policy.get("targetReplicatedJobs")
        done = sum(not targets or meta.labels(job).get(shape.REPLICATED_JOB) in targets for job in self._succeeded)
        counted = (group for group in shape.groups(self._set) if not targets or group["name"] in targets)
        needed = 1 if policy.get("operator") == "Any" else sum(map(shape.replicas, counted))
        if not self._succeeded or done < needed:
            return False
        words = "jobset completed successfully"
        self._set_condition(COMPLETED, True, "AllJobsCompleted", words)
        self._set_condition(RESTARTING, False, "JobSetCompleted", words)
        self._status["terminalState"] = COMPLETED
        return True

    def _go_on(self) -> None:
        if shape.has_hostnames(self._set) and shape.subdomain(self._set) not in self._present("Service"):
            self._made.append(children.service(self._set))
        for claim, is_child in children.claims(self._set):
            if not is_child:
                self._others.append(claim)
            elif meta.name(claim) not in self._present("PersistentVolumeClaim"):
                self._made.append(claim)
        self._make_jobs()
        self._scale()
        if self._suspended:
            for job in self._active:
                self._change(job, {"suspend": True})
            words = "jobset is suspended"
            self._set_condition(SUSPENDED, True, "SuspendedJobs", words)
            self._set_condition(RESTARTING, False, "JobSetSuspended", words)
        else:
            self._resume()

    def _present(self, kind: str) -> frozenset[str]:
        return frozenset(self._observed.children.get(kind, {}))

    def _make_jobs(self) -> None:
        in_order = self._in_order and not self._suspended
        for group in shape.groups(self._set):
            if not self._may_start(group) or (in_order and self._has_started(group)):
                continue
            self._made += self._missing(group)
            if in_order:
                self._in_progress()
                return
        if in_order:
            words = "in order startup policy has completed"
            self._set_condition(STARTED, True, "InOrderStartupPolicyCompleted", words)

    def _in_progress(self) -> None:
        words = "in order startup policy is in progress"
        self._set_condition(STARTING, True, "InOrderStartupPolicyInProgress", words)

    def _missing(self, group: Object) -> list[Object]:
        strategy = (self._spec.get("failurePolicy") or {}).get("restartStrategy")
        if self._previous and strategy == "BlockingRecreate":
            return []
        indexes = range(shape.replicas(group))
        own = meta.name(self._set)
        return [
            children.job(self._set, group, index)
            for index in indexes
            if shape.job_name(own, group["name"], index) not in self._names
        ]

    def _may_start(self, group: Object) -> bool:
        """Whether what the group depends on is reached."""
        wanted = {other["name"]: shape.replicas(other) for other in shape.groups(self._set)}
        for dependency in group.get("dependsOn") or ():
            count = self._counts.get(dependency["name"])
            if count is None:
                return False
            reached = count["succeeded"]
            if dependency["status"] == "Ready":
                reached += count["ready"] + count["failed"]
            if reached != wanted[dependency["name"]]:
                return False
        return True

    def _has_started(self, group: Object) -> bool:
        count = self._counts[group["name"]]
        return bool(count["failed"] + count["ready"] + count["succeeded"] == shape.replicas(group))

    def _resume(self) -> None:
        for group in shape.groups(self._set):
            if not self._may_start(group) or (self._in_order and self._has_started(group)):
                continue
            for job in self._active:
                if meta.labels(job).get(shape.REPLICATED_JOB) == group["name"] and meta.spec(job).get("suspend"):
                    self._resume_job(job, _brought_up(job, group))
            if self._in_order:
                self._in_progress()
                return
        self._set_condition(SUSPENDED, False, "ResumeJobs", "jobset is resumed")

    def _resume_job(self, job: Object, changes: Object) -> None:
        if changes and meta.status(job).get("startTime") and not meta.is_deleting(job):
            # The template of a job that has started never changes: first it has not started (any more).
            self._patches.append(Patch(job, {"status": {"startTime": None}}, "status"))
        else:
            self._change(job, {"suspend": False, **changes})

    def _scale(self) -> None:
        """Jobs that run get as many pods as the set says now (upstream: ``syncJobScaling``, KEP-463)."""
        wanted = {group["name"]: shape.size(group) for group in shape.groups(self._set) if shape.is_indexed(group)}
        for job in self._active:
            size, spec = wanted.get(meta.labels(job).get(shape.REPLICATED_JOB, "")), meta.spec(job)
            if size is None or size[0] is None or size[0] != size[1]:
                continue
            if any(spec.get(name) != size[0] for name in shape.SIZE):
                self._change(job, dict.fromkeys(shape.SIZE, size[0]))

    def _change(self, job: Object, spec: Object) -> None:
        if not meta.is_deleting(job):
            self._changes.setdefault(meta.name(job), {}).update(spec)

    def _set_condition(
        self, type: str, status: bool, reason: str, message: str, event: Literal["Normal", "Warning"] = "Normal"
    ) -> None:
        """Change the condition, and tell of it. One that isn't there is not added as False."""
        told = {"type": type, "status": "True" if status else "False", "reason": reason, "message": message}
        old = meta.find_condition(self._conditions, type)
        if old is None and not status:
            return
        if old is not None and all(old.get(key) == value for key, value in told.items()):
            return
        new = meta.with_transition(told, self._conditions, self._now)
        excluded = _EXCLUDES.get(type) if status else None
        kept = [
            {**each, "status": "False"} if each["type"] == excluded and each["status"] == "True" else each
            for each in self._conditions
        ]
        if old is None:
            self._conditions = [*kept, new]
        else:
            self._conditions = [new if each["type"] == type else each for each in kept]
        self._notes.append(Note(event, reason, message))


def _brought_up(job: Object, group: Object) -> Object:
    """What of the pod template was changed while the job was suspended, for the scheduling of its pods (Kueue)."""
    own, wanted = meta.spec(job).get("template") or {}, meta.spec(group["template"]).get("template") or {}
    changes: dict[str, dict[str, object]] = {}
    for part, field in _MERGED_MAPS:
        new = (wanted.get(part) or {}).get(field) or {}
        known = (own.get(part) or {}).get(field) or {}
        if any(known.get(key) != value for key, value in new.items()):
            changes.setdefault(part, {})[field] = new
    for part, field in _MERGED_LISTS:
        known_items = (own.get(part) or {}).get(field) or []
        missing = [item for item in (wanted.get(part) or {}).get(field) or () if item not in known_items]
        if missing:
            changes.setdefault(part, {})[field] = [*known_items, *missing]
    return {"template": changes} if changes else {}
