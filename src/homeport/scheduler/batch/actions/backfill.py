"""Places what asks for nothing: such pods fit wherever a node takes one more, whoever's turn it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from homeport.scheduler.batch.network import reach
from homeport.scheduler.batch.statement import Statement

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session


def backfill(session: Session) -> None:
    """Only of groups that are whole: the others get all or nothing."""
    for group in session.groups.values():
        if not group.facts.pending or not group.is_ready or not session.may_place(group) or not group.queue.is_open:
            continue
        for task in group.pending():
            plan = session.plan(task)
            if np.count_nonzero(plan.vector) > 1:  # more than its place among the pods
                continue
            found = next((place for within in reach(session, group) if (place := plan.best(within)) >= 0), -1)
            if found >= 0:
                Statement(session).place(group, task, found)
            else:
                group.refused_tasks[task.uid] = plan.words()
