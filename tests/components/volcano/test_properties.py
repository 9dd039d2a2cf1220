"""Whatever happens to the pods of a Volcano job, in whichever order: what must always hold."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from volcano_world import World, policy, task

from homeport.components.volcano.job.rules import ACTIONS, EVENTS
from homeport.components.volcano.job.status import FINISHED
from homeport.kube import meta

STEPS = ["run", "succeed", "fail", "evict", "reap", "wait", "AbortJob", "ResumeJob", "RestartJob", "unknown", "inqueue"]
policies = st.dictionaries(
    st.sampled_from(EVENTS[1:]), st.tuples(st.sampled_from(ACTIONS), st.sampled_from([None, "5s"])), max_size=4
).map(
    lambda found: [
        policy(event, action, **({"timeout": timeout} if timeout else {})) for event, (action, timeout) in found.items()
    ]
)


def play(world: World, step: str, which: int) -> None:
    alive = sorted(name for name, pod in world.pods.items() if not meta.is_deleting(pod))
    name = alive[which % len(alive)] if alive else ""
    match step:
        case "run" | "succeed" | "fail" if name:
            {"run": world.run, "succeed": world.succeed, "fail": world.fail}[step](name)
        case "evict" if name:
            world.delete("Pod", name)
        case "reap":
            world.reap()
        case "wait":
            world.wait(4)
        case "unknown" | "inqueue" if world.children["PodGroup"]:
            world.group["status"] = {"phase": step.capitalize()}
        case "AbortJob" | "ResumeJob" | "RestartJob":
            world.command(step)


@settings(max_examples=50, deadline=None)
@given(policies, policies, st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=25))
def test_any_life(job_policies: list[object], task_policies: list[object], steps: list[tuple[str, int]]) -> None:
    world = World(task("ps", 1), task("worker", 3, policies=task_policies), policies=job_policies, plugins={"svc": []})
    before = (0, 0)
    for step, which in steps:
        ended = world.phase if world.phase in FINISHED else ""
        play(world, step, which)
        world.settle()
        assert not world.commands
        assert not ended or world.phase == ended
        counted = world.status.get("version") or 0, world.status.get("retryCount") or 0
        assert counted >= before
        before = counted
        assert counted[1] <= 3 + sum(name in ("ResumeJob", "RestartJob") for name, _ in steps) + len(steps)
        assert len(world.pods) <= 4
        live = [pod for pod in world.pods.values() if not meta.is_deleting(pod)]
        if world.phase in (*FINISHED, "Aborted"):
            # Nothing is left that takes room.
            assert all(meta.status(pod).get("phase") in ("Succeeded", "Failed") for pod in live)
            assert world.children["PodGroup"] == {}
            assert world.children["Service"] == {}
        if world.phase in ("Pending", "Running"):
            version = str(counted[0])
            running = [pod for pod in live if meta.status(pod).get("phase") in ("Pending", "Running")]
            assert {meta.annotations(pod)["volcano.sh/job-version"] for pod in running} <= {version}
