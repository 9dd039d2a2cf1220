"""Which pod goes where. Pure: a snapshot of nodes and what they carry in, placements out.

The rules and the words of a refusal are kube-scheduler's: a node has to be ready and schedulable, match the selector
and the required affinity, have its taints tolerated, its host ports free and room for the requests. Of several, the one
that stays emptiest wins, pulled by preferred affinity and pushed by soft taints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import msgspec

from homeport.scheduler.company import Company, Resident
from homeport.scheduler.interpod import Labels
from homeport.scheduler.model import (
    CPU,
    MEMORY,
    NOT_READY_TAINT,
    PODS,
    UNSCHEDULABLE_TAINT,
    Demand,
    HostPort,
    Node,
    Pod,
    Taint,
)

_DEFAULT_PODS = 110
_LEAST = {CPU: 100, MEMORY: 200 << 20}
"""What a container-less request counts as when nodes are compared, so that such pods spread too."""
_AFFINITY_WEIGHT = 2.0
_TAINT_WEIGHT = 3.0
"""Upstream's default weights next to 1 for emptiness."""

AFFINITY_REASON = "node(s) didn't match Pod's node affinity/selector"
PORTS_REASON = "node(s) didn't have free ports for the requested pod ports"
CORDONED_REASON = "node(s) were unschedulable"
PODS_REASON = "Too many pods"
NO_NODES = "no nodes available to schedule pods"


class Load(msgspec.Struct):
    """What a node carries. Amounts by resource, and the pods' host ports."""

    requested: Counter[str] = msgspec.field(default_factory=Counter)
    counted: Counter[str] = msgspec.field(default_factory=Counter)
    """Like `requested`, with the least amounts that count when nodes are compared."""
    pods: int = 0
    ports: Counter[HostPort] = msgspec.field(default_factory=Counter)

    def copy(self) -> Load:
        return Load(Counter(self.requested), Counter(self.counted), self.pods, Counter(self.ports))

    def add(self, demand: Demand) -> None:
        self._change(demand, 1)

    def remove(self, demand: Demand) -> None:
        self._change(demand, -1)

    def _change(self, demand: Demand, sign: int) -> None:
        self.pods += sign
        for resource, amount in demand.requests:
            self.requested[resource] += sign * amount
        amounts = dict(demand.requests)
        for resource, least in _LEAST.items():
            self.counted[resource] += sign * (amounts.get(resource) or least)
        for port in demand.ports:
            self.ports[port] += sign


class Placement(msgspec.Struct, frozen=True):
    """Where a pod goes; without a `node`, why nowhere (Kubernetes' own sentence)."""

    pod: Pod
    node: str = ""
    message: str = ""
    hopeful: int = 0
    """How many nodes it could go to if others were not there."""


class Crowd(msgspec.Struct):
    """The pods that nodes have, for those who ask for company or want none."""

    residents: Collection[Resident] = ()
    shy: Collection[Resident] = ()
    """Those of them who want to be far from others."""
    namespaces: Mapping[str, Labels] = msgspec.field(default_factory=dict)
    """The labels of each namespace."""


