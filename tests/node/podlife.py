"""A pod's life for tests of the machine: an agent, a runtime and an API server in a few lines."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from homeport.node.machine import decide
from homeport.node.memory import Memory
from homeport.node.runtime import ContainerState
from homeport.node.saver import difference
from homeport.node.view import (
    CreateSandbox,
    Decision,
    DeletePod,
    DestroySandbox,
    Forget,
    Health,
    ImageView,
    MountVolumes,
    Notice,
    Problem,
    PullImage,
    Resize,
    RunHook,
    Signal,
    StartContainer,
    View,
)

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def container(name: str = "main", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "python:3.11", **more}


def make_pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "uid": "u-1"},
        "spec": {"containers": list(containers or (container(),)), "nodeName": "n", **spec},
        "status": {"phase": "Pending"},
    }


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


@dataclass
class World:
    """An agent, a runtime and an API server in a few lines: carries instructions out when the test says so."""

    pod: dict[str, Any]
    now: datetime = BEGIN
    memory: Memory = field(default_factory=Memory)
    sandbox: Any = "none"
    states: dict[str, ContainerState] = field(default_factory=dict)
    health: dict[str, Health] = field(default_factory=dict)
    hooks: dict[tuple[str, int, str], str] = field(default_factory=dict)
    allocatable: dict[str, str] = field(default_factory=dict)
    lacking: str = ""
    resizing: bool = False
    resized: dict[str, tuple[int, Any]] = field(default_factory=dict)
    hook_result: str = ""
    """Why hooks fail that end from now on."""
    starting: set[str] = field(default_factory=set)
    volumes: Any = "none"
    images: dict[str, ImageView] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)
    gone: bool = False
    deleting: bool = False
    forgotten: bool = False
    status: dict[str, Any] = field(default_factory=dict)
    saved: bool = False
    again: bool = False
    """The newest status needed no write: the agent decides once more."""
    pending: list[Any] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    wake_at: datetime | None = None
    starts: list[tuple[str, int]] = field(default_factory=list)
    """Every attempt ever begun."""

    def decide(self) -> Decision:
        decision = decide(self.memory, self.view())
        self.memory = decision.memory
        if decision.status != self.status:
            self.status, self.saved = decision.status, not difference(self.pod["status"], decision.status)
            self.again = self.saved
        for instruction in decision.instructions:
            self.accept(instruction)
        self.notices += decision.notices
        self.wake_at = decision.wake_at
        return decision

    def view(self) -> View:
        return View(
            pod=self.pod,
            now=self.now,
            gone=self.gone,
            sandbox="busy" if self.sandbox == "destroying" else self.sandbox,
            address="10.42.0.7" if self.sandbox == "up" else "",
            states=dict(self.states) if self.sandbox in ("up", "down") else {},
            health=dict(self.health),
            hooks=dict(self.hooks),
            allocatable=dict(self.allocatable),
            resizing=self.resizing,
            resized=dict(self.resized),
            starting=frozenset(self.starting),
            volumes=self.volumes,
            images=dict(self.images),
            problems=dict(self.problems),
            deleting=self.deleting,
            status=self.status,
            lacking=self.lacking,
            saved=self.saved,
            host_address="127.0.0.1",
        )

    def accept(self, instruction: Any) -> None:
        match instruction:
            case PullImage(image, _):
                assert self.images.get(image, ImageView()).phase == "none"
                self.images[image] = ImageView("pulling")
            case MountVolumes():
                assert self.volumes == "none"
                self.volumes = "busy"
            case CreateSandbox():
                assert self.sandbox == "none"
                assert not self.starting
                self.sandbox = "busy"
            case StartContainer(name, attempt):
                assert self.sandbox == "up", "a start needs a sandbox"
                assert name not in self.starting, "two attempts at once"
                state = self.states.get(name)
                assert state is None or state.phase == "exited", "the attempt before still runs"
                assert (name, attempt) not in self.starts, "an attempt was begun twice"
                self.starting.add(name)
                self.starts.append((name, attempt))
            case RunHook(name, attempt, _):
                state = self.states[name]
                assert (state.attempt, state.phase) == (attempt, "running")
                assert instruction not in self.pending, "a hook runs once at a time"
            case Resize():
                assert not self.resizing
                self.resizing = True
            case Signal(name, attempt, _):
                assert name not in self.starting
                assert self.states[name].attempt == attempt
            case DestroySandbox():
                assert self.sandbox in ("up", "down")
                assert not self.starting
                if self.sandbox == "up":
                    assert all(s.phase == "exited" for s in self.states.values())
                self.sandbox = "destroying"
            case DeletePod():
                assert self.sandbox == "none"
                self.deleting = True
            case Forget():
                assert self.gone
                assert self.sandbox == "none"
                self.forgotten = True
        if not isinstance(instruction, Forget):
            self.pending.append(instruction)

    def finish(self, instruction: Any) -> None:
        """The instruction has been carried out, successfully."""
        self.pending.remove(instruction)
        match instruction:
            case PullImage(image, _):
                self.images[image] = ImageView("ready", id=image + "@sha256:00")
            case MountVolumes():
                self.volumes = "ready"
            case CreateSandbox():
                self.sandbox = "up"
                self.states = {}
            case StartContainer(name, attempt):
                self.starting.discard(name)
                if self.sandbox == "up":
                    self.states[name] = ContainerState(name, attempt, "running", 1, stamp(self.now))
                else:
                    self.starts.remove((name, attempt))
                    self.problems[name] = Problem("CreateContainerError", "no sandbox", self.now)
            case DestroySandbox():
                self.sandbox = "none"
                self.states = {}
            case DeletePod():
                self.gone = True
            case Resize():
                self.resizing = False
                self.resized = {
                    c["name"]: (self.states[c["name"]].attempt, c["resources"])
                    for c in self.pod["spec"]["containers"]
                    if c["name"] in self.states
                }
            case RunHook(name, attempt, kind):
                self.hooks[name, attempt, kind] = self.hook_result
            case Signal(name, attempt, number):
                state = self.states.get(name)
                if number == signal.SIGKILL and state and state.attempt == attempt and state.phase == "running":
                    self.exit(name, 137, signal=9)

    def exit(self, name: str, code: int, signal: int = 0) -> None:
        reason = "Error" if code else "Completed"
        self.states[name] = replace(
            self.states[name],
            phase="exited",
            exit_code=code,
            signal=signal,
            finished_at=stamp(self.now),
            reason=reason,
        )

    def save(self) -> None:
        """The API server acknowledges the status, in which others have their own conditions."""
        conditions = [c for c in self.status.get("conditions", ()) if c["type"] != "Foreign"]
        status = {**self.status, "conditions": [*conditions, {"type": "Foreign", "status": "True"}]}
        self.pod = {**self.pod, "status": status}
        self.saved = True

    def settle(self) -> None:
        """Decide and carry out until nothing changes any more, without letting time pass."""
        for _ in range(50):
            self.again = False
            decision = self.decide()
            moved = bool(decision.instructions) or not self.saved or self.again
            for instruction in list(self.pending):
                self.finish(instruction)
                moved = True
            if not self.saved:
                self.save()
            if not moved or self.forgotten:
                return
        raise AssertionError("does not come to rest")

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.settle()

    def container(self, name: str = "main", kind: str = "containerStatuses") -> dict[str, Any]:
        return next(c for c in self.status[kind] if c["name"] == name)

    def condition(self, type: str) -> dict[str, Any]:
        return next(c for c in self.status["conditions"] if c["type"] == type)


def started(*containers: dict[str, Any], **spec: Any) -> World:
    world = World(make_pod(*containers, **spec))
    world.settle()
    return world


def probed(name: str = "main", **more: Any) -> dict[str, Any]:
    probe = {"exec": {"command": ["true"]}}
    return container(name, readinessProbe=probe, livenessProbe=probe, startupProbe=probe, **more)


def hooked(name: str = "main", *kinds: str, **more: Any) -> dict[str, Any]:
    return container(name, lifecycle={kind: {"exec": {"command": ["x"]}} for kind in kinds}, **more)
