"""How a pod gets on with the pods that are there: pod affinity, anti-affinity and topology spread. Pure.

The rules and the words are kube-scheduler's (upstream: the plugins ``interpodaffinity`` and ``podtopologyspread``).
Pods are counted by place, a place being a node label and its value, so that the verdict on a node is a few look-ups.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from homeport.scheduler.interpod import Labels, PodTerm, Preference, Rules, Spread
from homeport.scheduler.model import Node, Pod

AFFINITY_REASON = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY_REASON = "node(s) didn't match pod anti-affinity rules"
SHUNNED_REASON = "node(s) didn't satisfy existing pods anti-affinity rules"
SPREAD_REASON = "node(s) didn't match pod topology spread constraints"
PLACELESS_REASON = f"{SPREAD_REASON} (missing required label)"

AFFINITY_WEIGHT = 2.0
SPREAD_WEIGHT = 2.0
"""Upstream's default weights next to 1 for emptiness."""

Place = tuple[str, str]


class Resident(msgspec.Struct):
    """A pod that takes its share of a node."""

    node: str
    pod: Pod
    leaving: bool = False
    """It is being deleted."""
    expected: bool = False
    """It will come when others have gone; what is asked for may not be founded on it."""

    @property
    def is_shy(self) -> bool:
        """Whether it wants to be far from others, who have to heed that."""
        return self.pod.rules is not None and bool(self.pod.rules.anti_affinity)


class Refusal(msgspec.Struct, frozen=True):
    reason: str
    lasting: bool = False
    """It does not help if pods go."""


class Company:
    """All residents, as one pod sees them. `nodes`: all there are; `namespaces`: the labels of each."""

    def __init__(
        self, pod: Pod, nodes: Mapping[str, Node], residents: Iterable[Resident], namespaces: Mapping[str, Labels]
    ) -> None:
        self._pod = pod
        self._rules = pod.rules or Rules()
        self._nodes = nodes
        self._namespaces = namespaces
        self._shunned: Counter[Place] = Counter()
        """Where others are who want to be far from this pod."""
        self._avoided: Counter[Place] = Counter()
        self._wanted: Counter[Place] = Counter()
        self._liked: Counter[Place] = Counter()
        """The weights of preferences, added up."""
        hard = [spread for spread in self._rules.spread if spread.hard]
        soft = [spread for spread in self._rules.spread if not spread.hard]
        self._hard = [_Spreading(spread, pod, hard, nodes.values()) for spread in hard]
        self._soft = [_Spreading(spread, pod, soft, nodes.values()) for spread in soft]
        for resident in residents:
            self.count(resident, 1)

    def count(self, resident: Resident, sign: int) -> None:
        """A resident comes (1) or goes (-1)."""
        node = self._nodes.get(resident.node)
        if node is None or resident.pod.uid == self._pod.uid:
            return
        other, rules = resident.pod, self._rules
        if other.rules is not None:
            for term in other.rules.anti_affinity:
                if self._about(term, self._pod):
                    _add(self._shunned, term, node, sign)
        for term in rules.anti_affinity:
            if self._about(term, other):
                _add(self._avoided, term, node, sign)
        if rules.affinity and not resident.expected and all(self._about(term, other) for term in rules.affinity):
            for term in rules.affinity:
                _add(self._wanted, term, node, sign)
        for preference in rules.preferences:
            if self._about(preference.term, other):
                _add(self._liked, preference.term, node, sign * preference.weight)
        for spreading in (*self._hard, *self._soft):
            spreading.count(resident, node, sign)

    def refusal(self, node: Node) -> Refusal | None:
        """Why the pod can't go to this node."""
        for spreading in self._hard:
            refusal = spreading.refusal(node)
            if refusal is not None:
                return refusal
        if not self._has_wanted(node):
            return Refusal(AFFINITY_REASON, lasting=True)
        if any(self._avoided[place] > 0 for place in _places(self._rules.anti_affinity, node)):
            return Refusal(ANTI_AFFINITY_REASON)
        if any(count > 0 and node.labels.get(key) == value for (key, value), count in self._shunned.items()):
            return Refusal(SHUNNED_REASON)
        return None

    def scores(
        self, nodes: Collection[Node], *, affinity: float = AFFINITY_WEIGHT, spread: float = SPREAD_WEIGHT
    ) -> dict[str, float]:
        """How much better each of these is than the others, by the pod's preferences. `affinity` and `spread`: what
        100 points of either count."""
        liked = {
            node.name: float(sum(self._liked[place] for place in _places(_terms(self._rules.preferences), node)))
            for node in nodes
        }
        total = _normalized(liked, affinity)
        crowded = {
            node.name: -sum(spreading.crowding(node) for spreading in self._soft)
            for node in nodes
            if all(spreading.spread.topology_key in node.labels for spreading in self._soft)
        }
        for name, score in _normalized(crowded, spread).items():
            total[name] += score
        return total

    def _about(self, term: PodTerm, pod: Pod) -> bool:
        return term.matches(pod.namespace, pod.labels, self._namespaces)

    def _has_wanted(self, node: Node) -> bool:
        terms = self._rules.affinity
        if any(term.topology_key not in node.labels for term in terms):
            return False
        if all(self._wanted[place] > 0 for place in _places(terms, node)):
            return True
        # The first of those who want to be together finds nobody.
        return not +self._wanted and all(self._about(term, self._pod) for term in terms)


