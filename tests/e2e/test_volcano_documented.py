"""Volcano jobs of the shapes that its documentation and its ``example/`` show, each run to the end promised there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from machinery import KUBECTL_VERSIONS, Kubectl, RunningPlatform, fetch_kubectl, homeport

Object = dict[str, Any]


def task(name: str, script: str, replicas: int = 1, *, pod: Object | None = None, **fields: Any) -> Object:
    container = {"name": name, "image": "python", "command": ["sh", "-c", script]}
    spec = {"terminationGracePeriodSeconds": 0, "restartPolicy": "Never", "containers": [container], **(pod or {})}
    return {"name": name, "replicas": replicas, "template": {"spec": spec}, **fields}


def when(event: str, action: str) -> Object:
    return {"event": event, "action": action}


class Shape(NamedTuple):
    spec: Object
    ends: str = "Completed"
    says: tuple[str, str] = ("", "")
    """A pod, without the job's name, and a line that it writes."""
    retries: int = 0


COMPLETE, FOREVER = [when("TaskCompleted", "CompleteJob")], "sleep 600"
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
ONCE = "test -e /shared/seen && exit 0; touch /shared/seen; exit 3"
SHAPES = {
    # example/job.yaml: more pods than are needed, the three plug-ins, and volumes
    "job": Shape(
        {
            "minAvailable": 2,
            "plugins": {"ssh": [], "env": [], "svc": []},
            "policies": [when("PodEvicted", "RestartJob")],
            "maxRetry": 5,
            "tasks": [task("web", "grep -c web /etc/volcano/web.host; ls /root/.ssh; echo $VC_TASK_INDEX", 3)],
        },
        says=("web-1", "3"),
    ),
    # docs/user-guide: how_to_use_mpi_plugin
    "mpi": Shape(
        {
            "minAvailable": 1,
            "plugins": {"mpi": ["--master=master", "--worker=worker", "--port=2222"]},
            "tasks": [task("master", "echo $MPI_HOST", policies=COMPLETE), task("worker", FOREVER, 2)],
        },
        says=("master-0", "mpi-worker-0.mpi,mpi-worker-1.mpi"),
    ),
    # docs/user-guide: how_to_use_pytorch_plugin
    "pytorch": Shape(
        {
            "minAvailable": 1,
            "plugins": {"pytorch": ["--master=master", "--worker=worker", "--port=23456"]},
            "tasks": [
                task("master", "echo rank $RANK of $WORLD_SIZE at $MASTER_PORT", policies=COMPLETE),
                task("worker", FOREVER, 2),
            ],
        },
        says=("master-0", "rank 0 of 3 at 23456"),
    ),
    # docs/user-guide: how_to_use_svc_plugin
    "svc": Shape(
        {
            "minAvailable": 3,
            "plugins": {"env": [], "svc": ["--publish-not-ready-addresses=true"]},
            "tasks": [
                task("ps", FOREVER),
                task("worker", "echo $VC_PS_HOSTS $VC_WORKER_NUM $VK_TASK_INDEX", 2, policies=COMPLETE),
            ],
        },
        says=("worker-1", "svc-ps-0.svc 2 1"),
    ),
    # example/task-start-dependency: one task after another
    "depends": Shape(
        {
            "minAvailable": 1,
            "plugins": {"svc": []},
            "tasks": [
                task("first", FOREVER),
                task("second", "echo second", 2, dependsOn={"name": ["first"]}, policies=COMPLETE),
            ],
        },
        says=("second-0", "second"),
    ),
    # docs/user-guide: how_to_configure_job_policy
    "restarts": Shape(
        {
            "minAvailable": 1,
            "maxRetry": 3,
            "policies": [when("PodFailed", "RestartJob")],
            "volumes": [{"mountPath": "/shared", "volumeClaim": CLAIM}],
            "tasks": [task("once", ONCE)],
        },
        retries=1,
    ),
    "exit-code": Shape(
        {
            "minAvailable": 2,
            "policies": [{"exitCode": 3, "action": "AbortJob"}],
            "tasks": [task("fails", "exit 3"), task("runs", FOREVER)],
        },
        ends="Aborted",
    ),
    "terminates": Shape(
        {
            "minAvailable": 2,
            "tasks": [
                task("fails", "exit 1", policies=[{"events": ["PodEvicted", "PodFailed"], "action": "TerminateJob"}]),
                task("runs", FOREVER),
            ],
        },
        ends="Terminated",
    ),
    "fails": Shape({"minAvailable": 1, "tasks": [task("fails", "exit 1")]}, ends="Failed"),
    "min-success": Shape(
        {"minAvailable": 2, "minSuccess": 1, "tasks": [task("one", "true"), task("other", FOREVER)]},
    ),
    # docs: a queue of the user's own, with the most that it may use, and a priority
    "queue": Shape(
        {
            "minAvailable": 1,
            "queue": "documented",
            "priorityClassName": "system-cluster-critical",
            "tasks": [task("one", "echo in a queue")],
        },
        says=("one-0", "in a queue"),
    ),
}


