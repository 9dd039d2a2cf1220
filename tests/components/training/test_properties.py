"""Whatever pods do, under any policy: what must hold for a job at every moment, and in the end."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.kube import meta
from homeport.kube.meta import Object

POLICIES = st.sampled_from(["Always", "OnFailure", "Never", "ExitCode"])
CODES = st.sampled_from([1, 2, 127, 128, 130, 137, 255])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["run", "succeed", "fail", "evict", "hold", "delete", "reap", "crash", "wait", "suspend", "scale"]
        ),
        st.integers(0, 5),
        CODES,
    ),
    max_size=25,
)


TYPES = {
    "TFJob": ["Chief", "Worker", "PS", "Evaluator"],
    "PyTorchJob": ["Master", "Worker"],
    "XGBoostJob": ["Master", "Worker"],
    "PaddleJob": ["Master", "Worker"],
    "JAXJob": ["Worker"],
    "MXJob": ["Scheduler", "Server", "Worker", "TunerTracker", "Tuner"],
    "MPIJob": ["Launcher", "Worker"],
}
LONE = ("Chief", "Scheduler", "Launcher")
LEADING = ("Chief", "Master", "Scheduler", "Tuner", "Launcher")
"""Types of which there is one; and the Master, but for PaddleJob's."""


@st.composite
def jobs(draw: st.DrawFn) -> tuple[str, dict[str, Any], dict[str, Any]]:
    kind = draw(st.sampled_from(list(TYPES)))
    chosen = draw(st.lists(st.sampled_from(TYPES[kind]), unique=True, min_size=1))
    if kind == "XGBoostJob":
        chosen = list(dict.fromkeys(["Master", *chosen]))
    elif kind == "MPIJob":
        chosen = list(dict.fromkeys(["Launcher", *chosen]))
    lone = (*LONE, "Master") if kind != "PaddleJob" else LONE
    replicas = {
        type: {"replicas": 1 if type in lone else draw(st.integers(1, 3)), "restartPolicy": draw(POLICIES)}
        for type in chosen
    }
    policy: dict[str, Any] = {"cleanPodPolicy": draw(st.sampled_from(["All", "Running", "None"]))}
    if draw(st.booleans()):
        policy["backoffLimit"] = draw(st.integers(0, 3))
    if draw(st.booleans()):
        policy["activeDeadlineSeconds"] = draw(st.integers(1, 200))
    spec: dict[str, Any] = {"runPolicy": policy}
    if kind == "TFJob":
        spec["successPolicy"] = draw(st.sampled_from(["", "AllWorkers"]))
        spec["enableDynamicWorker"] = draw(st.booleans())
    elif kind in ("PyTorchJob", "PaddleJob") and "Worker" in replicas and draw(st.booleans()):
        spec["elasticPolicy"] = {"minReplicas": 1, "maxReplicas": 3}
    return kind, replicas, spec


def play(w: Any, step: tuple[str, int, int]) -> None:
    action, number, code = step
    names = sorted(w.pods)
    name = names[number % len(names)] if names else ""
    alive = name and not meta.is_deleting(w.pods[name]) and w.pods[name]["status"]["phase"] in ("Pending", "Running")
    if action == "wait":
        w.wait(number * 30)
    elif action == "suspend":
        policy = w.job["spec"]["runPolicy"]
        policy["suspend"] = not policy.get("suspend", False)
    elif action == "scale":
        specs = next(v for k, v in w.job["spec"].items() if k.endswith("ReplicaSpecs"))
        if "Worker" in specs:
            specs["Worker"]["replicas"] = max(1, number)
    elif action == "reap":
        w.reap()
    elif alive and action == "run":
        w.run(name)
    elif alive and action == "succeed" and w.pods[name]["spec"]["restartPolicy"] != "Always":
        w.succeed(name)
    elif alive and action == "fail":
        w.fail(name, code, message="boom")
    elif alive and action == "evict":
        w.evict(name)
    elif alive and action == "crash" and w.pods[name]["spec"]["restartPolicy"] != "Never":
        w.restart_in_place(name, number, code)
    elif alive and action == "hold":
        held = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
        w.set(name, containerStatuses=[{"name": "x", "state": held}])
    elif name and action == "delete":
        w.delete("Pod", name)


def is_over(w: Any) -> bool:
    return "Succeeded" in w.true or "Failed" in w.true


def check(w: Any, before: Object) -> None:
    true = w.true
    assert not {"Running", "Restarting"} <= set(true)
    assert not {"Succeeded", "Failed"} <= set(true)
    assert not ({"Succeeded", "Failed"} & set(true) and {"Running", "Restarting", "Suspended"} & set(true))
    assert true, "there is always a state"
    assert w.state == true[-1]
    types = [c["type"] for c in w.status["conditions"]]
    assert len(types) == len(set(types))
    assert ("completionTime" in w.status) == is_over(w)
    if is_over(w):
        assert w.condition("Succeeded" if "Succeeded" in true else "Failed")["message"]
    for condition in w.status["conditions"]:
        old = meta.find_condition(before.get("conditions"), condition["type"])
        if old and old["status"] == condition["status"]:
            assert old["lastTransitionTime"] == condition["lastTransitionTime"]