class Assigner:
    """Places pods one after the other on a snapshot; each takes its share. What is given is not changed."""

    def __init__(self, nodes: Iterable[Node], loads: Mapping[str, Load], crowd: Crowd | None = None) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._given = loads
        self._crowd = crowd or Crowd()
        self._come: dict[str, Resident] = {}
        """Who has been placed here since, by uid."""
        self._come_shy: dict[str, Resident] = {}
        self._loads: dict[str, Load] = {}
        self._suitable: dict[Demand, tuple[list[Node], Counter[str]]] = {}
        self._refused: dict[Demand, tuple[str, int]] = {}

    def place(self, pod: Pod) -> Placement:
        company = self.company(pod)
        known = self._refused.get(pod.demand) if company is None else None
        if known is not None:
            return Placement(pod, "", *known)
        suitable, reasons = self._filter(pod.demand)
        fitting: list[Node] = []
        full: Counter[str] = Counter()
        for node in suitable:
            short = lacking(node, self._load(node.name), pod.demand)
            if not short and company is not None and (refusal := company.refusal(node)) is not None:
                short = [refusal.reason]
            if short:
                full.update(short)
            else:
                fitting.append(node)
        if not fitting:
            verdict = _message(len(self._nodes), reasons + full), len(self.hopeful(pod, company))
            if company is None:
                self._refused[pod.demand] = verdict
            return Placement(pod, "", *verdict)
        best = self._best(pod, fitting, company)
        self._comes(Resident(best.name, pod))
        self._own_load(best.name).add(pod.demand)
        return Placement(pod, node=best.name)

    def refuse(self, pod: Pod, reason: str, *, of_nodes: bool) -> Placement:
        """The pod goes nowhere, for a reason that is no node's, or every node's (`of_nodes`)."""
        total = len(self._nodes)
        reasons = Counter({reason: total}) if of_nodes else Counter[str]()
        return Placement(pod, message=_message(total, reasons, "" if of_nodes else reason))

    def hopeful(self, pod: Pod, company: Company | None) -> list[tuple[Node, Load]]:
        """The nodes that the pod could go to if others were not there, with what they carry."""
        return [
            (node, self._load(node.name))
            for node in self._filter(pod.demand)[0]
            if all(amount <= node.allocatable.get(resource, 0) for resource, amount in pod.demand.requests if amount)
            and (company is None or (refusal := company.refusal(node)) is None or not refusal.lasting)
        ]

    def company(self, pod: Pod) -> Company | None:
        """The other pods, if one or the other side minds."""
        if pod.rules is not None:
            others = [*self._crowd.residents, *self._come.values()]
        elif self._crowd.shy or self._come_shy:
            others = [*self._crowd.shy, *self._come_shy.values()]
        else:
            return None
        return Company(pod, self._nodes, others, self._crowd.namespaces)

    def reserve(self, node: str, pod: Pod) -> None:
        """Keep a place for a pod that will come when others have gone."""
        if node in self._nodes:
            self._comes(Resident(node, pod, expected=True))
            self._own_load(node).add(pod.demand)

    def give_up(self, node: str, pod: Pod) -> None:
        """Take back what was reserved: the pod has its turn."""
        if node in self._nodes:
            self._come.pop(pod.uid, None)
            self._come_shy.pop(pod.uid, None)
            self._own_load(node).remove(pod.demand)
            self._refused.clear()

    @property
    def total(self) -> int:
        """How many nodes there are."""
        return len(self._nodes)

    def _comes(self, resident: Resident) -> None:
        self._come[resident.pod.uid] = resident
        if resident.is_shy:
            self._come_shy[resident.pod.uid] = resident

    def _best(self, pod: Pod, nodes: list[Node], company: Company | None) -> Node:
        if len(nodes) == 1:
            return nodes[0]
        preferred = company.scores(nodes) if company is not None and pod.rules is not None else {}
        return max(
            nodes,
            key=lambda node: _score(node, self._load(node.name), pod.demand) + preferred.get(node.name, 0.0),
        )

    def _load(self, name: str) -> Load:
        return self._loads.get(name) or self._given.get(name) or _EMPTY

    def _own_load(self, name: str) -> Load:
        load = self._loads.get(name)
        if load is None:
            load = self._loads[name] = self._load(name).copy()
        return load

    def _filter(self, demand: Demand) -> tuple[list[Node], Counter[str]]:
        """What does not depend on load, once per kind of demand."""
        known = self._suitable.get(demand)
        if known is None:
            suitable: list[Node] = []
            reasons: Counter[str] = Counter()
            for _, node in sorted(self._nodes.items()):
                reason = unsuitable(node, demand)
                if reason:
                    reasons[reason] += 1
                else:
                    suitable.append(node)
            known = self._suitable[demand] = (suitable, reasons)
        return known


_EMPTY = Load()


def unsuitable(node: Node, demand: Demand) -> str:
    """Why the demand can't go to this node however empty it is; empty if it can."""
    if node.unschedulable and not demand.tolerates(Taint(UNSCHEDULABLE_TAINT, "", "NoSchedule")):
        return CORDONED_REASON
    taints = node.taints if node.ready else (*node.taints, Taint(NOT_READY_TAINT, "", "NoSchedule"))
    if node.unschedulable:  # decided above, by the field that causes this taint
        taints = tuple(taint for taint in taints if taint.key != UNSCHEDULABLE_TAINT)
    taint = demand.untolerated(taints)
    if taint is not None:
        return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
    if not demand.allows(node):
        return AFFINITY_REASON
    for choice in demand.choices:
        if not any(term.matches(node) for term in choice.terms):
            return choice.reason
    return ""


def lacking(node: Node, load: Load, demand: Demand) -> list[str]:
    """What this node has too little of just now."""
    if demand.ports and any(wanted.clashes(taken) for wanted in demand.ports for taken in +load.ports):
        return [PORTS_REASON]
    short = []
    if load.pods + 1 > node.allocatable.get(PODS, _DEFAULT_PODS):
        short.append(PODS_REASON)
    for resource, amount in demand.requests:
        if amount and amount > node.allocatable.get(resource, 0) - load.requested[resource]:
            short.append(f"Insufficient {resource}")
    return short


def _score(node: Node, load: Load, demand: Demand) -> float:
    """The higher the better; each part is between 0 and 100."""
    amounts = dict(demand.requests)
    parts = []
    for resource, least in _LEAST.items():
        total = node.allocatable.get(resource, 0)
        used = load.counted[resource] + (amounts.get(resource) or least)
        parts.append(max(0.0, (total - used) * 100 / total) if total else 0.0)
    score = sum(parts) / len(parts)
    weights = sum(weight for weight, _ in demand.preferred)
    if weights:
        met = sum(weight for weight, term in demand.preferred if term.matches(node))
        score += _AFFINITY_WEIGHT * 100 * met / weights
    soft = [taint for taint in node.taints if taint.effect == "PreferNoSchedule"]
    if soft:
        minded = sum(not demand.tolerates(taint) for taint in soft)
        score -= _TAINT_WEIGHT * 100 * minded / len(soft)
    return score


def words(total: int, reasons: Mapping[str, int]) -> str:
    """What is said of nodes, by how many it is true of."""
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return f"0/{total} nodes are available: {listed}."


def _message(total: int, reasons: Mapping[str, int], of_pod: str = "") -> str:
    if not total:
        return NO_NODES
    return f"0/{total} nodes are available: {of_pod}." if of_pod else words(total, reasons)
