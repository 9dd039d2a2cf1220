"""Frameworks that can't be installed any more: their jobs, with programs that start by the same rules; and what MPI's
launchers make of programs that fail."""

from __future__ import annotations

import json
import platform as machine
import time

import pytest
import yaml
from machinery import Kubectl, MakeKubectl, RunningPlatform

PS_LITE = """
import json, os, socket, sys, time

# The rules of ps-lite (Postoffice::InitEnvironment, Van::Start): who am I, where is the scheduler, how many are there.
role, env = os.environ["DMLC_ROLE"], os.environ
root = env["DMLC_PS_ROOT_URI"], int(env["DMLC_PS_ROOT_PORT"])
servers, workers = int(env["DMLC_NUM_SERVER"]), int(env["DMLC_NUM_WORKER"])
assert role in ("scheduler", "server", "worker"), role
config = json.loads(env["MX_CONFIG"])
assert config["task"]["type"] == role
assert config["cluster"]["scheduler"] == [{"url": root[0], "port": root[1]}]
assert (len(config["cluster"]["server"]), len(config["cluster"]["worker"])) == (servers, workers)
if role == "worker":
    assert env["DMLC_WORKER_ID"] == str(config["task"]["index"])
if role == "scheduler":
    listener = socket.create_server(("", root[1]))
    nodes = [listener.accept()[0] for _ in range(servers + workers)]
    roles = sorted(node.makefile().readline().strip() for node in nodes)
    for node in nodes:
        node.sendall(b"all are here")
    print("registered:", *roles)
else:
    for _ in range(240):
        try:
            connection = socket.create_connection(root)
            break
        except OSError:
            time.sleep(0.25)
    connection.sendall(f"{role}\\n".encode())
    print(connection.recv(100).decode())
"""

WHERE = r"""
import sys
from mpi4py import MPI
sys.stdout.write(f"{MPI.Get_processor_name()} {MPI.COMM_WORLD.allreduce(1)}\n")
"""
"""Says where it runs, in a single write: what several ranks write comes through one pipe, and `print` unbuffered writes
each of its arguments by itself."""


@pytest.fixture
def kubectl(shared_platform: RunningPlatform, make_kubectl: MakeKubectl) -> Kubectl:
    return make_kubectl(shared_platform)


def template(container: str, image: str, *command: str) -> dict[str, object]:
    return {"spec": {"containers": [{"name": container, "image": image, "command": list(command)}]}}


