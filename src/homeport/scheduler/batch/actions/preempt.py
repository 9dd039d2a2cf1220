"""Within a queue the more important take the place of others; within a group, its more important pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeport.scheduler.batch.actions.evict import Candidates, by_place, commit, make_room, starving
from homeport.scheduler.batch.axis import Mask
from homeport.scheduler.batch.network import bounds, reach
from homeport.scheduler.batch.state import GroupState, QueueState, Victim
from homeport.scheduler.batch.statement import Statement

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session


def preempt(session: Session) -> None:
    """Queues in a fixed order, groups by rank. A group gets all that it needs, or nobody goes for it."""
    for queue in sorted(session.queues.values(), key=session.votes.queue_order):
        hungry = [group for group in queue.groups if starving(session, group)]
        if not hungry:
            continue
        victims = [
            victim for victim in session.running() if victim.group.queue is queue and session.preemptable(victim)
        ]
        for group in sorted(hungry, key=session.votes.job_order):
            _between(session, group, victims)
    for queue in session.queues.values():
        for group in queue.groups:
            if group.facts.pending and group.is_ready and session.may_place(group) and queue.is_open:
                _within(session, queue, group)


def _between(session: Session, group: GroupState, victims: list[Victim]) -> None:
    candidates = by_place(victim for victim in victims if victim.group is not group)
    for within in bounds(session, group):
        if _between_in(session, group, candidates, within):
            return


def _between_in(session: Session, group: GroupState, candidates: Candidates, within: Mask | None) -> bool:
    """Whether it became whole there."""
    statement = Statement(session)
    for task in session.waiting(group):
        if group.is_pipelined:
            break
        if not session.snapshot.shapes[task.shape].preempts:
            continue
        if not make_room(session, statement, group, task, candidates, session.votes.preemptable, within):
            break
    if group.is_pipelined:
        commit(session, statement, group, "preempt")
        return True
    statement.rollback()
    return False


def _within(session: Session, queue: QueueState, group: GroupState) -> None:
    """Pod by pod: the group is whole in any case."""
    waiting = session.waiting(group)
    running = [victim for victim in session.running_of(group) if session.preemptable(victim)]
    if not waiting or not running or waiting[0].priority <= min(victim.task.priority for victim in running):
        return
    candidates = by_place(running)
    for task in waiting:
        if not session.snapshot.shapes[task.shape].preempts:
            continue
        statement = Statement(session)
        votes = session.votes.preemptable
        if not any(
            make_room(session, statement, group, task, candidates, votes, within) for within in reach(session, group)
        ):
            break
        commit(session, statement, group, "preempt")
