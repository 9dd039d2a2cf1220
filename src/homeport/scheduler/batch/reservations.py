"""Keeps nodes for the gang that has waited longest, so that smaller ones do not pass it for ever.

One at a time: two that keep nodes from each other would both wait. It is dropped after a while: what never becomes
free shall not be kept from the others for ever.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from homeport.scheduler.batch.axis import Mask
from homeport.scheduler.batch.model import Carried, Reservation
from homeport.scheduler.batch.network import bounds
from homeport.scheduler.batch.state import GroupState

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session

PATIENCE = 5
"""So many times as long as it takes to get nodes reserved, they are."""


def current(session: Session, carried: Carried) -> tuple[GroupState | None, Reservation | None]:
    """The reservation that is still good."""
    reservation = carried.reservation
    if reservation is None:
        return None, None
    group = session.groups.get(reservation.group)
    if group is None or group.is_ready or session.now >= ends(session, reservation):
        return None, None
    return group, reservation


def ends(session: Session, reservation: Reservation) -> float:
    return reservation.since + PATIENCE * session.configuration.reserve_seconds


def next_in_turn(session: Session) -> GroupState | None:
    """Who has waited longest, if it has waited long."""
    latest = session.now - session.configuration.reserve_seconds
    waiting = [
        (group.clock.waiting, group.group.created, group.key)
        for group in session.groups.values()
        if group.clock.waiting is not None and group.clock.waiting <= latest and not group.is_ready
    ]
    return session.groups[min(waiting)[2]] if waiting else None


def choose(session: Session, group: GroupState) -> list[int] | None:
    """The nodes that would do if nobody of a group were there, those first that have most room now. None: none do."""
    areas = (_choose(session, group, within) for within in bounds(session, group))
    return next((found for found in areas if found is not None), None)


def _choose(session: Session, group: GroupState, within: Mask | None) -> list[int] | None:
    counts: Counter[int] = Counter()
    plans = {}
    for task in session.waiting(group)[: max(group.group.min_member - group.ready, 0)]:
        plan = session.plan(task)
        counts[id(plan)] += 1
        plans[id(plan)] = plan
    empty = session.ledger.capacity - session.ledger.loose
    if within is not None:
        empty = np.where(within[:, None], empty, 0)
    chosen: set[int] = set()
    for key, count in counts.items():
        plan = plans[key]
        once = np.maximum((empty[:, plan.rows] // plan.wants).min(axis=1), 0) * plan.suitable
        now = np.maximum((session.free[:, plan.rows] // plan.wants).min(axis=1), 0) * plan.suitable
        for place in np.lexsort((np.arange(len(once)), -once, -now)).tolist():
            if count <= 0:
                break
            if once[place] > 0:
                chosen.add(place)
                count -= int(once[place])
                # Classes share nodes: what one takes, the next one does not get.
                empty[place] -= plan.vector * int(once[place])
        if count > 0:
            return None
    return sorted(chosen)
