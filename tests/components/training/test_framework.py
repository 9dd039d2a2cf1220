"""The frameworks still to come fit into a `Framework`: three of them in short, with what is hardest in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from homeport.components.training.framework import Decision, Environment, Framework, Job, Replica, Settings
from homeport.components.training.job import controller_of, kind_of
from homeport.components.training.kinds import JobStatus, ReplicaSpec, RunPolicy, TrainingModel
from homeport.control.controller import Child
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

Make = Callable[..., Any]


class JAXJobSpec(TrainingModel, frozen=True):
    jax_replica_specs: dict[str, ReplicaSpec]
    run_policy: RunPolicy | None = None


class MPIJobSpec(TrainingModel, frozen=True):
    mpi_replica_specs: dict[str, ReplicaSpec]
    run_policy: RunPolicy | None = None
    slots_per_worker: int = 1


class XGBoostJobSpec(TrainingModel, frozen=True):
    xgb_replica_specs: dict[str, ReplicaSpec]
    run_policy: RunPolicy | None = None


class AnyJob(TrainingModel, frozen=True):
    metadata: dict[str, Any] = {}
    status: JobStatus | None = None


def variables(values: Mapping[str, object]) -> list[Object]:
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def jax_environment(job: Job) -> Environment:
    shared = {
        "PYTHONUNBUFFERED": 1,
        "COORDINATOR_PORT": job.port("Worker"),
        "COORDINATOR_ADDRESS": job.host("Worker", 0),
        "NUM_PROCESSES": job.total,
    }
    return lambda replica: variables({**shared, "PROCESS_ID": replica.index})


JAX = Framework(
    resource=Resource("kubeflow.org", "v1", "jaxjobs", "JAXJob"),
    body=AnyJob,
    spec=JAXJobSpec,
    replicas_field="jaxReplicaSpecs",
    types=("Worker",),
    container="jax",
    port_name="jaxjob-port",
    port=6666,
    restart_policy="Never",
    decide=lambda job: Decision(("Worker",)),
    environment=jax_environment,
    all_containers=True,
)


def xgboost_environment(job: Job) -> Environment:
    workers = [job.host("Worker", i) for i in range(job.count("Worker"))]
    shared = {
        "MASTER_PORT": job.port("Master"),
        "MASTER_ADDR": job.host("Master", 0),
        "WORLD_SIZE": job.total,
        "PYTHONUNBUFFERED": 1,
    }
    if workers:
        shared |= {"WORKER_PORT": job.port("Worker"), "WORKER_ADDRS": ",".join(workers)}
    return lambda replica: variables({**shared, "RANK": replica.index + (replica.type == "Worker")})


XGBOOST = Framework(
    resource=Resource("kubeflow.org", "v1", "xgboostjobs", "XGBoostJob"),
    body=AnyJob,
    spec=XGBoostJobSpec,
    replicas_field="xgbReplicaSpecs",
    types=("Master", "Worker"),
    container="xgboost",
    port_name="xgboostjob-port",
    port=9999,
    restart_policy="Never",
    masters=("Master",),
    decide=lambda job: Decision(("Master",)),
    environment=xgboost_environment,
    all_containers=True,
)


def hostfile(job: Job, pods: Mapping[str, Object]) -> Iterable[Object]:
    hosts = [f"{job.host('Worker', i)} slots={job.spec.slots_per_worker}" for i in range(job.count("Worker"))]
    yield {"kind": "ConfigMap", "metadata": {"name": f"{job.name}-config"}, "data": {"hostfile": "\n".join(hosts)}}


def mpi_pod(job: Job, replica: Replica, spec: Object) -> Object:
    if replica.type == "Launcher":
        return {**spec, "volumes": [{"name": "config", "configMap": {"name": f"{job.name}-config"}}]}
    containers = [c if c.get("command") else {**c, "command": ["sleep", "365d"]} for c in spec["containers"]]
    return {**spec, "containers": containers}


MPI = Framework(
    resource=Resource("kubeflow.org", "v1", "mpijobs", "MPIJob"),
    body=AnyJob,
    spec=MPIJobSpec,
    replicas_field="mpiReplicaSpecs",
    types=("Worker", "Launcher"),
    container="mpi",
    port_name="mpijob-port",
    port=9999,
    restart_policy="Never",
    masters=("Launcher",),
    min_replicas=0,
    default_replicas={"Worker": 0},
    decide=lambda job: Decision(("Launcher",)),
    environment=lambda job: lambda replica: (),
    unindexed=frozenset({"Launcher"}),
    services=False,
    shape_pod=mpi_pod,
    children=(Child(Resource("", "v1", "configmaps", "ConfigMap")),),
    objects=hostfile,
)


@pytest.fixture
def make(make_world: Any) -> Make:
    def make(framework: Framework, replicas: dict[str, int | None]) -> Any:
        containers = [{"name": framework.container, "image": "x"}]
        specs = {
            type: {"template": {"spec": {"containers": containers}}} | ({} if count is None else {"replicas": count})
            for type, count in replicas.items()
        }
        job = {
            "apiVersion": "kubeflow.org/v1",
            "kind": framework.kind,
            "metadata": {"name": "train", "namespace": "team", "uid": "u"},
            "spec": {framework.replicas_field: specs},
        }
        assert list(kind_of(framework).validate(kind_of(framework).prepare(job, None), None)) == []
        return make_world(job, controller_of(framework, Settings()))

    return make


def env(pod: Object) -> dict[str, str]:
    return {v["name"]: v["value"] for v in pod["spec"]["containers"][0]["env"]}


def test_jax_needs_all_workers(make: Make) -> None:
    w = make(JAX, {"worker": 2}).settle()
    assert env(w.pods["train-worker-1"]) == {
        "PYTHONUNBUFFERED": "1",
        "COORDINATOR_PORT": "6666",
        "COORDINATOR_ADDRESS": "train-worker-0",
        "NUM_PROCESSES": "2",
        "PROCESS_ID": "1",
    }
    w.run()
    w.succeed("train-worker-0")
    assert w.settle().state == "Running"
    w.succeed("train-worker-1")
    assert w.settle().state == "Succeeded"


def test_xgboost_ends_with_its_master(make: Make) -> None:
    w = make(XGBOOST, {"Master": 1, "Worker": 2}).settle()
    assert env(w.pods["train-worker-1"])["RANK"] == "2"
    assert env(w.pods["train-master-0"])["WORKER_ADDRS"] == "train-worker-0,train-worker-1"
    w.succeed("train-master-0")
    assert w.settle().state == "Succeeded"


def test_mpi_has_a_launcher_without_index_objects_of_its_own_and_no_services(make: Make) -> None:
    w = make(MPI, {"Launcher": None, "Worker": 2}).settle()
    assert list(w.pods) == ["train-worker-0", "train-worker-1", "train-launcher"]
    assert not w.children["Service"]
    assert (
        w.children["ConfigMap"]["train-config"]["data"]["hostfile"] == "train-worker-0 slots=1\ntrain-worker-1 slots=1"
    )
    assert w.pods["train-worker-0"]["spec"]["containers"][0]["command"] == ["sleep", "365d"]
    assert w.pods["train-launcher"]["spec"]["volumes"][0]["name"] == "config"
    assert w.pods["train-launcher"]["metadata"]["labels"]["training.kubeflow.org/job-role"] == "master"
    w.run()
    w.settle()
    assert w.state == "Running"
    assert w.writes == (before := w.writes)
    w.settle()
    assert w.writes == before
    w.succeed("train-launcher")
    assert w.settle().state == "Succeeded"
    assert "train-config" in w.children["ConfigMap"]


def test_mpi_may_have_no_workers(make: Make) -> None:
    w = make(MPI, {"Launcher": 1, "Worker": None}).settle()
    assert list(w.pods) == ["train-launcher"]
