"""Which nodes are in which hyper node. Pure (upstream: ``pkg/util/hypernode``, ``hyper_node_info.go``).

A member that does not exist counts as nothing, until it does. Hyper nodes that are members of each other have the same
nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.kube import meta, regex, selector
from homeport.kube.errors import BadRequest
from homeport.kube.meta import Object

Labels = Mapping[str, str]


def nodes_of(hypernodes: Mapping[str, Object], nodes: Mapping[str, Labels]) -> dict[str, frozenset[str]]:
    """The nodes of each of these hyper nodes (by name), with those of the hyper nodes below it. `nodes`: the labels of
    each node there is."""
    own: dict[str, frozenset[str]] = {}
    below: dict[str, frozenset[str]] = {}
    for name, obj in hypernodes.items():
        members = meta.spec(obj).get("members") or ()
        own[name] = frozenset(
            node for member in members if member["type"] == "Node" for node in _matching(member, nodes)
        )
        below[name] = frozenset(
            other for member in members if member["type"] == "HyperNode" for other in _matching(member, hypernodes)
        )
    return {name: _all(name, own, below) for name in hypernodes}


def _all(name: str, own: Mapping[str, frozenset[str]], below: Mapping[str, frozenset[str]]) -> frozenset[str]:
    seen, left = {name}, [name]
    while left:
        for other in below[left.pop()] - seen:
            seen.add(other)
            left.append(other)
    return frozenset().union(*(own[each] for each in seen))


def _matching(member: Object, known: Mapping[str, Any]) -> set[str]:
    """The names that a member stands for. One that can't be understood stands for none: it was never accepted here."""
    wanted: Mapping[str, Any] = member.get("selector") or {}
    if (exact := wanted.get("exactMatch")) is not None:
        return {exact["name"]} & known.keys()
    if (pattern := wanted.get("regexMatch")) is not None:
        try:
            expression = regex.compile_data(pattern["pattern"])
        except regex.PatternError:
            return set()
        return {name for name in known if expression.search(name)}
    labels = wanted.get("labelMatch") or {}
    if member["type"] != "Node" or not (labels.get("matchLabels") or labels.get("matchExpressions")):
        return set()  # as upstream, an empty selector is no way to have all nodes
    try:
        matches = selector.from_label_selector(labels).matches
    except BadRequest:
        return set()
    return {name for name, theirs in known.items() if matches(theirs)}
