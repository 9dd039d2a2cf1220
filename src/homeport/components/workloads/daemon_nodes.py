"""On which nodes a daemon set's pods belong (upstream: ``nodeShouldRunDaemonPod`` and ``daemonset_util.go``)."""

from __future__ import annotations

from collections.abc import Iterable

from homeport.kube import meta
from homeport.kube.core import node_terms, taints
from homeport.kube.meta import Object

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_TOLERATED = (
    (taints.NOT_READY, "NoExecute"),
    (taints.UNREACHABLE, "NoExecute"),
    (taints.DISK_PRESSURE, "NoSchedule"),
    (taints.MEMORY_PRESSURE, "NoSchedule"),
    (taints.PID_PRESSURE, "NoSchedule"),
    (taints.UNSCHEDULABLE, "NoSchedule"),
)
_OF_HOST_NETWORK = (taints.NETWORK_UNAVAILABLE, "NoSchedule")


def belongs(spec: Object, node: Object) -> tuple[bool, bool]:
    """Whether a pod of this `spec` shall run on the node, and whether one that already does may stay."""
    if spec.get("nodeName", meta.name(node)) != meta.name(node) or not _selected(spec, node):
        return False, False
    tolerations = with_tolerations(spec)["tolerations"]
    bad = {
        taint.get("effect")
        for taint in meta.spec(node).get("taints") or ()
        if not any(taints.tolerates(each, taint) for each in tolerations)
    }
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
            if (
                field.get("key") == node_terms.FIELD
                and field.get("operator") == "In"
                and len(field.get("values") or ()) == 1
            ):
                return str(field["values"][0])
    return ""


def for_node(spec: Object, node: str) -> Object:
    """The spec of the pod that is for this node only: the scheduler binds it as any other."""
    affinity = spec.get("affinity") or {}
    known = affinity.get("nodeAffinity") or {}
    term = {"matchFields": [{"key": node_terms.FIELD, "operator": "In", "values": [node]}]}
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
    return required is None or any(node_terms.matches(term, labels, meta.name(node)) for term in _terms(spec))


def _terms(spec: Object) -> Iterable[Object]:
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED) or {}
    return list(required.get("nodeSelectorTerms") or ())
