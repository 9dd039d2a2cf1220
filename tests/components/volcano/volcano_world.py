"""A small world around a Volcano job: plays the runtime, the scheduler and, through the tests, the pods."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from homeport.components import volcano
from homeport.control.controller import Note, Observed
from homeport.control.diff import plan
from homeport.control.freeze import freeze
from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.kube.patch import merge_patch

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def task(name: str = "worker", replicas: int = 2, **fields: Any) -> Object:
    container = {"name": "main", "image": "registry.example/train:1", "resources": {"requests": {"cpu": "1"}}}
    return {"name": name, "replicas": replicas, "template": {"spec": {"containers": [container]}}, **fields}


def policy(event: str, action: str, **fields: Any) -> Object:
    return {"event": event, "action": action, **fields}


class World:
    def __init__(self, *tasks: Object, phase: str = "Inqueue", **spec: Any) -> None:
        self.controller = volcano.JOBS
        self.job: Object | None = {
            "apiVersion": "batch.volcano.sh/v1alpha1",
            "kind": "Job",
            "metadata": {
                "name": "demo",
                "namespace": "team",
                "uid": "uid-demo",
                "creationTimestamp": meta.timestamp(START),
            },
            "spec": {"tasks": list(tasks), **spec},
        }
        self.children: dict[str, dict[str, Object]] = {child.resource.kind: {} for child in self.controller.children}
        self.commands: dict[str, Object] = {}
        self.memory: Any = {}
        self.now = START
        self.events: list[Note] = []
        self.requeue_after: float | None = None
        self.group_phase = phase
        self._uids = 0
        self.writes = 0

    @property
    def pods(self) -> dict[str, Object]:
        return self.children["Pod"]

    @property
    def group(self) -> Object:
        return self.children["PodGroup"]["demo-uid-demo"]

    @property
    def status(self) -> Object:
        return meta.status(self.job or {})

    @property
    def phase(self) -> str:
        return str((self.status.get("state") or {}).get("phase") or "")

    @property
    def phases(self) -> list[str]:
        return [one["status"] for one in self.status["conditions"]]

    def sync(self) -> None:
        related = {"Command": self.commands, "PriorityClass": {}}
        observed = Observed(freeze(self.job), freeze(self.children), freeze(related), self.now, memory=self.memory)
        desired = self.controller.sync(observed)
        todo = plan(self.controller, observed, desired)
        self.writes += len(todo.creates) + len(todo.deletes) + (todo.status is not None) + len(desired.patches)
        for change in desired.patches:
            kind, name = change.object["kind"], meta.name(change.object)
            self.children[kind][name] = merge_patch(self.children[kind][name], change.changes)
        if desired.status is not None:
            self.job = {**(self.job or {}), "status": desired.status}
        for write in todo.creates:
            self._uids += 1
            made, name = write.object, meta.name(write.object)
            stamp = {"uid": f"uid-{self._uids}", "creationTimestamp": meta.timestamp(self.now)}
            self.children[made["kind"]][name] = {**made, "metadata": {**made["metadata"], **stamp}}
            if made["kind"] == "Pod":
                self.pods[name]["status"] = {"phase": "Pending"}
            if made["kind"] == "PodGroup":
                self.children["PodGroup"][name]["status"] = {"phase": self.group_phase}
        for write in todo.applies:
            kind, name = write.object["kind"], meta.name(write.object)
            if kind != "PodGroup" or self.children[kind][name]["spec"] != write.object["spec"]:
                self.children[kind][name] = merge_patch(self.children[kind][name], {"spec": write.object.get("spec")})
                self.writes += 1
        for deletion in todo.deletes:
            kind, name = deletion.object["kind"], meta.name(deletion.object)
            if kind == "Command":
                del self.commands[f"team/{name}"]
            else:
                self.delete(kind, name)
        self.events += desired.notes
        self.memory = desired.memory
        self.requeue_after = desired.requeue_after
        if desired.delete_parent:
            self.job = None

    def settle(self, most: int = 12) -> World:
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
            stamp = {"deletionTimestamp": meta.timestamp(self.now)}
            self.children[kind][name] = {**obj, "metadata": {**obj["metadata"], **stamp}}
        else:
            del self.children[kind][name]

    def reap(self) -> World:
        """The node ends what is being deleted."""
        for name in [name for name, pod in self.pods.items() if meta.is_deleting(pod)]:
            del self.pods[name]
        return self

    def command(self, action: str) -> World:
        target = {"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "name": "demo", "uid": "uid-demo"}
        name = f"demo-{action.lower()}"
        self.commands[f"team/{name}"] = {
            "apiVersion": "bus.volcano.sh/v1alpha1",
            "kind": "Command",
            "metadata": {"name": name, "namespace": "team", "uid": name, "creationTimestamp": meta.timestamp(self.now)},
            "action": action,
            "target": target,
        }
        return self

    def wait(self, seconds: float) -> World:
        self.now += timedelta(seconds=seconds)
        return self

    def set(self, name: str, phase: str, code: int | None = None, **status: Any) -> World:
        container: Object = {"name": "main", "ready": phase == "Running", "restartCount": 0}
        if code is not None:
            container["state"] = {"terminated": {"exitCode": code}}
        known = {"phase": phase, "containerStatuses": [container], **status}
        self.pods[name] = {**self.pods[name], "status": known}
        return self

    def run(self, *names: str) -> World:
        """Bring pods to Running (all that are pending, if none is named)."""
        for name in names or [n for n, pod in self.pods.items() if pod["status"]["phase"] == "Pending"]:
            self.set(name, "Running")
        return self

    def succeed(self, *names: str) -> World:
        for name in names or list(self.pods):
            self.set(name, "Succeeded", 0)
        return self

    def fail(self, name: str, code: int = 1) -> World:
        return self.set(name, "Failed", code)
