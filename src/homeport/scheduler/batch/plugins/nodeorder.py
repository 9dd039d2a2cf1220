"""Which node is best: the emptiest, with even shares of CPU and memory, that the pod prefers (upstream: ``nodeorder``).

Each part is between 0 and 100, times its weight. Preferences about other pods, whose
weights are read here, are those of :mod:`homeport.scheduler.company`: they count whether this plugin is there or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from homeport.scheduler.batch.axis import Places, Scores, Vector
from homeport.scheduler.batch.configuration import PluginOption
from homeport.scheduler.batch.plugins.arguments import number
from homeport.scheduler.batch.plugins.base import Plugin
from homeport.scheduler.batch.session import Session
from homeport.scheduler.company import AFFINITY_WEIGHT, SPREAD_WEIGHT
from homeport.scheduler.model import CPU, MEMORY, Node, Taint

if TYPE_CHECKING:
    from homeport.scheduler.batch.plan import Plan


class NodeOrder(Plugin):
    name = "nodeorder"
    numbers = (
        "leastrequested.weight",
        "mostrequested.weight",
        "balancedresource.weight",
        "nodeaffinity.weight",
        "tainttoleration.weight",
        "podaffinity.weight",
        "podtopologyspread.weight",
    )

    def __init__(self, session: Session, option: PluginOption) -> None:
        super().__init__(session, option)
        arguments = option.arguments
        self._least = number(arguments, "leastrequested.weight", 1)
        self._most = number(arguments, "mostrequested.weight", 0)
        self._balanced = number(arguments, "balancedresource.weight", 1)
        self._affinity = number(arguments, "nodeaffinity.weight", 2)
        self._taint = number(arguments, "tainttoleration.weight", 3)
        session.affinity_weight = number(arguments, "podaffinity.weight", AFFINITY_WEIGHT)
        session.spread_weight = number(arguments, "podtopologyspread.weight", SPREAD_WEIGHT)
        self._cpu, self._memory = session.axis.index[CPU], session.axis.index[MEMORY]
        self._of_cpu = _inverse(session.ledger.capacity[:, self._cpu])
        self._of_memory = _inverse(session.ledger.capacity[:, self._memory])
        self._fixed: dict[int, Scores | None] = {}

    def node_order(self, plan: Plan, places: Places) -> Scores:
        idle = self.session.idle
        cpu = (idle[places, self._cpu] - plan.vector[self._cpu]) * self._of_cpu[places]
        memory = (idle[places, self._memory] - plan.vector[self._memory]) * self._of_memory[places]
        scores: Scores = (self._least - self._most) * 50 * (cpu + memory) + self._most * 100
        if self._balanced:
            scores = scores + self._balanced * (100 - 50 * abs(cpu - memory))
        fixed = self._fixed_scores(plan)
        return scores if fixed is None else scores + fixed[places]

    def _fixed_scores(self, plan: Plan) -> Scores | None:
        """What does not depend on load."""
        if not self.session.ledger.some_discourage and not plan.shape.demand.preferred:
            return None
        known = self._fixed.get(id(plan))
        if known is None:
            nodes = self.session.ledger.nodes
            known = self._fixed[id(plan)] = np.array([self._of_node(plan, node) for node in nodes])
        return known

    def _of_node(self, plan: Plan, node: Node) -> float:
        demand = plan.shape.demand
        score = 0.0
        weights = sum(weight for weight, _ in demand.preferred)
        if weights:
            met = sum(weight for weight, term in demand.preferred if term.matches(node))
            score += self._affinity * 100 * met / weights
        soft = _soft(node)
        if soft:
            score -= self._taint * 100 * sum(not demand.tolerates(taint) for taint in soft) / len(soft)
        return score


def _soft(node: Node) -> list[Taint]:
    return [taint for taint in node.taints if taint.effect == "PreferNoSchedule"]


def _inverse(amounts: Vector) -> Scores:
    """Of nothing nothing is free."""
    inverse: Scores = np.where(amounts > 0, 1.0 / np.maximum(amounts, 1), 0.0)
    return inverse
