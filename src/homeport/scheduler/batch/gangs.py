"""Makes a group whole, or leaves everything as it was."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from homeport.scheduler.batch.axis import Mask
from homeport.scheduler.batch.model import Task
from homeport.scheduler.batch.plan import Plan
from homeport.scheduler.batch.state import GroupState
from homeport.scheduler.batch.statement import Statement

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session


def why_invalid(group: GroupState) -> tuple[str, str] | None:
    """Reason and message of a group that cannot be whole, as its pods are (upstream: ``plugins/gang``)."""
    facts = group.facts
    if facts.valid < group.group.min_member:
        text = f"Not enough valid tasks for gang-scheduling, valid: {facts.valid}, min: {group.group.min_member}"
        return "NotEnoughTasks", text
    for role, least in group.group.min_task_member.items():
        if facts.valid_roles[role] < least:
            return "NotEnoughPodsOfTask", "Not enough valid pods of each task for gang-scheduling"
    return None


def make_whole(session: Session, group: GroupState, within: Mask | None = None, *, later: bool = True) -> bool:
    """Whether it gets all that it needs: now, or (`later`) once those have gone that go. `within`: only there."""
    waiting = session.waiting(group)
    if _is_hopeless(session, group, waiting, later=later and session.some_leave):
        return False
    statement = Statement(session)
    spare = group.ready + group.pipelined + len(waiting) - group.group.min_member
    failed: dict[int, str] = {}
    """Why there is no room for one more of a class."""
    for task in waiting:
        plan = session.plan(task)
        why = failed.get(id(plan))
        if why is None:
            why = place(session, statement, group, task, plan, within, later=later)
        if why:
            failed[id(plan)] = group.refused_tasks[task.uid] = why
            spare -= 1
            if spare < 0:
                break
        elif group.is_pipelined:
            break
    if group.is_pipelined:
        group.refused_tasks.clear()
        return True
    group.schedulable = group.ready + group.pipelined
    statement.rollback()
    return False


def place(
    session: Session,
    statement: Statement,
    group: GroupState,
    task: Task,
    plan: Plan,
    within: Mask | None = None,
    *,
    later: bool,
) -> str:
    """Give one pod a place; or say why there is none."""
    if why := session.votes.why_not_allocatable(group.queue, plan.vector):
        group.event = why
        return why
    nominated = session.ledger.index.get(task.nominated) if task.nominated else None
    if nominated is not None and (within is None or within[nominated]) and plan.fits(nominated):
        statement.place(group, task, nominated)
        return ""
    found = plan.best(within, session.votes.near(group, task))
    if found >= 0:
        statement.place(group, task, found)
        return ""
    if later and session.some_leave:
        found = plan.best_later(within)
        if found >= 0:
            statement.place(group, task, found, later=True)
            return ""
    return plan.words()


def _is_hopeless(session: Session, group: GroupState, waiting: list[Task], *, later: bool) -> bool:
    """Whether a count tells already that it can't be whole: a gang is not tried out for nothing."""
    if later or group.group.min_member - group.ready <= 1:
        return False
    counts: Counter[int] = Counter()
    plans: dict[int, tuple[Plan, Task]] = {}
    for task in waiting:
        plan = session.plan(task)
        counts[id(plan)] += 1
        plans.setdefault(id(plan), (plan, task))
    rooms = {key: min(count, plans[key][0].room()) for key, count in counts.items()}
    if group.ready + sum(rooms.values()) >= group.group.min_member:
        return False
    group.schedulable = group.ready + sum(rooms.values())
    for key, count in counts.items():
        if rooms[key] < count:
            plan, task = plans[key]
            group.refused_tasks[task.uid] = plan.words_when_full()
    return True
