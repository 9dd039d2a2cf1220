from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeport.node.machine import decide
from homeport.node.memory import Memory, recall, resume, unsent
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


def test_first_decision_asks_for_everything_at_once() -> None:
    world = World(make_pod())
    decision = world.decide()
    assert set(decision.instructions) == {PullImage("python:3.11", "IfNotPresent"), MountVolumes(), CreateSandbox()}
    assert world.status["phase"] == "Pending"
    assert world.container()["state"] == {"waiting": {"reason": "ContainerCreating"}}


def test_running_pod_is_reported_as_the_kubelet_does() -> None:
    world = started()
    assert world.status["phase"] == "Running"
    assert world.status["podIP"] == "10.42.0.7"
    assert world.status["podIPs"] == [{"ip": "10.42.0.7"}]
    assert world.status["hostIP"] == "127.0.0.1"
    assert world.status["qosClass"] == "BestEffort"
    main = world.container()
    assert main["state"] == {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    assert (main["ready"], main["started"], main["restartCount"], main["lastState"]) == (True, True, 0, {})
    assert main["containerID"].startswith("homeport://")
    assert main["imageID"] == "python:3.11@sha256:00"
    assert {c["type"]: c["status"] for c in world.status["conditions"]} == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
        "PodScheduled": "True",
    }


@pytest.mark.parametrize(
    ("policy", "code", "phase", "attempts"),
    [
        ("Never", 0, "Succeeded", 1),
        ("Never", 3, "Failed", 1),
        ("OnFailure", 0, "Succeeded", 1),
        ("OnFailure", 3, "Running", 2),
        ("Always", 0, "Running", 2),
        ("Always", 3, "Running", 2),
    ],
)
def test_restart_policy(policy: str, code: int, phase: str, attempts: int) -> None:
    world = started(restartPolicy=policy)
    world.sleep(5)
    world.exit("main", code)
    world.settle()
    assert world.status["phase"] == phase
    assert len(world.starts) == attempts
    main = world.container()
    if attempts == 1:
        assert main["state"]["terminated"]["exitCode"] == code
        assert world.sandbox == "none", "the sandbox goes once the end is on record"
        assert world.condition("Ready")["reason"] == ("PodFailed" if code else "PodCompleted")
    else:
        assert main["lastState"]["terminated"]["exitCode"] == code
        assert main["restartCount"] == 1


def test_sandbox_stays_until_the_end_is_on_record() -> None:
    world = started(restartPolicy="Never")
    world.exit("main", 0)
    world.decide()
    assert world.status["phase"] == "Succeeded"
    assert world.pending == []
    world.save()
    world.decide()
    assert world.again, "the API's own status took the place of ours"
    world.decide()
    assert world.pending == [DestroySandbox()]


