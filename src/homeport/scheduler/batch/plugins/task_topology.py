"""Places tasks of a job on nodes together or apart, as the job says (upstream: ``task-topology``)."""

from __future__ import annotations

import numpy as np

from homeport.scheduler.batch.axis import Mask, Scores, Vector
from homeport.scheduler.batch.buckets import Buckets, parse
from homeport.scheduler.batch.configuration import PluginOption
from homeport.scheduler.batch.model import Task, TaskStatus
from homeport.scheduler.batch.plan import Near
from homeport.scheduler.batch.plugins.arguments import number
from homeport.scheduler.batch.plugins.base import Key, Plugin
from homeport.scheduler.batch.session import Session
from homeport.scheduler.batch.state import GroupState
from homeport.scheduler.model import CPU, MEMORY, PODS


class TaskTopology(Plugin):
    """Argument: ``task-topology.weight``."""

    name = "task-topology"
    numbers = ("task-topology.weight",)

    def __init__(self, session: Session, option: PluginOption) -> None:
        super().__init__(session, option)
        self._weight = number(option.arguments, "task-topology.weight", 1)
        self._vectors: dict[str, Vector] = {}
        self._of: dict[str, Buckets] = {}
        """By group."""
        self._order: dict[str, tuple[int, ...]] = {}
        for group in session.groups.values():
            if group.group.annotations and group.facts.pending:
                self._read(group)

    def _read(self, group: GroupState) -> None:
        tasks = [task for task in group.group.tasks if _is_there(task)]
        wishes = parse(group.group.annotations, frozenset(task.role for task in tasks))
        if wishes is None:
            return
        session = self.session
        units = np.full(session.axis.size, 1000.0)  # as much as a device: a CPU, a Gi
        units[session.axis.index[CPU]] = 1.0
        units[session.axis.index[MEMORY]] = 1 / 2**20
        units[session.axis.index[PODS]] = 0.0
        index = session.ledger.index
        places = {task.uid: index[task.node] for task in tasks if task.node in index}
        self._vectors.update((task.uid, session.ledger.vector(task.shape)) for task in tasks)
        found = self._of[group.key] = Buckets(wishes, tasks, places, self._vectors, units, len(index))
        for task in group.facts.pending:
            known = found.order.get(task.uid)
            self._order[task.uid] = (1,) if known is None else (0, *known)

    def task_order(self, task: Task) -> Key:
        return self._order.get(task.uid, (1,))

    def near(self, group: GroupState, task: Task) -> Near | None:
        found = self._of.get(group.key)
        return None if found is None else lambda open: self._scores(found, task, open)

    def _scores(self, found: Buckets, task: Task, open: Mask) -> Scores:
        scores = found.scores(task, self.session.future, self._vectors)
        if scores is None:
            return np.zeros(len(open))
        return scores * (self._weight * 100 / max(found.largest, 1))

    def placed(self, group: GroupState, task: Task, place: int, sign: int) -> None:
        found = self._of.get(group.key)
        if found is not None:
            found.move(task, place, sign)


def _is_there(task: Task) -> bool:
    return task.status is TaskStatus.PENDING or (task.status.holds and task.status is not TaskStatus.RELEASING)
