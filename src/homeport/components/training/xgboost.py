"""XGBoostJob: the master runs the tracker (``MASTER_ADDR``) that workers report to; for LightGBM they are listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from homeport.components.training.framework import Decision, Environment, Framework, Job, Replica, variables
from homeport.components.training.kinds import GROUP, VERSION, JobStatus, ReplicaSpec, RunPolicy, TrainingModel
from homeport.kube import field
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.errors import FieldError
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.schema.fields import doc

MASTER, WORKER = "Master", "Worker"


class XGBoostJobSpec(TrainingModel, frozen=True):
    """The training that the user wants."""

    xgb_replica_specs: Annotated[dict[str, ReplicaSpec], doc("The replicas by type: one Master, any number of Worker.")]
    run_policy: Annotated[RunPolicy | None, doc("How long the job may run and what is left of it.")] = None


class XGBoostJob(TrainingModel, frozen=True):
    """A distributed XGBoost or LightGBM training."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[XGBoostJobSpec | None, doc("The training that the user wants.")] = None
    status: Annotated[JobStatus | None, doc("What was last observed. Written by the controller.")] = None


def _validate(spec: XGBoostJobSpec, replicas: Mapping[str, ReplicaSpec]) -> Iterator[FieldError]:
    master = replicas.get(MASTER)
    path = f"spec.xgbReplicaSpecs[{MASTER}]"
    if master is None:
        yield field.required(path, "must be present")
    elif master.replicas == 0:
        yield field.forbidden(f"{path}.replicas", "must be 1")


def _environment(job: Job) -> Environment:
    before = {"MASTER_PORT": job.port(MASTER), "MASTER_ADDR": job.host(MASTER, 0), "WORLD_SIZE": job.total}
    after: dict[str, object] = {"PYTHONUNBUFFERED": 1}
    if workers := job.count(WORKER):
        after["WORKER_PORT"] = job.port(WORKER)
        after["WORKER_ADDRS"] = ",".join(job.host(WORKER, index) for index in range(workers))
    first, last = variables(before), variables(after)

    def environment(replica: Replica) -> list[Object]:
        rank = replica.index + (replica.type == WORKER)
        return [*first, *variables({"RANK": rank}), *last]

    return environment


XGBOOST = Framework(
    resource=Resource(GROUP, VERSION, "xgboostjobs", "XGBoostJob"),
    body=XGBoostJob,
    spec=XGBoostJobSpec,
    replicas_field="xgbReplicaSpecs",
    types=(MASTER, WORKER),
    container="xgboost",
    port_name="xgboostjob-port",
    port=9999,
    restart_policy="Never",
    masters=(MASTER,),
    min_replicas=0,
    decide=lambda job: Decision((MASTER,)),
    environment=_environment,
    all_containers=True,
    validate=_validate,
)