class _Spreading:
    """One constraint: how many pods count in each place."""

    def __init__(self, spread: Spread, pod: Pod, together: Sequence[Spread], nodes: Iterable[Node]) -> None:
        self.spread = spread
        self._pod = pod
        keys = {other.topology_key for other in together}
        self._counts: dict[str, int] = {}
        self._nodes = set()
        for node in nodes:
            if keys <= node.labels.keys() and self._heeds(node):
                self._nodes.add(node.name)
                self._counts.setdefault(node.labels[spread.topology_key], 0)
        self._itself = int(spread.selector.matches(pod.labels))

    def _heeds(self, node: Node) -> bool:
        demand = self._pod.demand
        if self.spread.heeds_affinity and not demand.allows(node):
            return False
        return not self.spread.heeds_taints or demand.untolerated(node.taints) is None

    def count(self, resident: Resident, node: Node, sign: int) -> None:
        other = resident.pod
        if (
            resident.node in self._nodes
            and not resident.leaving
            and other.namespace == self._pod.namespace
            and self.spread.selector.matches(other.labels)
        ):
            self._counts[node.labels[self.spread.topology_key]] += sign

    def refusal(self, node: Node) -> Refusal | None:
        place = node.labels.get(self.spread.topology_key)
        if place is None:
            return Refusal(PLACELESS_REASON, lasting=True)
        least = min(self._counts.values(), default=0) if len(self._counts) >= self.spread.min_domains else 0
        if self._counts.get(place, 0) + self._itself - least > self.spread.max_skew:
            return Refusal(SPREAD_REASON)
        return None

    def crowding(self, node: Node) -> float:
        """How many are there already; of many places fewer count more."""
        count = self._counts.get(node.labels[self.spread.topology_key], 0)
        return count * math.log(len(self._counts) + 2) + self.spread.max_skew - 1


def _terms(preferences: Iterable[Preference]) -> list[PodTerm]:
    return [preference.term for preference in preferences]


def _places(terms: Iterable[PodTerm], node: Node) -> set[Place]:
    return {(term.topology_key, node.labels[term.topology_key]) for term in terms if term.topology_key in node.labels}


def _add(counts: Counter[Place], term: PodTerm, node: Node, amount: int) -> None:
    value = node.labels.get(term.topology_key)
    if value is not None:
        counts[term.topology_key, value] += amount


def _normalized(scores: Mapping[str, float], weight: float) -> dict[str, float]:
    least, most = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    if least == most:
        return dict.fromkeys(scores, 0.0)
    return {name: weight * 100 * (score - least) / (most - least) for name, score in scores.items()}
