"""The structs of Volcano's cron jobs (``batch.volcano.sh/v1alpha1``). Fields, bounds and meaning: Volcano 1.15."""

from __future__ import annotations

from typing import Annotated, Literal

from homeport.components.volcano.kinds import BatchModel, JobSpec
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.references import ObjectReference
from homeport.kube.schema.fields import Int64, Time, atomic_list, doc


class JobTemplateSpec(BatchModel, frozen=True):
    """Jobs to make."""

    metadata: Annotated[ObjectMeta | None, doc("Labels and annotations of the jobs.")] = None
    spec: Annotated[JobSpec | None, doc("What the jobs consist of.")] = None


class CronJobSpec(BatchModel, frozen=True):
    """The jobs that a cron job makes, and when."""

    schedule: Annotated[str, doc("The times, as cron writes them, such as 0 3 * * 1-5 or @hourly.")]
    job_template: Annotated[JobTemplateSpec, doc("The jobs.")]
    time_zone: Annotated[
        str | None, doc("Time zone of the schedule, such as Europe/Berlin; by default that of the controller.")
    ] = None
    starting_deadline_seconds: Annotated[
        Int64 | None, doc("Seconds after its time when a job is no longer started.", minimum=0)
    ] = None
    concurrency_policy: Annotated[
        Literal["Allow", "Forbid", "Replace"],
        doc("Whether a job may start while the last one runs: Allow, Forbid or Replace."),
    ] = "Allow"
    suspend: Annotated[bool, doc("Whether no more jobs are started.", default=False)] = False
    successful_jobs_history_limit: Annotated[int, doc("How many complete jobs are kept.", minimum=0)] = 3
    failed_jobs_history_limit: Annotated[int, doc("How many failed and terminated jobs are kept.", minimum=0)] = 1


class CronJobStatus(BatchModel, frozen=True):
    """What has become of a cron job."""

    active: Annotated[list[ObjectReference] | None, doc("The jobs that have not ended."), atomic_list()] = None
    last_schedule_time: Annotated[Time | None, doc("When a job was last started.")] = None
    last_successful_time: Annotated[Time | None, doc("When a job last completed.")] = None


class CronJob(BatchModel, frozen=True):
    """Makes jobs at fixed times."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[CronJobSpec | None, doc("The jobs and the times.")] = None
    status: Annotated[CronJobStatus | None, doc("What has become of them.")] = None
