"""A small world around a job: plays the runtime, the node and, where a test asks for it, a crash between two writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from homeport.components import batch
from homeport.control.controller import Controller, Desired, Failure, Note, Observed
from homeport.control.diff import merged, plan
from homeport.control.freeze import freeze
from homeport.kube import core, meta
from homeport.kube.meta import Object

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
TRACKING = "batch.kubernetes.io/job-tracking"


def job(name: str = "work", **spec: Any) -> Object:
    """A job as the API server stores it."""
    new = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "creationTimestamp": meta.timestamp(START),
        },
        "spec": {
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}},
            "completionMode": "NonIndexed",
            "suspend": False,
            **spec,
        },
    }
    prepared = core.JOB.prepare(new, None)
    assert not list(core.JOB.validate(prepared, None)), list(core.JOB.validate(prepared, None))
    return prepared


class Crash(Exception):
    """The controller was killed."""


class World:
    def __init__(self, parent: Object, controller: Controller = batch.JOB) -> None:
        self.controller = controller
        self.job: Object = parent
        self.pods: dict[str, Object] = {}
        self.now = START
        self.events: list[Note] = []
        self.failures: tuple[Failure, ...] = ()
        self.memory: Mapping[str, Object] = {}
        self.refuse = False
        """Whether the API server refuses new pods."""
        self.gone: list[Object] = []
        """Pods that are no more."""
        self.writes = 0
        self.is_deleted = False
        self.requeue_after: float | None = None
        self._version = 1

    @property
    def status(self) -> Object:
        return meta.status(self.job)

    @property
    def true(self) -> list[str]:
        return [c["type"] for c in self.status.get("conditions") or () if c["status"] == "True"]

    def condition(self, type: str) -> Object:
        return dict(meta.find_condition(self.status.get("conditions"), type) or {})

    @property
    def is_over(self) -> bool:
        return "Complete" in self.true or "Failed" in self.true

    def active(self) -> list[str]:
        return sorted(n for n, pod in self.pods.items() if not core.has_ended(pod) and not meta.is_deleting(pod))

    def by_index(self) -> dict[int, str]:
        """The active pods."""
        return {
            int(meta.annotations(self.pods[n])["batch.kubernetes.io/job-completion-index"]): n for n in self.active()
        }

    def observed(self) -> Observed:
        return Observed(freeze(self.job), {"Pod": freeze(self.pods)}, {}, self.now, self.failures, self.memory)

    def sync(self, survives: int | None = None, status_first: bool = False) -> Desired:
        """One sync, carried out as the runtime does. `survives`: crash after so many writes."""
        observed = self.observed()
        desired = self.controller.sync(observed)
        todo = plan(self.controller, observed, desired)
        failures: list[Failure] = []
        creates = [lambda write=write: self._create(write.object, failures) for write in todo.creates]
        status = [lambda: self._store(todo.status)] if todo.status is not None else []
        steps: list[Callable[[], None]] = [*status, *creates] if status_first else [*creates, *status]
        steps += [lambda item=item: self._strip(meta.name(item.object)) for item in todo.finalized]
        steps += [lambda item=item: self.delete(meta.name(item.object)) for item in todo.deletes]
        for number, step in enumerate(steps):
            if survives is not None and number >= survives:
                self.failures, self.memory = (), {}
                raise Crash
            step()
            self.writes += 1
        self.failures, self.memory = tuple(failures), desired.memory
        self.events += desired.notes
        self.requeue_after = desired.requeue_after
        self.is_deleted = desired.delete_parent
        return desired

    def settle(self, most: int = 12) -> World:
        for _ in range(most):
            before, failures = self.writes, self.failures
            self.sync()
            if (self.writes == before and failures == self.failures) or self.is_deleted:
                return self
            if self.failures and failures == self.failures:
                return self
        raise AssertionError("the controller doesn't come to rest")

    def _touch(self) -> str:
        self._version += 1
        return str(self._version)

    def _create(self, obj: Object, failures: list[Failure]) -> None:
        if self.refuse:
            failures.append(Failure("create", "Pod", meta.name(obj), "Forbidden", "exceeded quota"))
            return
        name = meta.name(obj)
        assert name not in self.pods
        about = {
            **obj["metadata"],
            "uid": f"uid-{name}-{self._touch()}",
            "creationTimestamp": meta.timestamp(self.now),
        }
        self.pods[name] = {**obj, "metadata": about, "status": {"phase": "Pending"}}

    def _store(self, patch: Object) -> None:
        self.change(status=patch)

    def change(self, **patch: Any) -> None:
        """Change the job as a merge patch does."""
        about = {**patch.get("metadata", {}), "resourceVersion": self._touch()}
        self.job = merged(self.job, {**patch, "metadata": about})

    def _strip(self, name: str) -> None:
        pod = self.pods[name]
        about = {**pod["metadata"], "finalizers": [f for f in pod["metadata"]["finalizers"] if f != TRACKING]}
        self.pods[name] = {**pod, "metadata": about}
        self._sweep(name)

    def _sweep(self, name: str) -> None:
        pod = self.pods[name]
        if meta.is_deleting(pod) and core.has_ended(pod) and not pod["metadata"].get("finalizers"):
            self.gone.append(self.pods.pop(name))

    def delete(self, name: str) -> None:
        """As the API server does; a pod that is on no node yet ends at once."""
        pod = self.pods[name]
        if not meta.is_deleting(pod):
            about = {**pod["metadata"], "deletionTimestamp": meta.timestamp(self.now)}
            self.pods[name] = {**pod, "metadata": about}
        self._sweep(name)

    def reap(self, code: int = 143) -> None:
        """The node ends what is being deleted."""
        for name in [name for name, pod in self.pods.items() if meta.is_deleting(pod)]:
            if not core.has_ended(self.pods[name]):
                self.set(name, phase="Failed", containerStatuses=[self._ended(code)])
            self._sweep(name)

    def wait(self, seconds: float) -> World:
        self.now += timedelta(seconds=seconds)
        return self

    def set(self, name: str, **status: Any) -> None:
        self.pods[name] = {**self.pods[name], "status": {**self.pods[name].get("status", {}), **status}}

    def run(self, *names: str) -> World:
        for name in names or [n for n in self.active() if self.pods[n]["status"]["phase"] == "Pending"]:
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": meta.timestamp(self.now)}
            running = {"name": "main", "restartCount": 0, "ready": True, "state": {"running": {}}}
            self.set(name, phase="Running", conditions=[ready], containerStatuses=[running])
        return self

    def succeed(self, *names: str) -> World:
        for name in names or self.active():
            self.set(name, phase="Succeeded", conditions=[], containerStatuses=[self._ended(0)])
        return self

    def fail(self, *names: str, code: int = 1, **status: Any) -> World:
        for name in names or self.active():
            self.set(name, **{"phase": "Failed", "conditions": [], "containerStatuses": [self._ended(code)], **status})
        return self

    def _ended(self, code: int) -> Object:
        state = {"terminated": {"exitCode": code, "finishedAt": meta.timestamp(self.now)}}
        return {"name": "main", "restartCount": 0, "ready": False, "state": state}


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Object]:
    return job


@pytest.fixture(scope="session")
def world() -> Callable[..., World]:
    """``world(**spec)`` gives a World around such a job."""
    return lambda **spec: World(job(**spec))


@pytest.fixture(scope="session")
def crash() -> type[Crash]:
    return Crash
