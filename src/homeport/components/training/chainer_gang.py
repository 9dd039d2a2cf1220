"""Joint restarts of ChainerJobs: a master or a worker that fails takes all others with it.

The master's Job doesn't try again then, and the stateful sets go with it. ``spec.master.backoffLimit`` is said of these
attempts, ``activeDeadlineSeconds`` of all of them together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from homeport.components.training import conditions as at
from homeport.components.training import outcome
from homeport.components.training.chainer_objects import CONTAINER, Shape
from homeport.components.training.gang import Attempts
from homeport.components.training.mpi2_gang import DEFAULT_LIMIT, Failed, job_failure, once
from homeport.components.training.outcome import Failure
from homeport.components.training.restarts import time_to_restart
from homeport.control.controller import Desired, Note, Observed
from homeport.kube import meta
from homeport.kube.meta import Object

_OWN = ("gangRestarts", "gangStart", "replaced")
"""Fields of the status that are not the Job's."""


def sync(shape: Shape, observed: Observed) -> Desired:
    """What should be of a job whose replicas restart together."""
    return _Round(shape, observed).desired()


class _Round:
    def __init__(self, shape: Shape, observed: Observed) -> None:
        self._shape, self._observed, self._now = shape, observed, meta.timestamp(observed.now)
        self._old: Mapping[str, Any] = meta.status(observed.parent)
        self._attempts = Attempts({**self._old, "replicaStatuses": {"": {"replaced": self._old.get("replaced")}}})
        self._sets = observed.children.get("StatefulSet", {})
        self._master = observed.child("Job", shape.master_name)
        self._pods = list(observed.related.get("Pod", {}).values())
        self._notes: list[Note] = []
        self._start = str(self._old.get("gangStart") or self._now)
        limit = shape.master_spec.get("backoffLimit")
        self._limit = DEFAULT_LIMIT if limit is None else int(limit)

    def desired(self) -> Desired:
        """An ended job keeps its master; its workers have gone."""
        master = None if self._attempts.is_doomed(self._master) else self._master
        if any(meta.holds(self._old.get("conditions"), type) for type in ("Complete", "Failed")):
            return self._ended(None)
        if master is not None and meta.holds(meta.status(master).get("conditions"), "Complete"):
            return self._ended(meta.status(master))
        failed = self._failed()
        if failed is not None and self._attempts.count >= self._limit:
            return self._ended(self._failure(failed))
        if master is not None and failed is None and meta.holds(meta.status(master).get("conditions"), "Failed"):
            return self._ended(meta.status(master))  # at its time limit
        text = ""
        if failed is not None:
            self._attempts.begin([*self._sets.values(), *([self._master] if self._master else [])])
            text = f"ChainerJob {self._shape.name} is restarting all replicas ({self._attempts.count}): {failed}"
            self._notes.append(Note("Warning", "ChainerJobRestarting", text[:1024]))
        remains = self._remains()
        if remains is not None:
            stays, pause = remains
            return Desired(
                status=self._status(text),
                children=(*self._shape.access(),),
                keep=frozenset(stays),
                notes=tuple(self._notes),
                requeue_after=pause or None,
            )
        children = [*self._shape.access(), *self._shape.cluster(running=True)]
        if master is None:
            children.append(once(self._shape.master(), outcome.moment(self._start), self._observed.now))
        keep = frozenset({("Job", self._shape.master_name)}) if master is not None else frozenset()
        return Desired(status=self._status(text), children=tuple(children), keep=keep, notes=tuple(self._notes))

    def _ended(self, status: Object | None) -> Desired:
        """The end, with the status that tells of it if it is new."""
        own = {key: value for key, value in self._old.items() if key in _OWN and key != "replaced"}
        keep = {("Job", self._shape.master_name)} if self._master is not None else set()
        stopped = status is not None and meta.holds(status.get("conditions"), "Failed")
        if stopped and not meta.holds(meta.status(self._master or {}).get("conditions"), "Failed"):
            keep = set()  # a worker failed for the last time: what the master does is of no use
        return Desired(
            status=None if status is None else {**status, **own},
            children=(*self._shape.access(), *self._shape.cluster(running=False)),
            keep=frozenset(keep),
            notes=tuple(self._notes),
        )

    def _failed(self) -> Failed | None:
        """What failed first in this attempt."""
        found = list(self._failed_workers(lambda owner: not self._attempts.is_doomed(owner)))
        if self._master is not None and not self._attempts.is_doomed(self._master):
            pods = [pod for pod in self._pods if _owner(pod) == meta.uid(self._master)]
            if why := job_failure(self._master, pods, "Master", CONTAINER):
                found.append(why)
        return min(found, key=lambda one: one.failure.rank, default=None)

    def _failed_workers(self, counts: Any) -> Iterator[Failed]:
        """Pods of sets restart their containers in place, which a program of several processes can't."""
        owners = {meta.uid(each) for each in self._sets.values() if counts(each)}
        for pod in self._pods:
            if _owner(pod) not in owners or meta.is_deleting(pod):
                continue
            if meta.status(pod).get("phase") == "Failed":
                yield Failed(f"Worker (pod {meta.name(pod)})", outcome.failure(pod, CONTAINER))
            elif outcome.restarts(pod) and (last := outcome.last_failure(pod, CONTAINER)):
                yield Failed(f"Worker (pod {meta.name(pod)})", last)

    def _failure(self, failed: Failed) -> Object:
        count = self._attempts.count + 1
        many = "1 restart is" if count == 1 else f"{count} restarts are"
        text = f"{many} more than backoffLimit {self._limit} allows. The last failure was {failed}"
        self._notes.append(Note("Warning", "BackoffLimitExceeded", text[:1024]))
        status = {key: value for key, value in meta.status(self._master or {}).items() if key != "conditions"}
        return {**status, "conditions": [self._condition("Failed", "BackoffLimitExceeded", text)]}

    def _condition(self, type: str, reason: str, message: str) -> Object:
        times = {"lastProbeTime": self._now, "lastTransitionTime": self._now}
        return {"type": type, "status": "True", "reason": reason, "message": message, **times}

    def _remains(self) -> tuple[set[tuple[str, str]], float] | None:
        """What is left of the attempt before: (kind, name) of what is kept until the next one is due, and the seconds
        until then. None if the next one can begin."""
        doomed = [each for each in (self._master, *self._sets.values()) if self._attempts.is_doomed(each)]
        there = {meta.uid(each) for each in (self._master, *self._sets.values()) if each is not None}
        if not doomed:
            return (set(), 0.0) if any(_owner(pod) not in there for pod in self._pods if _owner(pod)) else None
        failures: list[Failure] = []
        stays: set[tuple[str, str]] = set()
        if self._master is not None and self._attempts.is_doomed(self._master):
            pods = [pod for pod in self._pods if _owner(pod) == meta.uid(self._master)]
            if why := job_failure(self._master, pods, "Master", CONTAINER):
                failures.append(why.failure)
                stays.add(("Job", self._shape.master_name))
        pause = max((time_to_restart(self._attempts.count, each, self._observed.now) for each in failures), default=0.0)
        return (stays, pause) if pause else (set(), 0.0)

    def _status(self, restarting: str) -> Object | None:
        """The master's Job's, with the attempts; while there is none that runs, the condition that says why."""
        alive = self._master is not None and not self._attempts.is_doomed(self._master)
        status: Object = dict(meta.status(self._master or {})) if alive else {}
        status["gangStart"] = self._start
        if self._attempts.count:
            status["gangRestarts"] = self._attempts.count
            if not status.get("ready") and not status.get("conditions"):
                told = meta.find_condition(self._old.get("conditions"), at.RESTARTING)
                if restarting or told is None:
                    words = restarting or f"ChainerJob {self._shape.name} is restarting all replicas."
                    told = self._condition(at.RESTARTING, "ChainerJobRestarting", words)
                status["conditions"] = [told]
        doomed = [each for each in (self._master, *self._sets.values()) if self._attempts.is_doomed(each)]
        if doomed:
            status["replaced"] = [meta.uid(each) for each in doomed if each is not None]
        return None if status == self._old else status


def _owner(pod: Object) -> str:
    return str((meta.controller_of(pod) or {}).get("uid") or "")
