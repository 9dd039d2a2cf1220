"""How many nodes a hyper node has (upstream: ``pkg/controllers/hypernode``)."""

from __future__ import annotations

from homeport.control.controller import Desired, Observed
from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.kube.scheduling.hypernodes import nodes_of


def sync(observed: Observed) -> Desired:
    """Other than upstream, which counts its members, whatever they are, and those by name though they don't exist."""
    parent = observed.parent
    nodes = {name: meta.labels(node) for name, node in observed.related.get("Node", {}).items()}
    others = {**observed.related.get("HyperNode", {}), meta.name(parent): parent}
    count = len(nodes_of(others, nodes)[meta.name(parent)])
    before = meta.status(parent)
    return Desired(status=None if before.get("nodeCount", 0) == count else {**before, "nodeCount": count})


def is_elsewhere(old: Object, new: Object) -> bool:
    """``Related.matters`` of nodes: only labels say where one is."""
    return meta.labels(old) != meta.labels(new)


def has_other_members(old: Object, new: Object) -> bool:
    """``Related.matters`` of hyper nodes."""
    return bool(meta.spec(old) != meta.spec(new))
