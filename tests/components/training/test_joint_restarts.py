"""Joint restarts of jobs that are made of Jobs and sets: MPIJobs of v2beta1 and ChainerJobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.components.training import CONTROLLERS, KINDS
from homeport.control.controller import Desired, Observed
from homeport.control.freeze import freeze
from homeport.kube import meta
from homeport.kube.meta import Object

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)
TOGETHER = {"homeport.dev/gang-restart": "true"}
VERSIONS = {"MPIJob": "kubeflow.org/v2beta1", "ChainerJob": "kubeflow.org/v1alpha1"}


def mpi_job(limit: int | None = None, **policy: Any) -> Object:
    template = {"spec": {"containers": [{"name": "mpi", "image": "x"}]}}
    specs = {"Launcher": {"template": template}, "Worker": {"replicas": 2, "template": template}}
    policies = policy | ({} if limit is None else {"backoffLimit": limit})
    return job("MPIJob", {"mpiReplicaSpecs": specs, "runPolicy": policies})


def chainer_job(limit: int | None = None, **master: Any) -> Object:
    template = {"spec": {"containers": [{"name": "chainer", "image": "x"}]}}
    master |= {"template": template} | ({} if limit is None else {"backoffLimit": limit})
    return job("ChainerJob", {"master": master, "workerSets": {"a": {"replicas": 2, "template": template}}})


def job(kind: str, spec: Object) -> Object:
    metadata = {"name": "pi", "namespace": "team", "uid": "uid-pi", "annotations": TOGETHER}
    return {"apiVersion": VERSIONS[kind], "kind": kind, "metadata": metadata, "spec": spec}


class World:
    """The job's objects, and those that Jobs and stateful sets make of their own. Nothing runs unless the test says."""

    def __init__(self, parent: Object) -> None:
        kind = parent["kind"], parent["apiVersion"]
        self.kind = next(k for k in KINDS if (k.kind, k.resource.api_version) == kind)
        self.controller = next(c for c in CONTROLLERS if c.parent == self.kind.resource)
        self.job, self.now, self.made = self.kind.prepare(parent, None), BEGIN, 0
        self.objects: dict[str, dict[str, Object]] = {c.resource.kind: {} for c in self.controller.children}
        self.below: dict[str, Object] = {}
        self.events: list[str] = []

    def sync(self, *, interrupted: bool = False) -> Desired:
        """One sync; `interrupted` after the status was stored."""
        observed = Observed(freeze(self.job), freeze(self.objects), freeze({"Pod": self.below}), self.now)
        desired = self.controller.sync(observed)
        if desired.status is not None:
            self.job = {**self.job, "status": desired.status}
        if interrupted:
            return desired
        self.events += [note.message for note in desired.notes]
        wanted = {(c["kind"], meta.name(c)) for c in desired.children} | desired.keep
        for kind, objects in self.objects.items():
            for name in [name for name in objects if (kind, name) not in wanted]:
                del objects[name]
        for child in desired.children:
            objects = self.objects[child["kind"]]
            if meta.name(child) not in objects:
                self.made += 1
                objects[meta.name(child)] = {**child, "metadata": {**child["metadata"], "uid": f"u{self.made}"}}
                self._make_pods(objects[meta.name(child)])
            elif child["kind"] == "StatefulSet":
                objects[meta.name(child)] = {**objects[meta.name(child)], "spec": child["spec"]}
        return desired

    def _make_pods(self, owner: Object) -> None:
        if owner["kind"] not in ("Job", "StatefulSet"):
            return
        reference = {"kind": owner["kind"], "name": meta.name(owner), "uid": meta.uid(owner), "controller": True}
        template = owner["spec"]["template"]
        for index in range(owner["spec"].get("replicas", 1)):
            name = f"{meta.name(owner)}-{index}"
            metadata = {**template["metadata"], "name": name, "namespace": "team", "uid": f"{meta.uid(owner)}-{index}"}
            self.below[f"{name}-{meta.uid(owner)}"] = {
                "metadata": {**metadata, "ownerReferences": [reference]},
                "spec": template["spec"],
                "status": {"phase": "Running"},
            }

    def collect(self) -> None:
        """The garbage collector."""
        there = {meta.uid(each) for objects in self.objects.values() for each in objects.values()}
        self.below = {name: pod for name, pod in self.below.items() if (meta.controller_of(pod) or {})["uid"] in there}

    def ended(self, code: int) -> Object:
        at = meta.timestamp(self.now)
        return {"exitCode": code, "finishedAt": at, "startedAt": at, "message": "lost a rank\n"}

    def lead(self, code: int) -> None:
        """The launcher, or master, ends."""
        (main,) = self.objects["Job"].values()
        failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "lastTransitionTime": ""}
        main["status"] = {"conditions": [failed if code else {"type": "Complete", "status": "True"}]}
        for pod in self.below.values():
            if (meta.controller_of(pod) or {})["uid"] == meta.uid(main):
                name = pod["spec"]["containers"][0]["name"]
                statuses = [{"name": name, "state": {"terminated": self.ended(code)}}]
                pod["status"] = {"phase": "Failed" if code else "Succeeded", "containerStatuses": statuses}

    def lose_worker(self) -> None:
        if self.job["kind"] == "MPIJob":
            pod = self.objects["Pod"]["pi-worker-1"]
            state = {"name": "mpi", "state": {"terminated": self.ended(137)}}
            pod["status"] = {"phase": "Failed", "containerStatuses": [state]}
            return
        pod = next(p for p in self.below.values() if meta.name(p) == "pi-workerset-a-1")
        state = {"name": "chainer", "restartCount": 1, "lastState": {"terminated": self.ended(137)}}
        pod["status"] = {"phase": "Running", "containerStatuses": [state]}

    def restart(self) -> None:
        """Everything that happens by itself until all replicas are there again."""
        self.sync()
        self.now += timedelta(seconds=400)
        self.sync()
        self.collect()
        self.sync()

    @property
    def status(self) -> Object:
        return dict(meta.status(self.job))

    @property
    def uids(self) -> set[str]:
        owners = [each for kind in ("Job", "StatefulSet", "Pod") for each in self.objects.get(kind, {}).values()]
        return {meta.uid(each) for each in owners}

    def condition(self, type: str) -> Object:
        return dict(meta.find_condition(self.status.get("conditions"), type) or {})


