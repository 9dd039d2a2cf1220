"""PaddleJob: ``paddle.distributed.launch`` meets at worker 0, or with Masters (parameter servers) at master 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from homeport.components.training import autoscaling, kinds
from homeport.components.training.framework import Decision, Environment, Framework, Job, Replica, variables
from homeport.components.training.kinds import GROUP, VERSION, JobStatus, ReplicaSpec, RunPolicy, TrainingModel
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.errors import FieldError
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.schema.fields import doc

MASTER, WORKER = "Master", "Worker"


class PaddleElasticPolicy(kinds.ElasticLimits, frozen=True):
    """How far the number of workers may move."""


class PaddleJobSpec(TrainingModel, frozen=True):
    """The training that the user wants."""

    paddle_replica_specs: Annotated[
        dict[str, ReplicaSpec], doc("The replicas by type: Worker; with Master, these are parameter servers.")
    ]
    run_policy: Annotated[RunPolicy | None, doc("How long the job may run and what is left of it.")] = None
    elastic_policy: Annotated[PaddleElasticPolicy | None, doc("How far the number of workers may move.")] = None


class PaddleJob(TrainingModel, frozen=True):
    """A distributed PaddlePaddle training."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[PaddleJobSpec | None, doc("The training that the user wants.")] = None
    status: Annotated[JobStatus | None, doc("What was last observed. Written by the controller.")] = None


def _default(spec: Object) -> Object:
    """The limits default to each other, and both to the workers that there are."""
    elastic, replicas = spec.get("elasticPolicy"), spec.get("paddleReplicaSpecs")
    worker = replicas.get(WORKER) if isinstance(replicas, dict) else None
    if not isinstance(elastic, dict) or not isinstance(worker, dict):
        return spec
    least, most = elastic.get("minReplicas"), elastic.get("maxReplicas")
    either = next((n for n in (least, most, worker.get("replicas")) if n is not None), None)
    limits = {
        "minReplicas": least if least is not None else either,
        "maxReplicas": most if most is not None else either,
    }
    return {**spec, "elasticPolicy": elastic | limits}


def _validate(spec: PaddleJobSpec, replicas: Mapping[str, ReplicaSpec]) -> Iterator[FieldError]:
    if spec.elastic_policy is not None:
        yield from spec.elastic_policy.complaints("spec.paddleReplicaSpecs", replicas)


def _decide(job: Job) -> Decision:
    return Decision((MASTER,) if job.count(MASTER) else (WORKER,))


def _environment(job: Job) -> Environment:
    servers = bool(job.count(MASTER))
    leading = MASTER if servers else WORKER
    shared = variables({"PYTHONUNBUFFERED": 1, "PADDLE_JOB_ID": job.name, "PADDLE_NNODES": job.total})
    port = job.port(leading)
    # The one that the others meet at must know itself by its address, not by its name.
    own_address = {"name": "POD_IP_DUMMY", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    at_itself = [own_address, *variables({"PADDLE_MASTER": f"$(POD_IP_DUMMY):{port}"})]
    at_leader = variables({"PADDLE_MASTER": f"{job.host(leading, 0)}:{port}"})

    def environment(replica: Replica) -> list[Object]:
        leads = replica.type == leading and replica.index == 0
        result = [*shared, *(at_itself if leads else at_leader)]
        if servers:
            result += variables({"PADDLE_SERVER_NUM" if replica.type == MASTER else "PADDLE_TRAINER_NUM": 1})
        return result

    return environment


PADDLE = Framework(
    resource=Resource(GROUP, VERSION, "paddlejobs", "PaddleJob"),
    body=PaddleJob,
    spec=PaddleJobSpec,
    replicas_field="paddleReplicaSpecs",
    types=(MASTER, WORKER),
    container="paddle",
    port_name="master",
    port=36543,
    restart_policy="OnFailure",
    masters=(MASTER,),
    single_master=False,
    min_replicas=0,
    decide=_decide,
    environment=_environment,
    all_containers=True,
    default=_default,
    validate=_validate,
    children=(autoscaling.CHILD,),
    objects=autoscaling.autoscaler,
    scale_paths=autoscaling.scale_paths("paddleReplicaSpecs"),
)
