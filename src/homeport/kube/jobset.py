"""The structs of job sets, of which training runtimes are made, too. Fields and meaning: JobSet's ``v1alpha2``."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import field

from homeport.kube.core.types.batch import JobTemplateSpec
from homeport.kube.core.types.meta import Condition, ObjectMeta
from homeport.kube.core.types.volume_claim import PersistentVolumeClaim
from homeport.kube.schema.fields import Model, atomic_list, doc, map_list, ref

MANAGER = "jobset.sigs.k8s.io/jobset-controller"
"""The value of ``managedBy`` that means this controller, as does no value at all."""
_FIXED = [{"rule": "self == oldSelf", "message": "Value is immutable"}]
_ONE_ORDER = (
    "!(has(self.startupPolicy) && self.startupPolicy.startupPolicyOrder == 'InOrder' && "
    "self.replicatedJobs.exists(x, has(x.dependsOn)))"
)


class JobSetModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.x-k8s.jobset.v1alpha2"


class JobSet(JobSetModel, frozen=True):
    """Jobs that make up one piece of work."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[
        JobSetSpec | None,
        doc(
            "The jobs, and how they start, fail and end together.",
            rules=[{"rule": _ONE_ORDER, "message": "StartupPolicy and DependsOn APIs are mutually exclusive"}],
        ),
    ] = None
    status: Annotated[JobSetStatus | None, doc("The current state.")] = None


class JobSetSpec(JobSetModel, frozen=True):
    """The jobs, and how they start, fail and end together."""

    replicated_jobs: Annotated[list[ReplicatedJob] | None, doc("The groups of equal jobs."), map_list("name")] = None
    network: Annotated[Network | None, doc("How pods find each other. Can't be changed.", rules=_FIXED)] = None
    success_policy: Annotated[
        SuccessPolicy | None,
        doc("When the job set has succeeded: with all its jobs if absent. Can't be changed.", rules=_FIXED),
    ] = None
    failure_policy: Annotated[
        FailurePolicy | None,
        doc("What a job's failure means: that of the job set if absent. Can't be changed.", rules=_FIXED),
    ] = None
    startup_policy: Annotated[
        StartupPolicy | None,
        doc("In what order jobs start. Can't be changed. Deprecated: use dependsOn.", rules=_FIXED),
    ] = None
    suspend: Annotated[bool | None, doc("Whether all jobs are suspended.")] = None
    coordinator: Annotated[
        Coordinator | None,
        doc("The pod whose address is put on every job and pod as jobset.sigs.k8s.io/coordinator."),
    ] = None
    managed_by: Annotated[
        str | None, doc("The controller that runs the job set; jobset.sigs.k8s.io/jobset-controller if absent.")
    ] = None
    ttl_seconds_after_finished: Annotated[
        int | None, doc("Seconds after its end when the job set is deleted.", minimum=0)
    ] = None
    volume_claim_policies: Annotated[
        list[VolumeClaimPolicy] | None,
        doc("Volume claims that the jobs share. Can't be changed.", rules=_FIXED, max_items=50),
        atomic_list(),
    ] = None


class ReplicatedJob(JobSetModel, frozen=True):
    """A number of equal jobs."""

    name: Annotated[str, doc("Part of the jobs' names: JOBSET-NAME-INDEX.")]
    template: Annotated[dict[str, Any], doc("The jobs."), ref(JobTemplateSpec, defaults=False)]
    group_name: Annotated[str, doc("The group that these jobs belong to.", default="default")] = "default"
    replicas: Annotated[int, doc("How many jobs.", default=1, minimum=0)] = 1
    depends_on: Annotated[
        list[DependsOn] | None,
        doc("What has to be reached before these jobs are made. Can't be changed.", rules=_FIXED, max_items=5),
        map_list("name"),
    ] = None


class DependsOn(JobSetModel, frozen=True):
    """A state that other jobs have to reach."""

    name: Annotated[str, doc("The replicated job, one that comes before.")]
    status: Annotated[Literal["Ready", "Complete"], doc("Ready or Complete.")]


class Network(JobSetModel, frozen=True):
    """How pods find each other."""

    enable_dns_hostnames: Annotated[
        bool | None, doc("Whether pods have stable names: JOBSET-NAME-INDEX-PODINDEX.SUBDOMAIN.")
    ] = field(default=None, name="enableDNSHostnames")
    subdomain: Annotated[str | None, doc("The subdomain, and the service's name; the job set's if absent.")] = None
    publish_not_ready_addresses: Annotated[
        bool | None, doc("Whether pods are found before they are ready; they are if absent.")
    ] = None


