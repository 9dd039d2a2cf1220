"""On which nodes a daemon set's pods belong (upstream: ``nodeShouldRunDaemonPod`` and ``daemonset_util.go``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.kube.selector import Operator, Requirement

_FIELD = "metadata.name"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_OPERATORS: Mapping[str, Operator] = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
    "Gt": "gt",
    "Lt": "lt",
}
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_OF_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


def belongs(spec: Object, node: Object) -> tuple[bool, bool]:
    """Whether a pod of this `spec` shall run on the node, and whether one that already does may stay."""
    if spec.get("nodeName", meta.name(node)) != meta.name(node) or not _selected(spec, node):
        return False, False
    tolerations = with_tolerations(spec)["tolerations"]
    taints = meta.spec(node).get("taints") or ()
    bad = {taint.get("effect") for taint in taints if not any(_tolerates(each, taint) for each in tolerations)}
    if "NoExecute" in bad:
        return False, False
    return "NoSchedule" not in bad, True


def matters(old: Object, new: Object) -> bool:
    """Whether a node's change is a reason to look at daemon sets: its heartbeats are not."""
    return meta.labels(old) != meta.labels(new) or meta.spec(old) != meta.spec(new)


def target(pod: Object) -> str:
    """The node that a pod is on or was made for; empty if none is named."""
    spec = meta.spec(pod)
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    for term in _terms(spec):
        for field in term.get("matchFields") or ():
            if field.get("key") == _FIELD and field.get("operator") == "In" and len(field.get("values") or ()) == 1:
                return str(field["values"][0])
    return ""


def for_node(spec: Object, node: str) -> Object:
    """The spec of the pod that is for this node only: the scheduler binds it as any other."""
    affinity = spec.get("affinity") or {}
    known = affinity.get("nodeAffinity") or {}
    term = {"matchFields": [{"key": _FIELD, "operator": "In", "values": [node]}]}
    bound = {**known, _REQUIRED: {**(known.get(_REQUIRED) or {}), "nodeSelectorTerms": [term]}}
    return {**with_tolerations(spec), "affinity": {**affinity, "nodeAffinity": bound}}


def with_tolerations(spec: Object) -> Object:
    """Daemons run also on nodes that are not ready, short of something or closed to others."""
    extra = (*_TOLERATED, _OF_HOST_NETWORK) if spec.get("hostNetwork") else _TOLERATED
    present = list(spec.get("tolerations") or ())
    ours = ({"key": key, "operator": "Exists", "effect": effect} for key, effect in extra)
    return {**spec, "tolerations": [*present, *(each for each in ours if each not in present)]}


def _selected(spec: Object, node: Object) -> bool:
    labels = meta.labels(node)
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED)
    return required is None or any(_matches(term, node) for term in _terms(spec))


def _terms(spec: Object) -> Iterable[Object]:
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED) or {}
    return list(required.get("nodeSelectorTerms") or ())


def _matches(term: Object, node: Object) -> bool:
    """An empty term matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    return bool(expressions or fields) and (
        all(_holds(each, meta.labels(node)) for each in expressions)
        and all(_holds(each, {_FIELD: meta.name(node)}) for each in fields)
    )


def _holds(expression: Object, values: Mapping[str, str]) -> bool:
    operator = _OPERATORS.get(expression.get("operator") or "")
    if operator is None:
        return False
    return Requirement(expression.get("key") or "", operator, frozenset(expression.get("values") or ())).matches(values)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")
