"""Other resources for a pod that runs."""

from __future__ import annotations

import signal
from typing import Any

from podlife import World, container, started

from homeport.node.resizing import allocated
from homeport.node.view import (
    Resize,
    Signal,
)


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


def test_what_others_have_is_waited_for() -> None:
    world = started(asking("1"), restartPolicy="Always")
    ask_for(world, "3")
    world.lacking = "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000"
    world.settle()
    assert resize_conditions(world) == {"PodResizePending": "Deferred"}
    assert world.condition("PodResizePending")["message"] == world.lacking
    # What starts meanwhile has what it had.
    world.exit("main", 1)
    world.settle()
    assert world.starts[-1] == ("main", 1)
    assert world.container()["resources"]["limits"] == {"cpu": "1"}
    assert allocated(world.pod, world.memory)["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1"}
    world.lacking = ""
    world.settle()
    assert resize_conditions(world) == {}
    assert world.container()["resources"]["limits"] == {"cpu": "3"}
    assert allocated(world.pod, world.memory) == world.pod
    reasons = [n.reason for n in world.notices if n.reason.startswith("Resize")]
    assert reasons == ["ResizeDeferred", "ResizeStarted", "ResizeCompleted"]


def test_a_container_that_does_not_run_starts_with_what_is_asked_for() -> None:
    world = started(asking("1"), restartPolicy="Always")
    for _ in range(2):
        world.exit("main", 1)
        world.settle()
    assert world.container()["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    ask_for(world, "9")
    world.lacking = "no"
    world.settle()
    assert resize_conditions(world) == {"PodResizePending": "Deferred"}
    world.lacking = ""
    world.settle()
    assert resize_conditions(world) == {}
    world.sleep(10)
    world.settle()
    assert world.memory.of("main").is_running
    assert world.container()["resources"]["limits"] == {"cpu": "9"}