class SuccessPolicy(JobSetModel, frozen=True):
    """When the job set has succeeded."""

    operator: Annotated[Literal["All", "Any"], doc("All or Any.")]
    target_replicated_jobs: Annotated[list[str] | None, doc("Those that count; all if absent."), atomic_list()] = None


class FailurePolicyRule(JobSetModel, frozen=True):
    """What to do about a failure of a certain sort."""

    name: Annotated[str, doc("Of the rule, for messages: failurePolicyRuleN if absent.")]
    action: Annotated[
        Literal[
            "FailJobSet",
            "RestartJobSet",
            "RestartJobSetAndIgnoreMaxRestarts",
            "RestartJob",
            "RestartJobAndIgnoreMaxRestarts",
        ],
        doc("What to do if the rule is met."),
    ]
    on_job_failure_reasons: Annotated[list[str] | None, doc("Reasons of failed jobs; any if absent.")] = None
    on_job_failure_message_patterns: Annotated[
        list[str] | None, doc("Regular expressions (RE2) for the messages of failed jobs; any if absent.")
    ] = None
    target_replicated_jobs: Annotated[list[str] | None, doc("Those it is about; all if absent."), atomic_list()] = None


class FailurePolicy(JobSetModel, frozen=True):
    """What a job's failure means."""

    max_restarts: Annotated[int | None, doc("How often the job set may be restarted.")] = None
    restart_strategy: Annotated[
        Literal["Recreate", "BlockingRecreate", "InPlaceRestart"],
        doc("Whether new jobs wait until all old ones have gone (BlockingRecreate) or each for its own (Recreate)."),
    ] = "Recreate"
    rules: Annotated[list[FailurePolicyRule] | None, doc("Of which the first that is met counts.")] = None


class StartupPolicy(JobSetModel, frozen=True):
    """In what order jobs start."""

    startup_policy_order: Annotated[
        Literal["AnyOrder", "InOrder"], doc("AnyOrder, or InOrder: each when those before are ready.")
    ]


class Coordinator(JobSetModel, frozen=True):
    """The pod that coordinates the others."""

    replicated_job: Annotated[str, doc("The replicated job.")]
    job_index: Annotated[int | None, doc("The job; 0 if absent.")] = None
    pod_index: Annotated[int | None, doc("The pod; 0 if absent.")] = None


class VolumeRetentionPolicy(JobSetModel, frozen=True):
    """What becomes of claims."""

    when_deleted: Annotated[
        Literal["Delete", "Retain"], doc("Whether they are deleted with the job set: Delete or Retain.")
    ] = "Delete"


class VolumeClaimPolicy(JobSetModel, frozen=True):
    """Volume claims that jobs share."""

    templates: Annotated[
        list[PersistentVolumeClaim] | None,
        doc("The claims; their names become NAME-JOBSET.", max_items=50),
        atomic_list(),
    ] = None
    retention_policy: Annotated[VolumeRetentionPolicy | None, doc("What becomes of them; Delete if absent.")] = None


class ReplicatedJobStatus(JobSetModel, frozen=True):
    """The jobs of one group, counted."""

    name: Annotated[str, doc("The replicated job.")]
    ready: Annotated[int, doc("Jobs whose pods are all ready or have succeeded.")]
    succeeded: Annotated[int, doc("Jobs that have completed.")]
    failed: Annotated[int, doc("Jobs that have failed.")]
    active: Annotated[int, doc("Jobs with a pod that runs or waits.")]
    suspended: Annotated[int, doc("Jobs that are suspended.")]
    job_restarts: Annotated[list[int] | None, doc("Restarts of single jobs, by index."), atomic_list()] = None
    job_restarts_count_towards_max: Annotated[
        list[int] | None, doc("Those of them that count towards maxRestarts."), atomic_list()
    ] = None


class JobSetStatus(JobSetModel, frozen=True):
    """What was last observed of a job set."""

    conditions: Annotated[list[Condition] | None, doc("The current state, aspect by aspect."), map_list("type")] = None
    restarts: Annotated[int | None, doc("How often all jobs were made anew.")] = None
    restarts_count_towards_max: Annotated[int | None, doc("Those of them that count towards maxRestarts.")] = None
    terminal_state: Annotated[str | None, doc("Completed or Failed, once it has ended.")] = None
    replicated_jobs_status: Annotated[
        list[ReplicatedJobStatus] | None, doc("The jobs of each group, counted."), map_list("name")
    ] = None
    previous_in_place_restart_attempt: Annotated[int | None, doc("Of restarts in place.", minimum=0)] = None
    current_in_place_restart_attempt: Annotated[int | None, doc("Of restarts in place.", minimum=0)] = None
