"""Whom a more important pod may take the place of. Pure.

The rules are kube-scheduler's (upstream: ``pkg/scheduler/framework/preemption``): on each node all less important pods
are thought away, then let back one by one, the most important first, as long as there is room; those who are not let
back would have to go. The node where that does the least harm is chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from homeport.kube.selector import Selector
from homeport.scheduler.assign import Load, lacking
from homeport.scheduler.company import Company, Resident
from homeport.scheduler.model import Node, Pod

NO_VICTIMS = "No preemption victims found for incoming pod"
NO_HELP = "Preemption is not helpful for scheduling"


class Tenant(msgspec.Struct, frozen=True):
    """A pod that a node has."""

    pod: Pod
    started: str
    """When; of equals the one that has run longer is the more important."""
    generation: int = 0

    @property
    def rank(self) -> tuple[int, str]:
        """Sorts the most important first."""
        return -self.pod.priority, self.started or "~"


class Budget(msgspec.Struct, frozen=True):
    """How many pods may be disrupted (a PodDisruptionBudget)."""

    namespace: str
    selector: Selector
    allowed: int
    disrupted: frozenset[str] = frozenset()
    """The names of pods that are counted already: their end takes nothing more."""

    def covers(self, pod: Pod) -> bool:
        if pod.namespace != self.namespace or pod.name in self.disrupted:
            return False
        return self.selector.matches(pod.labels)


class Eviction(msgspec.Struct, frozen=True):
    node: str
    victims: tuple[Tenant, ...]
    violations: int
    """How many of them a budget protects."""

    @property
    def harm(self) -> tuple[int, int, int, int]:
        """The less the better."""
        priorities = [victim.pod.priority for victim in self.victims]
        return self.violations, max(priorities), sum(priority + 2**31 for priority in priorities), len(priorities)

    @property
    def since(self) -> str:
        """Since when the longest-running of its most important victims has run."""
        most = max(victim.pod.priority for victim in self.victims)
        return min(victim.started for victim in self.victims if victim.pod.priority == most)


class Outcome(msgspec.Struct, frozen=True):
    """What came of the look for somebody who could go."""

    eviction: Eviction | None = None
    reasons: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Without an eviction: what is wrong with how many of the nodes. Empty: there is room, or will be as soon as those
    have gone that are going already."""


def choose(
    pod: Pod,
    nodes: Iterable[tuple[Node, Load]],
    tenants: Mapping[str, Sequence[Tenant]],
    budgets: Sequence[Budget] = (),
    company: Company | None = None,
) -> Outcome:
    """Who has to go, and from where. `nodes` are those that the pod could go to if others were not there, with what
    they carry; `tenants` are the pods of each that could be ended."""
    found: list[Eviction] = []
    reasons: Counter[str] = Counter()
    for node, load in nodes:
        trial = _Trial(node, load.copy(), pod, company)
        lesser = [tenant for tenant in tenants.get(node.name, ()) if tenant.pod.priority < pod.priority]
        short = trial.lacking()
        if not short:
            return Outcome()
        if not lesser:
            reasons[NO_VICTIMS] += 1
            continue
        eviction = trial.fewest(lesser, budgets)
        if isinstance(eviction, Eviction):
            found.append(eviction)
        else:
            reasons.update(eviction)
    if not found:
        return Outcome(reasons=reasons)
    least = min(eviction.harm for eviction in found)
    best = [eviction for eviction in found if eviction.harm == least]
    return Outcome(max(best, key=lambda eviction: (eviction.since, eviction.node)))


class _Trial:
    """One node, with some of its pods thought away."""

    def __init__(self, node: Node, load: Load, pod: Pod, company: Company | None) -> None:
        self._node = node
        self._load = load
        self._pod = pod
        self._company = company

    def lacking(self) -> list[str]:
        short = lacking(self._node, self._load, self._pod.demand)
        if not short and self._company is not None and (refusal := self._company.refusal(self._node)) is not None:
            return [refusal.reason]
        return short

    def fewest(self, lesser: Iterable[Tenant], budgets: Sequence[Budget]) -> Eviction | list[str]:
        """As few as possible; or what there is too little of even without all of them."""
        lesser = sorted(lesser, key=lambda tenant: tenant.rank)
        for tenant in lesser:
            self._without(tenant)
        away = list(lesser)
        try:
            short = self.lacking()
            if short:
                return short
            guarded, others = _split(lesser, budgets)
            violations = 0
            for tenant in (*guarded, *others):
                self._with(tenant)
                if self.lacking():
                    self._without(tenant)
                    violations += tenant in guarded
                else:
                    away.remove(tenant)
            return Eviction(self._node.name, tuple(away), violations)
        finally:
            for tenant in away:  # the next node sees them where they are
                self._with(tenant)

    def _with(self, tenant: Tenant) -> None:
        self._load.add(tenant.pod.demand)
        if self._company is not None:
            self._company.count(Resident(self._node.name, tenant.pod), 1)

    def _without(self, tenant: Tenant) -> None:
        self._load.remove(tenant.pod.demand)
        if self._company is not None:
            self._company.count(Resident(self._node.name, tenant.pod), -1)


def _split(tenants: Iterable[Tenant], budgets: Sequence[Budget]) -> tuple[list[Tenant], list[Tenant]]:
    """Those whose end would go beyond a budget if all before them had ended too, and the others."""
    left = [budget.allowed for budget in budgets]
    guarded: list[Tenant] = []
    others: list[Tenant] = []
    for tenant in tenants:
        violates = False
        for index, budget in enumerate(budgets):
            if budget.covers(tenant.pod):
                left[index] -= 1
                violates = violates or left[index] < 0
        (guarded if violates else others).append(tenant)
    return guarded, others
