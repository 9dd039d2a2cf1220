"""The structs that all training jobs of ``kubeflow.org/v1`` share. Fields and meaning: Training Operator v1.9.

A framework's own spec struct lives in the framework's module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from homeport.kube import field
from homeport.kube.core.types.meta import LabelSelector
from homeport.kube.core.types.pod import PodTemplateSpec
from homeport.kube.errors import FieldError
from homeport.kube.schema.fields import AnyObject, Int64, Model, Quantity, Time, atomic_list, doc, ref

GROUP = "kubeflow.org"
VERSION = "v1"

OUR_MANAGER = "kubeflow.org/training-operator"
"""The value of ``runPolicy.managedBy`` that means these controllers, as does no value at all."""
MANAGERS = (OUR_MANAGER, "kueue.x-k8s.io/multikueue")

RestartPolicy: TypeAlias = Literal["Always", "OnFailure", "Never", "ExitCode"]
CleanPodPolicy: TypeAlias = Literal["All", "Running", "None"]


class TrainingModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "org.kubeflow.v1"


class SchedulingPolicy(TrainingModel, frozen=True):
    """How a gang scheduler shall treat the job's pods."""

    min_available: Annotated[int | None, doc("Pods that must be placed together; all of the job's if absent.")] = None
    queue: Annotated[
        str,
        doc(
            "Queue that the job waits in. Can't be changed.",
            rules=[{"rule": "self == oldSelf", "message": "spec.runPolicy.schedulingPolicy.queue is immutable"}],
        ),
    ] = ""
    min_resources: Annotated[
        dict[str, Quantity] | None, doc("Resources that must be free before any pod is placed.")
    ] = None
    priority_class: Annotated[str, doc("PriorityClass of the gang.")] = ""
    schedule_timeout_seconds: Annotated[
        int | None, doc("Seconds after which a gang that can't be placed gives up.")
    ] = None


class RunPolicy(TrainingModel, frozen=True):
    """How long a job may run, how often it may restart and what is left of it when it has ended."""

    clean_pod_policy: Annotated[
        CleanPodPolicy | None,
        doc(
            "Pods (and their services) to delete when the job has ended: All, those that still run or wait (Running), "
            "or None. None if absent."
        ),
    ] = None
    ttl_seconds_after_finished: Annotated[
        int | None, doc("Seconds after its end at which the job is deleted. Kept if absent.", minimum=0)
    ] = None
    active_deadline_seconds: Annotated[
        Int64 | None,
        doc("Seconds since startTime after which a job that still runs is stopped and fails.", minimum=1),
    ] = None
    backoff_limit: Annotated[
        int | None,
        doc(
            "Restarts that the job may need in all, over all its replicas; one more and it fails. No limit if absent.",
            minimum=0,
        ),
    ] = None
    scheduling_policy: Annotated[SchedulingPolicy | None, doc("For gang scheduling.")] = None
    suspend: Annotated[
        bool,
        doc(
            "True holds the job: its pods are deleted, or not created in the first place, until it is false again.",
            default=False,
        ),
    ] = False
    managed_by: Annotated[
        str | None,
        doc(
            "Which controller runs the job: kubeflow.org/training-operator (also if absent) or "
            "kueue.x-k8s.io/multikueue. Can't be changed."
        ),
    ] = None


class ReplicaSpec(TrainingModel, frozen=True):
    """Replicas of one type."""

    template: Annotated[
        dict[str, Any],
        doc("The pod of each replica. Its restartPolicy is replaced by the one beside it."),
        ref(PodTemplateSpec, defaults=False),
    ]
    replicas: Annotated[int | None, doc("How many. 1 if absent.", minimum=0)] = None
    restart_policy: Annotated[
        RestartPolicy | None,
        doc(
            "What becomes of a replica that ends. Always and OnFailure restart it; Never fails the job; ExitCode fails "
            "the job on exit codes 1 to 127 and restarts the replica on 128 to 255. Each framework has its default."
        ),
    ] = None


