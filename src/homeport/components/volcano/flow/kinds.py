"""The structs of ``flow.volcano.sh/v1alpha1``. Fields, bounds and meaning: Volcano 1.15."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from homeport.components.volcano.kinds import JobPhase, JobSpec, TaskState
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.probe import HTTPHeader
from homeport.kube.schema.fields import Duration, Model, Time, doc, ref


class FlowModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "sh.volcano.flow.v1alpha1"


class HttpGet(FlowModel, frozen=True):
    """A request to a task's pods."""

    task_name: Annotated[str, doc("The task.", max_length=253)] = ""
    path: Annotated[str, doc("What is asked for.")] = ""
    port: Annotated[int, doc("The port.", minimum=0, maximum=65535)] = 0
    http_header: Annotated[HTTPHeader | None, doc("A header to send.")] = msgspec.field(name="httpHeader", default=None)


class TcpSocket(FlowModel, frozen=True):
    """A connection to a task's pods."""

    port: Annotated[int, doc("The port.", minimum=0, maximum=65535)]
    task_name: Annotated[str, doc("The task.", max_length=253)] = ""


class TaskStatus(FlowModel, frozen=True):
    """A phase of a task's pods."""

    task_name: Annotated[str, doc("The task.", max_length=253)] = ""
    phase: Annotated[str, doc("The phase.", max_length=63)] = ""


class Probe(FlowModel, frozen=True):
    """What to ask of a job. Kept, and without effect: Volcano's controller does not ask it either."""

    http_get_list: Annotated[list[HttpGet] | None, doc("Requests.")] = None
    tcp_socket_list: Annotated[list[TcpSocket] | None, doc("Connections.")] = None
    task_status_list: Annotated[list[TaskStatus] | None, doc("Phases.")] = None


class FlowDependsOn(FlowModel, frozen=True):
    """What has to be done before a job is made."""

    targets: Annotated[list[str] | None, doc("The jobs that have to be complete, by the names of their flows.")] = None
    probe: Annotated[Probe | None, doc("What to ask of them. Without effect.")] = None


class Patch(FlowModel, frozen=True):
    """How a job differs from its template."""

    job_spec: Annotated[dict[str, Any] | None, doc("The fields that differ."), ref(JobSpec, defaults=False)] = None


class Flow(FlowModel, frozen=True):
    """One job of a job flow."""

    name: Annotated[str, doc("The JobTemplate that it is made from. The job is named JOBFLOW-NAME.", min_length=1)]
    depends_on: Annotated[FlowDependsOn | None, doc("What has to be done before.")] = None
    patch: Annotated[Patch | None, doc("How it differs from the template.")] = None


class JobFlowSpec(FlowModel, frozen=True):
    """Jobs, and what each of them waits for."""

    flows: Annotated[list[Flow] | None, doc("The jobs.")] = None
    job_retain_policy: Annotated[
        Literal["retain", "delete"] | None, doc("What becomes of the jobs when all are complete; retain if absent.")
    ] = None


class JobRunningHistory(FlowModel, frozen=True):
    """A phase that a job was in."""

    start_timestamp: Annotated[Time | None, doc("Since when.")] = None
    end_timestamp: Annotated[Time | None, doc("Until when.")] = None
    state: Annotated[JobPhase | None, doc("The phase.")] = None


class FlowJobStatus(FlowModel, frozen=True):
    """One job."""

    name: Annotated[str, doc("Its name.")] = ""
    state: Annotated[JobPhase | None, doc("Its phase.")] = None
    start_timestamp: Annotated[Time | None, doc("When it was made.")] = None
    end_timestamp: Annotated[Time | None, doc("When it ended.")] = None
    restart_count: Annotated[int, doc("How often it was restarted.", minimum=0)] = 0
    running_histories: Annotated[list[JobRunningHistory] | None, doc("The phases so far; of many the last.")] = None


class FlowCondition(FlowModel, frozen=True):
    """What a job does now."""

    phase: Annotated[JobPhase | None, doc("Its phase.")] = None
    create_time: Annotated[Time | None, doc("When it was made.")] = None
    running_duration: Annotated[Duration | None, doc("How long it ran.")] = None
    task_status_count: Annotated[dict[str, TaskState] | None, doc("Its pods by task and phase.")] = None


class FlowState(FlowModel, frozen=True):
    """Where a job flow is in its life."""

    phase: Annotated[
        Literal["Succeed", "Terminating", "Failed", "Running", "Pending"] | None, doc("The job flow's phase.")
    ] = None


class JobFlowStatus(FlowModel, frozen=True):
    """What has become of a job flow."""

    pending_jobs: Annotated[list[str] | None, doc("Jobs that wait.")] = None
    running_jobs: Annotated[list[str] | None, doc("Jobs that run.")] = None
    failed_jobs: Annotated[list[str] | None, doc("Jobs that have failed.")] = None
    completed_jobs: Annotated[list[str] | None, doc("Jobs that are complete.")] = None
    terminated_jobs: Annotated[list[str] | None, doc("Jobs that were terminated.")] = None
    un_know_jobs: Annotated[list[str] | None, doc("Jobs in any other phase.")] = msgspec.field(
        name="unKnowJobs", default=None
    )
    job_status_list: Annotated[list[FlowJobStatus] | None, doc("All jobs, with the phases that they were in.")] = None
    conditions: Annotated[dict[str, FlowCondition] | None, doc("The jobs that are there, by name.")] = None
    state: Annotated[FlowState | None, doc("Where it is in its life.")] = None


class JobFlow(FlowModel, frozen=True):
    """Jobs that follow one another."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[JobFlowSpec | None, doc("The jobs, and what each of them waits for.")] = None
    status: Annotated[JobFlowStatus | None, doc("What has become of them.")] = None


class JobTemplateStatus(FlowModel, frozen=True):
    """What is made of a template."""

    job_depends_on_list: Annotated[list[str] | None, doc("The jobs that were made from it.")] = None


class JobTemplate(FlowModel, frozen=True):
    """A job that is made when a job flow wants it."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[JobSpec | None, doc("What the job consists of.")] = None
    status: Annotated[JobTemplateStatus | None, doc("What is made of it.")] = None
