"""TFJob: parameter servers and workers find each other through ``TF_CONFIG``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from homeport.components.training.framework import Decision, Environment, Framework, Job, Replica
from homeport.components.training.kinds import GROUP, VERSION, JobStatus, ReplicaSpec, RunPolicy, TrainingModel
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.schema.fields import doc

PS, WORKER, CHIEF, MASTER, EVALUATOR = "PS", "Worker", "Chief", "Master", "Evaluator"


class TFJobSpec(TrainingModel, frozen=True):
    """The training that the user wants."""

    tf_replica_specs: Annotated[
        dict[str, ReplicaSpec], doc("The replicas by type: PS, Worker, Chief or Master, Evaluator.")
    ]
    run_policy: Annotated[RunPolicy | None, doc("How long the job may run and what is left of it.")] = None
    success_policy: Annotated[
        Literal["", "AllWorkers"],
        doc(
            "When a job without Chief and Master has succeeded: once worker 0 has (empty), or once all workers have "
            "(AllWorkers).",
        ),
    ] = ""
    enable_dynamic_worker: Annotated[
        bool,
        doc("True gives each worker a TF_CONFIG that doesn't list the others, and goes on when workers fail."),
    ] = False


class TFJob(TrainingModel, frozen=True):
    """A distributed TensorFlow training."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[TFJobSpec | None, doc("The training that the user wants.")] = None
    status: Annotated[JobStatus | None, doc("What was last observed. Written by the controller.")] = None


def _decide(job: Job) -> Decision:
    if head := job.first(CHIEF, MASTER):
        return Decision((head,))
    if job.count(WORKER):
        return Decision((WORKER,), "all" if job.spec.success_policy == "AllWorkers" else "first")
    return Decision(tuple(job.replicas))


def _environment(job: Job) -> Environment:
    if job.total == 1:
        # Nobody to meet: without TF_CONFIG TensorFlow trains locally.
        return lambda replica: ()
    return _sparse(job) if job.spec.enable_dynamic_worker else _dense(job)


def _addresses(job: Job, type: str) -> list[str]:
    domain = f".{job.settings.cluster_domain}" if job.settings.cluster_domain else ""
    port = job.port(type)
    return [f"{job.host(type, i)}.{job.namespace}.svc{domain}:{port}" for i in range(job.count(type))]


def _dense(job: Job) -> Environment:
    # The evaluator stands apart: the others must not wait for it to join.
    types = sorted((type for type in job.replicas if type != EVALUATOR), key=str.lower)
    cluster = _json({type.lower(): _addresses(job, type) for type in types})

    def environment(replica: Replica) -> tuple[Object, ...]:
        return _tf_config(f'{{"cluster":{cluster},"task":{_task(replica)},"environment":"cloud"}}')

    return environment


def _sparse(job: Job) -> Environment:
    servers, workers = _addresses(job, PS), _addresses(job, WORKER)

    def environment(replica: Replica) -> tuple[Object, ...]:
        cluster: Object = {"worker": {}, "ps": []}
        if replica.type == PS:
            cluster["ps"] = [servers[replica.index]]
        elif replica.type == WORKER:
            cluster = {"worker": {str(replica.index): workers[replica.index]}, "ps": servers}
        return _tf_config(f'{{"cluster":{_json(cluster)},"task":{_task(replica)}}}')

    return environment


def _task(replica: Replica) -> str:
    return _json({"type": replica.role, "index": replica.index})


def _tf_config(value: str) -> tuple[Object, ...]:
    return ({"name": "TF_CONFIG", "value": value},)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


TENSORFLOW = Framework(
    resource=Resource(GROUP, VERSION, "tfjobs", "TFJob"),
    body=TFJob,
    spec=TFJobSpec,
    replicas_field="tfReplicaSpecs",
    types=(PS, CHIEF, MASTER, WORKER, EVALUATOR),
    container="tensorflow",
    port_name="tfjob-port",
    port=2222,
    restart_policy="Never",
    masters=(CHIEF, MASTER),
    min_replicas=0,
    decide=_decide,
    environment=_environment,
    tolerates=lambda job, type: type == WORKER and job.spec.enable_dynamic_worker,
)
