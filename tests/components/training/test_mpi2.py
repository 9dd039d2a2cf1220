"""MPIJobs of v2beta1: what they are made of, how they end, and how both versions live side by side."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.components.training import CONTROLLERS, KINDS
from homeport.components.training.mpi_versions import V1, V2BETA1, WRITTEN, show, store
from homeport.control.controller import Desired, Observed
from homeport.control.freeze import freeze
from homeport.kube import meta
from homeport.kube.meta import Object

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KIND = next(kind for kind in KINDS if kind.resource == V2BETA1)
CONTROLLER = next(c for c in CONTROLLERS if c.parent == V2BETA1)
V1_CONTROLLER = next(c for c in CONTROLLERS if c.parent == V1)
POD = {"spec": {"containers": [{"name": "mpi", "image": "x"}]}}


def job(workers: int = 2, *, launcher: Any = None, worker: Any = None, **spec: Any) -> Object:
    specs = {"Launcher": {"template": POD, **(launcher or {})}, "Worker": {"replicas": workers, "template": POD}}
    specs["Worker"] |= worker or {}
    return {
        "apiVersion": "kubeflow.org/v2beta1",
        "kind": "MPIJob",
        "metadata": {"name": "pi", "namespace": "team", "uid": "uid-pi"},
        "spec": {"mpiReplicaSpecs": specs, **spec},
    }


class Play:
    """A job whose workers and launcher the test plays."""

    def __init__(self, parent: Object) -> None:
        self.job, self.now = KIND.prepare(parent, None), NOW
        self.children: dict[str, dict[str, Object]] = {c.resource.kind: {} for c in CONTROLLER.children}
        self.launched: dict[str, Object] = {}
        self.events: list[str] = []
        self.gone = False

    def sync(self) -> Desired:
        observed = Observed(freeze(self.job), freeze(self.children), freeze({"Pod": self.launched}), self.now)
        desired = CONTROLLER.sync(observed)
        assert CONTROLLER.sync(observed) == desired
        wanted = {(c["kind"], meta.name(c)) for c in desired.children} | desired.keep
        for kind, objects in self.children.items():
            self.children[kind] = {name: obj for name, obj in objects.items() if (kind, name) in wanted}
        for child in desired.children:
            old = self.children[child["kind"]].get(meta.name(child), {"status": {"phase": "Pending"}})
            named = {**child["metadata"], "uid": meta.name(child)}
            self.children[child["kind"]][meta.name(child)] = {"status": old.get("status"), **child, "metadata": named}
        for patch in desired.patches:
            found = self.children["Job"][meta.name(patch.object)]
            self.children["Job"][meta.name(found)] = {**found, "spec": {**found["spec"], **patch.changes["spec"]}}
        if desired.status is not None:
            self.job = {**self.job, "status": desired.status}
        self.events += [note.reason for note in desired.notes]
        self.gone = desired.delete_parent
        return desired

    def run(self, *workers: str, ready: bool = True) -> None:
        for name in workers or list(self.children["Pod"]):
            conditions = [{"type": "Ready", "status": str(ready)}]
            self.children["Pod"][name]["status"] = {"phase": "Running", "conditions": conditions}

    def launch(self, phase: str = "Running", **status: Any) -> None:
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "pi-launcher", "uid": "pi-launcher"}
        metadata = {"name": "pi-launcher-x", "namespace": "team", "ownerReferences": [{**owner, "controller": True}]}
        self.launched["team/pi-launcher-x"] = {"metadata": metadata, "status": {"phase": phase, **status}}

    def finish(self, type: str, **fields: Any) -> None:
        condition = {"type": type, "status": "True", **fields}
        self.children["Job"]["pi-launcher"]["status"] = {
            "conditions": [condition],
            "completionTime": "2026-01-01T12:00:00Z",
        }

    def condition(self, type: str) -> Object:
        return dict(meta.find_condition(meta.status(self.job).get("conditions"), type) or {})

    @property
    def state(self) -> str:
        return str(meta.status(self.job)["conditions"][-1]["type"])


def test_a_job_runs_to_its_end() -> None:
    play = Play(job(runPolicy={"cleanPodPolicy": "Running", "ttlSecondsAfterFinished": 60}))
    play.sync()
    assert list(play.children["Pod"]) == ["pi-worker-0", "pi-worker-1"]
    assert list(play.children["Job"]) == ["pi-launcher"]
    assert play.state == "Created"
    play.run()
    play.launch()
    play.sync()
    assert play.state == "Running"
    assert meta.status(play.job)["replicaStatuses"] == {"Launcher": {"active": 1}, "Worker": {"active": 2}}
    config = play.children["ConfigMap"]["pi-config"]["data"]
    assert config["hostfile"] == "pi-worker-0.pi.team.svc slots=1\npi-worker-1.pi.team.svc slots=1\n"
    assert config["discover_hosts.sh"].count("echo ") == 2
    assert play.sync().status is None
    play.finish("Complete")
    play.sync()
    assert play.state == "Succeeded"
    assert meta.status(play.job)["completionTime"] == "2026-01-01T12:00:00Z"
    assert meta.status(play.job)["replicaStatuses"] == {"Launcher": {"succeeded": 1}, "Worker": {}}
    assert not play.children["Pod"]
    assert play.children["Job"]
    assert play.events == ["MPIJobCreated", "MPIJobRunning", "MPIJobSucceeded"]
    play.now += timedelta(seconds=59)
    play.sync()
    assert not play.gone
    play.now += timedelta(seconds=1)
    play.sync()
    assert play.gone


def test_a_failed_launcher_fails_the_job_with_its_reason() -> None:
    play = Play(job())
    play.sync()
    ended = {"terminated": {"exitCode": 3, "message": "no slots\n"}}
    play.launch("Failed", containerStatuses=[{"name": "mpi", "state": ended}])
    play.finish("Failed", reason="BackoffLimitExceeded", message="Job has reached the specified backoff limit")
    play.sync()
    failed = play.condition("Failed")
    assert failed["reason"] == "BackoffLimitExceeded"
    assert failed["message"] == (
        "Job has reached the specified backoff limit: container mpi exited with code 3: no slots"
    )
    assert play.condition("Running")["status"] == "False"
    assert play.children["Pod"], "cleanPodPolicy None keeps workers"
    assert "BackoffLimitExceeded" in play.events


def test_an_eviction_fails_the_job_and_stops_the_launcher() -> None:
    play = Play(job(runPolicy={"cleanPodPolicy": "All"}))
    play.sync()
    play.run()
    play.launch()
    play.sync()
    play.children["Pod"]["pi-worker-1"]["status"] = {"phase": "Failed", "reason": "Evicted"}
    play.sync()
    assert play.condition("Failed")["reason"] == "MPIJobEvicted"
    assert play.condition("Failed")["message"] == "1/2 workers are evicted"
    assert play.children["Job"]["pi-launcher"]["spec"]["suspend"] is True
    assert not play.children["Pod"]


def test_suspend_and_resume() -> None:
    play = Play(job(runPolicy={"suspend": True}))
    play.sync()
    assert play.state == "Suspended"
    assert not play.children["Pod"]
    assert play.children["Job"]["pi-launcher"]["spec"]["suspend"] is True
    assert "startTime" not in meta.status(play.job)
    # A queue chooses nodes while the job waits.
    play.job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"] = {"spec": {**POD["spec"], "nodeSelector": {"a": "b"}}}
    play.job["spec"]["runPolicy"]["suspend"] = False
    desired = play.sync()
    (patch,) = desired.patches
    assert patch.changes["spec"]["suspend"] is False
    assert patch.changes["spec"]["template"]["spec"] == {"nodeSelector": {"a": "b"}}
    assert play.condition("Suspended")["reason"] == "MPIJobResumed"
    assert meta.status(play.job)["startTime"]
    assert len(play.children["Pod"]) == 2
    play.run()
    play.launch()
    play.sync()
    play.job["spec"]["runPolicy"]["suspend"] = True
    play.launched.clear()
    play.sync()
    assert play.condition("Running")["status"] == "False"
    assert not play.children["Pod"]
    assert play.events.count("MPIJobSuspended") == 2


def test_the_launcher_may_wait_for_its_workers() -> None:
    play = Play(job(launcherCreationPolicy="WaitForWorkersReady"))
    play.sync()
    play.run("pi-worker-0")
    play.run("pi-worker-1", ready=False)
    play.sync()
    assert not play.children["Job"]
    play.run()
    play.sync()
    assert play.children["Job"]


def test_scaling_down_removes_workers() -> None:
    play = Play(job(3))
    play.sync()
    play.job["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"] = 1
    play.sync()
    assert list(play.children["Pod"]) == ["pi-worker-0"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (job(), []),
        (job(0), ["spec.mpiReplicaSpecs[Worker].replicas: Invalid value: 0: must be greater than or equal to 1"]),
        (
            job(launcher={"replicas": 2}),
            ["spec.mpiReplicaSpecs[Launcher].replicas: Invalid value: 2: must be 1"],
        ),
        (
            job(worker={"restartPolicy": "Always"}),
            [
                'spec.mpiReplicaSpecs[Worker].restartPolicy: Unsupported value: "Always": supported values: "Never", '
                '"OnFailure"'
            ],
        ),
        (
            job(launcher={"template": {}}),
            [
                "spec.mpiReplicaSpecs[Launcher].template.spec.containers: Required value: must define at least one "
                "container"
            ],
        ),
        (
            job(runPolicy={"backoffLimit": -1}),
            ["spec.runPolicy.backoffLimit: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            job(runPolicy={"managedBy": "me"}),
            [
                'spec.runPolicy.managedBy: Unsupported value: "me": supported values: "kubeflow.org/mpi-operator", '
                '"kueue.x-k8s.io/multikueue"'
            ],
        ),
    ],
)
def test_rules(given: Object, told: list[str]) -> None:
    prepared = KIND.prepare(given, None)
    assert [str(error) for error in KIND.validate(prepared, None)] == told
    play = Play(given)
    play.sync()
    assert bool(told) == (play.events == ["ValidationError"] or "managedBy" in str(told))


@pytest.mark.parametrize("spec", [None, "x", {}, {"mpiReplicaSpecs": {"Worker": 3}}])
def test_a_stored_job_without_a_proper_spec_is_told_of(spec: Any) -> None:
    desired = CONTROLLER.sync(Observed({**job(), "spec": spec}, {}, {}, NOW))
    assert [note.reason for note in desired.notes] == ["ValidationError"]
    assert not desired.children


def test_the_manager_stays() -> None:
    old, new = KIND.prepare(job(), None), KIND.prepare(job(runPolicy={"managedBy": "kueue.x-k8s.io/multikueue"}), None)
    (error,) = KIND.validate(new, old)
    assert str(error).endswith("field is immutable")
    play = Play(new)
    assert play.sync() == Desired()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["run", "fail", "evict", "delete", "launch", "relaunch", "complete", "break", "suspend", "wait"]
        ),
        st.integers(0, 3),
    ),
    max_size=20,
)


@given(STEPS, st.sampled_from(["All", "Running", "None"]), st.booleans())
def test_what_holds_at_every_moment(steps: list[tuple[str, int]], clean: str, waits: bool) -> None:
    policy = "WaitForWorkersReady" if waits else "AtStartup"
    play = Play(job(runPolicy={"cleanPodPolicy": clean}, launcherCreationPolicy=policy))
    play.sync()
    over: Object = {}
    for action, number in steps:
        pods, launcher = sorted(play.children["Pod"]), play.children["Job"].get("pi-launcher")
        if action == "suspend":
            play.job["spec"]["runPolicy"]["suspend"] = not play.job["spec"]["runPolicy"]["suspend"]
        elif action == "wait":
            play.now += timedelta(seconds=number)
        elif action in ("launch", "relaunch") and launcher:
            play.launch("Running" if action == "launch" else "Failed")
        elif action in ("complete", "break") and launcher and "conditions" not in (launcher.get("status") or {}):
            play.finish("Complete" if action == "complete" else "Failed")
        elif pods:
            name = pods[number % len(pods)]
            if action == "run":
                play.run(name)
            elif action in ("fail", "evict"):
                reason = {"reason": "Evicted"} if action == "evict" else {}
                play.children["Pod"][name]["status"] = {"phase": "Failed", **reason}
            elif action == "delete":
                del play.children["Pod"][name]
        play.sync()
        play.sync()
        status = meta.status(play.job)
        true = {condition["type"] for condition in status["conditions"] if condition["status"] == "True"}
        ended = true & {"Succeeded", "Failed"}
        assert len(ended) <= 1
        assert not (ended and "Running" in true)
        assert ("completionTime" in status) == bool(ended)
        assert status["conditions"][-1]["status"] == "True"
        assert len({condition["type"] for condition in status["conditions"]}) == len(status["conditions"])
        if over:
            assert {key: status[key] for key in ("conditions", "completionTime")} == over
        if ended:
            over = {key: status[key] for key in ("conditions", "completionTime")}
            assert clean != "All" or not play.children["Pod"]


SPECS = st.fixed_dictionaries(
    {"slotsPerWorker": st.integers(1, 4)},
    optional={"mpiImplementation": st.sampled_from(["Intel", "MPICH"]), "runLauncherAsWorker": st.booleans()},
)


class TestVersions:
    @given(SPECS)
    def test_what_is_written_in_one_comes_back(self, spec: Any) -> None:
        written = KIND.prepare(job(**spec), None)
        kept = store(written)
        assert not set(kept["spec"]) & {"mpiImplementation", "sshAuthMountPath"}
        assert show(kept) == written
        old = {"metadata": {"name": "a"}, "spec": {"mainContainer": "x", "slotsPerWorker": spec["slotsPerWorker"]}}
        assert store(show(old)) == old

    def test_each_has_its_controller(self) -> None:
        kept = {**store(KIND.prepare(job(), None)), "apiVersion": "kubeflow.org/v1"}
        assert json.loads(meta.annotations(kept)[WRITTEN])["version"] == "v2beta1"
        assert V1_CONTROLLER.sync(Observed(kept, {}, {}, NOW)) == Desired()
        shown = show({**kept, "metadata": {**kept["metadata"], "annotations": {}}})
        assert CONTROLLER.sync(Observed(shown, {}, {}, NOW)) == Desired()
        assert CONTROLLER.sync(Observed(show(kept), {}, {}, NOW)).children
