"""The structs of ``scheduling.volcano.sh/v1beta1``. Fields, bounds and meaning: Volcano 1.15."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from homeport.kube.core.types.meta import LabelSelector, ObjectMeta
from homeport.kube.schema.fields import Model, Quantity, Time, atomic_list, doc

_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


class VolcanoModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "sh.volcano.scheduling.v1beta1"


class NetworkTopologySpec(VolcanoModel, frozen=True):
    """How near to each other pods shall be placed."""

    mode: Annotated[Literal["hard", "soft"], doc("Whether they must be (hard) or had better be (soft).")] = "hard"
    highest_tier_allowed: Annotated[
        int | None, doc("The highest tier that the pods may be spread over.", minimum=0)
    ] = None
    highest_tier_name: Annotated[str, doc("The same by name. Only one of the two.", max_length=253)] = ""


class SubGroupPolicySpec(VolcanoModel, frozen=True):
    """Groups inside a group."""

    name: Annotated[str, doc("Name of the policy.", max_length=253)] = ""
    network_topology: Annotated[NetworkTopologySpec | None, doc("How near pods of one sub-group shall be.")] = None
    sub_group_size: Annotated[int, doc("Pods of each sub-group.", minimum=1)] = 1
    min_sub_groups: Annotated[int, doc("Sub-groups that have to be placed together.", minimum=0, default=0)] = 0
    label_selector: Annotated[LabelSelector | None, doc("The pods that it is about.")] = None
    match_label_keys: Annotated[
        list[str] | None, doc("Pods with equal values of these labels are one sub-group."), atomic_list()
    ] = None


class PodGroupSpec(VolcanoModel, frozen=True):
    """What a group needs."""

    min_member: Annotated[int, doc("Pods that must be placed together.", minimum=0)] = 0
    min_task_member: Annotated[dict[str, int] | None, doc("Of them, how many of each task.")] = None
    queue: Annotated[str, doc("Queue that the group waits in.", max_length=253, pattern=_NAME)] = "default"
    priority_class_name: Annotated[str, doc("PriorityClass of the group.", max_length=253)] = ""
    min_resources: Annotated[dict[str, Quantity] | None, doc("What the group needs in all.")] = None
    network_topology: Annotated[NetworkTopologySpec | None, doc("How near to each other its pods shall be.")] = None
    sub_group_policy: Annotated[list[SubGroupPolicySpec] | None, doc("Groups inside the group.")] = None


class PodGroupCondition(VolcanoModel, frozen=True):
    """One aspect of a group's state."""

    type: Annotated[str, doc("Unschedulable or Scheduled.")] = ""
    status: Annotated[str, doc("True, False or Unknown.")] = ""
    transition_id: Annotated[str, doc("Of the transition.")] = msgspec.field(name="transitionID", default="")
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why, in one word.")] = ""
    message: Annotated[str, doc("Why, in words.")] = ""


class PodGroupStatus(VolcanoModel, frozen=True):
    """What has become of a group."""

    phase: Annotated[
        Literal["Pending", "Inqueue", "Running", "Unknown", "Completed"] | None,
        doc("Pending: it waits in its queue. Inqueue: its pods may be made. Running: they are placed."),
    ] = None
    conditions: Annotated[list[PodGroupCondition] | None, doc("The state, aspect by aspect.")] = None
    running: Annotated[int, doc("Pods that run.", minimum=0)] = 0
    succeeded: Annotated[int, doc("Pods that have succeeded.", minimum=0)] = 0
    failed: Annotated[int, doc("Pods that have failed.", minimum=0)] = 0


