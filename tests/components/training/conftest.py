"""A small world around a controller: plays the runtime and, through the tests, the pods."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from homeport.components import training
from homeport.control.controller import Controller, Desired, Note, Observed
from homeport.control.diff import plan
from homeport.control.freeze import freeze
from homeport.kube import meta
from homeport.kube.meta import Object

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
CASES = Path(__file__).parent / "cases"
FRAMEWORKS = {framework.kind: framework for framework in training.FRAMEWORKS}


def template(container: str, **extra: Any) -> Object:
    return {"spec": {"containers": [{"name": container, "image": "registry.example/train:1", **extra}]}}


def job(kind: str, replicas: dict[str, Any], *, name: str = "mnist", **spec: Any) -> Object:
    """A job; `replicas` maps a type to a number or to (part of) a replica spec."""
    framework = FRAMEWORKS[kind]
    specs = {
        type: {
            "template": template(framework.container or "main"),
            **(given if isinstance(given, dict) else {"replicas": given}),
        }
        for type, given in replicas.items()
    }
    if kind == "MXJob":
        spec = {"jobMode": "MXTrain", **spec}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}"},
        "spec": {framework.replicas_field: specs, **spec},
    }


def controller_for(job: Object) -> Controller:
    wanted = job["apiVersion"], job["kind"]
    return next(c for c in training.CONTROLLERS if (c.parent.api_version, c.parent.kind) == wanted)


class World:
    """One job, its pods and services, a clock, and the events that were sent."""

    def __init__(self, parent: Object, controller: Controller | None = None) -> None:
        self.controller = controller or controller_for(parent)
        self.job: Object | None = parent
        self.children: dict[str, dict[str, Object]] = {child.resource.kind: {} for child in self.controller.children}
        self.now = START
        self.events: list[Note] = []
        self.writes = 0
        self.made: list[str] = []
        self._uids = 0
        self.requeue_after: float | None = None

    @property
    def pods(self) -> dict[str, Object]:
        return self.children["Pod"]

    @property
    def status(self) -> Object:
        return meta.status(self.job or {})

    def condition(self, type: str) -> Object:
        return dict(meta.find_condition(self.status.get("conditions"), type) or {})

    @property
    def state(self) -> str:
        return str(self.status["conditions"][-1]["type"])

    @property
    def true(self) -> list[str]:
        return [c["type"] for c in self.status.get("conditions") or () if c["status"] == "True"]

    def observed(self) -> Observed:
        return Observed(freeze(self.job), freeze(self.children), {}, self.now)

    def sync(self) -> Desired:
        """One sync, carried out as the runtime does: creations and status, then deletions."""
        observed = self.observed()
        desired = self.controller.sync(observed)
        todo = plan(self.controller, observed, desired)
        self.writes += len(todo.creates) + len(todo.deletes) + (todo.status is not None)
        if desired.status is not None:
            self.job = {**(self.job or {}), "status": desired.status}
        for write in todo.creates:
            self._uids += 1
            made = write.object
            name = meta.name(made)
            self.made.append(name)
            metadata = {**made["metadata"], "uid": f"uid-{self._uids}"}
            self.children[made["kind"]][name] = {**made, "metadata": metadata}
            if made["kind"] == "Pod":
                self.children["Pod"][name]["status"] = {"phase": "Pending"}
        for deletion in todo.deletes:
            self.delete(deletion.object["kind"], meta.name(deletion.object))
        self.events += desired.notes
        self.requeue_after = desired.requeue_after
        if desired.delete_parent:
            self.job = None
        return desired

    def settle(self, most: int = 10) -> World:
        """Sync until that changes nothing."""
        for _ in range(most):
            before = self.writes
            if self.job is None:
                return self
            self.sync()
            if self.writes == before:
                return self
        raise AssertionError("the controller doesn't come to rest")

    def delete(self, kind: str, name: str) -> None:
        """As the API server does: a pod that runs goes when its containers have ended, anything else at once."""
        obj = self.children[kind][name]
        if kind == "Pod" and meta.status(obj).get("phase") == "Running":
            metadata = {**obj["metadata"], "deletionTimestamp": meta.timestamp(self.now)}
            self.children[kind][name] = {**obj, "metadata": metadata}
        else:
            del self.children[kind][name]

    def reap(self) -> None:
        """The node ends what is being deleted."""
        for name in [name for name, pod in self.pods.items() if meta.is_deleting(pod)]:
            del self.pods[name]

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def set(self, name: str, **status: Any) -> None:
        self.pods[name] = {**self.pods[name], "status": {**self.pods[name].get("status", {}), **status}}

    def run(self, *names: str) -> None:
        """Bring pods to Running (all that are pending, if none is named)."""
        for name in names or [n for n, pod in self.pods.items() if pod["status"]["phase"] == "Pending"]:
            started = meta.timestamp(self.now)
            self.set(
                name, phase="Running", containerStatuses=[self._container(name, {"running": {"startedAt": started}})]
            )

    def succeed(self, *names: str) -> None:
        for name in names:
            self.set(name, phase="Succeeded", containerStatuses=[self._container(name, self._ended(0, "Completed"))])

    def fail(self, name: str, code: int = 1, *, message: str = "", reason: str = "Error") -> None:
        self.set(name, phase="Failed", containerStatuses=[self._container(name, self._ended(code, reason, message))])

    def evict(self, name: str) -> None:
        self.set(name, phase="Failed", reason="Evicted", message="The node was low on memory.", containerStatuses=[])

    def restart_in_place(self, name: str, count: int, code: int = 1) -> None:
        """The kubelet restarted the pod's container; it runs again."""
        container = self._container(name, {"running": {}})
        container |= {"restartCount": count, "lastState": self._ended(code, "Error")}
        self.set(name, phase="Running", containerStatuses=[container])

    def _container(self, name: str, state: Object) -> Object:
        container = self.pods[name]["spec"]["containers"][0]["name"]
        return {"name": container, "restartCount": 0, "state": state}

    def _ended(self, code: int, reason: str, message: str = "") -> Object:
        moment = meta.timestamp(self.now)
        ended: Object = {"exitCode": code, "reason": reason, "startedAt": moment, "finishedAt": moment}
        return {"terminated": ended | ({"message": message} if message else {})}


@pytest.fixture(scope="session")
def world() -> Callable[..., World]:
    """``world(kind, replicas, **spec)`` gives a World around such a job."""

    def make(kind: str, replicas: dict[str, Any], **spec: Any) -> World:
        return World(job(kind, replicas, **spec))

    return make


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    return World


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Object]:
    return job


@pytest.fixture(scope="session")
def cases() -> Path:
    return CASES
