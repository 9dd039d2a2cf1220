"""The structs of workloads and pod groups (``scheduling.k8s.io/v1beta1``), as Kubernetes 1.37 has them.

What a feature gate keeps off there by default is not here: composite pod groups and a group's preemption policy.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from homeport.kube.core.types.meta import Condition, ObjectMeta
from homeport.kube.schema.fields import Model, atomic_list, doc, map_list

_HIGHEST_PRIORITY = 1_000_000_000


class SchedulingModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.scheduling.v1beta1"


class TypedLocalObjectReference(SchedulingModel, frozen=True):
    """An object of the same namespace."""

    kind: Annotated[str, doc("Its kind.")]
    name: Annotated[str, doc("Its name.")]
    api_group: Annotated[str, doc("Its API group; the core group if empty.")] = ""


class BasicSchedulingPolicy(SchedulingModel, frozen=True):
    """The pods are placed one by one."""


class GangSchedulingPolicy(SchedulingModel, frozen=True):
    """The pods are placed together or not at all."""

    min_count: Annotated[int, doc("Pods that must be placed together.", minimum=1)]


class PodGroupSchedulingPolicy(SchedulingModel, frozen=True):
    """How a group's pods are placed; exactly one."""

    basic: Annotated[BasicSchedulingPolicy | None, doc("One by one. Can't be changed.")] = None
    gang: Annotated[GangSchedulingPolicy | None, doc("Together or not at all. Can't be set or unset later.")] = None


class TopologyConstraint(SchedulingModel, frozen=True):
    """Nodes that are near to each other."""

    key: Annotated[str, doc("Label of nodes. All pods go to nodes with one value of it.")]


class PodGroupSchedulingConstraints(SchedulingModel, frozen=True):
    """Where a group's pods may be placed."""

    topology: Annotated[
        list[TopologyConstraint] | None, doc("How near to each other; at most one.", max_items=1), atomic_list()
    ] = None


class PodGroupResourceClaim(SchedulingModel, frozen=True):
    """Devices that the pods of a group share."""

    name: Annotated[str, doc("Name inside the group, a DNS label.")]
    resource_claim_name: Annotated[str | None, doc("The ResourceClaim.")] = None
    resource_claim_template_name: Annotated[str | None, doc("Or the template that it is made of.")] = None


class SingleDisruptionMode(SchedulingModel, frozen=True):
    """Pods are disrupted one by one."""


class AllDisruptionMode(SchedulingModel, frozen=True):
    """Pods are disrupted together."""


class DisruptionMode(SchedulingModel, frozen=True):
    """How a group may be disrupted; exactly one."""

    single: Annotated[SingleDisruptionMode | None, doc("Pod by pod.")] = None
    all: Annotated[AllDisruptionMode | None, doc("All of its pods together.")] = None


class PodGroupTemplate(SchedulingModel, frozen=True):
    """Of groups that are made for a workload."""

    name: Annotated[str, doc("Name inside the workload, a DNS label.")]
    scheduling_policy: Annotated[PodGroupSchedulingPolicy, doc("How its pods are placed.")]
    scheduling_constraints: Annotated[
        PodGroupSchedulingConstraints | None, doc("Where its pods may be placed. Can't be changed.")
    ] = None
    resource_claims: Annotated[
        list[PodGroupResourceClaim] | None,
        doc("Devices that its pods share. Can't be changed.", max_items=4),
        map_list("name", strategy="merge,retainKeys"),
    ] = None
    disruption_mode: Annotated[DisruptionMode | None, doc("How it may be disrupted. Can't be changed.")] = None
    priority_class_name: Annotated[str, doc("PriorityClass of the groups. Can't be changed.")] = ""
    priority: Annotated[int | None, doc("Their priority. Can't be changed.", maximum=_HIGHEST_PRIORITY)] = None


class WorkloadSpec(SchedulingModel, frozen=True):
    """What a workload consists of."""

    controller_ref: Annotated[
        TypedLocalObjectReference | None, doc("What the workload belongs to, for people. Can't be changed.")
    ] = None
    pod_group_templates: Annotated[
        list[PodGroupTemplate] | None,
        doc("The groups of its pods, at most 8. None can be added or removed.", max_items=8),
        map_list("name", patch=None),
    ] = None


class Workload(SchedulingModel, frozen=True):
    """Pods that belong together, seen by the scheduler."""

    spec: Annotated[WorkloadSpec, doc("What it consists of.")]
    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None


class WorkloadReference(SchedulingModel, frozen=True):
    """Where a group comes from."""

    workload_name: Annotated[str, doc("The workload.")]
    template_name: Annotated[str, doc("Its template of the group.")]


class PodGroupSpec(SchedulingModel, frozen=True):
    """What a group needs."""

    scheduling_policy: Annotated[PodGroupSchedulingPolicy, doc("How its pods are placed.")]
    workload_ref: Annotated[WorkloadReference | None, doc("What it was made of. Can't be changed.")] = None
    scheduling_constraints: Annotated[
        PodGroupSchedulingConstraints | None, doc("Where its pods may be placed. Can't be changed.")
    ] = None
    resource_claims: Annotated[
        list[PodGroupResourceClaim] | None,
        doc("Devices that its pods share. Can't be changed.", max_items=4),
        map_list("name", strategy="merge,retainKeys"),
    ] = None
    disruption_mode: Annotated[DisruptionMode | None, doc("How it may be disrupted. Can't be changed.")] = None
    priority_class_name: Annotated[str, doc("PriorityClass of the group. Can't be changed.")] = ""
    priority: Annotated[int | None, doc("Its priority. Can't be changed.", maximum=_HIGHEST_PRIORITY)] = None


class PodGroupResourceClaimStatus(SchedulingModel, frozen=True):
    """A claim that was made of a template."""

    name: Annotated[str, doc("The entry of spec.resourceClaims.")]
    resource_claim_name: Annotated[str | None, doc("The claim that was made, if one was needed.")] = None


class PodGroupStatus(SchedulingModel, frozen=True):
    """What has become of a group."""

    conditions: Annotated[
        list[Condition] | None, doc("PodGroupInitiallyScheduled and DisruptionTarget."), map_list("type")
    ] = None
    resource_claim_statuses: Annotated[
        list[PodGroupResourceClaimStatus] | None,
        doc("The claims that were made.", max_items=4),
        map_list("name", strategy="merge,retainKeys"),
    ] = None


class PodGroup(SchedulingModel, frozen=True):
    """Pods that are scheduled by one policy."""

    spec: Annotated[PodGroupSpec, doc("What the group needs.")]
    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    status: Annotated[PodGroupStatus | None, doc("What has become of it.")] = None
