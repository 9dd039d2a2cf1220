"""Exclusive placement: each job of a job set in a topology domain of its own (upstream: ``pod_webhook.go``).

The first pod of a job is placed by affinities, where no other job is; its siblings are made when it has a node, and go
where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from homeport.components.batch.jobset import shape
from homeport.kube import core, meta
from homeport.kube.admission import Refusal, World
from homeport.kube.meta import Object

_INDEX = "batch.kubernetes.io/job-completion-index"
_DISRUPTED = "DisruptionTarget"
_TERMS = "requiredDuringSchedulingIgnoredDuringExecution"


def mutate(pod: Object, world: World) -> Object:
    """A pod with what says where it may be. One that can't be placed yet stays as it is, and `validate` refuses it."""
    if not _concerns(pod):
        return pod
    priority = meta.spec(pod).get("priority")
    if isinstance(priority, int):
        metadata = meta.metadata(pod)
        marked = {**meta.labels(pod), shape.PRIORITY: str(priority)}
        pod = {**pod, "metadata": {**metadata, "labels": marked}}
    topology = meta.annotations(pod).get(shape.EXCLUSIVE)
    if topology is None:
        return pod
    if _is_first(pod):
        return _apart(pod, topology)
    leader, _ = _leader(pod, world)
    node = meta.spec(leader).get("nodeName") if leader is not None else None
    if not node:
        return pod
    selector = meta.spec(pod).get("nodeSelector") or {}
    return _with(pod, nodeSelector={**selector, topology: _domain(node, topology, world)})


def validate(pod: Object, old: Object | None, world: World) -> None:
    """Refuses a job's further pods until the first has a node."""
    topology = meta.annotations(pod).get(shape.EXCLUSIVE)
    if not _concerns(pod) or topology is None or _is_first(pod):
        return
    leader, problem = _leader(pod, world)
    selector = meta.spec(pod).get("nodeSelector")
    if not selector:
        raise Refusal("follower pod node selector not set")
    if topology not in selector:
        raise Refusal(f"follower pod node selector for topology domain not found. missing selector: {topology}")
    if leader is None:
        raise Refusal(problem)
    if not meta.spec(leader).get("nodeName"):
        raise Refusal("leader pod not yet scheduled, not creating follower pod. this is an expected, transient error")


def misplaced(pods: Iterable[Object], nodes: Mapping[str, Object]) -> Iterator[Object]:
    """Pods that were sent to another domain than the one where the first pod of their job is by now: it was made anew,
    and placed elsewhere (upstream: ``pod_controller.go``)."""
    domains: dict[str, tuple[str, str]] = {}
    others: list[tuple[str, Object]] = []
    for pod in pods:
        topology, owner = meta.annotations(pod).get(shape.EXCLUSIVE), meta.controller_of(pod)
        if topology is None or owner is None or not _concerns(pod) or meta.is_deleting(pod):
            continue
        if not _is_first(pod):
            others.append((owner["uid"], pod))
            continue
        node = nodes.get(meta.spec(pod).get("nodeName") or "")
        if node is not None and topology in meta.labels(node):
            domains[owner["uid"]] = (topology, meta.labels(node)[topology])
    for job, pod in others:
        if job in domains:
            topology, domain = domains[job]
            if (meta.spec(pod).get("nodeSelector") or {}).get(topology) != domain:
                yield pod


def disruption(pod: Object, now: datetime) -> Object | None:
    """What says of a misplaced pod why it goes, so that its end is no failure; None if it is said already."""
    conditions = meta.status(pod).get("conditions") or []
    if meta.holds(conditions, _DISRUPTED):
        return None
    told = {
        "type": _DISRUPTED,
        "status": "True",
        "reason": "ExclusivePlacementViolation",
        "message": "Pod violated JobSet exclusive placement policy",
    }
    kept = [each for each in conditions if each.get("type") != _DISRUPTED]
    return {"status": {"conditions": [*kept, meta.with_transition(told, conditions, now)]}}


def _concerns(pod: Object) -> bool:
    marks = meta.annotations(pod)
    return shape.NAME in marks and shape.NODE_SELECTOR not in marks


def _is_first(pod: Object) -> bool:
    return meta.annotations(pod).get(_INDEX) == "0"


def _apart(pod: Object, topology: str) -> Object:
    labels = meta.labels(pod)
    key, priority = labels.get(shape.JOB_KEY, ""), labels.get(shape.PRIORITY, "")
    affinity = dict(meta.spec(pod).get("affinity") or {})
    _add(affinity, "podAffinity", topology, [_of(shape.JOB_KEY, "In", key)])
    others = [
        {"key": shape.JOB_KEY, "operator": "Exists"},
        _of(shape.JOB_KEY, "NotIn", key),
        _of(shape.PRIORITY, "In", priority),
    ]
    _add(affinity, "podAntiAffinity", topology, others)
    return _with(pod, affinity=affinity)


def _of(key: str, operator: str, value: str) -> Object:
    return {"key": key, "operator": operator, "values": [value]}


def _add(affinity: dict[str, Any], sort: str, topology: str, expressions: list[Object]) -> None:
    term = {
        "labelSelector": {"matchExpressions": expressions},
        "topologyKey": topology,
        "namespaceSelector": {},
    }
    terms = (affinity.get(sort) or {}).get(_TERMS) or []
    if term not in terms:
        affinity[sort] = {**(affinity.get(sort) or {}), _TERMS: [*terms, term]}


def _with(pod: Object, **fields: Any) -> Object:
    return {**pod, "spec": {**meta.spec(pod), **fields}}


def _leader(pod: Object, world: World) -> tuple[Object | None, str]:
    """The first pod of the same job, or why there is none."""
    labels = meta.labels(pod)
    parts: list[str] = []
    for label in (shape.NAME, shape.REPLICATED_JOB, shape.JOB_INDEX):
        if label not in labels:
            return None, f"pod missing label: {label}"
        parts.append(labels[label])
    title = "-".join((*parts, "0"))
    found = [
        each
        for each in world.find(core.POD.resource, meta.namespace(pod), f"{title}-")
        if meta.name(each).rpartition("-")[0] == title and not meta.is_deleting(each)
    ]
    if len(found) != 1:
        words = f"expected 1 leader pod ({title}), but got {len(found)}. this is an expected, transient error"
        return None, words
    leader = found[0]
    own, others = meta.controller_of(pod), meta.controller_of(leader)
    if own is None:
        return None, "follower pod has no owner reference"
    if others is None:
        return None, f'leader pod "{meta.name(leader)}" has no owner reference'
    if own["uid"] != others["uid"]:
        words = f"follower pod owner UID ({own['uid']}) != leader pod owner UID ({others['uid']})"
        return None, words
    return leader, ""


def _domain(node: str, topology: str, world: World) -> str:
    found = world.get(core.NODE.resource, "", node)
    if found is None:
        raise Refusal(f'nodes "{node}" not found')
    if topology not in meta.labels(found):
        raise Refusal(f"node does not have topology label: {topology}")
    return meta.labels(found)[topology]