class JobCondition(TrainingModel, frozen=True):
    """One stage of a job's life."""

    type: Annotated[str, doc("Created, Running, Restarting, Suspended, Succeeded or Failed.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    reason: Annotated[str, doc("Why, as one word.")] = ""
    message: Annotated[str, doc("Why, for people.")] = ""
    last_update_time: Annotated[Time | None, doc("When anything of this condition changed.")] = None
    last_transition_time: Annotated[Time | None, doc("When the status of this condition changed.")] = None


class ReplicaStatus(TrainingModel, frozen=True):
    """Replicas of one type, counted."""

    active: Annotated[int, doc("Pods that run.")] = 0
    succeeded: Annotated[int, doc("Pods that have succeeded.")] = 0
    failed: Annotated[int, doc("Pods that have failed and were not replaced yet.")] = 0
    label_selector: Annotated[LabelSelector | None, doc("Deprecated: see selector.")] = None
    selector: Annotated[str, doc("Label selector of these pods.")] = ""
    restarts: Annotated[int, doc("Restarts so far, of containers in place and of whole pods.")] = 0
    restarts_by_index: Annotated[
        dict[str, int] | None, doc("Restarts of replicas whose pods were replaced, by replica index.")
    ] = None
    replaced: Annotated[
        list[str] | None, doc("UIDs of failed pods that restarts counts and that are about to be replaced.")
    ] = None


class TrainingMetric(TrainingModel, frozen=True):
    """A figure that the training has written into its log. Not of upstream."""

    name: Annotated[str, doc("Such as loss or epoch.", min_length=1, max_length=64)]
    value: Annotated[str, doc("The number, as text; NaN, +Inf and -Inf too.", min_length=1, max_length=64)]
    step: Annotated[Int64 | None, doc("The step that was named last before it.")] = None
    epoch: Annotated[Int64 | None, doc("The epoch that was named last before it.")] = None
    time: Annotated[Time | None, doc("When it was read.")] = None


class JobStatus(TrainingModel, frozen=True):
    """What was last observed of a job."""

    conditions: Annotated[list[JobCondition] | None, doc("Stages of the job; the last one is its state.")] = None
    replica_statuses: Annotated[dict[str, ReplicaStatus] | None, doc("Replicas by type.")] = None
    gang_restarts: Annotated[int, doc("Restarts of all replicas together.")] = 0
    training_metrics: Annotated[
        list[TrainingMetric] | None,
        doc("Figures of the training, as its log had them last.", max_items=16),
        atomic_list(),
    ] = None
    start_time: Annotated[Time | None, doc("When the job was first taken up, or resumed.")] = None
    completion_time: Annotated[Time | None, doc("When the job ended, well or not.")] = None
    last_reconcile_time: Annotated[Time | None, doc("When this status last changed.")] = None


class ElasticLimits(TrainingModel, frozen=True):
    """How far the number of workers may move."""

    min_replicas: Annotated[int | None, doc("Fewest workers that training goes on with.", minimum=1)] = None
    max_replicas: Annotated[int | None, doc("Most workers.", minimum=1)] = None
    max_restarts: Annotated[int | None, doc("Restarts of the worker group before it gives up.", minimum=0)] = None
    metrics: Annotated[
        list[AnyObject] | None, doc("Metrics (autoscaling/v2 MetricSpec) by which an autoscaler sets the workers.")
    ] = None

    def bounds(self, workers: int) -> tuple[int, int]:
        """Fewest and most workers: each defaults to the other, and both to the `workers` that there are."""
        least, most = self.min_replicas, self.max_replicas
        either = next((n for n in (least, most) if n is not None), workers)
        return either if least is None else least, either if most is None else most

    def complaints(self, replicas_path: str, replicas: Mapping[str, ReplicaSpec]) -> Iterator[FieldError]:
        """What is wrong with the policy of a job with these `replicas`."""
        if "Worker" not in replicas:
            yield field.required(f"{replicas_path}[Worker]", "must be configured if elastic policy is used")
        least, most = self.bounds(1)
        if least > most:
            yield field.invalid("spec.elasticPolicy.maxReplicas", most, f"must not be less than minReplicas ({least})")