def job(kind: str, name: str, spec: dict[str, object], version: str = "v1") -> str:
    found = {"apiVersion": f"kubeflow.org/{version}", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return yaml.safe_dump(found)


def test_mxnets_processes_find_their_scheduler(kubectl: Kubectl) -> None:
    part = {"template": template("mxnet", "python:3", "python", "-c", PS_LITE)}
    specs = {"Scheduler": part, "Server": {**part, "replicas": 2}, "Worker": {**part, "replicas": 2}}
    kubectl("apply", "-f", "-", stdin=job("MXJob", "ps", {"jobMode": "MXTrain", "mxReplicaSpecs": specs}))
    kubectl("wait", "--for=condition=Succeeded", "--timeout=120s", "mxjob/ps", timeout=130)
    assert kubectl("logs", "ps-scheduler-0") == "registered: server server worker worker\n"
    kubectl("delete", "mxjob", "ps")


def test_a_chainerjob_runs_mpi_on_its_workers(kubectl: Kubectl) -> None:
    master = template("chainer", "homeport/openmpi", "mpiexec", "-n", "3", "-N", "1", "python", "-c", WHERE)
    workers = {"replicas": 2, "template": template("chainer", "homeport/openmpi", "sleep", "365d")}
    spec = {"backend": "mpi", "master": {"template": master}, "workerSets": {"ws0": workers}}
    kubectl("apply", "-f", "-", stdin=job("ChainerJob", "mn", spec, "v1alpha1"))
    kubectl("wait", "--for=condition=Complete", "--timeout=300s", "chj/mn", timeout=310)
    lines = sorted(line for line in kubectl("logs", "job/mn-master").splitlines() if line.endswith(" 3"))
    assert [line.split()[0] for line in lines][1:] == ["mn-workerset-ws0-0", "mn-workerset-ws0-1"]
    assert lines[0].startswith("mn-master-")
    scaled = json.loads(kubectl("get", "statefulset", "mn-workerset-ws0", "-o", "json"))
    assert scaled["spec"]["replicas"] == 0
    kubectl("delete", "chainerjob", "mn")


@pytest.mark.skipif(machine.machine() != "x86_64", reason="Intel MPI is for x86-64")
def test_intel_mpi_starts_processes_in_its_workers(kubectl: Kubectl) -> None:
    launcher = template("mpi", "homeport/intelmpi", "mpirun", "-n", "2", "python", "-c", WHERE)
    worker = {"spec": {"containers": [{"name": "mpi", "image": "homeport/intelmpi"}]}}
    specs = {"Launcher": {"template": launcher}, "Worker": {"replicas": 2, "template": worker}}
    spec = {"mpiImplementation": "Intel", "mpiReplicaSpecs": specs, "runPolicy": {"cleanPodPolicy": "Running"}}
    kubectl("apply", "-f", "-", stdin=job("MPIJob", "intel", spec, "v2beta1"))
    kubectl("wait", "--for=condition=Succeeded", "--timeout=300s", "mpijob/intel", timeout=310)
    lines = kubectl("logs", "job/intel-launcher").splitlines()
    assert sorted(line.split()[0] for line in lines if line.endswith(" 2")) == ["intel-worker-0", "intel-worker-1"]
    kubectl("delete", "mpijob", "intel")


def test_a_launcher_that_works_needs_no_server(kubectl: Kubectl) -> None:
    launcher = template("mpi", "homeport/openmpi", "mpirun", "-n", "2", "python", "-c", WHERE)
    worker = {"spec": {"containers": [{"name": "mpi", "image": "homeport/openmpi"}]}}
    specs = {"Launcher": {"template": launcher}, "Worker": {"replicas": 1, "template": worker}}
    spec = {"runLauncherAsWorker": True, "mpiReplicaSpecs": specs, "runPolicy": {"cleanPodPolicy": "Running"}}
    kubectl("apply", "-f", "-", stdin=job("MPIJob", "self", spec, "v2beta1"))
    kubectl("wait", "--for=condition=Succeeded", "--timeout=300s", "mpijob/self", timeout=310)
    lines = kubectl("logs", "job/self-launcher").splitlines()
    assert sorted(line.split()[0] for line in lines if line.endswith(" 2")) == ["self-launcher", "self-worker-0"]
    kubectl("delete", "mpijob", "self")


@pytest.mark.parametrize("version", ["v1", "v2beta1"])
def test_the_exit_code_of_an_mpi_program_reaches_the_job(kubectl: Kubectl, version: str) -> None:
    program = "import sys; print('no data'); sys.exit(3)"
    launcher = template("mpi", "homeport/openmpi", "mpirun", "-n", "1", "python", "-c", program)
    specs = {
        "Launcher": {"template": launcher, "restartPolicy": "Never"},
        "Worker": {"replicas": 1, "template": {"spec": {"containers": [{"name": "mpi", "image": "homeport/openmpi"}]}}},
    }
    spec = {"mpiReplicaSpecs": specs, "runPolicy": {"backoffLimit": 0, "cleanPodPolicy": "All"}}
    kubectl("apply", "-f", "-", stdin=job("MPIJob", "broken", spec, version))
    wait = ("wait", "--for=condition=Failed", "--timeout=300s", f"mpijobs.{version}.kubeflow.org/broken")
    kubectl(*wait, timeout=310)
    found = json.loads(kubectl("get", f"mpijobs.{version}.kubeflow.org", "broken", "-o", "json"))
    assert "exited with code 3" in found["status"]["conditions"][-1]["message"]
    kubectl("delete", "mpijob", "broken", "--cascade=foreground")


COUNT = """
import sys
import time
from mpi4py import MPI

for number in range(20):
    time.sleep(1)
    sys.stdout.write(f"{MPI.COMM_WORLD.rank} {number} {MPI.COMM_WORLD.allreduce(1)}\\n")
"""


def test_mpi_programs_go_on_while_the_platform_is_killed(platform: RunningPlatform, make_kubectl: MakeKubectl) -> None:
    """Also those that were started by kubectl exec, whose client loses its connection."""
    kubectl = make_kubectl(platform)
    launcher = {"template": template("mpi", "homeport/openmpi", "mpirun", "-n", "2", "python", "-c", COUNT)}
    worker = {"replicas": 2, "template": {"spec": {"containers": [{"name": "mpi", "image": "homeport/openmpi"}]}}}
    specs = {"Launcher": {**launcher, "restartPolicy": "Never"}, "Worker": worker}
    pods = {"v1": "by-v1-launcher", "v2beta1": "job/by-v2beta1-launcher"}
    for version in pods:
        spec = {"mpiReplicaSpecs": specs, "runPolicy": {"cleanPodPolicy": "Running"}}
        kubectl("apply", "-f", "-", stdin=job("MPIJob", f"by-{version}", spec, version))
    for version, pod in pods.items():
        kubectl("wait", "--for=condition=Running", "--timeout=300s", f"mpijob/by-{version}", timeout=310)
        deadline = time.monotonic() + 60
        while "0 2 2" not in (log := kubectl("logs", pod, check=False)):
            assert time.monotonic() < deadline, log
            time.sleep(0.2)
    platform.kill()
    platform.start()
    for version, pod in pods.items():
        kubectl("wait", "--for=condition=Succeeded", "--timeout=90s", f"mpijob/by-{version}", timeout=100)
        assert "1 19 2" in kubectl("logs", pod).splitlines()
