"""What an MPIJob of ``kubeflow.org/v1`` has besides pods: the files that ``mpirun`` reads, and the launcher's right to
execute commands in the workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from homeport import mpi
from homeport.components.training.framework import Job
from homeport.kube import meta
from homeport.kube.meta import Object

LAUNCHER, WORKER = "Launcher", "Worker"
KUBECTL_MOUNT = "/opt/kube"
HOSTFILE, KUBEXEC, DISCOVER_HOSTS = "hostfile", "kubexec.sh", "discover_hosts.sh"
_RBAC = "rbac.authorization.k8s.io"


def config_name(job: Job) -> str:
    return f"{job.name}-config"


_PODS: Object = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
# A WebSocket begins with a GET, which upstream's role of "create" alone leaves to the older SPDY.
_EXEC: Object = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]}
GRANTS: tuple[Object, ...] = (_PODS, _EXEC)
"""What launchers' roles give, of whatever pods."""


def account(job: Job) -> str:
    """Name of the launcher's service account: the user's, else one of the job's own."""
    spec = job.replicas[LAUNCHER].template.get("spec") or {}
    return spec.get("serviceAccountName") or job.host(LAUNCHER, 0)


def is_gpu_launcher(job: Job) -> bool:
    """Whether the launcher asks for a GPU: then it is a worker, too."""
    containers = (job.replicas[LAUNCHER].template.get("spec") or {}).get("containers") or ()
    limits = [name for c in containers for name in (c.get("resources") or {}).get("limits") or {}]
    return any("gpu" in name for name in limits)


def objects(job: Job, pods: Mapping[str, Object]) -> Iterator[Object]:
    """All of them; `pods` are the job's, by name."""
    yield _config(job, pods)
    launcher, owner = job.host(LAUNCHER, 0), account(job)
    if owner == launcher:
        yield _object("v1", "ServiceAccount", job, launcher)
    workers = _workers(job)
    rules = [_PODS]
    if workers:  # no names would mean all pods
        rules.append({**_EXEC, "resourceNames": workers})
    yield _object(f"{_RBAC}/v1", "Role", job, launcher, rules=rules)
    yield _object(
        f"{_RBAC}/v1",
        "RoleBinding",
        job,
        launcher,
        subjects=[{"kind": "ServiceAccount", "name": owner, "namespace": job.namespace}],
        roleRef={"apiGroup": _RBAC, "kind": "Role", "name": launcher},
    )


def _object(api_version: str, kind: str, job: Job, name: str, **fields: object) -> Object:
    metadata = {"name": name, "labels": {"app": job.name}}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def _workers(job: Job) -> list[str]:
    return [job.host(WORKER, index) for index in range(job.count(WORKER))]


def _config(job: Job, pods: Mapping[str, Object]) -> Object:
    slots = job.spec.slots_per_worker or 1
    first = [job.host(LAUNCHER, 0)] if is_gpu_launcher(job) else []
    running = [name for name in _workers(job) if meta.status(pods.get(name) or {}).get("phase") == "Running"]
    container = f" --container {job.spec.main_container}" if job.spec.main_container else ""
    kubectl = f"{KUBECTL_MOUNT}/kubectl exec ${{POD_NAME}}{container}"
    data = {
        HOSTFILE: mpi.hostfile([*first, *_workers(job)], slots, "OpenMPI"),
        KUBEXEC: f'#!/bin/sh\nset -x\nPOD_NAME=$1\nshift\n{kubectl} -- /bin/sh -c "$*"',
        # For Horovod, whose number of workers may change: those that run now.
        DISCOVER_HOSTS: "\n".join(["#!/bin/sh", *(f"echo {name}:{slots}" for name in [*first, *sorted(running)])]),
    }
    return _object("v1", "ConfigMap", job, config_name(job), data=data)
