"""What the batch scheduler is given: nodes, queues, groups and their pods, at one moment. Frozen, compared by value.

A new snapshot shares whatever has not changed with the one before it: the cost of a cycle follows the
:class:`Group`, :class:`~homeport.scheduler.model.Node` and tuples of :class:`Task` that are other *objects* than last
time. Amounts are those of :mod:`homeport.scheduler.model`: thousandths of a CPU, bytes, whole devices. Times are in
seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from homeport.kube.selector import NOTHING, Requirement, Selector
from homeport.scheduler.interpod import Labels, Rules
from homeport.scheduler.model import Demand, Node

DEFAULT_QUEUE = "default"
ROOT_QUEUE = "root"

Amounts = Mapping[str, int]


class TaskStatus(StrEnum):
    """Volcano's (``pkg/scheduler/api/types.go``), as far as a snapshot knows them."""

    PENDING = "Pending"
    """It has no node."""
    GATED = "Gated"
    """It has no node and scheduling gates: it is counted, and not placed."""
    BINDING = "Binding"
    """It has been given a node, and the API server does not know yet."""
    BOUND = "Bound"
    RUNNING = "Running"
    RELEASING = "Releasing"
    """It is being deleted and still holds its node."""
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"

    __hash__ = str.__hash__
    """An enumeration's own is a function of Python: these are counted by the thousand."""

    @property
    def holds(self) -> bool:
        """Whether it takes its share of its node."""
        return self in _HOLDING

    @property
    def ready(self) -> bool:
        """Whether it counts towards ``minMember``."""
        return self in _READY


_HOLDING = frozenset({TaskStatus.BINDING, TaskStatus.BOUND, TaskStatus.RUNNING, TaskStatus.RELEASING})
_READY = frozenset({TaskStatus.BINDING, TaskStatus.BOUND, TaskStatus.RUNNING, TaskStatus.SUCCEEDED})


class GroupPhase(StrEnum):
    PENDING = "Pending"
    INQUEUE = "Inqueue"
    RUNNING = "Running"
    UNKNOWN = "Unknown"
    COMPLETED = "Completed"


class Shape(msgspec.Struct, frozen=True):
    """What pods have in common that are interchangeable to the scheduler: a class of pods."""

    namespace: str
    demand: Demand
    """With the ``choices`` of its volumes filled in (:meth:`homeport.scheduler.volumes.Claims.choices`)."""
    rules: Rules | None = None
    """What it asks of the pods around it."""
    preempts: bool = True
    """It may take the place of others (``preemptionPolicy`` is not Never)."""
    refused: str = ""
    """Why no node helps, whatever there is room for: its claims are not there (:class:`~.volumes.Refused`)."""


class Task(msgspec.Struct, frozen=True):
    """A pod."""

    uid: str
    namespace: str
    name: str
    shape: int
    """A key of :attr:`Snapshot.shapes`."""
    status: TaskStatus
    node: str = ""
    role: str = ""
    """The task of the job that it belongs to: Volcano's ``volcano.sh/task-spec``, a training job's replica type."""
    index: int = 0
    """Within its role."""
    priority: int = 0
    created: float = 0.0
    started: float = 0.0
    """When it began to run."""
    labels: Labels = msgspec.field(default_factory=dict)
    nominated: str = ""
    """The node that was emptied for it (``status.nominatedNodeName``)."""
    preemptable: bool | None = None
    """``volcano.sh/preemptable``; None: it does not say."""
    critical: bool = False
    """Never evicted: in ``kube-system``, or of a ``system-…-critical`` class."""


class NetworkTopology(msgspec.Struct, frozen=True):
    hard: bool = True
    highest_tier: int | None = None
    """The highest tier of HyperNode whose members may share the gang. None: any."""
    highest_tier_name: str = ""
    """The same by the tier's name."""


