"""Between queues: who has less than its share gets it back from those who have more than theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeport.scheduler.batch.actions.evict import Candidates, by_place, commit, make_room, starving
from homeport.scheduler.batch.axis import Mask
from homeport.scheduler.batch.network import bounds
from homeport.scheduler.batch.state import GroupState
from homeport.scheduler.batch.statement import Statement

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session


def reclaim(session: Session) -> None:
    """For groups that are not whole only: two that are would take the same room from each other for ever. Upstream
    takes back pod by pod; here a group gets all that it needs, or nobody goes for it."""
    votes = session.votes
    if not votes.has_say_on_reclaim:
        return
    for queue in sorted(session.queues.values(), key=votes.queue_order):
        if votes.overused(queue):
            continue
        hungry = [group for group in queue.groups if starving(session, group)]
        for group in sorted(hungry, key=votes.job_order):
            _reclaim(session, group)


def _reclaim(session: Session, group: GroupState) -> None:
    candidates = by_place(
        victim
        for victim in session.running()
        if victim.group.queue is not group.queue
        and victim.group.queue.queue.reclaimable
        and session.preemptable(victim)
    )
    for within in bounds(session, group):
        if _reclaim_in(session, group, candidates, within):
            return


def _reclaim_in(session: Session, group: GroupState, candidates: Candidates, within: Mask | None) -> bool:
    """Whether it became whole there."""
    statement = Statement(session)
    for task in session.waiting(group):
        if group.is_pipelined:
            break
        if not session.snapshot.shapes[task.shape].preempts:
            continue
        if not session.votes.preemptive(group.queue, session.ledger.vector(task.shape)):
            break  # it would have more than its share
        if not make_room(session, statement, group, task, candidates, session.votes.reclaimable, within):
            break
    if group.is_pipelined:
        commit(session, statement, group, "reclaim")
        return True
    statement.rollback()
    return False
