"""Groups and queues within one cycle: what the snapshot says of them, and what has been decided since."""

from __future__ import annotations

from collections import Counter

import msgspec

from homeport.scheduler.batch.axis import UNLIMITED, Axis, Vector
from homeport.scheduler.batch.facts import Facts
from homeport.scheduler.batch.ledger import QueueTotals
from homeport.scheduler.batch.model import Clock, Group, GroupPhase, Queue, Task
from homeport.scheduler.batch.model import QueueState as State


class QueueState:
    """`totals`: of its own groups; those of the queues below it are added by the session."""

    __slots__ = (
        "allocated",
        "capability",
        "children",
        "deserved",
        "groups",
        "guarantee",
        "inqueue",
        "limit",
        "name",
        "parent",
        "queue",
        "request",
        "share",
    )

    def __init__(self, queue: Queue, totals: QueueTotals | None, axis: Axis) -> None:
        self.queue = queue
        self.name = queue.name
        self.parent: QueueState | None = None
        self.children: list[QueueState] = []
        self.allocated = axis.zero() if totals is None else totals.allocated.copy()
        self.request = axis.zero() if totals is None else totals.request.copy()
        self.inqueue = axis.zero() if totals is None else totals.inqueue.copy()
        self.capability: Vector = axis.vector(queue.capability or {}, UNLIMITED)
        self.guarantee: Vector = axis.vector(queue.guarantee or {})
        self.deserved: Vector = axis.vector(queue.deserved or {})
        """What it is to have, by the plugin that says so; until then what has been set."""
        self.limit: Vector = self.capability
        """The most that it may have, by the plugin that says so."""
        self.share = 0.0
        self.groups: list[GroupState] = []

    @property
    def is_open(self) -> bool:
        return self.queue.state is State.OPEN

    @property
    def lineage(self) -> list[QueueState]:
        """Itself and all above it."""
        found: list[QueueState] = [self]
        while (parent := found[-1].parent) is not None:
            found.append(parent)
        return found


class Placed(msgspec.Struct, frozen=True):
    """A pod that this cycle gives a node. `later`: once somebody has gone."""

    task: Task
    place: int
    later: bool = False


class GroupState:
    __slots__ = (
        "allocated",
        "clock",
        "event",
        "evicted",
        "facts",
        "group",
        "order",
        "passed",
        "phase",
        "pipelined",
        "placed",
        "queue",
        "ready",
        "refusal",
        "refused_tasks",
        "roles",
        "schedulable",
    )

    def __init__(self, facts: Facts, queue: QueueState, clock: Clock) -> None:
        self.facts = facts
        self.group: Group = facts.group
        self.queue = queue
        self.clock = clock
        self.phase: GroupPhase = facts.group.phase
        self.ready = facts.ready
        self.pipelined = 0
        self.roles: Counter[str] = Counter(facts.roles) if facts.roles else facts.roles
        """How many of each have a place or get one. Only of groups that ask for some of each."""
        self.allocated = facts.allocated.copy()
        self.order: list[Task] | None = None
        """Its pods without a node as they are to be placed, once somebody has asked."""
        self.passed = 0
        """How many of them, from the first on, have a place."""
        self.placed: dict[str, Placed] = {}
        """By uid, in the order in which they were."""
        self.evicted: dict[str, Task] = {}
        self.refusal = ""
        """Why it is not whole: Volcano's ``JobFitErrors``."""
        self.refused_tasks: dict[str, str] = {}
        """By uid: why a pod fits nowhere."""
        self.schedulable = 0
        """How many had a place when it was tried."""
        self.event = ""

    @property
    def key(self) -> str:
        return self.group.key

    @property
    def is_ready(self) -> bool:
        """Whole, with what this cycle gives it at once."""
        if self.pipelined and self.group.min_task_member:
            return False  # roles count both kinds
        return self.ready >= self.group.min_member and self._has_roles

    @property
    def is_pipelined(self) -> bool:
        """Whole, as soon as those have gone whose places it gets."""
        return self.ready + self.pipelined >= self.group.min_member and self._has_roles

    @property
    def is_starving(self) -> bool:
        return not self.is_pipelined

    @property
    def _has_roles(self) -> bool:
        return not self.group.min_task_member or all(
            self.roles[role] >= least for role, least in self.group.min_task_member.items()
        )

    @property
    def holds(self) -> bool:
        return self.ready > 0

    def pending(self) -> list[Task]:
        """Those that have no place yet."""
        if not self.placed:
            return self.facts.pending
        return [task for task in self.facts.pending if task.uid not in self.placed]


class Victim(msgspec.Struct, frozen=True):
    """A pod that could be ended."""

    task: Task
    group: GroupState
    place: int
