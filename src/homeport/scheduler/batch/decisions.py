"""What the batch scheduler wants done. Whoever carries it out may fail at any of it: the next snapshot tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from homeport.scheduler.batch.model import Amounts, Carried, GroupPhase

EvictReason = Literal["preempt", "reclaim", "stale"]


class Bind(msgspec.Struct, frozen=True):
    task: str
    """The pod's uid."""
    group: str
    node: str


class Evict(msgspec.Struct, frozen=True):
    task: str
    group: str
    node: str
    reason: EvictReason
    by: str = ""
    """The group that gets the room; empty if it is its own that gives it back."""


class Nominate(msgspec.Struct, frozen=True):
    """The pod gets this node once those have gone that leave it, or another node for the rest of its group
    (``status.nominatedNodeName``)."""

    task: str
    group: str
    node: str


class Condition(msgspec.Struct, frozen=True):
    """One of a PodGroup's, in Volcano's words. Written only where it differs from what the group has."""

    type: Literal["Unschedulable", "Scheduled"]
    status: Literal["True", "False"]
    reason: str
    message: str


class TaskCondition(msgspec.Struct, frozen=True):
    """``PodScheduled=False`` of a pod that waits."""

    task: str
    group: str
    reason: Literal["Unschedulable", "Schedulable"]
    message: str


class Counts(msgspec.Struct, frozen=True):
    """Of a PodGroup's status."""

    running: int = 0
    succeeded: int = 0
    failed: int = 0


class Explanation(msgspec.Struct, frozen=True):
    """Why a group waits, in numbers."""

    needed: Amounts
    """What it takes to make it whole, beyond what it holds."""
    idle: Amounts
    """What is idle on all nodes together."""
    reason: str
    """What stands in its way, as :class:`Condition.message`."""
    holders: tuple[tuple[str, Amounts], ...] = ()
    """The groups that hold most of what it lacks, with how much."""
    queue: str = ""
    queue_allocated: Amounts = msgspec.field(default_factory=dict)
    queue_limit: Amounts = msgspec.field(default_factory=dict)
    """The most that its queue may have; resources without a limit are not in it."""
    queue_deserved: Amounts = msgspec.field(default_factory=dict)
    place: int = 0
    """In line of its queue, counted from 1. 0: not in line."""
    line: int = 0
    """How many wait in its queue."""
    share: float = 0.0
    """Of its queue: the largest part of what it deserves that it has of any resource."""
    waiting_since: float | None = None


class GroupOutcome(msgspec.Struct, frozen=True):
    phase: GroupPhase
    counts: Counts
    conditions: tuple[Condition, ...] = ()
    event: str = ""
    """Of the Normal ``Unschedulable`` on the PodGroup, about the limit that it waits at; empty: none. Repeated while
    nothing changes: whoever writes it does so once."""


class QueueOutcome(msgspec.Struct, frozen=True):
    """Of a Queue's status, and of metrics."""

    allocated: Amounts
    deserved: Amounts = msgspec.field(default_factory=dict)
    share: float = 0.0
    pending: int = 0
    inqueue: int = 0
    running: int = 0
    unknown: int = 0
    completed: int = 0
    """PodGroups of each phase."""


class Decisions(msgspec.Struct, frozen=True):
    binds: tuple[Bind, ...] = ()
    """All of a gang's are next to each other. If one fails the others still stand: the gang is then short of members
    and is completed first, or gives its resources back when its time is up."""
    evictions: tuple[Evict, ...] = ()
    nominations: tuple[Nominate, ...] = ()
    groups: Mapping[str, GroupOutcome] = msgspec.field(default_factory=dict)
    """All groups whose outcome may differ from the last cycle's."""
    tasks: tuple[TaskCondition, ...] = ()
    waiting: tuple[str, ...] = ()
    """The groups that wait."""
    explanations: Mapping[str, Explanation] = msgspec.field(default_factory=dict)
    """Of these, if they were asked for."""
    queues: Mapping[str, QueueOutcome] = msgspec.field(default_factory=dict)
    carried: Carried = Carried()
    """For the next snapshot."""
    wake: float | None = None
    """When to decide again even if nothing has happened until then: a time-out ends. None: never."""
