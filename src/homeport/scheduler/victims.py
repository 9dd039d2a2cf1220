"""Whom a more important pod may take the place of. Pure.

The rules are kube-scheduler's (upstream: ``pkg/scheduler/framework/preemption``): on each node all less important pods
are thought away, then let back one by one, the most important first, as long as there is room; those who are not let
back would have to go. The node where that does the least harm is chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from homeport.kube.selector import Selector
from homeport.scheduler.assign import Load, lacking
from homeport.scheduler.model import Demand, Node, Pod


class Tenant(msgspec.Struct, frozen=True):
    """A pod that a node has."""

    pod: Pod
    started: str
    """When; of equals the one that has run longer is the more important."""
    labels: Mapping[str, str] = {}

    @property
    def rank(self) -> tuple[int, str]:
        """Sorts the most important first."""
        return -self.pod.priority, self.started or "~"


class Budget(msgspec.Struct, frozen=True):
    """How many pods may be disrupted (a PodDisruptionBudget)."""

    namespace: str
    selector: Selector
    allowed: int

    def covers(self, tenant: Tenant) -> bool:
        return tenant.pod.namespace == self.namespace and self.selector.matches(tenant.labels)


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


def choose(
    demand: Demand,
    priority: int,
    nodes: Iterable[tuple[Node, Load]],
    tenants: Mapping[str, Sequence[Tenant]],
    budgets: Sequence[Budget] = (),
) -> Eviction | None:
    """Who has to go, and from where. None: nowhere does it help, or somewhere nobody has to. `nodes` are those that
    suit the demand however full they are, with what they carry; `tenants` are the pods of each that could be ended."""
    found: list[Eviction] = []
    for node, load in nodes:
        eviction = _on(node, load, demand, priority, tenants.get(node.name, ()), budgets)
        if eviction is None:
            continue
        if not eviction.victims:
            return None  # there is room, or will be as soon as those have gone that are going already
        found.append(eviction)
    if not found:
        return None
    least = min(eviction.harm for eviction in found)
    best = [eviction for eviction in found if eviction.harm == least]
    return max(best, key=lambda eviction: (eviction.since, eviction.node))


def _on(
    node: Node, load: Load, demand: Demand, priority: int, tenants: Sequence[Tenant], budgets: Sequence[Budget]
) -> Eviction | None:
    load = load.copy()
    lesser = sorted((t for t in tenants if t.pod.priority < priority), key=lambda tenant: tenant.rank)
    for tenant in lesser:
        load.remove(tenant.pod.demand)
    if lacking(node, load, demand):
        return None
    guarded, others = _split(lesser, budgets)
    victims: list[Tenant] = []
    violations = 0
    for tenant in (*guarded, *others):
        load.add(tenant.pod.demand)
        if lacking(node, load, demand):
            load.remove(tenant.pod.demand)
            victims.append(tenant)
            violations += tenant in guarded
    return Eviction(node.name, tuple(victims), violations)


def _split(tenants: Iterable[Tenant], budgets: Sequence[Budget]) -> tuple[list[Tenant], list[Tenant]]:
    """Those whose end would go beyond a budget if all before them had ended too, and the others."""
    left = [budget.allowed for budget in budgets]
    guarded: list[Tenant] = []
    others: list[Tenant] = []
    for tenant in tenants:
        violates = False
        for index, budget in enumerate(budgets):
            if budget.covers(tenant):
                left[index] -= 1
                violates = violates or left[index] < 0
        (guarded if violates else others).append(tenant)
    return guarded, others
