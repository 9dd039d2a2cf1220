"""What kube-batch's two APIs have in common. Fields and meaning: kube-batch at its end (2021)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from homeport.kube.schema.fields import Model, Quantity, Time, doc


class PodGroupSpec(Model, frozen=True):
    """What a group needs."""

    min_member: Annotated[int, doc("Pods that must be placed together.")] = 0
    queue: Annotated[str, doc("Queue that the group waits in.")] = ""
    priority_class_name: Annotated[str, doc("PriorityClass of the group.")] = ""


class PodGroupCondition(Model, frozen=True):
    """One aspect of a group's state."""

    type: Annotated[str, doc("Unschedulable.")] = ""
    status: Annotated[str, doc("True, False or Unknown.")] = ""
    transition_id: Annotated[str, doc("Of the transition.")] = msgspec.field(name="transitionID", default="")
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why, in one word.")] = ""
    message: Annotated[str, doc("Why, in words.")] = ""


class QueueSpec(Model, frozen=True):
    """What a queue may use."""

    weight: Annotated[int, doc("Its share beside other queues.")] = 0
    capability: Annotated[dict[str, Quantity] | None, doc("The most that it may use.")] = None


class QueueStatus(Model, frozen=True):
    """What has become of a queue."""

    unknown: Annotated[int, doc("Groups in phase Unknown.")] = 0
    pending: Annotated[int, doc("Groups in phase Pending.")] = 0
    running: Annotated[int, doc("Groups in phase Running.")] = 0
