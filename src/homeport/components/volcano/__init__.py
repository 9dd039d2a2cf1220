"""Volcano's objects: jobs, flows of jobs and commands, beside the pod groups and queues of every gang scheduler.

What most platforms never touch is not imported: rules and structs are with the first object.
"""

from __future__ import annotations

from homeport.client.client import Client
from homeport.control.controller import Child, Controller, Related
from homeport.control.informer import Informers
from homeport.kube import core, meta, scheduling
from homeport.kube.admission import Hook
from homeport.kube.core.declare import deferred
from homeport.kube.kind import Column, Kind, Resource, imported
from homeport.kube.meta import Object
from homeport.kube.scheduling import names as scheduling_names

_PACKAGE = "homeport.components.volcano"
_CREATED = ".metadata.creationTimestamp"
_job_rules = deferred(f"{_PACKAGE}.job.rules")
_job_sync = deferred(f"{_PACKAGE}.job.sync")
_queues = deferred(f"{_PACKAGE}.queues")
_queue_rules = deferred(f"{_PACKAGE}.queue_rules")
_hypernodes = deferred(f"{_PACKAGE}.hypernodes")
_job_plugins = deferred(f"{_PACKAGE}.job.plugins")
_cron_rules = deferred(f"{_PACKAGE}.cron.rules")
_cron_sync = deferred(f"{_PACKAGE}.cron.sync")
_flow_rules = deferred(f"{_PACKAGE}.flow.rules")
_flow_sync = deferred(f"{_PACKAGE}.flow.sync")

JOB = Kind(
    resource=Resource("batch.volcano.sh", "v1alpha1", "jobs", "Job"),
    body=f"{_PACKAGE}.kinds:Job",
    singular="job",
    short_names=("vcjob", "vj"),
    columns=(
        Column("STATUS", "string", ".status.state.phase"),
        Column("minAvailable", "integer", ".status.minAvailable"),
        Column("RUNNINGS", "integer", ".status.running"),
        Column("AGE", "date", _CREATED),
        Column("QUEUE", "string", ".spec.queue", priority=1),
    ),
    prepare=_job_rules("prepare"),
)
CRON_JOB = Kind(
    resource=Resource("batch.volcano.sh", "v1alpha1", "cronjobs", "CronJob"),
    body=f"{_PACKAGE}.cron.kinds:CronJob",
    singular="cronjob",
    short_names=("cronvcjob", "cronvj"),
    columns=(
        Column("Schedule", "string", ".spec.schedule"),
        Column("Timezone", "string", ".spec.timeZone"),
        Column("Suspend", "boolean", ".spec.suspend"),
        Column("Last Schedule", "date", ".status.lastScheduleTime"),
        Column("Age", "date", _CREATED),
    ),
)
COMMAND = Kind(
    resource=Resource("bus.volcano.sh", "v1alpha1", "commands", "Command"),
    body=f"{_PACKAGE}.kinds:Command",
    singular="command",
    subresources=frozenset(),
)
JOB_FLOW = Kind(
    resource=Resource("flow.volcano.sh", "v1alpha1", "jobflows", "JobFlow"),
    body=f"{_PACKAGE}.flow.kinds:JobFlow",
    singular="jobflow",
    short_names=("jf",),
    columns=(Column("Status", "string", ".status.state.phase"), Column("Age", "date", _CREATED)),
)
JOB_TEMPLATE = Kind(
    resource=Resource("flow.volcano.sh", "v1alpha1", "jobtemplates", "JobTemplate"),
    body=f"{_PACKAGE}.flow.kinds:JobTemplate",
    singular="jobtemplate",
    short_names=("jt",),
)
OWN_KINDS: tuple[Kind, ...] = (
    scheduling.VOLCANO_POD_GROUP,
    scheduling.VOLCANO_QUEUE,
    scheduling.HYPER_NODE,
    JOB,
    CRON_JOB,
    COMMAND,
    JOB_FLOW,
    JOB_TEMPLATE,
)
"""Volcano's. The others of `KINDS` are of other schedulers."""
KINDS: tuple[Kind, ...] = (*scheduling.KINDS, *OWN_KINDS[3:])


def _target(kind: Kind, command: Object) -> tuple[tuple[str, str], ...]:
    """The object of that kind that a command is for."""
    target = command.get("target") or {}
    group = str(target.get("apiVersion") or "").partition("/")[0]
    if target.get("kind") != kind.kind or group != kind.resource.group or not target.get("name"):
        return ()
    return ((meta.namespace(command) if kind.resource.namespaced else "", target["name"]),)


def _job_of_command(command: Object) -> tuple[tuple[str, str], ...]:
    return _target(JOB, command)


def _queue_of_command(command: Object) -> tuple[tuple[str, str], ...]:
    return _target(scheduling.VOLCANO_QUEUE, command)


def _queue_of_group(group: Object) -> tuple[tuple[str, str], ...]:
    return (("", meta.spec(group).get("queue") or scheduling_names.DEFAULT_QUEUE),)


def _has_moved(old: Object, new: Object) -> bool:
    return _queue_of_group(old) != _queue_of_group(new)


def _never(old: Object, new: Object) -> bool:
    return False


def _has_other_phase(old: Object, new: Object) -> bool:
    """Of a job: it counts its pods more often than it comes to an end."""

    def told(job: Object) -> tuple[object, ...]:
        known = meta.metadata(job)
        state = meta.status(job).get("state") or {}
        return (
            state.get("phase"),
            known.get("ownerReferences"),
            known.get("deletionTimestamp"),
            known.get("annotations"),
        )

    return told(old) != told(new)


