"""What is MPIJob's own (v1): the launcher, the files that mpirun reads, and who may execute commands in workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from homeport.components.training import FRAMEWORKS, KINDS, Settings, controllers
from homeport.kube.meta import Object

Make = Callable[..., Any]
MPI = next(framework for framework in FRAMEWORKS if framework.kind == "MPIJob")


def config(world: Any) -> dict[str, str]:
    data: dict[str, str] = world.children["ConfigMap"]["mnist-config"]["data"]
    return data


def env(pod: Object) -> dict[str, str]:
    return {v["name"]: v["value"] for v in pod["spec"]["containers"][0].get("env") or ()}


def test_a_launcher_starts_processes_in_workers_that_wait(world: Make) -> None:
    w = world("MPIJob", {"Launcher": {}, "Worker": 2}, slotsPerWorker=3).settle()
    assert list(w.pods) == ["mnist-worker-0", "mnist-worker-1", "mnist-launcher"]
    assert not w.children["Service"]
    container = w.pods["mnist-worker-0"]["spec"]["containers"][0]
    assert (container["command"], container["args"]) == (["sleep"], ["365d"])
    launcher = w.pods["mnist-launcher"]
    assert launcher["metadata"]["labels"]["training.kubeflow.org/job-role"] == "master"
    assert launcher["spec"]["serviceAccountName"] == "mnist-launcher"
    assert launcher["spec"]["initContainers"][0]["image"] == "mpioperator/kubectl-delivery:latest"
    found = env(launcher)
    assert found["OMPI_MCA_plm_rsh_agent"] == found["PRTE_MCA_plm_ssh_agent"] == "/etc/mpi/kubexec.sh"
    assert found["OMPI_MCA_orte_default_hostfile"] == found["PRTE_MCA_prte_default_hostfile"] == "/etc/mpi/hostfile"
    assert found["NVIDIA_VISIBLE_DEVICES"] == ""
    assert (found["I_MPI_HYDRA_BOOTSTRAP"], found["I_MPI_HYDRA_BOOTSTRAP_EXEC"]) == ("rsh", "/etc/mpi/kubexec.sh")
    assert config(w)["hostfile"] == "mnist-worker-0 slots=3\nmnist-worker-1 slots=3\n"
    assert config(w)["kubexec.sh"].splitlines() == [
        "#!/bin/sh",
        "set -x",
        "POD_NAME=$1",
        "shift",
        '/opt/kube/kubectl exec ${POD_NAME} -- /bin/sh -c "$*"',
    ]
    role = w.children["Role"]["mnist-launcher"]
    assert role["rules"][1]["resourceNames"] == ["mnist-worker-0", "mnist-worker-1"]
    assert w.children["RoleBinding"]["mnist-launcher"]["subjects"][0]["name"] == "mnist-launcher"
    assert "mnist-launcher" in w.children["ServiceAccount"]


def test_the_launcher_decides(world: Make) -> None:
    w = world("MPIJob", {"Launcher": 1, "Worker": 2}, cleanPodPolicy="Running").settle()
    w.run()
    assert w.settle().state == "Running"
    w.succeed("mnist-launcher")
    assert w.settle().state == "Succeeded"
    w.reap()
    assert list(w.pods) == ["mnist-launcher"]
    assert "mnist-config" in w.children["ConfigMap"]


def test_hosts_that_run_are_listed_for_elastic_programs(world: Make) -> None:
    w = world("MPIJob", {"Launcher": 1, "Worker": 2}).settle()
    assert config(w)["discover_hosts.sh"] == "#!/bin/sh"
    w.run("mnist-worker-1")
    w.sync()
    wanted = list(w.controller.sync(w.observed()).children)
    assert next(c for c in wanted if c["kind"] == "ConfigMap")["data"]["discover_hosts.sh"] == (
        "#!/bin/sh\necho mnist-worker-1:1"
    )


def test_a_launcher_with_a_gpu_is_a_host_too(world: Make, make_job: Make) -> None:
    container = {"name": "mpi", "image": "x", "resources": {"limits": {"nvidia.com/gpu": 1}}}
    template = {"spec": {"containers": [container], "serviceAccountName": "mine"}}
    w = world("MPIJob", {"Launcher": {"template": template}, "Worker": 1}).settle()
    assert config(w)["hostfile"] == "mnist-launcher slots=1\nmnist-worker-0 slots=1\n"
    assert "NVIDIA_VISIBLE_DEVICES" not in env(w.pods["mnist-launcher"])
    # A service account that the user names is the user's.
    assert w.pods["mnist-launcher"]["spec"]["serviceAccountName"] == "mine"
    assert not w.children["ServiceAccount"]
    assert w.children["RoleBinding"]["mnist-launcher"]["subjects"][0]["name"] == "mine"


def test_what_the_user_sets_for_hydra_stays(world: Make) -> None:
    container = {"name": "any", "image": "x", "env": [{"name": "I_MPI_HYDRA_BOOTSTRAP", "value": "ssh"}]}
    w = world("MPIJob", {"Launcher": {"template": {"spec": {"containers": [container]}}}}).settle()
    assert env(w.pods["mnist-launcher"])["I_MPI_HYDRA_BOOTSTRAP"] == "ssh"
    # Without workers nobody may execute anything.
    assert len(w.children["Role"]["mnist-launcher"]["rules"]) == 1


def test_the_main_container_and_the_image_of_kubectl(make_job: Make, make_world: Any) -> None:
    settings = Settings(kubectl_delivery_image="registry.example/kubectl:1")
    controller = next(c for c in controllers(settings) if c.parent == MPI.resource)
    w = make_world(make_job("MPIJob", {"Launcher": 1, "Worker": 1}, mainContainer="train"), controller).settle()
    assert "kubectl exec ${POD_NAME} --container train -- " in config(w)["kubexec.sh"]
    assert w.pods["mnist-launcher"]["spec"]["initContainers"][0]["image"] == "registry.example/kubectl:1"


def test_an_evicted_worker_fails_the_job_under_its_own_reason(world: Make) -> None:
    w = world("MPIJob", {"Launcher": 1, "Worker": 1}).settle()
    w.run()
    w.settle()
    w.evict("mnist-worker-0")
    w.settle()
    assert w.condition("Failed")["reason"] == "MPIJobEvicted"
    w = world("MPIJob", {"Launcher": 1, "Worker": {"restartPolicy": "OnFailure", "replicas": 1}}).settle()
    w.run()
    w.settle()
    w.evict("mnist-worker-0")
    assert w.settle().state == "Restarting"


@pytest.mark.parametrize(
    ("spec", "stored"),
    [
        ({}, ("None", "None")),
        ({"cleanPodPolicy": "All"}, ("All", "All")),
        ({"cleanPodPolicy": "All", "runPolicy": {"cleanPodPolicy": "Running"}}, ("Running", "Running")),
    ],
)
def test_the_two_policies_are_one(make_job: Make, spec: Any, stored: tuple[str, str]) -> None:
    kind = next(kind for kind in KINDS if kind.resource == MPI.resource)
    found = kind.prepare(make_job("MPIJob", {"Launcher": {}}, **spec), None)["spec"]
    assert (found["cleanPodPolicy"], found["runPolicy"]["cleanPodPolicy"]) == stored
