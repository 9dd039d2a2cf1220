"""MXJob: MXNet's key-value store (``DMLC_*``) and TVM's tuner (``MX_CONFIG``), as in the Training Operator 1.7."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from homeport.components.training.framework import Decision, Environment, Framework, Job, Replica, variables
from homeport.components.training.kinds import GROUP, VERSION, JobStatus, ReplicaSpec, RunPolicy, TrainingModel
from homeport.kube import field
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.errors import FieldError
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.schema.fields import doc

SCHEDULER, SERVER, WORKER = "Scheduler", "Server", "Worker"
TRACKER, TUNER_SERVER, TUNER = "TunerTracker", "TunerServer", "Tuner"
TUNER_SERVER_KEY = "tuner-server-key"
"""Annotation of a replica's template: the label under which TVM's tracker knows the device."""


class MXJobSpec(TrainingModel, frozen=True):
    """The training that the user wants."""

    mx_replica_specs: Annotated[
        dict[str, ReplicaSpec],
        doc("The replicas by type: Scheduler, Server, Worker to train; TunerTracker, TunerServer, Tuner to tune."),
    ]
    job_mode: Annotated[
        Literal["MXTrain", "MXTune"], doc("MXTrain trains a model; MXTune has TVM tune one for a kind of machine.")
    ]
    run_policy: Annotated[RunPolicy | None, doc("How long the job may run and what is left of it.")] = None


class MXJob(TrainingModel, frozen=True):
    """A distributed MXNet training, or the tuning of a model by TVM."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[MXJobSpec | None, doc("The training that the user wants.")] = None
    status: Annotated[JobStatus | None, doc("What was last observed. Written by the controller.")] = None


def _validate(spec: MXJobSpec, replicas: Mapping[str, ReplicaSpec]) -> Iterator[FieldError]:
    scheduler = replicas.get(SCHEDULER)
    if scheduler is not None and (scheduler.replicas or 0) > 1:
        yield field.forbidden(f"spec.mxReplicaSpecs[{SCHEDULER}].replicas", "must be 1")


def _decide(job: Job) -> Decision:
    deciding = job.first(SCHEDULER, TUNER, WORKER)
    return Decision((deciding,) if deciding else tuple(job.replicas))


def _environment(job: Job) -> Environment:
    types = sorted(job.replicas, key=str.lower)
    cluster = {
        type.lower(): [{"url": job.host(type, i), "port": job.port(type)} for i in range(job.count(type))]
        for type in types
    }
    annotations = {type: (job.replicas[type].template.get("metadata") or {}).get("annotations") or {} for type in types}
    labels = {type.lower(): annotations[type].get(TUNER_SERVER_KEY, "") for type in types}
    begin = _json({"cluster": cluster, "labels": labels}).removesuffix("}")
    has_scheduler = job.count(SCHEDULER) > 0
    shared = variables(
        {
            "DMLC_PS_ROOT_PORT": job.port(SCHEDULER) if has_scheduler else 0,
            "DMLC_PS_ROOT_URI": job.host(SCHEDULER, 0) if has_scheduler else "",
            "DMLC_NUM_SERVER": job.count(SERVER),
            "DMLC_NUM_WORKER": job.count(WORKER),
        }
    )

    def environment(replica: Replica) -> list[Object]:
        task = _json({"type": replica.role, "index": replica.index})
        result = [*variables({"MX_CONFIG": f'{begin},"task":{task}}}'}), *shared]
        result += variables({"DMLC_ROLE": replica.role, "DMLC_USE_KUBERNETES": 1})
        if replica.type == WORKER:
            result += variables({"DMLC_WORKER_ID": replica.index})  # BytePS
        return result

    return environment


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


MXNET = Framework(
    resource=Resource(GROUP, VERSION, "mxjobs", "MXJob"),
    body=MXJob,
    spec=MXJobSpec,
    replicas_field="mxReplicaSpecs",
    types=(SCHEDULER, SERVER, WORKER, TRACKER, TUNER_SERVER, TUNER),
    container="mxnet",
    port_name="mxjob-port",
    port=9091,
    restart_policy="Never",
    masters=(SERVER,),
    single_master=False,
    min_replicas=0,
    decide=_decide,
    environment=_environment,
    all_containers=True,
    validate=_validate,
)
