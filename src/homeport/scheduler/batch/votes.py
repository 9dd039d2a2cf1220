"""How the say of plugins counts (upstream: ``pkg/scheduler/framework/session_plugins.go``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from homeport.scheduler.batch.axis import Places, Scores, Vector
from homeport.scheduler.batch.configuration import Configuration
from homeport.scheduler.batch.model import Task
from homeport.scheduler.batch.plugins.base import ABSTAIN, NO, YES, Order, Plugin
from homeport.scheduler.batch.state import GroupState, QueueState, Victim

if TYPE_CHECKING:
    from homeport.scheduler.batch.network import Network
    from homeport.scheduler.batch.plan import Near, Plan
    from homeport.scheduler.batch.session import Session

_Say = TypeVar("_Say", bound=Callable[..., object])

_FLAGS = {
    "job_order": "jobOrder",
    "task_order": "taskOrder",
    "queue_order": "queueOrder",
    "job_enqueueable": "jobEnqueued",
    "allocatable": "allocatable",
    "overused": "overused",
    "preemptive": "preemptive",
    "preemptable": "preemptable",
    "reclaimable": "reclaimable",
    "node_order": "nodeOrder",
    "near": "nodeOrder",
    "hypernode_order": "hyperNodeOrder",
}
"""By what name of the file each is switched off. What is not in here can't be."""


class Votes:
    def __init__(self, session: Session, configuration: Configuration, makers: Mapping[str, type[Plugin]]) -> None:
        self._tiers: list[list[Plugin]] = []
        self.queues_sway = False
        """Whether what one queue gets may change the order of others."""
        self._names: set[str] = set()
        for tier in configuration.tiers:
            plugins = []
            for option in tier:
                maker = makers.get(option.name)
                if maker is not None:
                    plugins.append(maker.variant(option)(session, option))
                    self.queues_sway = self.queues_sway or plugins[-1].sways
                    self._names.add(option.name)
            self._tiers.append(plugins)
        self._job_order = self._of(lambda plugin: plugin.job_order)
        self._task_order = self._of(lambda plugin: plugin.task_order)
        self._queue_order = self._of(lambda plugin: plugin.queue_order)
        self._enqueueable = self._by_tier(lambda plugin: plugin.job_enqueueable)
        self._allocatable = self._of(lambda plugin: plugin.allocatable)
        self._overused = self._of(lambda plugin: plugin.overused)
        self._preemptive = self._of(lambda plugin: plugin.preemptive)
        self._preemptable = self._by_tier(lambda plugin: plugin.preemptable)
        self._reclaimable = self._by_tier(lambda plugin: plugin.reclaimable)
        self._node_order = self._of(lambda plugin: plugin.node_order)
        self._hypernode_order = self._of(lambda plugin: plugin.hypernode_order)
        self._near = self._of(lambda plugin: plugin.near)
        self._placed = self._of(lambda plugin: plugin.placed)
        self._moved = self._of(lambda plugin: plugin.moved)

    def has(self, name: str) -> bool:
        """Whether a plugin is on."""
        return name in self._names

    @property
    def has_say_on_reclaim(self) -> bool:
        """Whether any plugin knows what queues deserve."""
        return bool(self._preemptive)

    def _by_tier(self, which: Callable[[Plugin], _Say]) -> list[list[_Say]]:
        found = []
        for plugins in self._tiers:
            says = []
            for plugin in plugins:
                say = which(plugin)
                method = say.__name__
                defined = getattr(type(plugin), method) is not getattr(Plugin, method)
                if defined and _FLAGS.get(method) not in plugin.option.disabled:
                    says.append(say)
            found.append(says)
        return found

    def _of(self, which: Callable[[Plugin], _Say]) -> list[_Say]:
        return [say for tier in self._by_tier(which) for say in tier]

    # Who is first.

    def job_order(self, group: GroupState) -> Order:
        return (*[key(group) for key in self._job_order], group.group.created, group.key)

    def task_order(self, task: Task) -> Order:
        return (*[key(task) for key in self._task_order], task.role, task.index, task.created, task.name, task.uid)

    def queue_order(self, queue: QueueState) -> Order:
        return (*[key(queue) for key in self._queue_order], queue.queue.created, queue.name)

    # Who may.

    def why_not_enqueueable(self, group: GroupState) -> str | None:
        """None: it may be Inqueue; else why not."""
        for tier in self._enqueueable:
            permitted = False
            for vote in tier:
                verdict = vote(group)
                if isinstance(verdict, str):
                    return verdict
                if verdict == NO:
                    return ""
                permitted = permitted or verdict == YES
                assert verdict in (YES, ABSTAIN)
            if permitted:
                return None
        return None

    def why_not_allocatable(self, queue: QueueState, amount: Vector) -> str:
        for why in self._allocatable:
            if refusal := why(queue, amount):
                return refusal
        return ""

    def overused(self, queue: QueueState) -> bool:
        return any(says(queue) for says in self._overused)

    def preemptive(self, queue: QueueState, amount: Vector) -> bool:
        """Whether the queue may take as much from others; no plugin that says so: it may."""
        return all(says(queue, amount) for says in self._preemptive)

    # Who has to go.

    def preemptable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim]:
        return _agreed([[says(taker, group, victims) for says in tier] for tier in self._preemptable])

    def reclaimable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim]:
        """Other than upstream all tiers have to agree: the first knows no queues and would have everything taken."""
        return _agreed([[says(taker, group, victims) for tier in self._reclaimable for says in tier]])

    # Which node.

    def node_order(self, plan: Plan, places: Places) -> Scores:
        if not self._node_order:
            return np.zeros(np.shape(places))
        scores = self._node_order[0](plan, places)
        for more in self._node_order[1:]:
            scores = scores + more(plan, places)
        return scores

    def hypernode_order(self, group: GroupState, network: Network) -> Scores:
        scores = np.zeros(len(network.domains))
        for says in self._hypernode_order:
            scores = scores + says(group, network)
        return scores

    def near(self, group: GroupState, task: Task) -> Near | None:
        """What more there is to say of nodes for the next pod of this group; None: nothing."""
        found = [say for plugin in self._near if (say := plugin(group, task)) is not None]
        return (lambda open: np.sum([say(open) for say in found], axis=0)) if found else None

    def placed(self, group: GroupState, task: Task, place: int, sign: int) -> None:
        for hear in self._placed:
            hear(group, task, place, sign)

    def moved(self, group: GroupState, amount: Vector, sign: int) -> None:
        for hear in self._moved:
            hear(group, amount, sign)


def _agreed(tiers: list[list[list[Victim] | None]]) -> list[Victim]:
    """Those that all plugins of a tier name; the first tier that has a say decides.

    Upstream goes on to the next tier if the first names nobody: there whoever the first protects is free to go.
    """
    for verdicts in tiers:
        named = [verdict for verdict in verdicts if verdict is not None]
        if not named:
            continue
        others = [{victim.task.uid for victim in verdict} for verdict in named[1:]]
        return [victim for victim in named[0] if all(victim.task.uid in uids for uids in others)]
    return []
