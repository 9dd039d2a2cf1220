"""Random lives."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from podlife import World, container, hooked, make_pod, probed

from homeport.node.memory import resume
from homeport.node.view import (
    Health,
)


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
