"""Gang scheduling: a job's pod group, and what ties pods to it.

Upstream: ``pkg/controller.v1/control/podgroup_control.go`` of the Training Operator 1.9. There an operator turns it on
for all jobs; here a job can ask for it, too: by a ``schedulingPolicy``, or by naming Volcano in a pod template.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from homeport.components.training.framework import Job, Settings
from homeport.components.training.kinds import SchedulingPolicy
from homeport.control.controller import Child, Note
from homeport.kube import meta, scheduling
from homeport.kube.meta import Object
from homeport.kube.scheduling import amounts, names

Scheduler: TypeAlias = Literal["volcano", "scheduler-plugins"]
KIND = "PodGroup"
_NAMES: Mapping[Scheduler, str] = {"volcano": names.VOLCANO, "scheduler-plugins": names.SCHEDULER_PLUGINS}
"""``schedulerName`` of pods that name none."""
_ASKS = (names.VOLCANO, "homeport")
"""Values of ``schedulerName`` by which a job asks for a gang, whatever the platform's setting."""


def children(settings: Settings) -> tuple[Child, ...]:
    """The kind of the groups that jobs have. Only one, so that a job that changes its mind leaves none behind."""
    if settings.gang_scheduler is None:
        return ()
    plugins = settings.gang_scheduler == "scheduler-plugins"
    return (Child((scheduling.COSCHEDULING_POD_GROUP if plugins else scheduling.VOLCANO_POD_GROUP).resource),)


def scheduler(settings: Settings, policy: Any, templates: Iterable[Object]) -> Scheduler | None:
    """Who is to place the pods of a job together, if anybody. `policy`: its ``schedulingPolicy``."""
    if settings.gang_scheduler is None:
        return None
    if settings.gang_scheduler == "scheduler-plugins":
        return "scheduler-plugins"
    if settings.gang_scheduler == "volcano" or policy is not None:
        return "volcano"
    asks = any((template.get("spec") or {}).get("schedulerName") in _ASKS for template in templates)
    return "volcano" if asks else None


class Gang(NamedTuple):
    """How a job's pods are placed together."""

    scheduler: Scheduler
    name: str
    """Of the group, which is the job's."""

    def group(self, policy: SchedulingPolicy | None, pods: Sequence[tuple[Object, int]]) -> Object:
        """The pod group; `pods` are the specs of the job's pods and how many of each there are."""
        policy = policy or SchedulingPolicy()
        total = sum(count for _, count in pods)
        members = total if policy.min_available is None else policy.min_available
        spec: Object = {"minMember": members}
        if resources := policy.min_resources or amounts.needed(pods, members):
            spec["minResources"] = dict(resources)
        if self.scheduler == "volcano":
            resource = scheduling.VOLCANO_POD_GROUP.resource
            spec["queue"] = policy.queue or names.DEFAULT_QUEUE
            classes = (pod.get("priorityClassName") for pod, _ in pods)
            if priority := policy.priority_class or next((name for name in classes if name), ""):
                spec["priorityClassName"] = priority
        else:
            resource = scheduling.COSCHEDULING_POD_GROUP.resource
            if policy.schedule_timeout_seconds is not None:
                spec["scheduleTimeoutSeconds"] = policy.schedule_timeout_seconds
        return {
            "apiVersion": resource.api_version,
            "kind": KIND,
            "metadata": {"name": self.name},
            "spec": spec,
        }

    def tie(self, template: Object, role: str) -> Object:
        """The pod template with what makes its pods members."""
        metadata, spec = dict(template.get("metadata") or {}), dict(template.get("spec") or {})
        spec["schedulerName"] = spec.get("schedulerName") or _NAMES[self.scheduler]
        if self.scheduler == "volcano":
            own = {names.GROUP_NAME: self.name, names.TASK_SPEC: role}
            metadata["annotations"] = {**(metadata.get("annotations") or {}), **own}
        else:
            metadata["labels"] = {**(metadata.get("labels") or {}), names.COSCHEDULING_GROUP: self.name}
        return {**template, "metadata": metadata, "spec": spec}

    def holds_back(self, group: Object | None) -> bool:
        """Whether no pod may be made yet: Volcano makes room first, so that a gang that waits holds nothing."""
        return self.scheduler == "volcano" and (phase(group) in ("", "Pending"))

    def warnings(self, templates: Iterable[Object]) -> Iterator[Note]:
        """What a user should know who has chosen another scheduler for some of the pods."""
        for template in templates:
            if (template.get("spec") or {}).get("schedulerName") not in (None, "", _NAMES[self.scheduler], *_ASKS):
                text = "Another scheduler is specified when gang-scheduling is enabled and it will not be overwritten"
                yield Note("Warning", "SettedPodTemplateSchedulerName", text)
                return


def phase(group: Object | None) -> str:
    return str(meta.status(group or {}).get("phase") or "")


def waiting(group: Object | None) -> str:
    """Why a group waits, in its own words: those of its last condition that is true."""
    true = [c for c in meta.status(group or {}).get("conditions") or () if c.get("status") == "True"]
    last = max(true, key=lambda condition: str(condition.get("lastTransitionTime") or ""), default=None)
    if last is None or last.get("type") != "Unschedulable":
        return ""
    return str(last.get("message") or last.get("reason") or "")


def of(job: Job) -> Gang | None:
    """How the pods of a job are placed together; None: each for itself."""
    templates = (spec.template for spec in job.replicas.values())
    found = scheduler(job.settings, job.run_policy.scheduling_policy, templates)
    return Gang(found, job.name) if found else None


def group_of(job: Job, gang: Gang) -> Object:
    pods = [(spec.template.get("spec") or {}, spec.replicas or 0) for spec in job.replicas.values()]
    return gang.group(job.run_policy.scheduling_policy, pods)
