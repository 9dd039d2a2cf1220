"""Dominant resource fairness: who has least of what it has most of is first (upstream: ``drf``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from homeport.scheduler.batch.axis import Vector
from homeport.scheduler.batch.configuration import PluginOption
from homeport.scheduler.batch.model import Task
from homeport.scheduler.batch.plugins.base import Key, Plugin
from homeport.scheduler.batch.session import Session
from homeport.scheduler.batch.state import GroupState, Victim

_DELTA = 1e-6
"""Shares that differ by less count as equal."""


class Drf(Plugin):
    name = "drf"

    def __init__(self, session: Session, option: PluginOption) -> None:
        super().__init__(session, option)
        self._total = np.maximum(session.total, 1).astype(float)
        self._counted = session.total > 0
        self._counted[session.axis.index["pods"]] = False

    def _share(self, allocated: Vector) -> float:
        return float((allocated / self._total * self._counted).max())

    def job_order(self, group: GroupState) -> Key:
        return round(self._share(group.allocated), 6) if group.holds or group.placed else 0.0

    def preemptable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim] | None:
        vectors = self.session.ledger.vector
        mine = self._share(group.allocated + vectors(taker.shape))
        left: dict[str, Vector] = {}
        found = []
        for victim in victims:
            rest = left.get(victim.group.key, victim.group.allocated) - vectors(victim.task.shape)
            left[victim.group.key] = rest
            theirs = self._share(rest)
            if mine < theirs or abs(mine - theirs) <= _DELTA:
                found.append(victim)
        return found