class Group(msgspec.Struct, frozen=True):
    """A PodGroup of any kind, and its pods."""

    key: str
    """Unique among all kinds, and the same from one snapshot to the next."""
    namespace: str
    name: str
    kind: str = "scheduling.volcano.sh/v1beta1"
    queue: str = DEFAULT_QUEUE
    min_member: int = 1
    min_task_member: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Of them, how many of each role."""
    min_resources: Amounts | None = None
    """What it needs in all, as far as that has been said. None: nothing said, it may always join the queue."""
    priority: int = 0
    phase: GroupPhase = GroupPhase.PENDING
    created: float = 0.0
    tasks: tuple[Task, ...] = ()
    owner: str = ""
    """The job, for words: ``TFJob team-a/mnist``. Empty: the group itself."""
    owner_group: str = ""
    """The API group of the job: there are jobs of several."""
    user: str = ""
    """Whose share over time it counts against: the namespace, unless something better is known."""
    preemptable: bool | None = None
    """What ``volcano.sh/preemptable`` says of all its pods. None: nothing."""
    waits: bool = True
    """It has the phase Inqueue. Kinds without it (kube-batch's, the coscheduling plug-in's) have their pods from the
    start, and join the queue in the cycle in which they are placed."""
    sla_seconds: float | None = None
    """``sla-waiting-time``."""
    inqueue_seconds: float | None = None
    """How long it may be Inqueue without becoming whole. None: the configuration's."""
    stale_seconds: float | None = None
    """How long it may hold resources with fewer than ``min_member`` ready. None: the configuration's."""
    hierarchy: str = ""
    """``volcano.sh/hierarchy`` of its queue's or namespace's, such as ``root/eng/dev``."""
    network: NetworkTopology | None = None
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Those of them that plugins read (``volcano.sh/task-topology-…``)."""


class QueueState(StrEnum):
    OPEN = "Open"
    CLOSED = "Closed"
    CLOSING = "Closing"
    UNKNOWN = "Unknown"


class Queue(msgspec.Struct, frozen=True):
    name: str
    weight: int = 1
    priority: int = 0
    state: QueueState = QueueState.OPEN
    parent: str = ""
    """Empty: the root queue."""
    capability: Amounts | None = None
    """The most that it may have. None, and a resource it does not name: no limit."""
    deserved: Amounts | None = None
    """What it gets back from others when it needs it (plugin `capacity`)."""
    guarantee: Amounts | None = None
    """What nobody else ever gets."""
    reclaimable: bool = True
    """Others may take back what it has beyond its share."""
    fifo: bool = False
    """``dequeueStrategy: fifo``: nobody passes the first in line."""
    hierarchy: str = ""
    hierarchy_weights: str = ""
    created: float = 0.0


class HyperNode(msgspec.Struct, frozen=True):
    """A part of the network: nodes that are near to each other. The lower the tier, the nearer."""

    name: str
    tier: int
    nodes: frozenset[str]
    """All nodes below it."""
    tier_name: str = ""


class Clock(msgspec.Struct, frozen=True):
    """Since when something is true of a group; None: it is not."""

    waiting: float | None = None
    """It has members that it needs and has no place for."""
    inqueue: float | None = None
    """It is Inqueue and not whole."""
    stale: float | None = None
    """It holds resources with fewer ready than it needs."""
    backoff: float | None = None
    """Until when it stays Pending (a time to come), after it has been sent back from Inqueue."""
    tries: int = 0
    """How often it has been sent back."""


class Reservation(msgspec.Struct, frozen=True):
    """The nodes that are kept until a gang that has waited long fits: smaller ones do not pass it for ever."""

    group: str
    nodes: tuple[str, ...]
    since: float


class Carried(msgspec.Struct, frozen=True):
    """What one cycle hands to the next. It may be lost: then clocks start anew."""

    clocks: Mapping[str, Clock] = msgspec.field(default_factory=dict)
    """By group."""
    reservation: Reservation | None = None
    usage: Mapping[str, float] = msgspec.field(default_factory=dict)
    """By user: dominant share times seconds, halved every half-life (plugin `fair-share`)."""
    measured: float = 0.0
    """When `usage` was."""


class Snapshot(msgspec.Struct, frozen=True):
    nodes: tuple[Node, ...] = ()
    """Those that are not ready among them."""
    shapes: Mapping[int, Shape] = msgspec.field(default_factory=dict)
    """A key always means the same shape while the process lives."""
    queues: tuple[Queue, ...] = ()
    groups: tuple[Group, ...] = ()
    loose: Mapping[str, tuple[Task, ...]] = msgspec.field(default_factory=dict)
    """By node: the pods that hold room there and belong to no group; those that another scheduler is just binding too.
    """
    held: Mapping[str, Amounts] = msgspec.field(default_factory=dict)
    """By node: what is kept for somebody who comes later (`default-scheduler`'s nominations)."""
    namespaces: Mapping[str, Labels] = msgspec.field(default_factory=dict)
    """The labels of each, for terms of pod affinity."""
    hypernodes: tuple[HyperNode, ...] = ()
    carried: Carried = Carried()


def to_json(snapshot: Snapshot) -> bytes:
    """A snapshot as JSON."""
    return _ENCODER.encode(snapshot)


def from_json(data: bytes | str) -> Snapshot:
    """The way back. Raises :class:`msgspec.ValidationError` (a ValueError) for what is none, with the path."""
    return _DECODER.decode(data)


def _encode(value: Any) -> Any:
    if isinstance(value, Selector):
        return {"requirements": value.requirements, "nothing": value.nothing}
    raise NotImplementedError(type(value))


def _decode(wanted: type, value: Any) -> Any:
    if wanted is Selector:
        if value.get("nothing"):
            return NOTHING
        return Selector(msgspec.convert(value.get("requirements") or [], tuple[Requirement, ...]))
    raise NotImplementedError(wanted)


_ENCODER = msgspec.json.Encoder(enc_hook=_encode)
_DECODER = msgspec.json.Decoder(Snapshot, dec_hook=_decode)
