"""Dominant resource fairness: who has least of what it has most of is first (upstream: ``drf``).

With ``enableHierarchy: true`` queues are, too: level by level of the tree that ``volcano.sh/hierarchy`` puts them in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from homeport.scheduler.batch.axis import Vector
from homeport.scheduler.batch.configuration import PluginOption
from homeport.scheduler.batch.model import ROOT_QUEUE, Queue, Task
from homeport.scheduler.batch.plugins.arguments import parsed
from homeport.scheduler.batch.plugins.base import Key, Plugin
from homeport.scheduler.batch.plugins.hierarchy import Node, Tree
from homeport.scheduler.batch.session import Session
from homeport.scheduler.batch.state import GroupState, QueueState, Victim

_DELTA = 1e-6
"""Shares that differ by less count as equal."""


class Drf(Plugin):
    name = "drf"

    @classmethod
    def variant(cls, option: PluginOption) -> type[Plugin]:
        return HierarchicalDrf if "hierarchy" in option.enabled else cls

    def __init__(self, session: Session, option: PluginOption) -> None:
        super().__init__(session, option)
        self._total = np.maximum(session.total, 1).astype(float)
        self._counted = session.total > 0
        self._counted[session.axis.index["pods"]] = False

    def _share(self, allocated: Vector) -> float:
        return float((allocated / self._total * self._counted).max())

    def job_order(self, group: GroupState) -> Key:
        return round(self._share(group.allocated), 6) if group.holds or group.placed else 0.0

    def preemptable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim] | None:
        vectors = self.session.ledger.vector
        mine = self._share(group.allocated + vectors(taker.shape))
        left: dict[str, Vector] = {}
        found = []
        for victim in victims:
            rest = left.get(victim.group.key, victim.group.allocated) - vectors(victim.task.shape)
            left[victim.group.key] = rest
            theirs = self._share(rest)
            if mine < theirs or abs(mine - theirs) <= _DELTA:
                found.append(victim)
        return found


class HierarchicalDrf(Drf):
    """A queue without the annotation is where ``spec.parent`` puts it, with its own weight."""

    sways = True

    def __init__(self, session: Session, option: PluginOption) -> None:
        super().__init__(session, option)
        self._tree = Tree(session.total, self._counted)
        self._nodes = {name: self._tree.node(*_place(queue)) for name, queue in session.queues.items()}
        jobs: dict[Node, list[tuple[str, Vector, Vector]]] = {}
        for key, facts in session.ledger.facts.items():
            if facts.group.queue in self._nodes:
                node = self._nodes[facts.group.queue]
                jobs.setdefault(node, []).append((key, facts.allocated, facts.request))
        for node, found in jobs.items():
            self._tree.fill(node, found)

    def queue_order(self, queue: QueueState) -> Key:
        return self._tree.order(self._nodes[queue.name])

    def moved(self, group: GroupState, amount: Vector, sign: int) -> None:
        self._tree.move(group.key, sign * amount)

    def preemptive(self, queue: QueueState, amount: Vector) -> bool:
        """Whoever comes before others may take from them; `reclaimable` says who does."""
        return True

    def reclaimable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim] | None:
        """Those whose queue comes after the taker's even when it has lost them and the taker's has what it wants: then
        it has no claim on what it lost."""
        vectors, tree = self.session.ledger.vector, self._tree
        amount = vectors(taker.shape)
        wanted = (amount > 0) & self._counted
        found: list[Victim] = []
        tree.move(group.key, amount)
        for victim in victims:
            given = vectors(victim.task.shape)
            if not (wanted & (given > 0)).any():
                continue
            tree.move(victim.group.key, -given)
            mine, theirs = (tree.order(self._nodes[each.queue.name]) for each in (group, victim.group))
            depth = min(len(mine), len(theirs))
            if mine[:depth] < theirs[:depth]:
                found.append(victim)
            else:
                tree.move(victim.group.key, given)
        for victim in found:
            tree.move(victim.group.key, vectors(victim.task.shape))
        tree.move(group.key, -amount)
        return found


def _place(queue: QueueState) -> tuple[list[str], list[float]]:
    """The names and weights from below the root down to it."""
    if not queue.queue.hierarchy:
        lineage = [each.queue for each in reversed(queue.lineage) if each.name != ROOT_QUEUE]
        return [each.name for each in lineage], [float(each.weight) for each in lineage]
    return _annotated(queue.queue)


def _annotated(queue: Queue) -> tuple[list[str], list[float]]:
    """``root/eng/dev`` and ``100/50/50``; what has no weight, or none that is a number, has 1."""
    path, given = queue.hierarchy.split("/"), queue.hierarchy_weights.split("/")
    weights = [(parsed(text) or 1.0) for text in given] + [1.0] * len(path)
    places = list(zip(path, weights, strict=False))
    below = places[1:] if path[0] == ROOT_QUEUE else places
    return [name for name, _ in below], [weight for _, weight in below]
