"""Joint restarts of MPIJobs of v2beta1: a launcher or a worker that fails takes all others with it.

The launcher's Job doesn't try again then: it fails at once, and the MPIJob counts and begins the next attempt. So what
``runPolicy.backoffLimit`` says of the Job is said of these attempts, and a time limit is that of all of them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from homeport.components.training import outcome, policy
from homeport.components.training.gang import Attempts
from homeport.components.training.outcome import Failure
from homeport.components.training.restarts import time_to_restart
from homeport.kube import core, meta
from homeport.kube.meta import Object

DEFAULT_LIMIT = 6
"""Restarts that a job may need which doesn't say: as many as a Job tries."""
DEADLINE_EXCEEDED = "DeadlineExceeded"


class Failed(msgspec.Struct, frozen=True):
    """A launcher or worker that has failed."""

    what: str
    failure: Failure

    def __str__(self) -> str:
        return f"{self.what}: {self.failure}"


class Together:
    """The attempts of one job, as one sync finds them.

    `launcher` is its Job, `launched` are the pods of launchers, also of former ones, and `workers` are pods by name.
    """

    def __init__(
        self, job: Object, launcher: Object | None, launched: Iterable[Object], workers: Mapping[str, Object], main: str
    ) -> None:
        self._launcher, self._workers, self._main = launcher, workers, main
        self._launched = list(launched)
        self._attempts = Attempts(meta.status(job))
        limit = policy.run_policy(job).get("backoffLimit")
        self.limit = DEFAULT_LIMIT if limit is None else int(limit)

    @property
    def count(self) -> int:
        return self._attempts.count

    @property
    def is_spent(self) -> bool:
        """Whether there may be no further restart."""
        return self.count >= self.limit

    @property
    def launcher(self) -> Object | None:
        """The Job of this attempt, not of one that is over."""
        return None if self._attempts.is_doomed(self._launcher) else self._launcher

    def failed(self) -> Failed | None:
        """What failed first in this attempt; None if nothing has. A time limit is no failure that a restart mends."""
        found = [
            Failed(f"Worker (pod {name})", outcome.failure(pod, ""))
            for name, pod in self._workers.items()
            if _phase(pod) == "Failed" and not self._attempts.is_doomed(pod)
        ]
        if self.launcher is not None and (why := self._launcher_failure(self.launcher)):
            found.append(why)
        return min(found, key=lambda one: one.failure.rank, default=None)

    def begin(self) -> None:
        """Count a restart: all that is there now is to go."""
        self._attempts.begin([*self._workers.values(), *([self._launcher] if self._launcher else [])])

    def remains(self, now: datetime) -> tuple[set[tuple[str, str]], float] | None:
        """What is left of the attempt before, as long as anything is: (kind, name) of what stays to be read until the
        next one is due, and the seconds until then. None if the next one can begin."""
        doomed = [pod for pod in self._workers.values() if self._attempts.is_doomed(pod)]
        job = self._launcher if self._attempts.is_doomed(self._launcher) else None
        if not doomed and job is None:
            leftover = any(self._is_leftover(pod) for pod in self._launched)
            return (set(), 0.0) if leftover else None
        failures = {("Pod", meta.name(pod)): outcome.failure(pod, "") for pod in doomed if _phase(pod) == "Failed"}
        if job is not None and (why := self._launcher_failure(job)):
            failures[("Job", meta.name(job))] = why.failure
        pause = max((time_to_restart(self.count, failure, now) for failure in failures.values()), default=0.0)
        return (set(failures), pause) if pause else (set(), 0.0)

    def fields(self) -> tuple[Object, Object]:
        """The fields of the launcher's and the workers' ``replicaStatuses`` entries."""
        launcher = [self._launcher] if self._launcher else []
        return self._attempts.fields(launcher), self._attempts.fields(self._workers.values())

    def _launcher_failure(self, job: Object) -> Failed | None:
        pods = (pod for pod in self._launched if (meta.controller_of(pod) or {}).get("uid") == meta.uid(job))
        return job_failure(job, pods, "Launcher", self._main)

    def _is_leftover(self, pod: Object) -> bool:
        """A pod of a launcher's Job that has gone: the garbage collector is about to delete it."""
        owner = meta.controller_of(pod) or {}
        return owner.get("kind") == core.JOB.kind and owner.get("uid") != meta.uid(self._launcher or {"metadata": {}})


def once(job: Object, start: datetime | None, now: datetime) -> Object:
    """The Job of a launcher or master for one attempt: it tries once, and has the time that is left of the job's."""
    spec = {key: value for key, value in job["spec"].items() if key != "ttlSecondsAfterFinished"}
    template = spec["template"]
    spec |= {"backoffLimit": 0, "template": {**template, "spec": {**template["spec"], "restartPolicy": "Never"}}}
    left = policy.time_left(start, spec.get("activeDeadlineSeconds"), now)
    if left is not None:
        spec["activeDeadlineSeconds"] = max(1, int(left))
    return {**job, "spec": spec}


def never_restarted(worker: Object) -> Object:
    """A worker's pod that isn't restarted in place."""
    return {**worker, "spec": {**worker["spec"], "restartPolicy": "Never"}}


def job_failure(job: Object, pods: Iterable[Object], role: str, main: str) -> Failed | None:
    """Why the Job of a launcher or master failed: as its pod says, if that is still there. None if it has not, or if
    it was its time that ran out."""
    condition: Mapping[str, Any] = meta.find_condition(meta.status(job).get("conditions"), "Failed") or {}
    if condition.get("status") != "True" or condition.get("reason") == DEADLINE_EXCEEDED:
        return None
    failed = [pod for pod in pods if _phase(pod) == "Failed"]
    if failed:
        last = max(failed, key=lambda pod: str(meta.metadata(pod).get("creationTimestamp") or ""))
        return Failed(f"{role} (pod {meta.name(last)})", outcome.failure(last, main))
    when = outcome.moment(condition.get("lastTransitionTime"))
    why = Failure(reason=condition.get("reason") or "", message=condition.get("message") or "", finished=when)
    return Failed(f"{role} (job {meta.name(job)})", why)


def _phase(pod: Object) -> str:
    """Of a pod that isn't on its way out."""
    return "" if meta.is_deleting(pod) else str(meta.status(pod).get("phase") or "")
