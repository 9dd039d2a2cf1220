"""The structs of Volcano's jobs (``batch.volcano.sh/v1alpha1``) and commands (``bus.volcano.sh/v1alpha1``).

Fields, bounds and meaning: Volcano 1.15.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec

from homeport.kube.core.types.meta import ObjectMeta, OwnerReference
from homeport.kube.core.types.pod import PodTemplateSpec
from homeport.kube.core.types.volume_claim import PersistentVolumeClaimSpec
from homeport.kube.schema.fields import Duration, Model, Time, doc, ref

_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

JobPhase: TypeAlias = Literal[
    "Pending",
    "Aborting",
    "Aborted",
    "Running",
    "Restarting",
    "Completing",
    "Completed",
    "Terminating",
    "Terminated",
    "Failed",
]


class BatchModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "sh.volcano.batch.v1alpha1"


class NetworkTopologySpec(BatchModel, frozen=True):
    """How near to each other pods shall be placed."""

    mode: Annotated[Literal["hard", "soft"], doc("Whether they must be (hard) or had better be (soft).")] = "hard"
    highest_tier_allowed: Annotated[
        int | None, doc("The highest tier that the pods may be spread over.", minimum=0)
    ] = None
    highest_tier_name: Annotated[str, doc("The same by name. Only one of the two.", max_length=253)] = ""


class VolumeSpec(BatchModel, frozen=True):
    """A volume that all pods of a job mount."""

    mount_path: Annotated[str, doc("Where containers find it. May not contain ':'.", min_length=1, pattern="^[^:]+$")]
    volume_claim_name: Annotated[str, doc("An existing claim.", max_length=253)] = ""
    volume_claim: Annotated[
        dict[str, Any] | None, doc("Or the claim to make."), ref(PersistentVolumeClaimSpec, defaults=False)
    ] = None


class LifecyclePolicy(BatchModel, frozen=True):
    """What to do when something happens to a pod, a task or the job."""

    action: Annotated[
        str,
        doc("AbortJob, RestartJob, RestartTask, RestartPod, RestartPartition, TerminateJob, CompleteJob or ResumeJob."),
    ] = ""
    event: Annotated[
        str, doc("*, PodFailed, PodEvicted, PodPending, Unknown, TaskCompleted, TaskFailed or JobUpdated.")
    ] = ""
    events: Annotated[list[str] | None, doc("Several such events.")] = None
    exit_code: Annotated[int | None, doc("Instead of events: a failed container's exit code.")] = None
    timeout: Annotated[Duration | None, doc("How long to wait before the action; it has no time if absent.")] = None


class DependsOn(BatchModel, frozen=True):
    """Tasks that have to be ready before another one starts."""

    name: Annotated[list[str] | None, doc("The tasks.")] = None
    iteration: Annotated[str, doc("Whether any or all of them have to be ready; all if absent.")] = ""


class PartitionPolicySpec(BatchModel, frozen=True):
    """Groups of pods inside a task."""

    total_partitions: Annotated[int, doc("How many groups.", minimum=1)]
    partition_size: Annotated[int, doc("Pods of each group.", minimum=1)]
    network_topology: Annotated[NetworkTopologySpec | None, doc("How near pods of one group shall be.")] = None
    min_partitions: Annotated[int, doc("Groups that have to be placed together.", minimum=0, default=0)] = 0


class TaskSpec(BatchModel, frozen=True):
    """Pods that are alike."""

    name: Annotated[str, doc("Name of the task.", max_length=63, pattern=_LABEL)] = ""
    replicas: Annotated[int, doc("How many pods.", minimum=0)] = 0
    min_available: Annotated[int | None, doc("Pods that the task needs; all if absent.", minimum=0)] = None
    template: Annotated[dict[str, Any] | None, doc("The pods."), ref(PodTemplateSpec, defaults=False)] = None
    policies: Annotated[list[LifecyclePolicy] | None, doc("What to do when something happens.")] = None
    topology_policy: Annotated[
        Literal["none", "best-effort", "restricted", "single-numa-node"] | None, doc("How NUMA nodes are used.")
    ] = None
    max_retry: Annotated[int, doc("Restarts of its containers after which the task has failed; -1 is no limit.")] = 0
    depends_on: Annotated[DependsOn | None, doc("Tasks that have to be ready first.")] = None
    partition_policy: Annotated[PartitionPolicySpec | None, doc("Groups inside the task.")] = None


class JobSpec(BatchModel, frozen=True):
    """What a job consists of."""

    scheduler_name: Annotated[
        str, doc("The scheduler of pods whose template names none; volcano if absent.", max_length=63)
    ] = ""
    min_available: Annotated[int, doc("Pods that must run together; all if absent.", minimum=0)] = 0
    volumes: Annotated[list[VolumeSpec] | None, doc("What all containers mount.")] = None
    tasks: Annotated[list[TaskSpec] | None, doc("The pods, task by task.", min_items=1)] = None
    policies: Annotated[
        list[LifecyclePolicy] | None, doc("What to do when something happens that a task has no policy for.")
    ] = None
    plugins: Annotated[
        dict[str, list[str] | None] | None,
        doc("What pods are given beside their templates: env, svc, ssh, tensorflow, pytorch, mpi; with arguments."),
    ] = None
    running_estimate: Annotated[Duration | None, doc("How long the job will run, as its user thinks.")] = None
    queue: Annotated[str, doc("The queue that the job waits in.", max_length=253, pattern=_SUBDOMAIN)] = "default"
    max_retry: Annotated[int, doc("Restarts of the job after which it has failed.", minimum=0)] = 3
    ttl_seconds_after_finished: Annotated[
        int | None, doc("Seconds after its end at which the job is deleted. Kept if absent.", minimum=0)
    ] = None
    priority_class_name: Annotated[str, doc("PriorityClass of the job.", max_length=253, pattern=_SUBDOMAIN)] = (
        msgspec.field(default="")
    )
    min_success: Annotated[int | None, doc("Pods that have to succeed for the job to be complete.", minimum=1)] = None
    network_topology: Annotated[NetworkTopologySpec | None, doc("How near to each other its pods shall be.")] = None


class JobState(BatchModel, frozen=True):
    """Where a job is in its life."""

    phase: Annotated[JobPhase | None, doc("The job's phase.")] = None
    reason: Annotated[str, doc("Why, in one word.")] = ""
    message: Annotated[str, doc("Why, in words.")] = ""
    last_transition_time: Annotated[Time | None, doc("Since when.")] = None


class TaskState(BatchModel, frozen=True):
    """The pods of one task, counted."""

    phase: Annotated[dict[str, int] | None, doc("Pods by phase.")] = None


class JobCondition(BatchModel, frozen=True):
    """A phase that the job has been in."""

    status: Annotated[JobPhase, doc("The phase.")]
    last_transition_time: Annotated[Time | None, doc("Since when.")] = None


class JobStatus(BatchModel, frozen=True):
    """What has become of a job."""

    state: Annotated[JobState | None, doc("Where it is in its life.")] = None
    min_available: Annotated[int, doc("Pods that must run together.", minimum=0)] = 0
    task_status_count: Annotated[dict[str, TaskState] | None, doc("Pods by task and phase.")] = None
    pending: Annotated[int, doc("Pods that wait.", minimum=0)] = 0
    running: Annotated[int, doc("Pods that run.", minimum=0)] = 0
    succeeded: Annotated[int, doc("Pods that have succeeded.", minimum=0)] = 0
    failed: Annotated[int, doc("Pods that have failed.", minimum=0)] = 0
    terminating: Annotated[int, doc("Pods on their way out.", minimum=0)] = 0
    unknown: Annotated[int, doc("Pods that nobody has heard of lately.", minimum=0)] = 0
    version: Annotated[int, doc("How often all pods have been made anew.", minimum=0)] = 0
    retry_count: Annotated[int, doc("Restarts so far.", minimum=0)] = 0
    running_duration: Annotated[Duration | None, doc("How long it ran.")] = None
    controlled_resources: Annotated[dict[str, str] | None, doc("Objects that were made for it.")] = None
    conditions: Annotated[list[JobCondition] | None, doc("The phases so far.")] = None


class Job(BatchModel, frozen=True):
    """Tasks whose pods are scheduled, restarted and ended together."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[JobSpec | None, doc("What the job consists of.")] = None
    status: Annotated[JobStatus | None, doc("What has become of it.")] = None


class Command(Model, frozen=True):
    """An order to a job or a queue. It is deleted when it is carried out."""

    __schema_prefix__: ClassVar[str] = "sh.volcano.bus.v1alpha1"

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    action: Annotated[
        str, doc("AbortJob, ResumeJob, RestartJob, ... for a job; OpenQueue or CloseQueue for a queue.")
    ] = ""
    target: Annotated[OwnerReference | None, doc("The job or the queue.")] = None
    reason: Annotated[str, doc("Why, in one word.")] = ""
    message: Annotated[str, doc("Why, in words.")] = ""
