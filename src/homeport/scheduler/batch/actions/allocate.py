"""Gives idle resources away: queue after queue by their shares, in each group after group by rank."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import TYPE_CHECKING

from homeport.scheduler.batch.gangs import make_whole, why_invalid
from homeport.scheduler.batch.model import GroupPhase
from homeport.scheduler.batch.plugins.base import Order
from homeport.scheduler.batch.state import GroupState, QueueState
from homeport.scheduler.batch.statement import Statement
from homeport.scheduler.batch.topology import make_whole_near, place_near

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session


def allocate(session: Session) -> None:
    """Queues that have what they deserve already come last, and get what the others cannot use: nothing stays idle for
    the sake of shares. What they get that way can be taken back (action `reclaim`)."""
    reserved = session.reserved
    if reserved is not None and _wants(session, reserved):
        if _serve(session, reserved):
            session.reserved = None
        else:
            session.keep_reserved()
    later = _Lines(session, (queue for queue in session.queues.values() if queue.is_open)).run(lend=False)
    if later and session.reserved is None:
        _Lines(session, later).run(lend=True)


def _wants(session: Session, group: GroupState) -> bool:
    if not group.facts.pending or len(group.placed) >= len(group.facts.pending):
        return False
    if group.phase is GroupPhase.PENDING and "enqueue" not in session.configuration.actions:
        group.phase = GroupPhase.INQUEUE
    return session.may_place(group)


def _serve(session: Session, group: GroupState, *, alone: bool = False) -> bool:
    """Give the group what makes it whole, or one more pod if it is; whether it got anything. `alone`: nobody else is in
    line, it may have all there is."""
    if group.is_pipelined and not group.is_ready:
        return False  # it has a promise, and nothing more before that is kept
    if not group.is_ready:
        if why_invalid(group) is not None:
            return False
        if group.group.network is not None:
            return make_whole_near(session, group, group.group.network)
        return make_whole(session, group)
    statement = Statement(session)
    failed: dict[int, str] = {}
    for task in session.next_waiting(group):
        plan = session.plan(task)
        why = failed.get(id(plan))
        if why is None:
            why = place_near(session, statement, group, task, plan)
            if not why and not alone:
                return True
        if why and id(plan) not in failed:
            failed[id(plan)] = group.refused_tasks[task.uid] = why
            if len(failed) == len(session.classes(group)):
                break
    return bool(statement)


class _Lines:
    """Groups in line, by queue."""

    def __init__(self, session: Session, queues: Iterable[QueueState]) -> None:
        self._session = session
        self._lines: dict[str, list[tuple[Order, GroupState]]] = {}
        self._queues: list[tuple[Order, QueueState]] = []
        order = session.votes.job_order
        for queue in queues:
            line = [(order(group), group) for group in queue.groups if _wants(session, group)]
            if line:
                heapq.heapify(line)
                self._lines[queue.name] = line
                self._queues.append((session.votes.queue_order(queue), queue))
        heapq.heapify(self._queues)

    def run(self, *, lend: bool) -> list[QueueState]:
        """Returns the queues that have been passed over because they have enough."""
        session, votes = self._session, self._session.votes
        passed = []
        while self._queues:
            if votes.queues_sway:
                self._queues = [(votes.queue_order(queue), queue) for _, queue in self._queues]
                heapq.heapify(self._queues)
            order, queue = heapq.heappop(self._queues)
            if not lend and votes.overused(queue):
                passed.append(queue)
                continue
            line = self._lines[queue.name]
            _, group = heapq.heappop(line)
            last = not line and not self._queues
            session.lending = lend
            if session.reserved is not None and session.reserved is not group and session.held(queue):
                continue
            got = _serve(session, group, alone=last)
            if got and len(group.placed) < len(group.facts.pending):
                heapq.heappush(line, (votes.job_order(group), group))
            elif not got and queue.queue.fifo:
                continue
            if line:  # of one queue the order does not matter
                order = votes.queue_order(queue) if self._queues else order
                heapq.heappush(self._queues, (order, queue))
        session.lending = False
        return passed