def test_back_off_doubles_and_is_reset() -> None:
    world = started(restartPolicy="Always")
    waits = []
    for _ in range(8):
        world.now += timedelta(seconds=1)
        world.exit("main", 1)
        begin = world.now
        world.settle()
        while not world.memory.of("main").is_running:
            assert world.container()["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            assert world.container()["lastState"]["terminated"]["exitCode"] == 1
            assert world.wake_at is not None
            world.now = world.wake_at
            world.settle()
        waits.append((world.now - begin).total_seconds())
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
    world.sleep(601)
    world.exit("main", 1)
    world.settle()
    assert world.memory.of("main").is_running
    assert world.memory.of("main").backoff == 10
    assert sum(n.reason == "BackOff" for n in world.notices) == 7


def test_init_containers_run_in_order_to_their_end() -> None:
    world = World(make_pod(initContainers=[container("a"), container("b")]))
    world.settle()
    assert world.starts == [("a", 0)]
    assert world.status["phase"] == "Pending"
    assert world.container()["state"]["waiting"]["reason"] == "PodInitializing"
    assert world.condition("Initialized")["message"] == "containers with incomplete status: [a b]"
    world.exit("a", 0)
    world.settle()
    assert world.starts == [("a", 0), ("b", 0)]
    world.exit("b", 0)
    world.settle()
    assert world.starts[-1] == ("main", 0)
    assert world.status["phase"] == "Running"
    assert world.container("a", "initContainerStatuses")["ready"] is True


@pytest.mark.parametrize(("policy", "phase"), [("Never", "Failed"), ("Always", "Pending"), ("OnFailure", "Pending")])
def test_failed_init_container(policy: str, phase: str) -> None:
    world = World(make_pod(restartPolicy=policy, initContainers=[container("a")]))
    world.settle()
    world.exit("a", 1)
    world.settle()
    assert world.status["phase"] == phase
    assert len(world.starts) == (1 if policy == "Never" else 2)
    assert all(name == "a" for name, _ in world.starts)


def test_sidecar_starts_first_restarts_and_ends_last() -> None:
    sidecar = container("side", restartPolicy="Always")
    world = World(make_pod(restartPolicy="Never", initContainers=[sidecar, container("init")]))
    world.settle()
    assert world.starts == [("side", 0), ("init", 0)]
    world.exit("init", 0)
    world.settle()
    assert world.starts[-1] == ("main", 0)
    world.exit("side", 1)
    world.settle()
    assert world.starts[-1] == ("side", 1)
    world.exit("main", 0)
    world.decide()
    assert world.pending == [Signal("side", 1, signal.SIGTERM)]
    assert world.status["phase"] == "Running", "not terminal while a sidecar runs"
    world.exit("side", 143)
    world.pending.clear()
    world.settle()
    assert world.status["phase"] == "Succeeded"


def test_an_ephemeral_container_waits_for_nobody_and_changes_nothing() -> None:
    world = started(initContainers=[container("init")])
    assert world.starts == [("init", 0)]
    world.pod["spec"]["ephemeralContainers"] = [container("debugger")]
    world.settle()
    assert world.starts[-1] == ("debugger", 0)
    assert world.condition("Initialized")["message"] == "containers with incomplete status: [init]"
    world.exit("init", 0)
    world.settle()
    assert (world.starts[-1], world.status["phase"]) == (("main", 0), "Running")
    assert (world.condition("Ready")["status"], world.status["qosClass"]) == ("True", "BestEffort")
    assert "running" in world.container("debugger", "ephemeralContainerStatuses")["state"]
    world.exit("debugger", 3)
    world.settle()
    world.sleep(600)
    ended = world.container("debugger", "ephemeralContainerStatuses")
    assert (ended["state"]["terminated"]["exitCode"], ended["ready"]) == (3, False)
    assert world.starts[-1] == ("main", 0), "it runs once"
    assert world.condition("Ready")["status"] == "True"
    assert recall(world.pod).of("debugger").is_exited, "not begun anew by a node that forgot"


def test_the_end_of_a_pod_is_the_end_of_its_ephemeral_containers() -> None:
    world = started(restartPolicy="Never", ephemeralContainers=[container("debugger")])
    world.exit("main", 0)
    world.decide()
    assert world.pending == [Signal("debugger", 0, signal.SIGTERM)]
    world.exit("debugger", 143)
    world.pending.clear()
    world.settle()
    assert world.status["phase"] == "Succeeded"


def test_deletion_ends_politely_then_by_force_then_removes_the_object() -> None:
    world = started(container("a"), container("b"), terminationGracePeriodSeconds=5)
    world.pod["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:05Z", "deletionGracePeriodSeconds": 5}
    world.decide()
    assert set(world.pending) == {Signal("a", 0, signal.SIGTERM), Signal("b", 0, signal.SIGTERM)}
    world.pending.clear()
    world.exit("a", 0)
    world.settle()
    assert world.memory.of("b").is_running
    assert world.wake_at == BEGIN + timedelta(seconds=5)
    world.now = world.wake_at
    world.settle()
    assert world.container("b")["state"]["terminated"]["exitCode"] == 137
    assert world.gone
    assert world.forgotten
    assert len(world.starts) == 2


def test_a_shorter_grace_period_counts() -> None:
    world = started(terminationGracePeriodSeconds=300)
    world.pod["metadata"] |= {"deletionTimestamp": "x", "deletionGracePeriodSeconds": 300}
    world.decide()
    world.sleep(10)
    assert world.memory.of("main").is_running
    world.pod["metadata"] |= {"deletionGracePeriodSeconds": 2}
    world.settle()
    assert world.wake_at == world.now + timedelta(seconds=2)
    world.sleep(2)
    assert world.forgotten


def test_removed_object_ends_the_processes_at_once() -> None:
    world = started()
    world.gone = True
    world.settle()
    assert world.wake_at == BEGIN + timedelta(seconds=1)
    world.sleep(1)
    assert world.forgotten


def test_deleted_before_anything_ran() -> None:
    world = World(make_pod())
    world.pod["metadata"] |= {"deletionTimestamp": "x"}
    world.settle()
    assert world.starts == []
    assert world.forgotten


def test_active_deadline() -> None:
    world = started(activeDeadlineSeconds=60, terminationGracePeriodSeconds=5)
    assert world.wake_at == BEGIN + timedelta(seconds=60)
    world.sleep(60)
    assert world.status["phase"] == "Running"
    world.sleep(5)
    assert (world.status["phase"], world.status["reason"]) == ("Failed", "DeadlineExceeded")
    assert len(world.starts) == 1


def test_image_problem_and_recovery() -> None:
    world = World(make_pod())
    world.decide()
    text = "nothing provides python:3.11"
    world.pending = [i for i in world.pending if not isinstance(i, PullImage)]
    retry = world.now + timedelta(seconds=10)
    problem = Problem("ErrImagePull", text, retry)
    world.images["python:3.11"] = ImageView(problem=problem, failed_at=world.now)
    world.settle()
    assert world.container()["state"]["waiting"] == {"reason": "ErrImagePull", "message": text}
    world.sleep(2)
    assert world.container()["state"]["waiting"]["reason"] == "ImagePullBackOff"
    assert text in world.container()["state"]["waiting"]["message"]
    assert world.wake_at == retry
    world.sleep(8)
    assert world.status["phase"] == "Running"


def test_problem_with_a_start_is_shown_and_tried_again() -> None:
    world = World(make_pod())
    world.decide()
    for instruction in list(world.pending):
        world.finish(instruction)
    world.decide()
    assert world.pending == [StartContainer("main", 0)]
    world.pending.clear()
    world.starting.clear()
    world.starts.clear()
    text = 'configmap "settings" not found'
    world.problems["main"] = Problem("CreateContainerConfigError", text, world.now + timedelta(seconds=10))
    world.settle()
    assert world.container()["state"]["waiting"] == {"reason": "CreateContainerConfigError", "message": text}
    world.problems.clear()
    world.settle()
    assert world.status["phase"] == "Running"


@pytest.mark.parametrize(("policy", "phase"), [("Never", "Failed"), ("OnFailure", "Running"), ("Always", "Running")])
def test_lost_sandbox(policy: str, phase: str) -> None:
    world = World(make_pod(restartPolicy=policy, initContainers=[container("i")]))
    world.settle()
    world.exit("i", 0)
    world.settle()
    world.sandbox = "down"
    world.settle()
    if phase == "Failed":
        assert world.status["phase"] == "Failed"
        ended = world.container()["state"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")
    else:
        assert world.starts[-1] == ("i", 1), "a new sandbox is initialized again"
        world.exit("i", 0)
        world.settle()
        assert world.starts[-1] == ("main", 1)
        assert world.container()["restartCount"] == 1
        assert world.container()["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"


def test_a_node_that_forgot_recalls_from_the_status() -> None:
    world = started(restartPolicy="OnFailure")
    world.exit("main", 1)
    world.settle()
    again = World(world.pod, now=world.now, memory=recall(world.pod), status=world.status, saved=True)
    again.settle()
    assert again.starts[0] == ("main", 2), "the attempt that ran is lost and counted"
    assert again.container()["restartCount"] == 2


def test_finished_pod_is_left_alone_after_a_restart_of_the_node() -> None:
    world = started(restartPolicy="Never")
    world.exit("main", 0)
    world.settle()
    again = World(world.pod, now=world.now + timedelta(days=1), memory=recall(world.pod))
    decision = again.decide()
    assert decision.status == world.status
    assert decision.instructions == ()
    assert again.starts == []


def test_conditions_keep_their_transition_time() -> None:
    world = started()
    world.sleep(60)
    world.exit("main", 1)
    world.decide()
    assert world.condition("Initialized")["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    assert world.condition("Ready")["lastTransitionTime"] == "2026-01-01T00:01:00Z"


# Probes.


def probed(name: str = "main", **more: Any) -> dict[str, Any]:
    probe = {"exec": {"command": ["true"]}}
    return container(name, readinessProbe=probe, livenessProbe=probe, startupProbe=probe, **more)


def test_readiness_is_what_the_probes_say() -> None:
    world = started(probed())
    main = world.container()
    assert (main["started"], main["ready"]) == (False, False)
    assert world.condition("Ready")["message"] == "containers with unready status: [main]"
    world.health["main"] = Health(0, started=True, ready=False)
    world.settle()
    assert (world.container()["started"], world.container()["ready"]) == (True, False)
    world.health["main"] = Health(0, started=True, ready=True)
    world.settle()
    assert world.condition("Ready")["status"] == "True"
    world.health["main"] = Health(7, started=True, ready=True)
    world.settle()
    assert world.container()["ready"] is False, "that was said of another attempt"


@pytest.mark.parametrize("kind", ["liveness", "startup"])
@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_a_failed_probe_ends_the_container(kind: Any, policy: str) -> None:
    more = {f"{kind}Probe": {"exec": {}, "terminationGracePeriodSeconds": 7}}
    world = started(container(**more), restartPolicy=policy, terminationGracePeriodSeconds=100)
    world.health["main"] = Health(0, started=kind == "liveness", ready=False, failed=kind)
    world.decide()
    assert world.pending == [Signal("main", 0, signal.SIGTERM)]
    expected = f"Container main failed {kind} probe" + ("" if policy == "Never" else ", will be restarted")
    assert world.notices[-1] == Notice("Normal", "Killing", expected, "main")
    assert world.wake_at == BEGIN + timedelta(seconds=7)
    world.pending.clear()
    world.exit("main", 0)
    world.settle()
    if policy == "Never":
        assert world.status["phase"] == "Succeeded"
    else:
        assert world.starts[-1] == ("main", 1), "however it ended"
        assert world.memory.of("main").ending is None


def test_back_off_after_failed_probes_counts_from_the_attempt_before() -> None:
    world = started(probed())
    for attempt, ran in enumerate((30, 30, 30, 30)):
        world.now += timedelta(seconds=ran)
        world.health["main"] = Health(attempt, started=True, ready=True, failed="liveness")
        world.settle()
        world.exit("main", 137)
        world.settle()
    assert len(world.starts) == 4, "40 s have to lie between the end before and the next start"
    assert world.container()["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert world.wake_at == world.now + timedelta(seconds=10)


def test_a_sidecar_holds_the_others_up_until_it_has_started() -> None:
    world = World(make_pod(initContainers=[probed("side", restartPolicy="Always"), container("init")]))
    world.settle()
    assert world.starts == [("side", 0)]
    assert world.condition("Initialized")["message"] == "containers with incomplete status: [side init]"
    world.health["side"] = Health(0, started=True, ready=False)
    world.settle()
    assert world.starts[-1] == ("init", 0)
    world.exit("init", 0)
    world.settle()
    assert world.status["phase"] == "Running"
    assert world.condition("Ready")["message"] == "containers with unready status: [side]"


# Hooks.


def hooked(name: str = "main", *kinds: str, **more: Any) -> dict[str, Any]:
    return container(name, lifecycle={kind: {"exec": {"command": ["x"]}} for kind in kinds}, **more)


def test_a_container_runs_once_its_first_hook_has_ended() -> None:
    world = World(make_pod(hooked("a", "postStart"), container("b")))
    while not any(isinstance(i, RunHook) for i in world.pending):
        for instruction in list(world.pending):
            world.finish(instruction)
        world.decide()
    world.decide()
    assert world.pending == [RunHook("a", 0, "postStart")]
    assert world.starts == [("a", 0)], "those behind it wait"
    assert world.container("a")["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert world.container("a")["ready"] is False
    world.pending.clear()
    world.memory = resume(world.memory)
    world.decide()
    assert world.pending == [RunHook("a", 0, "postStart")], "at least once: the node may have been killed"
    world.settle()
    assert world.starts[-1] == ("b", 0)
    assert world.container("a")["ready"]


def test_a_failed_first_hook_ends_the_container() -> None:
    world = World(make_pod(hooked("main", "postStart"), restartPolicy="Never"), hook_result="exit code 1")
    world.settle()
    assert [n.reason for n in world.notices if n.type == "Warning"] == ["FailedPostStartHook"]
    assert world.memory.of("main").ending is not None
    assert world.container()["state"]["waiting"]["reason"] == "PostStartHookError"
    world.exit("main", 143)
    world.settle()
    assert world.status["phase"] == "Failed"


def deleted(world: World, grace: int) -> None:
    world.pod["metadata"] |= {"deletionTimestamp": "x", "deletionGracePeriodSeconds": grace}


def test_the_last_hook_goes_before_the_signal() -> None:
    world = started(hooked("main", "preStop"))
    deleted(world, 30)
    world.hook_result = "exit code 1"
    world.decide()
    assert world.pending == [RunHook("main", 0, "preStop")]
    world.decide()
    assert world.pending == [RunHook("main", 0, "preStop")]
    world.now += timedelta(seconds=29.5)
    world.finish(world.pending[0])
    world.decide()
    assert world.pending == [Signal("main", 0, signal.SIGTERM)]
    assert world.notices[-1].reason == "FailedPreStopHook"
    assert world.wake_at == world.now + timedelta(seconds=2), "a moment is left, whatever the hook took"


def test_a_hook_that_takes_too_long_is_not_waited_for() -> None:
    world = started(hooked("main", "preStop"))
    deleted(world, 5)
    world.decide()
    assert world.wake_at == BEGIN + timedelta(seconds=5)
    world.now = world.wake_at
    world.decide()
    assert world.pending == [RunHook("main", 0, "preStop"), Signal("main", 0, signal.SIGTERM)]
    world.now += timedelta(seconds=2)
    world.decide()
    assert world.pending[-1] == Signal("main", 0, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_that_could_not_be_sent_is_due_again_but_not_at_once(number: int) -> None:
    world = started()
    deleted(world, 30)
    world.decide()
    if number == signal.SIGKILL:
        world.pending.clear()
        world.now += timedelta(seconds=30)
        world.decide()
    assert world.pending == [Signal("main", 0, number)]
    world.pending.clear()
    assert unsent(world.memory, "main", 1) == world.memory, "not this attempt's"
    world.memory = unsent(world.memory, "main", 0)
    again = world.now + timedelta(seconds=1)
    world.problems["/signal/main"] = Problem("", "no answer", again)
    world.decide()
    assert world.pending == []
    assert world.wake_at == again
    world.now = again
    world.decide()
    assert world.pending == [Signal("main", 0, number)]
    del world.problems["/signal/main"]
    world.decide()
    assert world.pending == [Signal("main", 0, number)], "sent once"


def test_sidecars_end_last_and_in_reverse_order_with_their_hooks_first() -> None:
    sides = [container("s0", restartPolicy="Always"), hooked("s1", "preStop", restartPolicy="Always")]
    world = started(initContainers=sides)
    deleted(world, 30)
    world.decide()
    assert set(world.pending) == {Signal("main", 0, signal.SIGTERM), RunHook("s1", 0, "preStop")}
    for instruction in list(world.pending):
        world.finish(instruction)
    world.decide()
    assert world.pending == []
    world.exit("main", 0)
    world.decide()
    assert world.pending == [Signal("s1", 0, signal.SIGTERM)]
    world.pending.clear()
    world.exit("s1", 0)
    world.decide()
    assert world.pending == [Signal("s0", 0, signal.SIGTERM)]


def test_sidecars_whose_turn_never_comes_are_ended_with_the_others() -> None:
    world = started(initContainers=[container("s0", restartPolicy="Always")])
    deleted(world, 10)
    world.decide()
    world.pending.clear()
    world.now += timedelta(seconds=10)
    world.decide()
    assert set(world.pending) == {Signal("main", 0, signal.SIGKILL), Signal("s0", 0, signal.SIGTERM)}


def test_rules_of_a_container_go_before_the_restart_policy() -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    world = started(container(restartPolicy="Never", restartPolicyRules=rules), restartPolicy="Never")
    world.exit("main", 42)
    world.settle()
    assert world.starts[-1] == ("main", 1)
    world.exit("main", 41)
    world.settle()
    assert world.status["phase"] == "Failed"


@pytest.mark.parametrize("policy", ["Always", "Never"])
def test_another_image_takes_the_place_of_the_one_that_runs(policy: str) -> None:
    world = started(restartPolicy=policy)
    world.pod["spec"]["containers"][0]["image"] = "python:3.12"
    world.decide()
    assert world.pending == [Signal("main", 0, signal.SIGTERM)]
    assert world.notices[-1].message == "Container main definition changed, will be restarted"
    assert world.container()["image"] == "python:3.11"
    world.pending.clear()
    world.exit("main", 0)
    world.settle()
    assert world.starts[-1] == ("main", 1)
    assert world.container()["image"] == "python:3.12"
    assert world.memory.of("main").backoff == 0


def test_another_image_ends_a_back_off() -> None:
    world = started(restartPolicy="Always")
    for _ in range(2):
        world.exit("main", 1)
        world.settle()
    assert world.container()["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    world.pod["spec"]["containers"][0]["image"] = "python:3.12"
    world.settle()
    assert world.memory.of("main").is_running


# Other resources.


def asking(cpu: str, **more: Any) -> dict[str, Any]:
    return container(resources={"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}, **more)


def ask_for(world: World, cpu: str) -> None:
    resources = {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}
    world.pod["spec"]["containers"] = [{**world.pod["spec"]["containers"][0], "resources": resources}]


def resize_conditions(world: World) -> dict[str, str]:
    return {c["type"]: c.get("reason", "") for c in world.status["conditions"] if c["type"].startswith("PodResize")}


def test_a_running_container_gets_other_resources() -> None:
    world = started(asking("1"))
    ask_for(world, "1000m")
    world.decide()
    assert world.pending == [], "as much as before"
    ask_for(world, "2")
    world.decide()
    assert world.pending == [Resize()]
    assert resize_conditions(world) == {"PodResizeInProgress": ""}
    assert world.container()["resources"]["limits"] == {"cpu": "1"}
    world.settle()
    assert world.container()["resources"]["limits"] == {"cpu": "2"}
    assert world.container()["allocatedResources"] == {"cpu": "2"}
    assert world.container()["restartCount"] == 0
    assert resize_conditions(world) == {}
    assert [n.reason for n in world.notices if n.reason.startswith("Resize")] == ["ResizeStarted", "ResizeCompleted"]


def test_what_the_node_does_not_have_is_not_given() -> None:
    world = started(asking("1"))
    world.allocatable = {"cpu": "4", "memory": "8Gi"}
    ask_for(world, "5")
    world.settle()
    assert resize_conditions(world) == {"PodResizePending": "Infeasible"}
    expected = "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000"
    assert world.condition("PodResizePending")["message"] == expected
    assert world.container()["resources"]["limits"] == {"cpu": "1"}
    ask_for(world, "4")
    world.settle()
    assert world.container()["resources"]["limits"] == {"cpu": "4"}


def test_other_resources_that_take_a_restart() -> None:
    policy = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    world = started(asking("1", resizePolicy=policy), restartPolicy="Always")
    ask_for(world, "2")
    world.decide()
    assert world.pending == [Signal("main", 0, signal.SIGTERM)]
    world.pending.clear()
    world.exit("main", 0)
    world.settle()
    assert world.starts[-1] == ("main", 1)
    assert world.container()["resources"]["limits"] == {"cpu": "2"}
    assert resize_conditions(world) == {}


# Random lives.


def everything(name: str, **more: Any) -> dict[str, Any]:
    return {**probed(name), **hooked(name, "postStart", "preStop"), **more}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_lives_keep_the_promises(data: st.DataObject) -> None:
    """In any order of news: one attempt at a time (`World.accept` asserts it), no restart lost, an end for all."""
    policy = data.draw(st.sampled_from(["Always", "OnFailure", "Never"]), "policy")
    make = everything if data.draw(st.booleans(), "probes and hooks") else container
    inits = [container("i0")] if data.draw(st.booleans(), "init") else []
    if data.draw(st.booleans(), "sidecar"):
        inits.append(make("s0", restartPolicy="Always"))
    mains = [make(f"c{i}") for i in range(data.draw(st.integers(1, 2), "containers"))]
    spec: dict[str, Any] = {"restartPolicy": policy, "terminationGracePeriodSeconds": 3}
    if inits:
        spec["initContainers"] = inits
    if data.draw(st.booleans(), "deadline"):
        spec["activeDeadlineSeconds"] = 50
    world = World(make_pod(*mains, **spec))
    terminal = ""
    for _ in range(data.draw(st.integers(1, 40), "steps")):
        world.decide()
        if world.forgotten:
            return
        check(world, terminal)
        terminal = world.status["phase"] if world.status["phase"] in ("Succeeded", "Failed") else terminal
        running = sorted(n for n, s in world.states.items() if s.phase == "running")
        choices = ["time", "save"]
        choices += ["finish"] * 3 if world.pending else []
        choices += ["exit"] * 2 if running and world.sandbox == "up" else []
        choices += ["lose"] if world.sandbox == "up" else []
        choices += ["delete", "remove", "restart"]
        choices += ["health"] * 2 if running and make is everything else []
        match data.draw(st.sampled_from(choices)):
            case "time":
                world.now += timedelta(seconds=data.draw(st.sampled_from([0.01, 1, 10, 700])))
            case "save":
                world.save()
            case "finish":
                world.hook_result = data.draw(st.sampled_from(["", "exit code 1"]))
                world.finish(data.draw(st.sampled_from(world.pending)))
            case "health":
                name = data.draw(st.sampled_from(running))
                failed = data.draw(st.sampled_from(["", "", "", "liveness", "startup"]))
                says = Health(world.states[name].attempt, data.draw(st.booleans()), data.draw(st.booleans()), failed)
                world.health[name] = says
            case "exit":
                world.exit(data.draw(st.sampled_from(running)), data.draw(st.sampled_from([0, 1])))
            case "lose":
                world.sandbox = "down"
                world.states = {n: s for n, s in world.states.items() if s.phase == "exited"}
            case "delete":
                if "deletionTimestamp" not in world.pod["metadata"]:
                    meta = world.pod["metadata"] | {"deletionTimestamp": "x", "deletionGracePeriodSeconds": 3}
                    world.pod = {**world.pod, "metadata": meta}
            case "remove":
                # For good: an object of that name that comes later is another pod.
                world.gone = data.draw(st.integers(0, 9)) == 0 or world.gone
            case "restart" if world.pod["status"].get("startTime"):
                # kill -9 of the platform: what was being carried out is done or not; sandbox and memory file stay.
                for instruction in list(world.pending):
                    if data.draw(st.booleans()):
                        world.finish(instruction)
                world.pending.clear()
                for name in world.starting:
                    world.starts = [s for s in world.starts if s != (name, world.memory.of(name).next_attempt)]
                world.starting.clear()
                world.sandbox = {"busy": "none", "destroying": "none"}.get(world.sandbox, world.sandbox)
                if world.volumes == "busy":
                    world.volumes = "none"
                world.deleting = False
                world.images = {}
                world.memory = resume(world.memory)
                world.status, world.saved = world.pod["status"], True
    finish(world)


def check(world: World, terminal: str) -> None:
    status = world.status
    if terminal:
        assert status["phase"] == terminal, "a terminal phase stays"
    if status["phase"] in ("Succeeded", "Failed"):
        assert not any(s.phase == "running" for s in world.states.values())
        assert world.condition("Ready")["status"] == "False"
    ready = all(c["ready"] for c in status["containerStatuses"])
    assert (
        world.condition("ContainersReady")["status"] == "True"
        or not ready
        or status["phase"] != "Running"
        or (world.pod["spec"].get("initContainers"))
    )


def finish(world: World) -> None:
    """From any state: if the containers now succeed, or the pod is deleted, everything comes to an end."""
    policy = world.pod["spec"]["restartPolicy"]
    for _ in range(60):
        world.settle()
        if world.forgotten:
            return
        if world.status["phase"] in ("Succeeded", "Failed"):
            break
        world.hook_result = ""
        for name, state in list(world.states.items()):
            world.health[name] = Health(state.attempt, started=True, ready=True)
            if state.phase == "running" and world.sandbox == "up" and not name.startswith("s"):
                world.exit(name, 0)
        if policy == "Always" and not world.gone:
            meta = world.pod["metadata"] | {"deletionTimestamp": "x", "deletionGracePeriodSeconds": 3}
            world.pod = {**world.pod, "metadata": meta}
        if world.wake_at is not None:
            world.now = max(world.now, world.wake_at)
    else:
        raise AssertionError(f"never ends: {world.status}")
    assert world.sandbox == "none"
    counts: dict[str, list[int]] = {}
    for name, attempt in world.starts:
        counts.setdefault(name, []).append(attempt)
    for name, attempts in counts.items():
        assert attempts == sorted(set(attempts)), name
