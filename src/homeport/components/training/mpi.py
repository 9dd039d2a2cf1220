"""MPIJob of ``kubeflow.org/v1``: ``mpirun`` in a launcher starts processes in the workers by ``kubectl exec``.

MPIJobs of ``kubeflow.org/v2beta1`` are another shape of the same resource: :mod:`~homeport.components.training.mpi2`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from homeport import mpi
from homeport.components.training import mpi_objects as objects
from homeport.components.training.framework import Decision, Environment, Framework, Job, Replica, variables
from homeport.components.training.kinds import (
    CleanPodPolicy,
    JobStatus,
    ReplicaSpec,
    RunPolicy,
    TrainingModel,
)
from homeport.components.training.mpi_objects import KUBECTL_MOUNT, LAUNCHER, WORKER
from homeport.components.training.mpi_versions import V1, V2BETA1, written_in
from homeport.control.controller import Child
from homeport.kube import core, field
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object
from homeport.kube.schema.fields import doc

_CONFIG_VOLUME, _KUBECTL_VOLUME = "mpi-job-config", "mpi-job-kubectl"
_DELIVERY_RESOURCES = {"cpu": "100m", "memory": "512Mi", "ephemeral-storage": "5Gi"}


class MPIJobSpec(TrainingModel, frozen=True):
    """The program that the user wants to run on several machines."""

    mpi_replica_specs: Annotated[
        dict[str, ReplicaSpec], doc("The replicas by type: one Launcher, any number of Worker.")
    ]
    slots_per_worker: Annotated[int | None, doc("Processes for each worker, in the host file. 1 if absent.")] = None
    clean_pod_policy: Annotated[CleanPodPolicy | None, doc("The same as runPolicy.cleanPodPolicy, which wins.")] = None
    main_container: Annotated[
        str, doc("Container of a worker in which processes are started; the pod's first one if empty.")
    ] = ""
    run_policy: Annotated[RunPolicy | None, doc("How long the job may run and what is left of it.")] = None


class MPIJob(TrainingModel, frozen=True):
    """A program that speaks MPI: a launcher that starts it, and workers that it runs in."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[MPIJobSpec | None, doc("The program that the user wants to run on several machines.")] = None
    status: Annotated[JobStatus | None, doc("What was last observed. Written by the controller.")] = None


def _default(spec: Object) -> Object:
    policy = spec.get("runPolicy")
    return {**spec, "cleanPodPolicy": policy.get("cleanPodPolicy")} if isinstance(policy, dict) else spec


def _validate(spec: MPIJobSpec, replicas: Mapping[str, ReplicaSpec]) -> Iterator[FieldError]:
    path = f"spec.mpiReplicaSpecs[{LAUNCHER}]"
    launcher = replicas.get(LAUNCHER)
    if launcher is None:
        yield field.required(path, "must be present")
    elif launcher.replicas == 0:
        yield field.forbidden(f"{path}.replicas", "must be 1")
    if spec.slots_per_worker is not None and spec.slots_per_worker < 1:
        yield field.invalid("spec.slotsPerWorker", spec.slots_per_worker, "must be greater than 0")


def _environment(job: Job) -> Environment:
    agent, hostfile = f"{mpi.CONFIG_MOUNT}/{objects.KUBEXEC}", f"{mpi.CONFIG_MOUNT}/{objects.HOSTFILE}"
    # Open MPI 4 reads the first of each pair, 5 the second.
    values = {
        "OMPI_MCA_plm_rsh_agent": agent,
        "PRTE_MCA_plm_ssh_agent": agent,
        "OMPI_MCA_orte_default_hostfile": hostfile,
        "PRTE_MCA_prte_default_hostfile": hostfile,
    }
    if not objects.is_gpu_launcher(job):
        values |= mpi.NO_GPUS
    given = {variable.get("name") for variable in job.main(LAUNCHER).get("env") or ()}
    hydra = {"I_MPI_HYDRA_BOOTSTRAP": "rsh", "I_MPI_HYDRA_BOOTSTRAP_EXEC": agent}
    launcher = variables(values | {name: value for name, value in hydra.items() if name not in given})
    return lambda replica: launcher if replica.type == LAUNCHER else ()


def _shape_pod(job: Job, replica: Replica, spec: Object) -> Object:
    return _launcher(job, spec) if replica.type == LAUNCHER else _worker(job, spec)


def _worker(job: Job, spec: Object) -> Object:
    first, *others = spec["containers"]
    if not first.get("command"):
        first = {**first, "command": ["sleep"], "args": ["365d"]}
    # Open MPI looks for the agent's path in every rank.
    return {
        **spec,
        "containers": [_mounted(first, (_CONFIG_VOLUME, mpi.CONFIG_MOUNT)), *others],
        "volumes": [*(spec.get("volumes") or ()), _config_volume(job, {objects.KUBEXEC: 0o555})],
    }


def _launcher(job: Job, spec: Object) -> Object:
    mounts = ((_KUBECTL_VOLUME, KUBECTL_MOUNT), (_CONFIG_VOLUME, mpi.CONFIG_MOUNT))
    delivery = {
        "name": "kubectl-delivery",
        "image": job.settings.kubectl_delivery_image,
        "imagePullPolicy": "IfNotPresent",
        "env": variables({"TARGET_DIR": KUBECTL_MOUNT, "NAMESPACE": job.namespace}),
        "resources": {"limits": dict(_DELIVERY_RESOURCES), "requests": dict(_DELIVERY_RESOURCES)},
    }
    first, *others = spec["containers"]
    modes = {objects.KUBEXEC: 0o555, objects.HOSTFILE: 0o444, objects.DISCOVER_HOSTS: 0o555}
    return {
        **spec,
        "serviceAccountName": objects.account(job),
        "initContainers": [*(spec.get("initContainers") or ()), _mounted(delivery, *mounts)],
        "containers": [_mounted(first, *mounts), *others],
        "volumes": [
            *(spec.get("volumes") or ()),
            {"name": _KUBECTL_VOLUME, "emptyDir": {}},
            _config_volume(job, modes),
        ],
    }


def _mounted(container: Object, *mounts: tuple[str, str]) -> Object:
    added = [{"name": name, "mountPath": path} for name, path in mounts]
    return {**container, "volumeMounts": [*(container.get("volumeMounts") or ()), *added]}


def _config_volume(job: Job, modes: Mapping[str, int]) -> Object:
    items = [{"key": name, "path": name, "mode": mode} for name, mode in modes.items()]
    return {"name": _CONFIG_VOLUME, "configMap": {"name": objects.config_name(job), "items": items}}


MPI = Framework(
    resource=V1,
    body=MPIJob,
    spec=MPIJobSpec,
    replicas_field="mpiReplicaSpecs",
    types=(WORKER, LAUNCHER),
    container="",
    port_name="",
    port=9999,
    restart_policy="Never",
    masters=(LAUNCHER,),
    min_replicas=0,
    default_replicas={WORKER: 0},
    decide=lambda job: Decision((LAUNCHER,)),
    environment=_environment,
    default=_default,
    validate=_validate,
    unindexed=frozenset({LAUNCHER}),
    services=False,
    shape_pod=_shape_pod,
    children=tuple(
        Child(kind.resource) for kind in (core.CONFIG_MAP, core.SERVICE_ACCOUNT, core.ROLE, core.ROLE_BINDING)
    ),
    objects=objects.objects,
    grants=objects.GRANTS,
    ignores=lambda job: written_in(job) == V2BETA1.version,
    marks_evictions=True,
)
