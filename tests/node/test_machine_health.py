"""Probes and hooks in a pod's life, and who goes before whom at its end."""

from __future__ import annotations

import signal
from datetime import timedelta
from typing import Any

import pytest
from podlife import BEGIN, World, container, hooked, make_pod, probed, started

from homeport.node.memory import resume, unsent
from homeport.node.view import (
    Health,
    Notice,
    Problem,
    RunHook,
    Signal,
)

# Probes.


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
