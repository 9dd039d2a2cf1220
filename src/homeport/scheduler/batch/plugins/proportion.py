"""Queues share the cluster by weight, as far as they ask for it (upstream: ``proportion``).

What is left over is dealt out again and again, by the weights of those who want more, until nobody does or nothing is
left: water filling, for each resource.
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


class Proportion(Plugin):
    name = "proportion"

    def __init__(self, session: Session, option: PluginOption) -> None:
        super().__init__(session, option)
        queues = [queue for queue in session.queues.values() if queue.name != ROOT_QUEUE]
        guaranteed = sum((queue.guarantee for queue in queues), session.axis.zero())
        self._limit: dict[str, Vector] = {}
        """The most that each may have: its capability, and nothing of what is guaranteed to others."""
        for queue in queues:
            queue.limit = np.minimum(queue.capability, np.maximum(session.total - guaranteed + queue.guarantee, 0))
            self._limit[queue.name] = queue.limit
        deserved = fill(
            session.total,
            [queue.queue.weight for queue in queues],
            [np.minimum(queue.request, queue.limit) for queue in queues],
            [queue.guarantee for queue in queues],
        )
        for queue, amount in zip(queues, deserved, strict=True):
            queue.deserved = amount
            queue.share = share(queue.allocated, amount)

    def queue_order(self, queue: QueueState) -> Key:
        return -queue.queue.priority, round(share(queue.allocated, queue.deserved), 6)

    def overused(self, queue: QueueState) -> bool:
        return bool((queue.allocated >= queue.deserved).all())

    def allocatable(self, queue: QueueState, amount: Vector) -> str:
        limit = self._limit.get(queue.name)
        if limit is None:
            return ""
        short = (amount > 0) & (queue.allocated + amount > limit)
        return insufficient(self.session.axis, short) if short.any() else ""

    def job_enqueueable(self, group: GroupState) -> str | int:
        """Resources that it does not ask for do not count, whatever the queue's limit of them is."""
        minimum, limit = group.facts.minimum, self._limit.get(group.queue.name)
        if minimum is None or limit is None:
            return ABSTAIN
        wanted = group.queue.allocated + group.queue.inqueue + minimum - self.session.yields(group)
        short = (minimum > 0) & (wanted > np.where(group.queue.capability < UNLIMITED, limit, UNLIMITED))
        return insufficient(self.session.axis, short) if short.any() else YES

    def preemptive(self, queue: QueueState, amount: Vector) -> bool:
        return bool(((amount == 0) | (queue.allocated + amount <= queue.deserved)).all())

    def reclaimable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim] | None:
        """What a queue has beyond its share: so much may go that it keeps what it deserves. Then it has no claim on
        what it lost, and taking does not go to and fro."""
        left: dict[str, Vector] = {}
        found = []
        wanted = self.session.ledger.vector(taker.shape) > 0
        wanted[0] = False
        for victim in victims:
            queue = victim.group.queue
            have = left.get(queue.name, queue.allocated)
            rest = have - self.session.ledger.vector(victim.task.shape)
            asked = wanted & (self.session.ledger.vector(victim.task.shape) > 0)
            if asked.any() and (rest >= queue.deserved)[asked].all():
                left[queue.name] = rest
                found.append(victim)
        return found


def fill(total: Vector, weights: list[int], wanted: list[Vector], least: list[Vector]) -> list[Vector]:
    """What each gets: at most what it wants, at least what is guaranteed, the rest by weight."""
    if not weights:
        return []
    weight = np.maximum(np.array(weights, float), 0.0)[:, None]
    floor = np.array(least, float)
    want = np.maximum(np.array(wanted, float), floor)
    got = floor.copy()
    left = np.maximum(total - got.sum(axis=0), 0.0)
    for _ in range(len(weights)):
        hungry = got < want
        shares = weight * hungry
        weighed = shares.sum(axis=0)
        if not ((left > 0) & (weighed > 0)).any():
            break
        given = np.minimum(left * shares / np.where(weighed > 0, weighed, 1.0), want - got)
        given = np.where(hungry, given, 0.0)
        got += given
        left = np.maximum(left - given.sum(axis=0), 0.0)
    return list(np.floor(got + 1e-6).astype(np.int64))
