"""What a pod asks of the company that it keeps: pod affinity, pod anti-affinity and topology spread. Pure.

Parsed once, as :mod:`homeport.scheduler.model` does with the rest (upstream: the plugins ``interpodaffinity`` and
``podtopologyspread`` of ``pkg/scheduler/framework``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from homeport.kube.selector import NOTHING, Operator, Requirement, Selector, from_label_selector

Labels = Mapping[str, str]


class PodTerm(msgspec.Struct, frozen=True):
    """Some pods, and within which places they count as near (a ``PodAffinityTerm``)."""

    topology_key: str
    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector = NOTHING

    def matches(self, namespace: str, labels: Labels, namespaces: Mapping[str, Labels]) -> bool:
        """Whether it is about a pod. `namespaces`: the labels of each namespace."""
        if namespace not in self.namespaces and not (
            namespace in namespaces and self.namespace_selector.matches(namespaces[namespace])
        ):
            return False
        return self.selector.matches(labels)


class Preference(msgspec.Struct, frozen=True):
    weight: int
    """Below zero: rather far from them."""
    term: PodTerm


class Spread(msgspec.Struct, frozen=True):
    """How evenly pods are to be spread (a ``TopologySpreadConstraint``)."""

    topology_key: str
    selector: Selector
    max_skew: int
    hard: bool
    """DoNotSchedule, and not ScheduleAnyway."""
    min_domains: int = 1
    heeds_affinity: bool = True
    """Only nodes that the pod's node selector and affinity allow count."""
    heeds_taints: bool = False
    """Only nodes whose taints the pod tolerates count."""


class Rules(msgspec.Struct, frozen=True):
    affinity: tuple[PodTerm, ...] = ()
    anti_affinity: tuple[PodTerm, ...] = ()
    preferences: tuple[Preference, ...] = ()
    spread: tuple[Spread, ...] = ()


def parse_rules(pod_spec: Mapping[str, Any], labels: Labels, namespace: str) -> Rules | None:
    """None for a pod that asks for nothing of the kind, as most. Raises BadRequest for a broken selector."""
    affinity = pod_spec.get("affinity") or {}
    near, far = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    constraints = pod_spec.get("topologySpreadConstraints") or ()
    if not near and not far and not constraints:
        return None

    def required(rules: Mapping[str, Any]) -> tuple[PodTerm, ...]:
        terms = rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        return tuple(_term(term, labels, namespace) for term in terms)

    def preferred(rules: Mapping[str, Any], sign: int) -> Iterable[Preference]:
        for entry in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield Preference(sign * (entry.get("weight") or 0), _term(entry["podAffinityTerm"], labels, namespace))

    rules = Rules(
        affinity=required(near),
        anti_affinity=required(far),
        preferences=(*preferred(near, 1), *preferred(far, -1)),
        spread=tuple(_spread(constraint, labels) for constraint in constraints),
    )
    return None if rules == Rules() else rules


def _term(term: Mapping[str, Any], labels: Labels, namespace: str) -> PodTerm:
    listed, chosen = term.get("namespaces") or (), term.get("namespaceSelector")
    more = (
        *_of_keys(term.get("matchLabelKeys"), labels, "in"),
        *_of_keys(term.get("mismatchLabelKeys"), labels, "notin"),
    )
    return PodTerm(
        topology_key=term.get("topologyKey") or "",
        selector=_narrowed(term.get("labelSelector"), more),
        namespaces=frozenset(listed) if listed or chosen is not None else frozenset((namespace,)),
        namespace_selector=from_label_selector(chosen),
    )


def _spread(constraint: Mapping[str, Any], labels: Labels) -> Spread:
    return Spread(
        topology_key=constraint.get("topologyKey") or "",
        selector=_narrowed(constraint.get("labelSelector"), _of_keys(constraint.get("matchLabelKeys"), labels, "in")),
        max_skew=constraint.get("maxSkew") or 1,
        hard=constraint.get("whenUnsatisfiable") != "ScheduleAnyway",
        min_domains=constraint.get("minDomains") or 1,
        heeds_affinity=constraint.get("nodeAffinityPolicy") != "Ignore",
        heeds_taints=constraint.get("nodeTaintsPolicy") == "Honor",
    )


def _narrowed(selector: Mapping[str, Any] | None, more: Iterable[Requirement]) -> Selector:
    """With more requirements. The API server has added them already where it knows the rule: then nothing changes."""
    found = from_label_selector(selector)
    added = [requirement for requirement in more if requirement not in found.requirements]
    return Selector((*found.requirements, *added)) if added and not found.nothing else found


def _of_keys(keys: Iterable[str] | None, labels: Labels, operator: Operator) -> Iterable[Requirement]:
    """The pod's own values of these labels; those that it does not have count for nothing."""
    return [Requirement(key, operator, frozenset((labels[key],))) for key in keys or () if key in labels]
