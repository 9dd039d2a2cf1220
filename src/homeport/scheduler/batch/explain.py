"""Why a group waits: Volcano's words, and the numbers behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from homeport.scheduler.batch.axis import UNLIMITED, Mask, Vector
from homeport.scheduler.batch.decisions import Condition, Explanation, TaskCondition
from homeport.scheduler.batch.gangs import why_invalid
from homeport.scheduler.batch.model import Group, TaskStatus
from homeport.scheduler.batch.plugins.quota import share
from homeport.scheduler.batch.state import GroupState

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session

NOT_READY = "pod group is not ready"
SCHEDULED = Condition("Scheduled", "True", "tasks in gang are ready to be scheduled", "")
AWAITS_PODS = "its pods are being made"
_HOLDERS = 5
"""How many of those who hold what is lacking are named."""


def conditions(group: GroupState) -> tuple[Condition, ...]:
    """Upstream: ``OnSessionClose`` of ``plugins/gang``."""
    if group.is_ready:
        return (SCHEDULED,)
    invalid = why_invalid(group) if group.group.tasks and not group.refusal else None
    if invalid is not None:
        return (Condition("Unschedulable", "True", *invalid),)
    lacking = max(group.group.min_member - max(group.schedulable, group.ready + group.pipelined), 0)
    message = f"{lacking}/{len(group.group.tasks)} tasks in gang unschedulable: {fit_error(group)}"
    return (Condition("Unschedulable", "True", "NotEnoughResources", message),)


def no_queue(group: Group) -> Condition:
    """Of a group whose queue does not exist. (Volcano says nothing of it.)"""
    return Condition("Unschedulable", "True", "QueueNotFound", f'queue "{group.queue}" not found')


def fit_error(group: GroupState) -> str:
    """Upstream: ``JobInfo.FitError``."""
    numbers: Counter[str] = Counter({status.value: count for status, count in group.facts.statuses.items()})
    numbers["minAvailable"] = group.group.min_member
    text = f"{NOT_READY}, {_listed(numbers)}"
    pending = group.facts.statuses[TaskStatus.PENDING]
    if pending:
        possible = min(max(group.schedulable - group.facts.ready, len(group.placed)), pending)
        text += f"; Pending: {_listed(Counter(Schedulable=possible, Unschedulable=pending - possible))}"
    if group.refusal:
        return f"{text}. Origin reason is: {group.refusal}"
    if group.refused_tasks:
        uid, reason = next(iter(group.refused_tasks.items()))
        name = next((task.name for task in group.facts.pending if task.uid == uid), uid)
        return f"{text}. Origin reason is {name}: {reason}"
    return text


def task_conditions(session: Session, group: GroupState) -> Iterable[TaskCondition]:
    """Of its pods that have no place, or have one that they can't go to yet."""
    whole = group.is_ready
    tried = bool(group.refused_tasks or (group.refusal and not whole))
    if not tried and not group.placed:
        return
    error = fit_error(group) if tried and not whole else ""
    for task in group.facts.pending:
        placed = group.placed.get(task.uid)
        if placed is not None and (placed.later or not whole):
            after = "resource is released and minAvailable" if placed.later else "minAvailable"
            node = session.ledger.nodes[placed.place].name
            text = f"Pod {task.namespace}/{task.name} can possibly be assigned to {node}, once {after} is satisfied"
            yield TaskCondition(task.uid, group.key, "Unschedulable" if placed.later else "Schedulable", text)
        elif placed is None and tried:
            reason = group.refused_tasks.get(task.uid) or (session.plan(task).words() if whole else error)
            yield TaskCondition(task.uid, group.key, "Unschedulable", reason)


class Explainer:
    """Says it of all groups of a session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._idle = session.axis.amounts(np.maximum(session.idle, 0).sum(axis=0))
        self._places: dict[str, tuple[int, int]] = {}
        for queue in session.queues.values():
            line = [group for group in queue.groups if not group.is_ready]
            line.sort(key=session.votes.job_order)
            self._places.update({group.key: (place, len(line)) for place, group in enumerate(line, 1)})
        self._holders: list[tuple[str, Vector]] | None = None

    def explain(self, group: GroupState, reason: str, since: float | None) -> Explanation:
        session, queue, axis = self._session, group.queue, self._session.axis
        needed = self._needed(group)
        place, line = self._places.get(group.key, (0, 0))
        short = needed - np.maximum(session.idle, 0).sum(axis=0) > 0
        limit = queue.limit.copy()
        limit[limit >= UNLIMITED] = 0
        return Explanation(
            needed=axis.amounts(needed),
            idle=self._idle,
            reason=reason,
            holders=tuple(self._who_holds(short if short.any() else needed > 0)),
            queue=queue.name,
            queue_allocated=axis.amounts(queue.allocated),
            queue_limit=axis.amounts(limit),
            queue_deserved=axis.amounts(queue.deserved),
            place=place,
            line=line,
            share=share(queue.allocated, queue.deserved),
            waiting_since=since,
        )

    def _needed(self, group: GroupState) -> Vector:
        lacking = max(group.group.min_member - group.facts.ready, 0)
        pending = group.pending()
        if len(pending) > lacking:
            pending = self._session.waiting(group)[:lacking]
        if len(pending) < lacking and group.facts.minimum is not None:
            promised: Vector = np.maximum(group.facts.minimum - group.facts.allocated, 0)
            return promised
        shapes = Counter(task.shape for task in pending)
        needed = self._session.axis.zero()
        for shape, count in shapes.items():
            needed += self._session.ledger.vector(shape) * count
        return needed

    def _who_holds(self, rows: Mask) -> Iterable[tuple[str, dict[str, int]]]:
        rows = rows.copy()
        rows[0] = False
        if self._holders is None:
            self._holders = list(self._all_holders())
        total = np.maximum(self._session.total, 1)
        ranked = sorted(
            ((float((held / total * rows).max()), key, held) for key, held in self._holders),
            key=lambda each: (-each[0], each[1]),
        )
        for part, key, held in ranked[:_HOLDERS]:
            if part > 0:
                yield key, self._session.axis.amounts(np.where(rows, held, 0))

    def _all_holders(self) -> Iterable[tuple[str, Vector]]:
        session = self._session
        for key, facts in session.ledger.facts.items():
            group = session.groups.get(key)
            held = facts.allocated if group is None else group.allocated
            if facts.group.queue in session.queues and held.any():
                yield key, held


def _listed(numbers: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {name}" for name, count in numbers.items() if count))