def _template_of_job(job: Object) -> tuple[tuple[str, str], ...]:
    """The job template that a job was made from."""
    place, _, name = meta.labels(job).get("volcano.sh/createdByJobTemplate", "").partition(".")
    return ((place, name),) if name and place == meta.namespace(job) else ()


def _has_other_template(old: Object, new: Object) -> bool:
    return _template_of_job(old) != _template_of_job(new)


JOBS = Controller(
    name="volcano-job-controller",
    parent=JOB.resource,
    sync=_job_sync("sync"),
    children=(
        Child(core.POD.resource, "never", patched=True),
        Child(scheduling.VOLCANO_POD_GROUP.resource),
        Child(core.SERVICE.resource, "never"),
        Child(core.CONFIG_MAP.resource),
        Child(core.SECRET.resource, "never", complete=_job_plugins("with_keys")),
        Child(core.NETWORK_POLICY.resource, "never"),
        Child(core.PERSISTENT_VOLUME_CLAIM.resource, "never"),
    ),
    related=(
        Related(COMMAND.resource, _job_of_command, removed=True),
        Related(core.PRIORITY_CLASS.resource, None, matters=_never),
    ),
    on_parent=frozenset({"delete"}),
)
QUEUES = Controller(
    name="volcano-queue-controller",
    parent=scheduling.VOLCANO_QUEUE.resource,
    sync=_queues("sync"),
    related=(
        Related(COMMAND.resource, _queue_of_command, removed=True),
        Related(scheduling.VOLCANO_POD_GROUP.resource, _queue_of_group, matters=_has_moved),
        Related(scheduling.VOLCANO_QUEUE.resource, _queues("queue_above"), matters=_queues("has_turned")),
    ),
    gather=1.0,
    on_parent=frozenset({"patch"}),
)
CRON_JOBS = Controller(
    name="volcano-cronjob-controller",
    parent=CRON_JOB.resource,
    sync=_cron_sync("sync"),
    children=(Child(JOB.resource, "never", tell=_cron_sync("report"), matters=_has_other_phase),),
)
FLOWS = Controller(
    name="volcano-jobflow-controller",
    parent=JOB_FLOW.resource,
    sync=_flow_sync("sync"),
    children=(Child(JOB.resource, "never", tell=_flow_sync("report")),),
    related=(Related(JOB_TEMPLATE.resource, None, matters=_never),),
)
TEMPLATES = Controller(
    name="volcano-jobtemplate-controller",
    parent=JOB_TEMPLATE.resource,
    sync=_flow_sync("sync_template"),
    related=(Related(JOB.resource, _template_of_job, matters=_has_other_template),),
)
HYPER_NODES = Controller(
    name="volcano-hypernode-controller",
    parent=scheduling.HYPER_NODE.resource,
    sync=_hypernodes("sync"),
    related=(
        Related(core.NODE.resource, None, matters=_hypernodes("is_elsewhere")),
        Related(scheduling.HYPER_NODE.resource, None, matters=_hypernodes("has_other_members")),
    ),
    gather=1.0,
)
CONTROLLERS: tuple[Controller, ...] = (JOBS, CRON_JOBS, QUEUES, FLOWS, TEMPLATES, HYPER_NODES)
ADMISSION: tuple[Hook, ...] = (
    Hook(
        name="validatejob.volcano.sh",
        resource=JOB.resource,
        operations=("CREATE", "UPDATE"),
        validate=_job_rules("judge"),
        reads=(scheduling.VOLCANO_QUEUE.resource,),
    ),
    Hook(
        name="validatecronjob.volcano.sh",
        resource=CRON_JOB.resource,
        operations=("CREATE", "UPDATE"),
        validate=_cron_rules("judge"),
    ),
    Hook(
        name="validatejobflow.volcano.sh",
        resource=JOB_FLOW.resource,
        operations=("CREATE", "UPDATE"),
        validate=_flow_rules("judge"),
    ),
    Hook(
        name="validatequeue.volcano.sh",
        resource=scheduling.VOLCANO_QUEUE.resource,
        operations=("CREATE", "UPDATE", "DELETE"),
        validate=_queue_rules("judge"),
        remove=_queue_rules("judge_removal"),
        reads=(scheduling.VOLCANO_QUEUE.resource,),
    ),
    Hook(
        name="validatepodgroup.volcano.sh",
        resource=scheduling.VOLCANO_POD_GROUP.resource,
        validate=_queue_rules("judge_group"),
        reads=(scheduling.VOLCANO_QUEUE.resource,),
    ),
)

GRANTS: tuple[Object, ...] = (
    {
        "apiGroups": [scheduling.VOLCANO_QUEUE.resource.group],
        "resources": ["queues"],
        "verbs": ["create", "list", "watch"],
    },
)
"""What `keep_queues` needs."""


async def keep_queues(client: Client, informers: Informers) -> None:
    """See to it that there are the queues that every cluster has, until cancelled."""
    await imported(f"{_PACKAGE}.queues:keep")(client, informers)


__all__ = [
    "ADMISSION",
    "COMMAND",
    "CONTROLLERS",
    "CRON_JOB",
    "CRON_JOBS",
    "GRANTS",
    "HYPER_NODES",
    "JOB",
    "JOB_FLOW",
    "JOB_TEMPLATE",
    "KINDS",
    "OWN_KINDS",
    "keep_queues",
]
