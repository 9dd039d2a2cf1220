"""Rules of job flows, in the words of Volcano's webhook (``webhooks/admission/jobflows``)."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from homeport.kube import meta
from homeport.kube.admission import Refusal, World
from homeport.kube.meta import Object

_NOT_ORDERED = "jobflow Flow is not DAG"


def judge(new: Object, old: Object | None, world: World) -> None:
    """``Hook.validate``."""
    graph: dict[str, list[str]] = {}
    for flow in meta.spec(new).get("flows") or ():
        if flow["name"] in graph:  # two jobs of one name can't be
            raise Refusal(f"duplicated flow name {flow['name']}")
        graph[flow["name"]] = list((flow.get("dependsOn") or {}).get("targets") or ())
    for targets in graph.values():
        for target in targets:
            if target not in graph:
                raise Refusal(f"{_NOT_ORDERED}: vertex is not defined: {target}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        raise Refusal(_NOT_ORDERED) from None