def deciding(w: Any, replicas: dict[str, Any], spec: dict[str, Any]) -> tuple[list[str], bool]:
    """Names of the pods that decide, and whether all of them are needed."""
    specs = next(v for k, v in w.job["spec"].items() if k.endswith("ReplicaSpecs"))
    counts = {type: specs[type]["replicas"] for type in replicas}
    kind = w.job["kind"]
    heads = [type for type in LEADING if type in counts]
    heads += [] if "Worker" in counts else list(counts)
    if heads:
        types = heads[:1] if heads[0] in LEADING else heads
        if types == ["Launcher"]:
            return ["mnist-launcher"], True
        return [f"mnist-{type.lower()}-{i}" for type in types for i in range(counts[type])], True
    workers = [f"mnist-worker-{i}" for i in range(counts["Worker"])]
    if kind == "PyTorchJob" and "elasticPolicy" in spec:
        return workers, False
    if kind == "TFJob" and spec["successPolicy"] != "AllWorkers":
        return workers[:1], True
    return workers, True


@given(jobs(), st.booleans(), STEPS)
@settings(max_examples=50, deadline=None)
def test_what_holds_at_every_moment(world: Any, job: Any, warm: bool, steps: list[tuple[str, int, int]]) -> None:
    kind, replicas, spec = job
    w = world(kind, replicas, **spec)
    w.settle()
    if warm:
        w.run()
        w.settle()
    for step in steps:
        if is_over(w):
            break
        before = dict(w.status)
        play(w, step)
        phases = {name: pod["status"]["phase"] for name, pod in w.pods.items()}
        names, needs_all = deciding(w, replicas, spec)
        w.settle()
        check(w, before)
        if "Succeeded" in w.true:
            done = [phases.get(name) == "Succeeded" for name in names]
            assert all(done) if needs_all else any(done)
        for type, counts in (w.status.get("replicaStatuses") or {}).items():
            specs = next(v for k, v in w.job["spec"].items() if k.endswith("ReplicaSpecs"))
            total = sum(counts.get(key, 0) for key in ("active", "succeeded", "failed"))
            if not w.job["spec"]["runPolicy"].get("suspend"):
                assert total <= specs[type]["replicas"]
    over, status, left = is_over(w), w.status, None
    if over:
        # A job that has ended never changes, whatever becomes of its pods, and makes none.
        made = len(w.made)
        for step in (
            ("succeed", 0, 1),
            ("fail", 0, 1),
            ("delete", 1, 1),
            ("reap", 0, 0),
            ("wait", 5, 0),
            ("scale", 3, 0),
        ):
            play(w, step)
            w.settle()
        assert w.status == status
        assert len(w.made) == made
        w.reap()
        left = w.settle().pods
        if w.job["spec"]["runPolicy"]["cleanPodPolicy"] == "All":
            assert not left


@given(jobs(), STEPS, st.sampled_from(["succeed", "fail"]))
@settings(max_examples=25, deadline=None)
def test_every_job_ends_or_says_what_it_waits_for(world: Any, job: Any, steps: list[Any], way: str) -> None:
    """After any start, if from now on every pod runs and ends in `way`: the job ends, or shows that it goes on."""
    kind, replicas, spec = job
    w = world(kind, replicas, **spec)
    w.settle()
    for step in steps:
        play(w, step)
        w.settle()
    w.job["spec"]["runPolicy"]["suspend"] = False
    for _ in range(12):
        w.reap()
        w.settle()
        if is_over(w):
            return
        w.run()
        for name in list(w.pods):
            if w.pods[name]["status"]["phase"] == "Running" and not meta.is_deleting(w.pods[name]):
                if way == "fail":
                    w.fail(name, 1)
                elif w.pods[name]["spec"]["restartPolicy"] != "Always":
                    w.succeed(name)
        w.settle()
        w.wait(w.requeue_after or 0)
    policies = {spec["restartPolicy"] for spec in replicas.values()}
    if way == "succeed":
        assert "Always" in policies, "only replicas that always restart keep a job from ending"
        assert w.state in ("Running", "Restarting")
    else:
        assert policies & {"Always", "OnFailure"}
        assert "backoffLimit" not in spec["runPolicy"]
        assert w.state == "Restarting"
        assert "): container" in w.condition("Restarting")["message"]
        assert w.requeue_after


@given(jobs(), STEPS)
@settings(max_examples=15, deadline=None)
def test_sync_is_a_function_of_what_it_sees(world: Any, job: Any, steps: list[tuple[str, int, int]]) -> None:
    kind, replicas, spec = job
    w = world(kind, replicas, **spec)
    w.settle()
    for step in steps:
        play(w, step)
        one, two = (w.controller.sync(w.observed()) for _ in range(2))
        assert one == two
        w.settle()
