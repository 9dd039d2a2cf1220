"""JAXJob: processes meet at worker 0, the coordinator of ``jax.distributed.initialize``."""

from __future__ import annotations

from typing import Annotated

from homeport.components.training.framework import Decision, Environment, Framework, Job, Replica, variables
from homeport.components.training.kinds import GROUP, VERSION, JobStatus, ReplicaSpec, RunPolicy, TrainingModel
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.schema.fields import doc

WORKER = "Worker"


class JAXJobSpec(TrainingModel, frozen=True):
    """The training that the user wants."""

    jax_replica_specs: Annotated[dict[str, ReplicaSpec], doc("The replicas by type: Worker.")]
    run_policy: Annotated[RunPolicy | None, doc("How long the job may run and what is left of it.")] = None


class JAXJob(TrainingModel, frozen=True):
    """A JAX training of several processes."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[JAXJobSpec | None, doc("The training that the user wants.")] = None
    status: Annotated[JobStatus | None, doc("What was last observed. Written by the controller.")] = None


def _environment(job: Job) -> Environment:
    shared = variables(
        {
            "PYTHONUNBUFFERED": 1,
            "COORDINATOR_PORT": job.port(WORKER),
            "COORDINATOR_ADDRESS": job.host(WORKER, 0),
            "NUM_PROCESSES": job.total,
        }
    )

    def environment(replica: Replica) -> list[Object]:
        return [*shared, *variables({"PROCESS_ID": replica.index})]

    return environment


JAX = Framework(
    resource=Resource(GROUP, VERSION, "jaxjobs", "JAXJob"),
    body=JAXJob,
    spec=JAXJobSpec,
    replicas_field="jaxReplicaSpecs",
    types=(WORKER,),
    container="jax",
    port_name="jaxjob-port",
    port=6666,
    restart_policy="Never",
    min_replicas=0,
    decide=lambda job: Decision((WORKER,)),
    environment=_environment,
    all_containers=True,
    scale_paths=(
        ".spec.jaxReplicaSpecs.Worker.replicas",
        ".status.replicaStatuses.Worker.active",
        ".status.replicaStatuses.Worker.selector",
    ),
)
