"""What `preempt` and `reclaim` have in common: room for a pod by the end of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from homeport.scheduler.batch.axis import Mask
from homeport.scheduler.batch.decisions import Evict, EvictReason
from homeport.scheduler.batch.gangs import why_invalid
from homeport.scheduler.batch.model import Task
from homeport.scheduler.batch.plan import Plan
from homeport.scheduler.batch.state import GroupState, Victim
from homeport.scheduler.batch.statement import Statement

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session

Candidates = dict[int, list[Victim]]
"""By the place of their node."""
Allowed = Callable[[Task, GroupState, Sequence[Victim]], list[Victim]]


def starving(session: Session, group: GroupState) -> bool:
    """Whether it may take from others: it has all its members, and not all of them have a place."""
    return group.is_starving and session.may_place(group) and why_invalid(group) is None and group.queue.is_open


def by_place(victims: Iterable[Victim]) -> Candidates:
    found: Candidates = {}
    for victim in victims:
        found.setdefault(victim.place, []).append(victim)
    return found


def make_room(
    session: Session,
    statement: Statement,
    group: GroupState,
    task: Task,
    candidates: Candidates,
    allowed: Allowed,
    within: Mask | None = None,
) -> bool:
    """Place the pod where somebody goes for it, or will go anyway; whether that was possible. `within`: only there."""
    plan = session.plan(task)
    # Of what its queue may have, those who go may be the ones that have it.
    may_have_more = not session.votes.why_not_allocatable(group.queue, plan.vector)
    found = plan.best(within) if may_have_more else -1
    if found >= 0:
        statement.place(group, task, found)
        return True
    found = plan.best_later(within) if may_have_more and (session.some_leave or statement.victims) else -1
    if found >= 0:
        statement.place(group, task, found, later=True)
        return True
    choice: tuple[tuple[float, ...], int, list[Victim]] | None = None
    for place, victims in candidates.items():
        if within is not None and not within[place]:
            continue
        needed = _fewest(session, group, task, plan, place, victims, allowed, swap=not may_have_more)
        if needed is not None:
            harm = _harm(needed, place)
            if choice is None or harm < choice[0]:
                choice = harm, place, needed
    if choice is None:
        return False
    mark = statement.mark()
    for victim in choice[2]:
        statement.evict(victim)
    if session.future_fits(plan, choice[1]) and not session.votes.why_not_allocatable(group.queue, plan.vector):
        statement.place(group, task, choice[1], later=True)
        return True
    statement.rollback(mark)  # those who stay do not want it as a neighbour, or the queue may not have it
    return False


def _fewest(
    session: Session,
    group: GroupState,
    task: Task,
    plan: Plan,
    place: int,
    victims: list[Victim],
    allowed: Allowed,
    *,
    swap: bool,
) -> list[Victim] | None:
    """Who of a node would have to go; the least important and the youngest first. None: it does not help. `swap`: as
    much as it takes, even where the node has room: its queue may not have more."""
    if plan.refuses(place):
        return None
    there = [victim for victim in victims if victim.task.uid not in victim.group.evicted]
    there.sort(key=lambda victim: (victim.group.group.priority, victim.task.priority, -victim.task.started))
    missing = plan.vector if swap else plan.vector - session.future[place]
    needed: list[Victim] = []
    for victim in allowed(task, group, there):
        if not (missing > 0).any():
            break
        vector = session.ledger.vector(victim.task.shape)
        if ((missing > 0) & (vector > 0)).any():
            needed.append(victim)
            missing = missing - vector
    return None if (missing > 0).any() or not needed else needed


def _harm(victims: list[Victim], place: int) -> tuple[float, ...]:
    """The less the better, as `homeport.scheduler.victims` has it."""
    priorities = [max(victim.group.group.priority, victim.task.priority) for victim in victims]
    return max(priorities), len(priorities), -float(np.min([victim.task.started for victim in victims])), place


def commit(session: Session, statement: Statement, group: GroupState, reason: EvictReason) -> None:
    group.refused_tasks.clear()
    group.refusal = group.event = ""
    for victim in statement.victims:
        session.evictions.append(Evict(victim.task.uid, victim.group.key, victim.task.node, reason, group.key))
    session.some_leave = session.some_leave or bool(statement.victims)