@pytest.fixture(params=[mpi_job, chainer_job])
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("lost", ["leader", "worker"])
def test_what_fails_takes_the_others_with_it(make: Any, lost: str) -> None:
    world = World(make())
    world.sync()
    world.sync()
    first = world.uids
    assert len(first) == (3 if world.kind.kind == "MPIJob" else 2)
    if lost == "leader":
        world.lead(7)
    else:
        world.lose_worker()
    world.sync(interrupted=True)
    assert world.status["gangRestarts"] == 1, "on record before anything is deleted"
    world.sync()
    assert not world.uids, "the first time at once"
    world.sync()
    assert not world.uids, "nothing is made while former pods are there"
    world.collect()
    world.sync()
    assert len(world.uids) == len(first)
    assert not world.uids & first
    assert world.condition("Restarting")["status"] == "True"
    told = world.condition("Restarting")["message"]
    assert "is restarting all replicas (1): " in told
    assert "lost a rank" in told
    assert "SIGKILL" in told if lost == "worker" else "exited with code 7" in told
    world.lead(0)
    world.sync()
    assert world.condition("Succeeded" if world.kind.kind == "MPIJob" else "Complete")["status"] == "True"
    assert world.status["gangRestarts"] == 1


def test_containers_do_not_restart_alone(make: Any) -> None:
    world = World(make(4))
    world.sync()
    (main,) = world.objects["Job"].values()
    assert main["spec"]["backoffLimit"] == 0
    assert main["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert all(pod["spec"]["restartPolicy"] == "Never" for pod in world.objects.get("Pod", {}).values())


@pytest.mark.parametrize(("limit", "allowed"), [(0, 0), (2, 2), (None, 6)])
def test_attempts_are_limited(make: Any, limit: int | None, allowed: int) -> None:
    world = World(make(limit))
    world.sync()
    for number in range(1, allowed + 1):
        world.lead(7)
        world.restart()
        assert world.status["gangRestarts"] == number
    world.lead(7)
    world.sync()
    failed = world.condition("Failed")
    assert failed["reason"] == "BackoffLimitExceeded"
    many = f"{allowed + 1} restart{'s are' if allowed else ' is'} more than backoffLimit {allowed} allows."
    assert failed["message"].startswith(f"{many} The last failure was ")
    before = world.status
    world.sync()
    assert world.status == before
    assert world.objects["Job"], "what failed can be read"


def test_a_worker_that_fails_for_the_last_time_ends_the_job(make: Any) -> None:
    world = World(make(0))
    world.sync()
    world.lose_worker()
    world.sync()
    assert world.condition("Failed")["reason"] == "BackoffLimitExceeded"
    world.sync()
    assert not [job for job in world.objects["Job"].values() if not job["spec"].get("suspend")] or (
        world.kind.kind == "MPIJob"
    )


def test_later_attempts_wait_and_what_failed_can_be_read_meanwhile(make: Any) -> None:
    world = World(make())
    world.sync()
    world.lead(7)
    world.restart()
    world.lead(7)
    desired = world.sync()
    assert desired.requeue_after == 10.0
    assert list(world.objects["Job"]), "its pod's log is there"
    assert not world.objects.get("Pod")
    assert not world.objects.get("StatefulSet")
    world.now += timedelta(seconds=10)
    world.sync()
    assert not world.objects["Job"]


def test_time_is_of_all_attempts_together(make: Any) -> None:
    limit = {"activeDeadlineSeconds": 1000}
    world = World(make(None, **limit))
    world.sync()
    (main,) = world.objects["Job"].values()
    assert main["spec"]["activeDeadlineSeconds"] == 1000
    world.lead(7)
    world.restart()
    (main,) = world.objects["Job"].values()
    assert main["spec"]["activeDeadlineSeconds"] == 600
    main["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}
    world.sync()
    assert world.condition("Failed")["reason"] == "DeadlineExceeded"
    assert world.status["gangRestarts"] == 1


def test_only_true_and_false_are_taken(make: Any) -> None:
    wrong = make()
    wrong["metadata"]["annotations"] = {"homeport.dev/gang-restart": "maybe"}
    world = World(wrong)
    (error,) = world.kind.validate(world.job, None)
    assert str(error).startswith('metadata.annotations[homeport.dev/gang-restart]: Unsupported value: "maybe"')
    wrong["metadata"]["annotations"] = {"homeport.dev/gang-restart": "false"}
    world = World(wrong)
    world.sync()
    (main,) = world.objects["Job"].values()
    assert main["spec"].get("backoffLimit") is None


STEPS = st.lists(st.sampled_from(["lead", "lose", "collect", "sync", "interrupt", "wait"]), max_size=30)


@given(STEPS, st.sampled_from([mpi_job, chainer_job]), st.integers(0, 3))
def test_each_failure_counts_once_whatever_is_interrupted(steps: list[str], make: Any, limit: int) -> None:
    world = World(make(limit))
    world.sync()
    failures, seen = 0, set[str]()
    for step in steps:
        there = world.uids
        if step in ("lead", "lose") and world.objects["Job"] and not there & seen and not world.condition("Failed"):
            if step == "lead":
                world.lead(7)
            elif world.kind.kind == "MPIJob" or world.objects["StatefulSet"]:
                world.lose_worker()
            failures, seen = failures + 1, seen | there
        elif step == "collect":
            world.collect()
        elif step == "wait":
            world.now += timedelta(seconds=400)
        world.sync(interrupted=step == "interrupt")
        count = world.status.get("gangRestarts", 0)
        assert count == min(failures, limit)
        assert bool(world.condition("Failed")) == (failures > limit)
        assert "Restarting" not in [each["type"] for each in world.status.get("conditions") or ()] or count
