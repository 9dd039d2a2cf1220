"""Pods and nodes as the scheduler sees them: parsed once, compared by value, never changed.

Amounts are integers: CPU in thousandths, everything else in whole units (bytes, devices), each rounded up.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import msgspec

from homeport.kube import quantity
from homeport.kube.core.claims import claim_names
from homeport.kube.meta import (
    Object,
    is_condition_true,
    is_deleting,
    labels,
    metadata,
    name,
    namespace,
    spec,
    status,
    uid,
)
from homeport.kube.selector import OPERATORS, Requirement
from homeport.scheduler.interpod import Rules, parse_rules

CPU = "cpu"
MEMORY = "memory"
PODS = "pods"

UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"
NOT_READY_TAINT = "node.kubernetes.io/not-ready"


class Taint(msgspec.Struct, frozen=True):
    key: str
    value: str
    effect: str


class Toleration(msgspec.Struct, frozen=True):
    """An empty key with Exists tolerates everything; an empty effect all effects."""

    key: str
    operator: str
    value: str
    effect: str

    def tolerates(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        return bool(self.key) and self.value == taint.value


class Term(msgspec.Struct, frozen=True):
    """A node selector term: all requirements together. One without any matches nothing."""

    expressions: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def matches(self, node: Node) -> bool:
        if not self.expressions and not self.fields:
            return False
        return all(r.matches(node.labels) for r in self.expressions) and all(
            r.matches({"metadata.name": node.name}) for r in self.fields
        )


class NodeChoice(msgspec.Struct, frozen=True):
    """One of the terms has to match the node; `reason` is what is said of a node that none matches."""

    terms: tuple[Term, ...]
    reason: str


class Claim(msgspec.Struct, frozen=True, order=True):
    namespace: str
    name: str
    owner: str = ""
    """The uid of the pod whose own it has to be (an ephemeral volume's)."""


class HostPort(msgspec.Struct, frozen=True):
    protocol: str
    address: str
    port: int

    def clashes(self, other: HostPort) -> bool:
        if (self.protocol, self.port) != (other.protocol, other.port):
            return False
        return self.address == other.address or "0.0.0.0" in (self.address, other.address)


class Demand(msgspec.Struct, frozen=True):
    """What a pod asks of a node. Pods with equal demands are interchangeable to the scheduler."""

    requests: tuple[tuple[str, int], ...] = ()
    selector: tuple[tuple[str, str], ...] = ()
    required: tuple[Term, ...] | None = None
    """One of them has to match; None: no required node affinity."""
    preferred: tuple[tuple[int, Term], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    ports: tuple[HostPort, ...] = ()
    claims: tuple[Claim, ...] = ()
    """The persistent volume claims that it uses."""
    choices: tuple[NodeChoice, ...] = ()
    """What the volumes of those demand of the node (:mod:`homeport.scheduler.volumes`)."""

    def allows(self, node: Node) -> bool:
        """Whether the node's labels are what the selector and the required affinity ask for."""
        if any(node.labels.get(key) != value for key, value in self.selector):
            return False
        return self.required is None or any(term.matches(node) for term in self.required)

    def tolerates(self, taint: Taint) -> bool:
        return any(toleration.tolerates(taint) for toleration in self.tolerations)

    def untolerated(self, taints: Iterable[Taint]) -> Taint | None:
        """The first of those that keep pods away and that is not tolerated."""
        for taint in taints:
            if taint.effect in ("NoSchedule", "NoExecute") and not self.tolerates(taint):
                return taint
        return None


class Pod(msgspec.Struct, frozen=True):
    namespace: str
    name: str
    uid: str
    priority: int
    created: str
    demand: Demand
    preempts: bool = True
    """It may take the place of less important ones."""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    rules: Rules | None = None
    """What it asks of the pods around it."""

    @property
    def likeness(self) -> Hashable:
        """Equal for pods of which one verdict holds for all, as long as no other pod wants to be far from some."""
        own = (self.namespace, self.rules, tuple(sorted(self.labels.items()))) if self.rules is not None else None
        return self.demand, self.priority, self.preempts, own

    @property
    def order(self) -> tuple[int, str, str, str]:
        """Sorts pods into the order in which they are served."""
        return (-self.priority, self.created, self.namespace, self.name)


class Node(msgspec.Struct, frozen=True):
    name: str
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    ready: bool = True
    unschedulable: bool = False
    allocatable: Mapping[str, int] = msgspec.field(default_factory=dict)


def parse_pod(pod: Object) -> Pod:
    """Raises ValueError for a quantity that is none, BadRequest for a broken selector."""
    return Pod(
        namespace=namespace(pod),
        name=name(pod),
        uid=uid(pod),
        priority=spec(pod).get("priority") or 0,
        created=metadata(pod).get("creationTimestamp") or "",
        demand=msgspec.structs.replace(parse_demand(spec(pod)), claims=_claims(pod)),
        preempts=spec(pod).get("preemptionPolicy") != "Never",
        labels=labels(pod),
        rules=parse_rules(spec(pod), labels(pod), namespace(pod)),
    )


def _claims(pod: Object) -> tuple[Claim, ...]:
    used = claim_names(pod).values()
    return tuple(sorted(Claim(namespace(pod), claim, uid(pod) if is_own else "") for claim, is_own in used))


def parse_demand(pod_spec: Mapping[str, Any]) -> Demand:
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return Demand(
        requests=tuple(sorted(requests(pod_spec).items())),
        selector=tuple(sorted((pod_spec.get("nodeSelector") or {}).items())),
        required=None if required is None else tuple(map(parse_term, required.get("nodeSelectorTerms") or ())),
        preferred=tuple((entry.get("weight") or 0, parse_term(entry.get("preference") or {})) for entry in preferred),
        tolerations=tuple(map(_toleration, pod_spec.get("tolerations") or ())),
        ports=tuple(_host_ports(pod_spec)),
    )


def parse_node(node: Object) -> Node:
    """Raises ValueError for a quantity that is none."""
    return Node(
        name=name(node),
        labels=labels(node),
        taints=tuple(
            Taint(taint.get("key") or "", taint.get("value") or "", taint.get("effect") or "")
            for taint in spec(node).get("taints") or ()
        ),
        ready=is_condition_true(node, "Ready") and not is_deleting(node),
        unschedulable=bool(spec(node).get("unschedulable")),
        allocatable=_amounts(status(node).get("allocatable") or status(node).get("capacity") or {}),
    )


def requests(pod_spec: Mapping[str, Any]) -> dict[str, int]:
    """What the pod needs at its hungriest (upstream: ``resourcehelper.PodRequests``).

    Containers and sidecars run together; an ordinary init container runs next to the sidecars started before it. What
    the pod itself requests stands for the sum of its containers. ``overhead`` comes on top.
    """
    running: dict[str, int] = {}
    for container in pod_spec.get("containers") or ():
        _add(running, _requested(container))
    sidecars: dict[str, int] = {}
    starting: dict[str, int] = {}
    for container in pod_spec.get("initContainers") or ():
        amounts = _requested(container)
        if container.get("restartPolicy") == "Always":
            _add(running, amounts)
            _add(sidecars, amounts)
            amounts = dict(sidecars)
        else:
            _add(amounts, sidecars)
        _raise_to(starting, amounts)
    _raise_to(running, starting)
    running.update(_requested(pod_spec))
    _add(running, _amounts(pod_spec.get("overhead") or {}))
    return running


def _requested(container: Mapping[str, Any]) -> dict[str, int]:
    """Requests; a limit without a request counts as one, as the API server's defaults have it."""
    resources = container.get("resources") or {}
    return _amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _amounts(quantities: Mapping[str, Any]) -> dict[str, int]:
    return {
        resource: quantity.milli(value) if resource == CPU else quantity.whole(value)
        for resource, value in quantities.items()
    }


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for resource, amount in more.items():
        total[resource] = total.get(resource, 0) + amount


def _raise_to(total: dict[str, int], least: Mapping[str, int]) -> None:
    for resource, amount in least.items():
        total[resource] = max(total.get(resource, 0), amount)


def parse_term(term: Mapping[str, Any]) -> Term:
    """A node selector term. Raises ValueError for an operator that is none."""
    return Term(
        expressions=tuple(_requirements(term.get("matchExpressions") or ())),
        fields=tuple(_requirements(term.get("matchFields") or ())),
    )


def _requirements(entries: Iterable[Mapping[str, Any]]) -> Iterable[Requirement]:
    for entry in entries:
        operator = OPERATORS.get(entry.get("operator") or "")
        if operator is None:
            raise ValueError(f"node affinity: operator {entry.get('operator')!r} is none of {', '.join(OPERATORS)}")
        yield Requirement(entry.get("key") or "", operator, frozenset(entry.get("values") or ()))


def _toleration(entry: Mapping[str, Any]) -> Toleration:
    return Toleration(
        key=entry.get("key") or "",
        operator=entry.get("operator") or "Equal",
        value=entry.get("value") or "",
        effect=entry.get("effect") or "",
    )


def _host_ports(pod_spec: Mapping[str, Any]) -> Iterable[HostPort]:
    for container in (*(pod_spec.get("containers") or ()), *(pod_spec.get("initContainers") or ())):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield HostPort(port.get("protocol") or "TCP", port.get("hostIP") or "0.0.0.0", port["hostPort"])