@pytest.fixture(scope="module")
def documented(shared_platform: RunningPlatform, kubectl_home: Path) -> Iterator[Kubectl]:
    """All the jobs at once, in a namespace of their own."""
    version = KUBECTL_VERSIONS[-1]
    first = Kubectl(fetch_kubectl(version), version, shared_platform.kubeconfig, kubectl_home)
    first.create("Namespace", "documented")
    kubectl = Kubectl(first.binary, version, first.kubeconfig, kubectl_home, "documented")
    queue = {"apiVersion": "scheduling.volcano.sh/v1beta1", "kind": "Queue", "metadata": {"name": "documented"}}
    made = [{**queue, "spec": {"weight": 1, "capability": {"cpu": "2"}}}]
    made += [job(name, shape.spec) for name, shape in SHAPES.items()]
    made.append(job("ttl", {"ttlSecondsAfterFinished": 0, "minAvailable": 1, "tasks": [task("one", "true")]}))
    made += [flow("JobTemplate", name, {"tasks": [task("step", f"echo {name}")]}) for name in ("prepare", "train")]
    after = {"name": "train", "dependsOn": {"targets": ["prepare"]}, "patch": {"jobSpec": {"maxRetry": 1}}}
    made.append(flow("JobFlow", "night", {"flows": [{"name": "prepare"}, after]}))
    kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
    yield kubectl
    kubectl("delete", "namespace", "documented", timeout=120)
    closed = homeport("queue", "close", "documented", "--kubeconfig", kubectl.kubeconfig)
    assert closed.returncode == 0, closed.stderr
    kubectl("wait", "--for=jsonpath={.status.state}=Closed", "--timeout=60s", "queue/documented", timeout=70)
    kubectl("delete", "queue", "documented")


def job(name: str, spec: Object) -> Object:
    return {"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def flow(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": "flow.volcano.sh/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def shown(kubectl: Kubectl, what: str) -> Object:
    found: Object = json.loads(kubectl("get", what, "-o", "json"))
    return found


def reach(kubectl: Kubectl, what: str, phase: str) -> None:
    kubectl("wait", f"--for=jsonpath={{.status.state.phase}}={phase}", "--timeout=120s", what, timeout=130)


@pytest.mark.parametrize("name", SHAPES)
def test_a_job_as_documented(documented: Kubectl, name: str) -> None:
    shape, what = SHAPES[name], f"jobs.batch.volcano.sh/{name}"
    reach(documented, what, shape.ends)
    found = shown(documented, what)
    assert found["status"].get("retryCount", 0) == shape.retries
    pod, line = shape.says
    if pod:
        assert line in documented("logs", f"{name}-{pod}").splitlines()


def test_a_job_that_has_lived_long_enough_is_gone(documented: Kubectl) -> None:
    documented("wait", "--for=delete", "--timeout=120s", "jobs.batch.volcano.sh/ttl", timeout=130)


def test_jobs_that_follow_one_another(documented: Kubectl) -> None:
    reach(documented, "jobflow/night", "Succeed")
    found = shown(documented, "jobflow/night")["status"]
    assert found["completedJobs"] == ["night-prepare", "night-train"]
    ends = {one["name"]: (one["startTimestamp"], one["endTimestamp"]) for one in found["jobStatusList"]}
    assert ends["night-prepare"][1] <= ends["night-train"][0]
    assert shown(documented, "jobs.batch.volcano.sh/night-train")["spec"]["maxRetry"] == 1
