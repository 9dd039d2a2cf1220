"""Jobs whose pods are placed together: their pod groups, what ties pods to them, and when pods are made."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from homeport.components import training
from homeport.components.training import Settings
from homeport.control.controller import Controller
from homeport.kube.meta import Object

GPU = {"resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "500m", "nvidia.com/gpu": "1"}}}


def controller(job: Object, gang_scheduler: Any = "none") -> Controller:
    wanted = job["apiVersion"], job["kind"]
    found = training.controllers(Settings(gang_scheduler=gang_scheduler))
    return next(c for c in found if (c.parent.api_version, c.parent.kind) == wanted)


def worker(**spec: Any) -> Object:
    return {"spec": {"containers": [{"name": "tensorflow", "image": "registry.example/train:1", **GPU}], **spec}}


@pytest.fixture
def tf_job(make_job: Any) -> Any:
    return partial(make_job, "TFJob", {"PS": 2, "Worker": {"replicas": 4, "template": worker()}})


def set_phase(world: Any, phase: str, **status: Any) -> None:
    group = world.children["PodGroup"]["mnist"]
    world.children["PodGroup"]["mnist"] = {**group, "status": {"phase": phase, **status}}


def test_no_pod_is_made_while_its_group_waits(tf_job: Any, make_world: Any) -> None:
    world = make_world(tf_job(), controller(tf_job(), "volcano")).settle()
    group = world.children["PodGroup"]["mnist"]
    assert group["apiVersion"] == "scheduling.volcano.sh/v1beta1"
    assert group["spec"] == {
        "minMember": 6,
        "minResources": {"cpu": "2", "nvidia.com/gpu": "4"},
        "queue": "default",
    }
    assert world.pods == {}
    text = "6/6 tasks in gang unschedulable: pod group is not ready, 6 Pending, 6 minAvailable."
    condition = {"type": "Unschedulable", "status": "True", "reason": "NotEnoughResources", "message": text}
    set_phase(world, "Pending", conditions=[condition])
    world.settle()
    assert world.pods == {}
    assert world.condition("Created")["message"] == f"TFJob mnist is created. Waiting: {text}"
    set_phase(world, "Inqueue")
    world.settle()
    assert len(world.pods) == 6
    pod = world.pods["mnist-worker-0"]
    assert pod["spec"]["schedulerName"] == "volcano"
    assert pod["metadata"]["annotations"] == {
        "scheduling.k8s.io/group-name": "mnist",
        "volcano.sh/task-spec": "worker",
    }


def test_a_group_ends_with_its_job(tf_job: Any, make_world: Any) -> None:
    world = make_world(tf_job(), controller(tf_job(), "volcano")).settle()
    set_phase(world, "Running")
    world.settle().run()
    world.settle().succeed(*(f"mnist-worker-{index}" for index in range(4)))
    world.settle()
    assert world.state == "Succeeded"
    assert world.children["PodGroup"] == {}
    assert len(world.pods) == 6


def test_a_suspended_job_has_no_group(tf_job: Any, make_world: Any) -> None:
    world = make_world(tf_job(), controller(tf_job(), "volcano")).settle()
    world.job["spec"]["runPolicy"] = {"suspend": True}
    assert world.settle().children["PodGroup"] == {}


def test_pods_that_run_stay_when_the_group_waits_again(tf_job: Any, make_world: Any) -> None:
    world = make_world(tf_job(), controller(tf_job(), "volcano")).settle()
    set_phase(world, "Inqueue")
    world.settle().run()
    world.delete("Pod", "mnist-worker-3")
    world.reap()
    set_phase(world, "Pending")
    world.settle()
    assert len(world.pods) == 5


def test_a_policy_says_more(tf_job: Any, make_world: Any) -> None:
    policy = {
        "minAvailable": 3,
        "queue": "research",
        "priorityClass": "high",
        "minResources": {"cpu": "7"},
        "scheduleTimeoutSeconds": 40,
    }
    job = tf_job(runPolicy={"schedulingPolicy": policy})
    world = make_world(job, controller(job)).settle()  # it asks for it by itself
    assert world.children["PodGroup"]["mnist"]["spec"] == {
        "minMember": 3,
        "minResources": {"cpu": "7"},
        "queue": "research",
        "priorityClassName": "high",
    }
    plugins = make_world(job, controller(job, "scheduler-plugins")).settle()
    group = plugins.children["PodGroup"]["mnist"]
    assert group["apiVersion"] == "scheduling.x-k8s.io/v1alpha1"
    assert group["spec"] == {"minMember": 3, "minResources": {"cpu": "7"}, "scheduleTimeoutSeconds": 40}
    pod = plugins.pods["mnist-worker-0"]  # this scheduler has the pods made first
    assert pod["metadata"]["labels"]["scheduling.x-k8s.io/pod-group"] == "mnist"
    assert pod["spec"]["schedulerName"] == "scheduler-plugins-scheduler"


def test_what_a_part_of_the_gang_needs(tf_job: Any, make_world: Any) -> None:
    job = tf_job(runPolicy={"schedulingPolicy": {"minAvailable": 4}})
    world = make_world(job, controller(job)).settle()
    # Both parameter servers, which ask for nothing, and two workers.
    assert world.children["PodGroup"]["mnist"]["spec"]["minResources"] == {"cpu": "1", "nvidia.com/gpu": "2"}


@pytest.mark.parametrize("name", ["volcano", "homeport"])
def test_a_job_asks_by_its_schedulers_name(make_job: Any, make_world: Any, name: str) -> None:
    job = make_job("TFJob", {"Worker": {"replicas": 2, "template": worker(schedulerName=name)}})
    world = make_world(job, controller(job)).settle()
    set_phase(world, "Inqueue")
    assert [pod["spec"]["schedulerName"] for pod in world.settle().pods.values()] == [name, name]


def test_another_scheduler_is_left_and_told_of(make_job: Any, make_world: Any) -> None:
    job = make_job("TFJob", {"Worker": {"replicas": 1, "template": worker(schedulerName="mine")}})
    world = make_world(job, controller(job, "volcano")).settle()
    set_phase(world, "Inqueue")
    world.settle()
    assert world.pods["mnist-worker-0"]["spec"]["schedulerName"] == "mine"
    assert [note.reason for note in world.events if note.type == "Warning"] == ["SettedPodTemplateSchedulerName"]


@pytest.mark.parametrize("kind", ["TFJob", "PyTorchJob", "XGBoostJob", "PaddleJob", "JAXJob", "MXJob", "MPIJob"])
def test_every_framework_waits(make_job: Any, make_world: Any, kind: str) -> None:
    replicas = {
        "PyTorchJob": {"Master": 1, "Worker": 2},
        "XGBoostJob": {"Master": 1, "Worker": 2},
        "MXJob": {"Scheduler": 1, "Server": 1, "Worker": 1},
        "MPIJob": {"Launcher": 1, "Worker": 2},
    }.get(kind, {"Worker": 3})
    job = make_job(kind, replicas)
    world = make_world(job, controller(job, "volcano")).settle()
    assert world.children["PodGroup"]["mnist"]["spec"]["minMember"] == 3
    assert world.pods == {}
    set_phase(world, "Inqueue")
    assert world.settle().pods


def test_mpi_of_v2beta1_waits(make_world: Any) -> None:
    template = {"spec": {"containers": [{"name": "mpi", "image": "registry.example/mpi:1"}]}}
    job: Object = {
        "apiVersion": "kubeflow.org/v2beta1",
        "kind": "MPIJob",
        "metadata": {"name": "mnist", "namespace": "team", "uid": "uid-mnist"},
        "spec": {
            "mpiReplicaSpecs": {
                "Launcher": {"replicas": 1, "template": template},
                "Worker": {"replicas": 2, "template": template},
            },
            "runPolicy": {"schedulingPolicy": {"queue": "research"}},
        },
    }
    world = make_world(job, controller(job)).settle()
    assert world.children["PodGroup"]["mnist"]["spec"] == {"minMember": 3, "queue": "research"}
    assert world.pods == {}
    assert world.children["Job"] == {}
    set_phase(world, "Inqueue")
    world.settle()
    assert sorted(world.pods) == ["mnist-worker-0", "mnist-worker-1"]
    template = world.children["Job"]["mnist-launcher"]["spec"]["template"]
    for made in (world.pods["mnist-worker-0"], template):
        assert made["spec"]["schedulerName"] == "volcano"
        assert made["metadata"]["annotations"]["scheduling.k8s.io/group-name"] == "mnist"
