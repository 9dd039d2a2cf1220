"""Work that ends (batch/v1)."""

from __future__ import annotations

from typing import Annotated, Literal

from homeport.kube.core.types.bases import BatchV1
from homeport.kube.core.types.meta import LabelSelector, ObjectMeta
from homeport.kube.core.types.pod import PodTemplateSpec
from homeport.kube.core.types.references import ObjectReference
from homeport.kube.schema.fields import Int64, Time, atomic_list, doc, patch_list, set_list


class Job(BatchV1, frozen=True):
    """Runs pods until a number of them has succeeded."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[JobSpec | None, doc("The work to do.")] = None
    status: Annotated[JobStatus | None, doc("The current state.")] = None


class JobSpec(BatchV1, frozen=True):
    """The pods that a job runs, and when it is done."""

    template: Annotated[PodTemplateSpec, doc("The pods. Their restart policy is Never or OnFailure.")]
    parallelism: Annotated[int | None, doc("How many pods to run at a time.")] = None
    completions: Annotated[int | None, doc("How many pods have to succeed; without it any success ends the job.")] = (
        None
    )
    active_deadline_seconds: Annotated[Int64 | None, doc("Seconds after which the job is ended as failed.")] = None
    pod_failure_policy: Annotated[
        PodFailurePolicy | None, doc("What a pod's failure means, by exit code or condition.")
    ] = None
    success_policy: Annotated[SuccessPolicy | None, doc("When an indexed job is done before all its indexes are.")] = (
        None
    )
    backoff_limit: Annotated[int | None, doc("How often pods may fail before the job counts as failed.")] = None
    backoff_limit_per_index: Annotated[int | None, doc("How often the pod of one index may fail.")] = None
    max_failed_indexes: Annotated[int | None, doc("How many indexes may fail before the job does.")] = None
    selector: Annotated[LabelSelector | None, doc("Labels of the job's pods; the server sets them.")] = None
    manual_selector: Annotated[bool | None, doc("Whether the selector is the user's own.")] = None
    ttl_seconds_after_finished: Annotated[int | None, doc("Seconds after its end when the job is deleted.")] = None
    completion_mode: Annotated[
        Literal["Indexed", "NonIndexed"], doc("Whether each pod has an index of its own: NonIndexed or Indexed.")
    ] = "NonIndexed"
    suspend: Annotated[bool, doc("Whether the job waits and has no pods.")] = False
    pod_replacement_policy: Annotated[
        Literal["Failed", "TerminatingOrFailed"] | None,
        doc("When a new pod takes the place of one that goes away: TerminatingOrFailed or Failed."),
    ] = None
    managed_by: Annotated[str | None, doc("The controller that runs the job; it can't be changed.")] = None


class PodFailurePolicy(BatchV1, frozen=True):
    """What a pod's failure means."""

    rules: Annotated[
        list[PodFailurePolicyRule], doc("The rules, of which the first that is met counts."), atomic_list()
    ]


class PodFailurePolicyRule(BatchV1, frozen=True):
    """What to do about a failure of a certain sort."""

    action: Annotated[Literal["Count", "FailIndex", "FailJob", "Ignore"], doc("FailJob, FailIndex, Ignore or Count.")]
    on_exit_codes: Annotated[
        PodFailurePolicyOnExitCodesRequirement | None, doc("Exit codes that the rule is met by.")
    ] = None
    on_pod_conditions: Annotated[
        list[PodFailurePolicyOnPodConditionsPattern],
        doc("Conditions of the pod that the rule is met by."),
        atomic_list(),
    ] = []


class PodFailurePolicyOnExitCodesRequirement(BatchV1, frozen=True):
    """Exit codes of containers."""

    operator: Annotated[Literal["In", "NotIn"], doc("In or NotIn.")]
    values: Annotated[list[int], doc("The exit codes, in ascending order."), set_list()]
    container_name: Annotated[str | None, doc("The container; by default any.")] = None


class PodFailurePolicyOnPodConditionsPattern(BatchV1, frozen=True):
    """A condition of a pod."""

    type: Annotated[str, doc("The type of the condition.")]
    status: Annotated[str, doc("The condition's status: True, False or Unknown.")]


