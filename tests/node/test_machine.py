"""The order of a pod's life: starts, restarts, ends, and what is reported of them."""

from __future__ import annotations

import dataclasses
import signal
from datetime import timedelta

import pytest
from podlife import BEGIN, World, container, make_pod, started

from homeport.node.memory import recall, stepped
from homeport.node.view import (
    CreateSandbox,
    DestroySandbox,
    ImageView,
    MountVolumes,
    Problem,
    PullImage,
    Signal,
    StartContainer,
)


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


def test_a_pod_can_start_containers_once_its_volumes_are_there_too() -> None:
    world = World(make_pod())
    world.decide()
    ready = []
    for step in (CreateSandbox(), MountVolumes()):
        world.finish(step)
        world.decide()
        ready.append(world.condition("PodReadyToStartContainers")["status"])
    assert ready == ["False", "True"]
    world.volumes = "none"  # the node has been started anew
    world.decide()
    assert world.condition("PodReadyToStartContainers")["status"] == "True"
    world.sandbox = "none"
    world.decide()
    assert world.condition("PodReadyToStartContainers")["status"] == "False"


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
    assert world.pending == [DestroySandbox(for_good=True)]


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


def test_back_off_of_a_container_that_nobody_has_seen_run() -> None:
    world = started(restartPolicy="Always")
    world.exit("main", 1)
    world.decide()  # the second attempt is begun
    (instruction,) = world.pending
    world.finish(instruction)
    world.exit("main", 1)
    world.settle()
    assert world.container()["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert sum(n.reason == "BackOff" for n in world.notices) == 1


@pytest.mark.parametrize("step", [timedelta(hours=3), -timedelta(hours=3), timedelta(seconds=5)])
@pytest.mark.parametrize("when", ["running", "waiting"])
def test_a_step_of_the_clock_neither_shortens_a_pause_nor_prolongs_it(step: timedelta, when: str) -> None:
    world = started(restartPolicy="Always")

    def set_clock() -> None:
        world.now += step
        world.memory = stepped(world.memory, step)

    for _ in range(3):  # the third pause is 20 s
        world.sleep(1)
        world.exit("main", 1)
        world.settle()
        while not world.memory.of("main").is_running:
            assert world.wake_at is not None
            world.now = world.wake_at
            world.settle()
    world.sleep(1)
    if when == "running":
        set_clock()
    world.exit("main", 1)
    begin = world.now
    world.settle()
    world.sleep(15)
    if when == "waiting":
        set_clock()
        begin += step
    world.settle()
    while not world.memory.of("main").is_running:
        assert world.wake_at is not None
        world.now = world.wake_at
        world.settle()
    assert world.now - begin == timedelta(seconds=40)


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


def test_whom_containers_began_as_is_reported_and_recalled() -> None:
    world = started(restartPolicy="Never")
    assert "user" not in world.container()
    world.states["main"] = dataclasses.replace(world.states["main"], ids=(1000, 3000, 4))
    world.settle()
    user = {"linux": {"uid": 1000, "gid": 3000, "supplementalGroups": [3000, 4]}}
    assert world.container()["user"] == user
    world.exit("main", 0)
    world.settle()
    assert world.container()["user"] == user
    again = World(world.pod, now=world.now + timedelta(days=1), memory=recall(world.pod))
    assert again.decide().status == world.status


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


def test_the_image_of_a_volume_is_got_like_a_containers_own() -> None:
    shown = {"name": "v", "image": {"reference": "models:1", "pullPolicy": "IfNotPresent"}}
    mounting = container(volumeMounts=[{"name": "v", "mountPath": "/models"}])
    world = World(make_pod(mounting, container("other"), volumes=[shown]))
    decision = world.decide()
    assert PullImage("models:1", "IfNotPresent") in decision.instructions
    for step in (CreateSandbox(), MountVolumes(), PullImage("python:3.11", "IfNotPresent")):
        world.finish(step)
    problem = Problem("ErrImagePull", "there is no such image", world.now + timedelta(seconds=10))
    world.images["models:1"] = ImageView(problem=problem, failed_at=world.now)
    world.decide()
    assert world.starts == [("other", 0)], "one that does not mount it does without"
    assert world.container()["state"]["waiting"] == {"reason": "ErrImagePull", "message": "there is no such image"}
    world.sleep(11)
    world.settle()
    assert ("main", 0) in world.starts