class PodGroup(VolcanoModel, frozen=True):
    """Pods that the scheduler places together."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[PodGroupSpec | None, doc("What the group needs.")] = None
    status: Annotated[PodGroupStatus | None, doc("What has become of it.")] = None


class Guarantee(VolcanoModel, frozen=True):
    """What nobody else may use."""

    resource: Annotated[dict[str, Quantity] | None, doc("Reserved for the queue.")] = None


class Reservation(VolcanoModel, frozen=True):
    """What is reserved at present."""

    nodes: Annotated[list[str] | None, doc("Nodes that are kept for the queue.")] = None
    resource: Annotated[dict[str, Quantity] | None, doc("What is idle on them.")] = None


class Cluster(VolcanoModel, frozen=True):
    """Another cluster that takes jobs."""

    name: Annotated[str, doc("Name of the cluster.")] = ""
    weight: Annotated[int, doc("Its share of the jobs.")] = 0
    capacity: Annotated[dict[str, Quantity] | None, doc("What it has.")] = None


class NodeGroupAffinity(VolcanoModel, frozen=True):
    """Groups of nodes that pods are to be placed on."""

    required_during_scheduling_ignored_during_execution: Annotated[list[str] | None, doc("Only these.")] = None
    preferred_during_scheduling_ignored_during_execution: Annotated[list[str] | None, doc("These before others.")] = (
        None
    )


class NodeGroupAntiAffinity(VolcanoModel, frozen=True):
    """Groups of nodes that pods are to be kept from."""

    required_during_scheduling_ignored_during_execution: Annotated[list[str] | None, doc("None of these.")] = None
    preferred_during_scheduling_ignored_during_execution: Annotated[list[str] | None, doc("These after others.")] = None


class Affinity(VolcanoModel, frozen=True):
    """Where the pods of a queue go."""

    node_group_affinity: Annotated[NodeGroupAffinity | None, doc("Groups of nodes to go to.")] = None
    node_group_anti_affinity: Annotated[NodeGroupAntiAffinity | None, doc("Groups of nodes to keep from.")] = None


class QueueSpec(VolcanoModel, frozen=True):
    """What a queue may use."""

    weight: Annotated[int, doc("Its share beside other queues.", minimum=1, maximum=65535)] = 1
    capability: Annotated[dict[str, Quantity] | None, doc("The most that it may use.")] = None
    reclaimable: Annotated[bool | None, doc("Whether others may take back what they lent it.")] = None
    extend_clusters: Annotated[list[Cluster] | None, doc("Other clusters that take its jobs.")] = None
    guarantee: Annotated[Guarantee | None, doc("What is kept for it, whether it uses it or not.")] = None
    affinity: Annotated[Affinity | None, doc("Where its pods go.")] = None
    type: Annotated[str, doc("Type of the queue.", max_length=253)] = ""
    parent: Annotated[str, doc("The queue that this one is part of.", max_length=253, pattern=_NAME)] = msgspec.field(
        default=""
    )
    deserved: Annotated[dict[str, Quantity] | None, doc("Its fair part: lent while idle, and taken back.")] = None
    priority: Annotated[int, doc("Queues with higher values come first.", minimum=0)] = 0
    dequeue_strategy: Annotated[
        Literal["fifo", "traverse"], doc("Whether jobs behind one that has to wait may go first (traverse).")
    ] = "traverse"


class QueueStatus(VolcanoModel, frozen=True):
    """What has become of a queue."""

    state: Annotated[Literal["Open", "Closed", "Closing", "Unknown"] | None, doc("Whether it takes jobs.")] = None
    unknown: Annotated[int, doc("Groups in phase Unknown.", minimum=0)] = 0
    pending: Annotated[int, doc("Groups in phase Pending.", minimum=0)] = 0
    running: Annotated[int, doc("Groups in phase Running.", minimum=0)] = 0
    inqueue: Annotated[int, doc("Groups in phase Inqueue.", minimum=0)] = 0
    completed: Annotated[int, doc("Groups in phase Completed.", minimum=0)] = 0
    reservation: Annotated[Reservation | None, doc("What is reserved.")] = None
    allocated: Annotated[dict[str, Quantity] | None, doc("What its pods have been given.")] = None


class Queue(VolcanoModel, frozen=True):
    """A queue of pod groups, with its share of the cluster."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[QueueSpec | None, doc("What the queue may use.")] = None
    status: Annotated[QueueStatus | None, doc("What has become of it.")] = None
