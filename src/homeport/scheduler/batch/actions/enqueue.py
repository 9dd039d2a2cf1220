"""Who may have its pods: groups go from Pending to Inqueue while there is hope of room for what they need."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

from homeport.scheduler.batch.model import GroupPhase
from homeport.scheduler.batch.plugins.base import Order
from homeport.scheduler.batch.state import GroupState

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session


def enqueue(session: Session) -> None:
    lines: dict[str, list[tuple[Order, GroupState]]] = {}
    queues = []
    for queue in session.queues.values():
        waiting = [group for group in queue.groups if _is_waiting(session, group)] if queue.is_open else []
        if waiting:
            lines[queue.name] = sorted(((session.votes.job_order(group), group) for group in waiting), reverse=True)
            queues.append((session.votes.queue_order(queue), queue.name))
    heapq.heapify(queues)
    while queues:
        order, name = heapq.heappop(queues)
        line = lines[name]
        _, group = line.pop()
        fits = _enqueue(session, group)
        if line and (fits or not group.queue.queue.fifo):
            heapq.heappush(queues, (order, name))


def _is_waiting(session: Session, group: GroupState) -> bool:
    if group.phase is not GroupPhase.PENDING or not group.group.waits or group.holds:
        return False
    backoff = group.clock.backoff
    return backoff is None or backoff <= session.now


def _enqueue(session: Session, group: GroupState) -> bool:
    minimum = group.facts.minimum
    if minimum is None:
        group.phase = GroupPhase.INQUEUE
        return True
    reserved = session.reserved
    if reserved is not None and reserved is not group and reserved.queue is group.queue and session.held(group.queue):
        group.refusal = f"{reserved.key} has waited longer for what queue {group.queue.name} may have"
        return False
    why = session.votes.why_not_enqueueable(group)
    if why is not None and not (session.takes_its_turn(group) and np.all(minimum <= session.total)):
        group.refusal = why
        group.event = why
        session.refused_some = True
        return False
    group.phase = GroupPhase.INQUEUE
    for queue in group.queue.lineage:
        queue.inqueue += minimum
    session.inqueue += minimum
    return True
