"""Queues have what has been set for them, and those below them what is left of it (upstream: ``capacity``).

``capability`` is the most a queue may have; ``guarantee`` what nobody else gets; ``deserved`` what it gets back from
others when it needs it. All three hold for a queue with those below it (``spec.parent``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from homeport.scheduler.batch.axis import UNLIMITED, Vector
from homeport.scheduler.batch.configuration import PluginOption
from homeport.scheduler.batch.model import ROOT_QUEUE, Task
from homeport.scheduler.batch.plugins.base import ABSTAIN, YES, Key, Plugin
from homeport.scheduler.batch.plugins.quota import insufficient, share
from homeport.scheduler.batch.session import Session
from homeport.scheduler.batch.state import GroupState, QueueState, Victim


class Capacity(Plugin):
    name = "capacity"

    def __init__(self, session: Session, option: PluginOption) -> None:
        super().__init__(session, option)
        queues = session.queues
        top = [queue for queue in queues.values() if queue.parent is None and queue.name != ROOT_QUEUE]
        root = queues.get(ROOT_QUEUE)
        if root is not None:
            root.limit = root.capability  # what the nodes have is looked at node by node
            top += root.children
        for queue in top:
            _limit(queue, session.total, [other for other in top if other is not queue])
        for queue in queues.values():
            queue.deserved = np.maximum(np.minimum(queue.deserved, queue.limit), queue.guarantee)
            queue.share = share(queue.allocated, queue.deserved)

    def queue_order(self, queue: QueueState) -> Key:
        return -queue.queue.priority, round(share(queue.allocated, queue.deserved), 6)

    def allocatable(self, queue: QueueState, amount: Vector) -> str:
        for each in queue.lineage:
            short = (amount > 0) & (each.allocated + amount > each.limit)
            if short.any():
                return insufficient(self.session.axis, short)
        return ""

    def job_enqueueable(self, group: GroupState) -> str | int:
        """Resources without a limit anywhere above it are the cluster's business (plugin `overcommit`)."""
        minimum = group.facts.minimum
        if minimum is None:
            return ABSTAIN
        yields = self.session.yields(group)
        for queue in group.queue.lineage:
            limit = np.where(queue.capability < UNLIMITED, queue.limit, UNLIMITED)
            wanted = queue.allocated + queue.inqueue + minimum - yields
            short = (minimum > 0) & (wanted > limit)
            if short.any():
                return insufficient(self.session.axis, short)
        return YES

    def preemptive(self, queue: QueueState, amount: Vector) -> bool:
        return bool(((amount == 0) | (queue.allocated + amount <= queue.deserved))[1:].all())

    def reclaimable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim] | None:
        """So much may go that every queue above keeps what it deserves, unless it is above the taker as well."""
        vector = self.session.ledger.vector
        wanted = vector(taker.shape) > 0
        wanted[0] = False
        shared = {queue.name for queue in group.queue.lineage}
        left: dict[str, Vector] = {}
        found = []
        for victim in victims:
            amount = vector(victim.task.shape)
            asked = wanted & (amount > 0)
            above = [queue for queue in victim.group.queue.lineage if queue.name not in shared]
            rests = {queue.name: left.get(queue.name, queue.allocated) - amount for queue in above}
            if asked.any() and all((rests[queue.name] >= queue.deserved)[asked].all() for queue in above):
                left.update(rests)
                found.append(victim)
        return found


def _limit(queue: QueueState, of_parent: Vector, siblings: list[QueueState]) -> None:
    guaranteed = queue.guarantee * 0
    for sibling in siblings:
        guaranteed = guaranteed + sibling.guarantee
    queue.limit = np.minimum(queue.capability, np.maximum(of_parent - guaranteed, 0))
    for child in queue.children:
        _limit(child, queue.limit, [other for other in queue.children if other is not child])
