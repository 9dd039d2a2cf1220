"""What nodes have and what is taken of it, kept from one cycle to the next: only what is another object is counted
anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from homeport.scheduler.assign import unsuitable
from homeport.scheduler.batch.axis import Axis, Mask, Table, Vector
from homeport.scheduler.batch.decisions import GroupOutcome
from homeport.scheduler.batch.facts import Facts
from homeport.scheduler.batch.model import Amounts, Group, Queue, Shape, Snapshot, Task, TaskStatus
from homeport.scheduler.batch.network import Network
from homeport.scheduler.model import PODS, Demand, HostPort, Node

_DEFAULT_PODS = 110


class QueueTotals:
    """The sums over a queue's groups."""

    __slots__ = ("allocated", "inqueue", "request", "settled")

    def __init__(self, axis: Axis) -> None:
        self.allocated = axis.zero()
        self.request = axis.zero()
        self.inqueue = axis.zero()
        """Promised and not held yet."""
        self.settled: dict[str, GroupOutcome] = {}
        """What becomes of those of which nothing is left to decide."""

    def count(self, facts: Facts, sign: int) -> None:
        self.allocated += sign * facts.allocated
        self.request += sign * facts.request
        self.inqueue += sign * facts.unallocated
        if facts.is_settled:
            if sign > 0:
                self.settled[facts.group.key] = GroupOutcome(facts.group.phase, facts.counts)
            else:
                del self.settled[facts.group.key]


