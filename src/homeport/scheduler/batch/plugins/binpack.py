"""Fills nodes one after the other, so that whole ones stay free (upstream: ``binpack``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from homeport.scheduler.batch.axis import Places, Scores
from homeport.scheduler.batch.configuration import PluginOption
from homeport.scheduler.batch.plugins.arguments import number
from homeport.scheduler.batch.plugins.base import Plugin
from homeport.scheduler.batch.session import Session
from homeport.scheduler.model import CPU, MEMORY

if TYPE_CHECKING:
    from homeport.scheduler.batch.plan import Plan


class Binpack(Plugin):
    """Arguments: ``binpack.weight``, ``binpack.cpu``, ``binpack.memory``, ``binpack.resources: a, b`` and
    ``binpack.resources.a``. A resource that the pod does not ask for does not count."""

    name = "binpack"
    numbers = ("binpack.weight", "binpack.cpu", "binpack.memory", "binpack.resources.")
    texts = ("binpack.resources",)

    def __init__(self, session: Session, option: PluginOption) -> None:
        super().__init__(session, option)
        arguments = option.arguments
        self._weight = number(arguments, "binpack.weight", 1)
        self._weights = np.zeros(session.axis.size)
        self._weights[session.axis.index[CPU]] = number(arguments, "binpack.cpu", 1)
        self._weights[session.axis.index[MEMORY]] = number(arguments, "binpack.memory", 1)
        for resource in map(str.strip, arguments.get("binpack.resources", "").split(",")):
            if resource in session.axis:
                weight = number(arguments, f"binpack.resources.{resource}", 1)
                self._weights[session.axis.index[resource]] = weight

    def node_order(self, plan: Plan, places: Places) -> Scores:
        session = self.session
        rows = plan.rows[self._weights[plan.rows] > 0]
        if not len(rows) or not self._weight:
            return np.zeros(np.shape(places))
        capacity = session.ledger.capacity[places][..., rows]
        used = capacity - session.idle[places][..., rows] + plan.vector[rows]
        parts = used / np.maximum(capacity, 1) * self._weights[rows]
        scores: Scores = parts.sum(axis=-1) / self._weights[rows].sum() * 100 * self._weight
        return scores
