"""Daemon sets: a pod on every node that fits (upstream: ``pkg/controller/daemon``)."""

from __future__ import annotations

from collections.abc import Iterable

from homeport.components.workloads import daemon_nodes, pods
from homeport.components.workloads.daemon_plan import GENERATION, GENERATION_LABEL, Plan, homeless, places
from homeport.components.workloads.history import (
    LABEL,
    History,
    forgotten,
    history,
    renumbered,
    revision_hash,
    with_revision,
)
from homeport.components.workloads.replicas import BURST
from homeport.control.controller import Desired, Observed
from homeport.control.naming import fresh_names
from homeport.kube import meta
from homeport.kube.core import pod_state
from homeport.kube.meta import Object


def sync(observed: Observed) -> Desired:
    parent, members, nodes = observed.parent, observed.children["Pod"], observed.related["Node"]
    revisions = observed.children["ControllerRevision"].values()
    known = history(parent, revisions, observed.failures, label=LABEL)
    if known.update is None:
        return with_revision(observed, known)
    own = revision_hash(known.update)
    found = places(parent, nodes.values(), members.values())
    plan = Plan(parent, found, frozenset(map(revision_hash, known.equal)), observed.memory, observed.now)
    steps = plan.make()
    delete = sorted(steps.delete | homeless(nodes.values(), members.values()))[:BURST]
    gone = {("Pod", name) for name in delete}
    gone |= {("ControllerRevision", name) for name in _forgotten(parent, known, members.values())}
    present = {(kind, name) for kind, group in observed.children.items() for name in group}
    soon = pods.next_availability(members.values(), int(meta.spec(parent).get("minReadySeconds") or 0), observed.now)
    return Desired(
        status=_status(observed, plan, known),
        children=tuple(_pods(parent, steps.make[:BURST], members, own)),
        keep=frozenset(present - gone),
        patches=renumbered(known),
        notes=tuple(steps.notes),
        memory={node: each for node, each in {**observed.memory, **steps.pauses}.items() if node in nodes},
        requeue_after=min((wait for wait in (*steps.again, soon) if wait is not None), default=None),
    )


def _pods(parent: Object, nodes: list[str], present: Iterable[str], own: str) -> Iterable[Object]:
    """A pod for each of the nodes."""
    template = meta.spec(parent).get("template") or {}
    labels = {**meta.labels(template), LABEL: own}
    generation = meta.annotations(parent).get(GENERATION)
    if generation is not None:
        labels[GENERATION_LABEL] = generation
    prefix = f"{meta.name(parent)}-"
    for node, name in zip(nodes, fresh_names(prefix, parent, tuple(present)), strict=False):
        pod = pods.from_template(template, name, generateName=prefix)
        spec = daemon_nodes.for_node(pod["spec"], node)
        yield {**pod, "metadata": {**pod["metadata"], "labels": labels}, "spec": spec}


def _forgotten(parent: Object, known: History, members: Iterable[Object]) -> set[str]:
    hashes = {meta.labels(pod).get(LABEL) for pod in members}
    live = {meta.name(each) for each in known.revisions if revision_hash(each) in hashes}
    live.add(meta.name(known.update or {}))
    return forgotten(known, int(meta.spec(parent).get("revisionHistoryLimit", 10)), live)


def _status(observed: Observed, plan: Plan, known: History) -> Object:
    """Of several pods on a node the oldest counts."""
    counts = dict.fromkeys(
        ("desiredNumberScheduled", "currentNumberScheduled", "numberMisscheduled", "numberReady"), 0
    ) | dict.fromkeys(("updatedNumberScheduled", "numberAvailable"), 0)
    for place in plan.places:
        counts["desiredNumberScheduled"] += place.wanted
        if not place.pods:
            continue
        if not place.wanted:
            counts["numberMisscheduled"] += 1
            continue
        counts["currentNumberScheduled"] += 1
        first = place.pods[0]
        counts["numberReady"] += pod_state.is_ready(first)
        counts["numberAvailable"] += plan.is_available(first)
        counts["updatedNumberScheduled"] += plan.is_updated(first)
    before = meta.status(observed.parent)
    rest = {
        "observedGeneration": meta.metadata(observed.parent).get("generation"),
        "updatedNumberScheduled": counts.pop("updatedNumberScheduled"),
        "numberUnavailable": counts["desiredNumberScheduled"] - counts["numberAvailable"],
        "numberAvailable": counts.pop("numberAvailable"),
        "conditions": before.get("conditions"),
    }
    collisions = {"collisionCount": known.collisions} if "collisionCount" in before else {}
    return {**counts, **pods.without_zeros(rest), **collisions}
