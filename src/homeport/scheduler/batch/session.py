"""One cycle: the state that actions change and plugins judge."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from homeport.scheduler.batch import reservations
from homeport.scheduler.batch.axis import Mask, Places, Scores, Vector
from homeport.scheduler.batch.configuration import Configuration
from homeport.scheduler.batch.decisions import Evict
from homeport.scheduler.batch.facts import Facts
from homeport.scheduler.batch.ledger import Ledger
from homeport.scheduler.batch.model import DEFAULT_QUEUE, Clock, Queue, Snapshot, Task, TaskStatus
from homeport.scheduler.batch.neighbours import Neighbours
from homeport.scheduler.batch.network import Network, Stand
from homeport.scheduler.batch.plan import Plan
from homeport.scheduler.batch.plugins.base import Plugin
from homeport.scheduler.batch.state import GroupState, Placed, QueueState, Victim
from homeport.scheduler.batch.votes import Votes
from homeport.scheduler.company import AFFINITY_WEIGHT, SPREAD_WEIGHT, Company
from homeport.scheduler.model import HostPort

_NO_CLOCK = Clock()


class Session:
    """`ledger` has been brought up to `snapshot`. `makers`: the plugins that there are, by name."""

    def __init__(
        self,
        snapshot: Snapshot,
        configuration: Configuration,
        now: float,
        ledger: Ledger,
        makers: Mapping[str, type[Plugin]],
    ) -> None:
        self.snapshot = snapshot
        self.configuration = configuration
        self.now = now
        self.ledger = ledger
        self.axis = ledger.axis
        self.idle = ledger.capacity - ledger.used
        self.future = self.idle + ledger.releasing
        """What is idle once those have gone that are going, and those have come that are awaited."""
        self.free = np.minimum(self.idle, self.future)
        """What can be given away now."""
        self.some_leave = bool(ledger.releasing.any())
        self.ports: dict[int, Counter[HostPort]] = {place: Counter(taken) for place, taken in ledger.ports.items()}
        self.total: Vector = ledger.capacity[ledger.ready].sum(axis=0)
        self.log: list[int] = []
        """The places of nodes whose room has changed, one after the other."""
        self.moment = 0
        """Counts all changes."""
        self.epoch = 0
        """Counts changes of `blocked`."""
        self.blocked: Mask = np.zeros(len(ledger.nodes), bool)
        """Nodes that are kept for somebody."""
        self.blocked_for = ""
        self.network: Network | None = ledger.network
        """None: no part of it is known."""
        self._stands: dict[str, Stand] = {}
        """Of the groups that it matters to, once somebody has asked."""
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._neighbours = Neighbours(snapshot, ledger)
        self.queues = self._make_queues()
        self.groups: dict[str, GroupState] = {}
        """Those that something may have to be decided about; after :meth:`everyone`, all. A queue's, too."""
        self.is_complete = False
        """Whether those are all."""
        for key, facts in ledger.facts.items():
            if not facts.is_settled:
                self._count_in(key, facts)
        self.inqueue = sum((totals.inqueue for totals in ledger.queues.values()), self.axis.zero())
        """What groups that are Inqueue have been promised and do not hold."""
        self._nothing = self.axis.zero()
        self._yields: dict[tuple[str, int], Vector] = {}
        """By queue and priority."""
        self.evictions: list[Evict] = []
        """Those that have been committed."""
        self.usage: Mapping[str, float] = snapshot.carried.usage
        self.refused_some = False
        """Whether somebody was not let into the queue."""
        self.lending = False
        """Whether queues get what is beyond their share, because nobody else can use it."""
        self.reserved, self.reservation = reservations.current(self, snapshot.carried)
        """Whose turn it is, whatever the order."""
        self._in_turn = self.reserved or reservations.next_in_turn(self)
        self.affinity_weight, self.spread_weight = AFFINITY_WEIGHT, SPREAD_WEIGHT
        """Of what pods prefer about each other; plugins may set them."""
        self.votes = Votes(self, configuration, makers)
        self.checks_nodes = self.votes.has("predicates")

    def _count_in(self, key: str, facts: Facts) -> None:
        queue = self.queues.get(facts.group.queue)
        if queue is not None:
            state = self.groups[key] = GroupState(facts, queue, self.snapshot.carried.clocks.get(key, _NO_CLOCK))
            queue.groups.append(state)

    def everyone(self) -> Iterable[GroupState]:
        """All groups: only for who may take something from those that are settled."""
        if not self.is_complete:
            self.is_complete = True
            known, self.groups = self.groups, {}
            for queue in self.queues.values():
                queue.groups = []
            for key, facts in self.ledger.facts.items():
                state = known.get(key)
                if state is None:
                    self._count_in(key, facts)
                else:
                    self.groups[key] = state
                    state.queue.groups.append(state)
        return self.groups.values()

    def _make_queues(self) -> dict[str, QueueState]:
        given = {queue.name: queue for queue in self.snapshot.queues}
        given.setdefault(DEFAULT_QUEUE, Queue(DEFAULT_QUEUE))
        found = {name: QueueState(queue, self.ledger.queues.get(name), self.axis) for name, queue in given.items()}
        for state in found.values():
            parent = found.get(state.queue.parent)
            if parent is not None and parent is not state and state not in parent.lineage:
                state.parent = parent
                parent.children.append(state)
        # What is below counts above; each queue's own sums first.
        own = {
            name: (state.allocated.copy(), state.request.copy(), state.inqueue.copy()) for name, state in found.items()
        }
        for name, (allocated, request, inqueue) in own.items():
            for above in found[name].lineage[1:]:
                above.allocated += allocated
                above.request += request
                above.inqueue += inqueue
        return found

    # What is asked.

    def plan(self, task: Task) -> Plan:
        key = (task.shape, *self._neighbours.relevant(task))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = Plan(self, task)
        return plan

    def company(self, sample: Task) -> Company | None:
        return self._neighbours.company(sample) if self.checks_nodes else None

    def scores(self, plan: Plan, places: Places) -> Scores:
        return self.votes.node_order(plan, places)

    def waiting(self, group: GroupState) -> list[Task]:
        """Its pods that have no place, in the order in which they are placed."""
        if group.order is None:
            group.order = sorted(group.facts.pending, key=self.votes.task_order)
        if not group.placed:
            return group.order
        return [task for task in group.order if task.uid not in group.placed]

    def next_waiting(self, group: GroupState) -> Iterator[Task]:
        """The same one by one, for who wants the first ones only."""
        if group.order is None:
            self.waiting(group)
        order, placed = group.order or [], group.placed
        while group.passed < len(order) and order[group.passed].uid in placed:
            group.passed += 1
        for place in range(group.passed, len(order)):
            if order[place].uid not in placed:
                yield order[place]

    def stand(self, network: Network, group: GroupState) -> Stand:
        """How many of its pods are where in the network, as of now."""
        found = self._stands.get(group.key)
        if found is None:
            found = self._stands[group.key] = Stand(network, group)
        return found

    def may_place(self, group: GroupState) -> bool:
        """Whether its pods may be placed as far as its phase is concerned. Who holds something already is completed
        in any phase: else it would wait in line with what it has."""
        return not group.group.waits or group.phase != "Pending" or group.holds

    def classes(self, group: GroupState) -> set[tuple[object, ...]]:
        """Of its pods that have no node."""
        return {(task.shape, *self._neighbours.relevant(task)) for task in group.facts.pending}

    def running(self) -> Iterator[Victim]:
        """The pods of groups that could be ended."""
        for group in self.everyone():
            if group.facts.statuses[TaskStatus.RUNNING]:
                yield from self.running_of(group)

    def running_of(self, group: GroupState) -> Iterator[Victim]:
        for task in group.group.tasks:
            if task.status is TaskStatus.RUNNING and task.uid not in group.evicted:
                place = self.ledger.index.get(task.node)
                if place is not None:
                    yield Victim(task, group, place)

    @staticmethod
    def preemptable(victim: Victim) -> bool:
        """Whether its owner lets it be ended for others (``volcano.sh/preemptable``)."""
        own, of_group = victim.task.preemptable, victim.group.group.preemptable
        return own is not False and not (own is None and of_group is False)

    def future_fits(self, plan: Plan, place: int) -> bool:
        """Whether there will be room for one, and the neighbours who stay allow it."""
        within = np.zeros(len(self.ledger.nodes), bool)
        within[place] = True
        return plan.best_later(within) == place

    # What is changed.

    def place(self, group: GroupState, task: Task, place: int, *, later: bool = False) -> None:
        """Give a pod room; `later`: that of those who go."""
        self._shift(group, task, place, 1, later=later)
        group.placed[task.uid] = Placed(task, place, later)

    def unplace(self, group: GroupState, task: Task) -> None:
        placed = group.placed.pop(task.uid)
        self._shift(group, task, placed.place, -1, later=placed.later)

    def evict(self, victim: Victim) -> None:
        victim.group.evicted[victim.task.uid] = victim.task
        self._leave(victim, 1)

    def unevict(self, victim: Victim) -> None:
        del victim.group.evicted[victim.task.uid]
        self._leave(victim, -1)

    def takes_its_turn(self, group: GroupState) -> bool:
        """Whether it has waited so long that it comes in though the queue is full."""
        return group is self._in_turn

    def held(self, queue: QueueState) -> bool:
        """Whether the queue's quota is kept for the group whose turn it is."""
        return self.reserved is not None and bool(self.reserved.event) and queue in self.reserved.queue.lineage

    def may_reclaim(self, group: GroupState) -> bool:
        """Whether the group's queue can get back from others what the group needs: then it must not wait for that in
        front of the queue, where nobody takes anything back for it."""
        minimum = group.facts.minimum
        if minimum is None or "reclaim" not in self.configuration.actions:
            return False
        return self.votes.has_say_on_reclaim and self.votes.preemptive(group.queue, minimum)

    def yields(self, group: GroupState) -> Vector:
        """What less important groups of its queue hold beyond what they need, which action `preempt` takes for it. It
        must not wait for that in front of the queue, where nobody is ended for it."""
        if "preempt" not in self.configuration.actions or not self.votes.has("priority"):
            return self._nothing
        key = group.queue.name, group.group.priority
        found = self._yields.get(key)
        if found is None:
            found = self._yields[key] = self.axis.zero()
            for other in self.everyone():
                if other.queue is not group.queue:
                    continue
                spare = other.ready - other.group.min_member
                if other.group.priority >= group.group.priority or spare <= 0:
                    continue
                victims = (victim for victim in self.running_of(other) if self.preemptable(victim))
                for victim in itertools.islice(victims, spare):
                    found += self.ledger.vector(victim.task.shape)
        return found

    def keep_reserved(self) -> None:
        """Whose turn it is did not fit: keep its nodes from the others."""
        if self.reservation is not None and self.reserved is not None:
            index = self.ledger.index
            self.block([index[name] for name in self.reservation.nodes if name in index], self.reserved.key)

    def block(self, places: Sequence[int], whom: str) -> None:
        """Keep these nodes from everybody from now on."""
        self.blocked[list(places)] = True
        self.blocked_for = whom
        self.epoch += 1
        self.moment += 1

    def _shift(self, group: GroupState, task: Task, place: int, sign: int, *, later: bool) -> None:
        amount = self.ledger.vector(task.shape)
        change = amount if sign > 0 else -amount
        self.future[place] -= change
        if later:
            group.pipelined += sign
        else:
            self.idle[place] -= change
            group.ready += sign
        if group.group.min_task_member:
            group.roles[task.role] += sign
        self._changed(place)
        self._book(group, task, amount, sign)
        for port in self.snapshot.shapes[task.shape].demand.ports:
            self.ports.setdefault(place, Counter())[port] += sign
        self._neighbours.count(task, place, sign, expected=later)
        self._tell(group, task, place, sign)

    def _leave(self, victim: Victim, sign: int) -> None:
        amount = self.ledger.vector(victim.task.shape)
        self.future[victim.place] += sign * amount
        victim.group.ready -= sign
        if victim.group.group.min_task_member:
            victim.group.roles[victim.task.role] -= sign
        self._changed(victim.place)
        self._book(victim.group, victim.task, amount, -sign)
        for port in self.snapshot.shapes[victim.task.shape].demand.ports:
            self.ports.setdefault(victim.place, Counter())[port] -= sign
        self._neighbours.count(victim.task, victim.place, -sign)
        self._tell(victim.group, victim.task, victim.place, -sign)

    def _tell(self, group: GroupState, task: Task, place: int, sign: int) -> None:
        if self._stands and group.key in self._stands:
            self._stands[group.key].count(place, sign)
        self.votes.placed(group, task, place, sign)

    def _changed(self, place: int) -> None:
        np.minimum(self.idle[place], self.future[place], out=self.free[place])
        self.log.append(place)
        self.moment += 1

    def _book(self, group: GroupState, task: Task, amount: Vector, sign: int) -> None:
        change = amount if sign > 0 else -amount
        group.allocated += change
        queue: QueueState | None = group.queue
        while queue is not None:
            queue.allocated += change
            queue = queue.parent
        self.votes.moved(group, amount, sign)