class SuccessPolicy(BatchV1, frozen=True):
    """When an indexed job counts as done."""

    rules: Annotated[list[SuccessPolicyRule], doc("The rules, of which one must be met."), atomic_list()]


class SuccessPolicyRule(BatchV1, frozen=True):
    """Indexes that have to succeed."""

    succeeded_indexes: Annotated[str | None, doc("The indexes, such as 0,2-4.")] = None
    succeeded_count: Annotated[int | None, doc("How many of them, or of all if none are named.")] = None


class JobStatus(BatchV1, frozen=True):
    """What has become of a job."""

    conditions: Annotated[list[JobCondition], doc("The current state, aspect by aspect."), patch_list("type")] = []
    start_time: Annotated[Time | None, doc("When the job was first seen, or last resumed.")] = None
    completion_time: Annotated[Time | None, doc("When the job succeeded.")] = None
    active: Annotated[int, doc("How many pods run or wait.")] = 0
    succeeded: Annotated[int, doc("How many pods have succeeded.")] = 0
    failed: Annotated[int, doc("How many pods have failed.")] = 0
    terminating: Annotated[int | None, doc("How many pods are going away.")] = None
    completed_indexes: Annotated[str, doc("Indexes that have succeeded, such as 1,3-5.")] = ""
    failed_indexes: Annotated[str | None, doc("Indexes that have failed, such as 1,3-5.")] = None
    uncounted_terminated_pods: Annotated[
        UncountedTerminatedPods | None, doc("Pods that have ended and are not counted yet.")
    ] = None
    ready: Annotated[int | None, doc("How many pods are ready.")] = None


class UncountedTerminatedPods(BatchV1, frozen=True):
    """Pods that have ended and are not counted yet."""

    succeeded: Annotated[list[str], doc("UIDs of the pods that have succeeded."), set_list()] = []
    failed: Annotated[list[str], doc("UIDs of the pods that have failed."), set_list()] = []


class JobCondition(BatchV1, frozen=True):
    """One aspect of a job's state."""

    type: Annotated[str, doc("What the condition is about, in CamelCase.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    last_probe_time: Annotated[Time | None, doc("When the condition was last looked at.")] = None
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why it changed, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why it changed, in words.")] = ""


class JobTemplateSpec(BatchV1, frozen=True):
    """Jobs to make."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[JobSpec | None, doc("What the jobs do.")] = None


class CronJob(BatchV1, frozen=True):
    """Makes jobs at fixed times."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[CronJobSpec | None, doc("The jobs and the times.")] = None
    status: Annotated[CronJobStatus | None, doc("The current state.")] = None


class CronJobSpec(BatchV1, frozen=True):
    """The jobs that a cron job makes, and when."""

    schedule: Annotated[str, doc("The times, as cron writes them, such as 0 3 * * 1-5 or @hourly.")]
    job_template: Annotated[JobTemplateSpec, doc("The jobs.")]
    time_zone: Annotated[
        str | None, doc("Time zone of the schedule, such as Europe/Berlin; by default that of the controller.")
    ] = None
    starting_deadline_seconds: Annotated[
        Int64 | None, doc("Seconds after its time when a job is no longer started.")
    ] = None
    concurrency_policy: Annotated[
        Literal["Allow", "Forbid", "Replace"],
        doc("Whether a job may start while the last one runs: Allow, Forbid or Replace."),
    ] = "Allow"
    suspend: Annotated[bool, doc("Whether no more jobs are started.")] = False
    successful_jobs_history_limit: Annotated[int, doc("How many jobs that succeeded are kept.")] = 3
    failed_jobs_history_limit: Annotated[int, doc("How many jobs that failed are kept.")] = 1


class CronJobStatus(BatchV1, frozen=True):
    """What has become of a cron job."""

    active: Annotated[list[ObjectReference], doc("The jobs that run."), atomic_list()] = []
    last_schedule_time: Annotated[Time | None, doc("When a job was last started.")] = None
    last_successful_time: Annotated[Time | None, doc("When a job last succeeded.")] = None
