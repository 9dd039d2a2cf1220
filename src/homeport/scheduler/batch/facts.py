"""What follows from a group alone: worked out once for each version of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from homeport.scheduler.batch.axis import Axis, Vector
from homeport.scheduler.batch.decisions import Counts
from homeport.scheduler.batch.model import Group, GroupPhase, TaskStatus

_COUNTED = (TaskStatus.RUNNING, TaskStatus.SUCCEEDED, TaskStatus.FAILED)
_STAYING = frozenset(status for status in TaskStatus if status.holds and status is not TaskStatus.RELEASING)


class Facts:
    """`vectors` gives what a pod of a shape asks for."""

    __slots__ = (
        "allocated",
        "group",
        "is_settled",
        "minimum",
        "pending",
        "ready",
        "releasing",
        "request",
        "roles",
        "statuses",
        "unallocated",
        "valid",
        "valid_roles",
    )

    def __init__(self, group: Group, axis: Axis, vectors: Callable[[int], Vector]) -> None:
        self.group = group
        # One look for each figure, most of which C takes: of a gang of thousands it is for each pod that comes.
        self.statuses = Counter([task.status for task in group.tasks])
        self.pending = [task for task in group.tasks if task.status is TaskStatus.PENDING]
        self.allocated = axis.zero()
        """What its pods hold, but those that are leaving (upstream: ``AllocatedStatus``): else who gets their place
        would seem to take more than its queue may have, and others would have to go as well."""
        self.request = axis.zero()
        """What its pods hold and what those ask for that have no node; what it has said that it needs, if its pods are
        still to be made: its queue deserves a share for it before, or others would never make room."""
        self.roles: Counter[str] = Counter()
        """How many of each are ready."""
        self.valid_roles: Counter[str] = Counter()
        shapes = Counter([task.shape for task in group.tasks if task.status in _STAYING])
        waiting = Counter([task.shape for task in self.pending])
        if group.min_task_member:
            for task in group.tasks:
                self.roles[task.role] += task.status.ready
                self.valid_roles[task.role] += _is_valid(task.status)
        for shape, count in shapes.items():
            self.allocated += vectors(shape) * count
        self.request += self.allocated
        for shape, count in waiting.items():
            self.request += vectors(shape) * count
        self.ready = sum(count for status, count in self.statuses.items() if status.ready)
        self.releasing = self.statuses[TaskStatus.RELEASING]
        self.valid = sum(count for status, count in self.statuses.items() if _is_valid(status))
        """How many count as members at all."""
        self.minimum: Vector | None = None
        """What it has said that it needs."""
        if group.min_resources is not None:
            self.minimum = axis.vector(group.min_resources)
            if group.phase in (GroupPhase.PENDING, GroupPhase.INQUEUE):
                self.request = np.maximum(self.request, self.minimum)
        self.unallocated = axis.zero()
        """What an Inqueue group has been promised and does not hold yet."""
        if group.phase is GroupPhase.INQUEUE and self.minimum is not None:
            self.unallocated = np.maximum(self.minimum - self.allocated, 0)
        self.is_settled = self._is_settled()
        """Whether nothing is left to decide about it, unless it is to make room for others: it is whole, nobody of it
        waits, and its phase says so."""

    def _is_settled(self) -> bool:
        if self.pending or not self.group.tasks or not self.is_whole:
            return False
        done = self.statuses[TaskStatus.SUCCEEDED]
        phase = GroupPhase.COMPLETED if done and done >= self.scheduled else GroupPhase.RUNNING
        return phase is self.group.phase

    @property
    def counts(self) -> Counts:
        return Counts(*(self.statuses[status] for status in _COUNTED))

    @property
    def scheduled(self) -> int:
        """Those that have a node or have had one. Who is leaving counts: that is not the group's fault yet."""
        return self.ready + self.releasing

    @property
    def is_whole(self) -> bool:
        group = self.group
        return self.ready >= group.min_member and all(
            self.roles[role] >= least for role, least in group.min_task_member.items()
        )


def _is_valid(status: TaskStatus) -> bool:
    """Upstream: ``ValidTaskNum``. What has failed or is leaving is no member any more."""
    return status.ready or status is TaskStatus.PENDING
