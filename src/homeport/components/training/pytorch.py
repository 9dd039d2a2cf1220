"""PyTorchJob: processes meet at the master (``MASTER_ADDR``) or, elastic, at a rendezvous (``PET_RDZV_*``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from homeport.components.training import autoscaling, kinds
from homeport.components.training.framework import Decision, Environment, Framework, Job, Replica
from homeport.components.training.kinds import GROUP, VERSION, JobStatus, ReplicaSpec, RunPolicy, TrainingModel
from homeport.kube import field
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.errors import FieldError
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.schema.fields import doc

MASTER, WORKER = "Master", "Worker"


class RDZVConf(TrainingModel, frozen=True):
    """One setting of the rendezvous."""

    key: Annotated[str, doc("Its name, such as timeout.")] = ""
    value: Annotated[str, doc("Its value.")] = ""


class ElasticPolicy(kinds.ElasticLimits, frozen=True):
    """How torchrun's elastic training is set up. With it, a job has succeeded once any worker has."""

    rdzv_backend: Annotated[Literal["c10d", "etcd", "etcd-v2"] | None, doc("How workers meet; c10d if absent.")] = None
    rdzv_port: Annotated[int | None, doc("Port where they meet; that of worker 0 if absent.")] = None
    rdzv_host: Annotated[str | None, doc("Host where they meet; worker 0 if absent.")] = None
    rdzv_id: Annotated[str | None, doc("Name of the meeting.")] = None
    rdzv_conf: Annotated[list[RDZVConf] | None, doc("Further settings of the rendezvous.")] = None
    standalone: Annotated[bool | None, doc("True for one node that needs no rendezvous: torchrun sets up its own.")] = (
        None
    )
    n_proc_per_node: Annotated[int | None, doc("Deprecated: see spec.nprocPerNode.", minimum=1)] = None


class PyTorchJobSpec(TrainingModel, frozen=True):
    """The training that the user wants."""

    pytorch_replica_specs: Annotated[dict[str, ReplicaSpec], doc("The replicas by type: Master, Worker.")]
    run_policy: Annotated[RunPolicy | None, doc("How long the job may run and what is left of it.")] = None
    elastic_policy: Annotated[ElasticPolicy | None, doc("Elastic training; needs workers.")] = None
    nproc_per_node: Annotated[
        str | None, doc("Processes that torchrun starts in each replica: auto (also if absent), cpu, gpu or a number.")
    ] = None


class PyTorchJob(TrainingModel, frozen=True):
    """A distributed PyTorch training."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[PyTorchJobSpec | None, doc("The training that the user wants.")] = None
    status: Annotated[JobStatus | None, doc("What was last observed. Written by the controller.")] = None


def _default(spec: Object) -> Object:
    elastic = spec.get("elasticPolicy")
    given = spec.get("nprocPerNode"), elastic.get("nProcPerNode") if isinstance(elastic, dict) else None
    return spec if any(value is not None for value in given) else {**spec, "nprocPerNode": "auto"}


def _validate(spec: PyTorchJobSpec, replicas: Mapping[str, ReplicaSpec]) -> Iterator[FieldError]:
    nproc, elastic = spec.nproc_per_node, spec.elastic_policy
    if nproc is not None and nproc not in ("auto", "cpu", "gpu") and not (nproc.isdecimal() and int(nproc) > 0):
        yield field.invalid("spec.nprocPerNode", nproc, "must be auto, cpu, gpu or a positive number")
    if elastic is None:
        return
    if elastic.n_proc_per_node is not None and nproc is not None:
        yield field.forbidden("spec.elasticPolicy.nProcPerNode", "must not be used with spec.nprocPerNode")
    yield from elastic.complaints("spec.pytorchReplicaSpecs", replicas)


def _decide(job: Job) -> Decision:
    if job.count(MASTER):
        return Decision((MASTER,))
    return Decision((WORKER,), "any" if job.spec.elastic_policy else "all")


_OWN_STORE: Object = {"name": "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "value": "1"}
"""From PyTorch 2.4 on, nodes that have met before keep the store of their first round, and never tell those that come
later where it is: these wait for a minute, and all give up. Each round has a store of its own with this."""


def _environment(job: Job) -> Environment:
    spec: PyTorchJobSpec = job.spec
    nproc = spec.nproc_per_node
    processes = int(nproc) if nproc and nproc.isdecimal() else 1
    before: dict[str, str] = {"PYTHONUNBUFFERED": "1"}
    if has_master := bool(job.count(MASTER)):
        port, host = str(job.port(MASTER)), job.host(MASTER, 0)
        before |= {"MASTER_PORT": port, "PET_MASTER_PORT": port, "MASTER_ADDR": host, "PET_MASTER_ADDR": host}
        before["WORLD_SIZE"] = str(job.total * processes)
    after = {"PET_NPROC_PER_NODE": nproc} if nproc else {}
    after |= _elastic(job, spec.elastic_policy) if spec.elastic_policy else {"PET_NNODES": str(job.total)}
    silent = {type for type in job.replicas if spec.elastic_policy and not _has(job.main(type), _OWN_STORE["name"])}

    def environment(replica: Replica) -> list[Object]:
        rank = {}
        if has_master:
            number = str(replica.index + (replica.type == WORKER))
            rank = {"RANK": number, "PET_NODE_RANK": number}
        values: list[Object] = [{"name": name, "value": value} for name, value in (before | rank | after).items()]
        return [*values, _OWN_STORE] if replica.type in silent else values

    return environment


def _has(container: Object, variable: str) -> bool:
    return any(each.get("name") == variable for each in container.get("env") or ())


def _elastic(job: Job, policy: ElasticPolicy) -> dict[str, str]:
    host, port = policy.rdzv_host or job.host(WORKER, 0), policy.rdzv_port or job.port(WORKER)
    least, most = policy.bounds(job.count(WORKER))
    values: dict[str, str | int | None] = {
        "PET_RDZV_ENDPOINT": f"{host}:{port}",
        "PET_RDZV_BACKEND": policy.rdzv_backend or "c10d",
        "PET_NNODES": f"{least}:{most}",
        "PET_MAX_RESTARTS": policy.max_restarts,
        "PET_NPROC_PER_NODE": policy.n_proc_per_node,
        "PET_RDZV_ID": policy.rdzv_id,
        "PET_RDZV_CONF": ",".join(f"{c.key}={c.value}" for c in policy.rdzv_conf or ()) or None,
        # torchrun reads it as a number; the Training Operator's empty text makes it fail.
        "PET_STANDALONE": 1 if policy.standalone else None,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


PYTORCH = Framework(
    resource=Resource(GROUP, VERSION, "pytorchjobs", "PyTorchJob"),
    body=PyTorchJob,
    spec=PyTorchJobSpec,
    replicas_field="pytorchReplicaSpecs",
    types=(MASTER, WORKER),
    container="pytorch",
    port_name="pytorchjob-port",
    port=23456,
    restart_policy="OnFailure",
    masters=(MASTER,),
    decide=_decide,
    environment=_environment,
    all_containers=True,
    default=_default,
    validate=_validate,
    children=(autoscaling.CHILD,),
    objects=autoscaling.autoscaler,
    scale_paths=autoscaling.scale_paths("pytorchReplicaSpecs"),
)