class Ledger:
    """One for each caller of :func:`~homeport.scheduler.batch.decide.decide`. After :meth:`update` it says what the
    snapshot says, whatever it has been given before."""

    def __init__(self) -> None:
        self._start(Axis(()), ())

    def _start(self, axis: Axis, nodes: tuple[Node, ...]) -> None:
        """From nothing."""
        self.axis = axis
        self.nodes = list(nodes)
        self._given = nodes
        self.index = {node.name: place for place, node in enumerate(nodes)}
        count = len(nodes)
        self.capacity: Table = np.zeros((count, axis.size), np.int64)
        self.used: Table = np.zeros((count, axis.size), np.int64)
        self.releasing: Table = np.zeros((count, axis.size), np.int64)
        """The part of `used` that is about to become free."""
        self.loose: Table = np.zeros((count, axis.size), np.int64)
        """The part of `used` that belongs to no group."""
        self.ports: dict[int, Counter[HostPort]] = {}
        self.queues: dict[str, QueueTotals] = {}
        self.facts: dict[str, Facts] = {}
        self.suitable: dict[Demand, tuple[Mask, Counter[str]]] = {}
        """Of each kind of demand, without amounts: where it may go, and what is wrong with how many of the others."""
        self.network: Network | None = None
        self._vectors: dict[int, Vector] = {}
        self._loose: dict[str, tuple[Task, ...]] = {}
        self._held: Mapping[str, Amounts] = {}
        self._shapes: Mapping[int, Shape] = {}
        for place, node in enumerate(nodes):
            self.capacity[place] = self._capacity(node)
        self._survey()

    def _survey(self) -> None:
        """What a look at all nodes tells, which is taken when one of them has changed."""
        self.ready: Mask = np.array([node.ready for node in self.nodes], bool)
        self.some_discourage = any(taint.effect == "PreferNoSchedule" for node in self.nodes for taint in node.taints)
        """Whether there are nodes that pods had better not go to."""

    def update(self, snapshot: Snapshot) -> None:
        new_nodes = snapshot.nodes is not self._given
        if not all(resource in self.axis for resource in self._new_resources(snapshot)) or (
            new_nodes and [node.name for node in snapshot.nodes] != [node.name for node in self.nodes]
        ):
            self._start(Axis(_resources(snapshot)), snapshot.nodes)
        elif new_nodes:
            self._update_nodes(snapshot.nodes)
        if not snapshot.hypernodes:
            self.network = None
        elif self.network is None or self.network.given is not snapshot.hypernodes:
            self.network = Network(snapshot.hypernodes, self.index)
        # Whoever has gone may have been the last of a shape.
        self._shapes = {**self._shapes, **snapshot.shapes}
        self._update_loose(snapshot)
        self._update_groups(snapshot.groups)
        self._shapes = snapshot.shapes
        for shape in self._vectors.keys() - snapshot.shapes.keys():
            del self._vectors[shape]

    def _new_resources(self, snapshot: Snapshot) -> Iterator[str]:
        """The resources of what has changed."""
        for shape in snapshot.shapes.keys() - self._shapes.keys():
            for resource, _ in snapshot.shapes[shape].demand.requests:
                yield resource
        if snapshot.nodes is not self._given:
            for node in snapshot.nodes:
                yield from node.allocatable
        for queue in snapshot.queues:
            yield from _named(queue)
        for group in snapshot.groups:
            known = self.facts.get(group.key)
            if group.min_resources and (known is None or known.group is not group):
                yield from group.min_resources

    def vector(self, shape: int) -> Vector:
        """What a pod of this shape asks for; a pod counts as one of `pods`."""
        found = self._vectors.get(shape)
        if found is None:
            found = self._vectors[shape] = self.axis.vector(self._shapes[shape].demand.requests)
            found[self.axis.index[PODS]] = 1
        return found

    def mask(self, demand: Demand) -> tuple[Mask, Counter[str]]:
        """Where the demand may go however much there is left, as :func:`~homeport.scheduler.assign.unsuitable` says."""
        kind = Demand(
            selector=demand.selector, required=demand.required, tolerations=demand.tolerations, choices=demand.choices
        )
        known = self.suitable.get(kind)
        if known is None:
            verdicts = [unsuitable(node, kind) for node in self.nodes]
            known = np.array([not verdict for verdict in verdicts], bool), Counter(filter(None, verdicts))
            self.suitable[kind] = known
        return known

    def _capacity(self, node: Node) -> Vector:
        known = {resource: amount for resource, amount in node.allocatable.items() if resource in self.axis}
        return self.axis.vector({PODS: _DEFAULT_PODS, **known})

    def _update_nodes(self, nodes: tuple[Node, ...]) -> None:
        for place, node in enumerate(nodes):
            if self.nodes[place] is not node:
                if self.nodes[place] != node:
                    self.capacity[place] = self._capacity(node)
                    self.suitable.clear()
                self.nodes[place] = node
        self._given = nodes
        self._survey()

    def _update_loose(self, snapshot: Snapshot) -> None:
        for node in self._loose.keys() | snapshot.loose.keys():
            old, new = self._loose.get(node, ()), snapshot.loose.get(node, ())
            if old is not new:
                self._count(old, new, loose=True)
                self._loose[node] = new
                if not new:
                    del self._loose[node]
        if snapshot.held != self._held:
            for sign, held in ((-1, self._held), (1, snapshot.held)):
                for name, amounts in held.items():
                    if name in self.index:
                        self.used[self.index[name]] += sign * self.axis.vector(amounts)
            self._held = snapshot.held

    def _update_groups(self, groups: tuple[Group, ...]) -> None:
        known = self.facts
        for group in groups:
            facts = known.get(group.key)
            if facts is None or facts.group is not group:
                self._learn(group, facts)
        if len(known) != len(groups):
            present = {group.key for group in groups}
            for key in [key for key in known if key not in present]:
                facts = known.pop(key)
                self._count(facts.group.tasks, ())
                self._totals(facts.group.queue).count(facts, -1)

    def _learn(self, group: Group, before: Facts | None) -> None:
        facts = self.facts[group.key] = Facts(group, self.axis, self.vector)
        if before is None:
            self._count((), group.tasks)
        else:
            self._count(*_differing(before.group.tasks, group.tasks))
            self._totals(before.group.queue).count(before, -1)
        self._totals(group.queue).count(facts, 1)

    def _totals(self, queue: str) -> QueueTotals:
        totals = self.queues.get(queue)
        if totals is None:
            totals = self.queues[queue] = QueueTotals(self.axis)
        return totals

    def _count(self, gone: Iterable[Task], come: Iterable[Task], *, loose: bool = False) -> None:
        """What some tasks hold is free, and others hold what they do."""
        changes: dict[tuple[str, int, bool], int] = {}
        """By node, by shape, and whether it is leaving: most of those who come have been there in another state."""
        for sign, tasks in ((-1, gone), (1, come)):
            for task in tasks:
                if task.status.holds:
                    key = (task.node, task.shape, task.status is TaskStatus.RELEASING)
                    changes[key] = changes.get(key, 0) + sign
        for (node, shape, leaving), count in changes.items():
            place = self.index.get(node)
            if place is None or not count:
                continue
            amount = count * self.vector(shape)
            self.used[place] += amount
            if leaving:
                self.releasing[place] += amount
            if loose:
                self.loose[place] += amount
            for port in self._shapes[shape].demand.ports:
                self.ports.setdefault(place, Counter())[port] += count


def _differing(old: tuple[Task, ...], new: tuple[Task, ...]) -> tuple[list[Task], list[Task]]:
    """Those of each that are not in the same place of the other one; what has not changed is the same object. Most
    changes leave the order alone; where one goes, what follows is counted off and on again."""
    pairs = [(before, after) for before, after in zip(old, new, strict=False) if before is not after]
    gone, come = [before for before, _ in pairs], [after for _, after in pairs]
    return [*gone, *old[len(new) :]], [*come, *new[len(old) :]]


def _resources(snapshot: Snapshot) -> set[str]:
    found = {resource for shape in snapshot.shapes.values() for resource, _ in shape.demand.requests}
    for node in snapshot.nodes:
        found.update(node.allocatable)
    for queue in snapshot.queues:
        found.update(_named(queue))
    for group in snapshot.groups:
        if group.min_resources:
            found.update(group.min_resources)
    return found


def _named(queue: Queue) -> Iterable[str]:
    for amounts in (queue.capability, queue.deserved, queue.guarantee):
        yield from amounts or ()
