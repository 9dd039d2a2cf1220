"""Deployments: replica sets that follow one another (upstream: ``pkg/controller/deployment``).

A sync takes one step, and judges by what the replica sets tell of their pods: it never looks at pods itself.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from homeport.components.workloads import deployment_status as tell
from homeport.components.workloads import rollout
from homeport.components.workloads.lineage import (
    HISTORY,
    REVISION,
    Lineage,
    lineage,
    new_annotations,
    new_set,
    revision,
    set_name,
    size,
    sizes,
    template_hash,
)
from homeport.components.workloads.rollout import Limits, Sizes
from homeport.control.controller import Deed, Desired, Failure, Note, Observed, Patch
from homeport.kube import meta
from homeport.kube.meta import Object

_CREATE_ERROR = "ReplicaSetCreateError"


class _Step(msgspec.Struct):
    """What a sync has decided so far."""

    deployment: Object
    limits: Limits
    sets: Lineage
    now: datetime
    conditions: list[Object]
    sizes: Sizes = msgspec.field(default_factory=dict)
    annotations: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    """Name of a replica set -> annotations that it lacks."""
    made: Object | None = None
    gone: set[str] = msgspec.field(default_factory=set)
    notes: list[Note] = msgspec.field(default_factory=list)
    patches: list[Patch] = msgspec.field(default_factory=list)


def sync(observed: Observed) -> Desired:
    parent = observed.parent
    limits = Limits.of(parent)
    sets = lineage(parent, observed.children["ReplicaSet"].values())
    step = _Step(parent, limits, sets, observed.now, list(meta.status(parent).get("conditions") or ()))
    if meta.is_deleting(parent):
        return Desired(status=_calculated(step))
    paused = bool(meta.spec(parent).get("paused"))
    _pause(step, paused)
    if paused or rollout.is_scaled(limits, sets):
        _follow(step)
        _scale(step, rollout.proportional(parent, limits, sets))
        if paused:
            step.gone = rollout.forgotten(parent, sets.old)
        return _desired(step, _calculated(step))
    return _roll_out(step, observed.failures)


def _roll_out(step: _Step, failures: tuple[Failure, ...]) -> Desired:
    parent, limits, before = step.deployment, step.limits, meta.status(step.deployment)
    _follow(step)
    if step.patches:  # another set is the new one now: what the status counts as updated were not its pods
        before = {**before, "updatedReplicas": 0}
    if not limits.rolling:
        emptied = rollout.emptied(step.sets)
        _scale(step, emptied)
        waits = bool(emptied) or rollout.old_pods_run(step.sets)
    else:
        waits = False
    if step.sets.new is None and not waits:
        return _desired(step, _make(step, failures))
    elif not waits:
        assert step.sets.new is not None
        own = {meta.name(step.sets.new): limits.replicas}
        _scale(step, rollout.rolling(limits, step.sets) if limits.rolling else own)
        if tell.is_complete(parent, limits, before):
            step.gone = rollout.forgotten(parent, step.sets.old)
    status = tell.judged(parent, limits, step.sets, _calculated(step), before, step.now)
    return _desired(step, status)


def _calculated(step: _Step) -> Object:
    return tell.calculated(step.deployment, step.limits, step.sets, step.sizes, step.conditions, step.now)


def _desired(step: _Step, status: Object | None) -> Desired:
    patches = [*step.patches, *(_patch(step, each) for each in step.sets.all)]
    names = (meta.name(each) for each in step.sets.all)
    return Desired(
        status=status,
        children=() if step.made is None else (step.made,),
        keep=frozenset(("ReplicaSet", each) for each in names if each not in step.gone),
        patches=tuple(patch for patch in patches if patch is not None),
        notes=tuple(step.notes),
        requeue_after=None if status is None else tell.next_check(step.deployment, step.limits, status, step.now),
    )


def _patch(step: _Step, replica_set: Object) -> Patch | None:
    """All that changes about a replica set, in one write."""
    own = meta.name(replica_set)
    changes: Object = {}
    annotations = step.annotations.get(own)
    if annotations:
        changes["metadata"] = {"annotations": annotations}
    spec: Object = {}
    if own in step.sizes:
        spec["replicas"] = step.sizes[own]
    min_ready = meta.spec(step.deployment).get("minReadySeconds") or 0
    if replica_set is step.sets.new and (meta.spec(replica_set).get("minReadySeconds") or 0) != min_ready:
        spec["minReadySeconds"] = min_ready
    if spec:
        changes["spec"] = spec
    return Patch(replica_set, changes) if changes else None


def _pause(step: _Step, paused: bool) -> None:
    """Time does not count against a deployment that is paused."""
    if tell.deadline(step.deployment) is None:
        return
    known = meta.find_condition(step.conditions, tell.PROGRESSING) or {}
    if known.get("reason") == tell.TIMED_OUT or paused == (known.get("reason") == "DeploymentPaused"):
        return
    reason, words = ("DeploymentPaused", "paused") if paused else ("DeploymentResumed", "resumed")
    new = tell.condition(tell.PROGRESSING, "Unknown", reason, f"Deployment is {words}", step.now)
    step.conditions = tell.with_condition(step.conditions, new)


def _follow(step: _Step) -> None:
    """The new replica set has the highest revision, and the deployment the same."""
    parent, new = step.deployment, step.sets.new
    if new is None:
        return
    number = max(max(map(revision, step.sets.old), default=0) + 1, revision(new))
    step.annotations[meta.name(new)] = new_annotations(parent, new, number)
    wanted = step.annotations[meta.name(new)].get(REVISION) or meta.annotations(new).get(REVISION)
    progress = meta.find_condition(step.conditions, tell.PROGRESSING)
    if wanted and meta.annotations(parent).get(REVISION) != wanted:
        step.patches.append(Patch(parent, {"metadata": {"annotations": {REVISION: wanted}}}))
        made = HISTORY not in meta.annotations(new) and _age(new) >= _age(parent) and _is_fresh(step, new)
        if made and tell.deadline(parent) is not None:
            words = f'Created new replica set "{meta.name(new)}"'
            created = tell.condition(tell.PROGRESSING, "True", "NewReplicaSetCreated", words, step.now)
            step.conditions = tell.with_condition(step.conditions, created)
            return
    if progress is None and tell.deadline(parent) is not None:
        words = f'Found new replica set "{meta.name(new)}"'
        found = tell.condition(tell.PROGRESSING, "True", "FoundNewReplicaSet", words, step.now)
        step.conditions = tell.with_condition(step.conditions, found)


def _is_fresh(step: _Step, new: Object) -> bool:
    """Whether the replica set is the one that the last sync made: it already has the revision that it is to have."""
    return REVISION not in step.annotations[meta.name(new)]


def _age(obj: Object) -> str:
    return str(meta.metadata(obj).get("creationTimestamp") or "")


def _make(step: _Step, failures: tuple[Failure, ...]) -> Object | None:
    """A replica set of the template. If there already is another of its name, its name gets another hash. Gives the
    status: that it was refused; or None, since what the last one says goes for the last template."""
    parent, limits = step.deployment, step.limits
    collisions = int(meta.status(parent).get("collisionCount") or 0)
    template = meta.spec(parent).get("template") or {}
    name_hash = template_hash(template, collisions)
    met = next((each for each in failures if each.verb == "create" and each.kind == "ReplicaSet"), None)
    taken = met is not None and met.reason == "AlreadyExists" and met.name == set_name(parent, name_hash)
    if taken:
        collisions += 1
        name_hash = template_hash(template, collisions)
    replicas = rollout.first_size(limits, step.sets.old)
    number = max(map(revision, step.sets.old), default=0) + 1
    annotations = {**new_annotations(parent, {}, number), **sizes(limits.replicas, limits.most)}
    step.made = new_set(parent, name_hash, replicas, annotations)
    if replicas:
        step.notes.append(_scaled(step.made, 0, replicas))
    if taken:
        return {**meta.status(parent), "collisionCount": collisions}
    if met is not None and met.reason != "AlreadyExists" and tell.deadline(parent) is not None:
        words = _not_made(met.name, met.message)
        refused = tell.condition(tell.PROGRESSING, "False", _CREATE_ERROR, words, step.now)
        return {**meta.status(parent), "conditions": tell.with_condition(step.conditions, refused)}
    return None


def _scale(step: _Step, wanted: Sizes) -> None:
    by_name = {meta.name(each): each for each in step.sets.all}
    for own, count in wanted.items():
        present = size(by_name[own])
        annotations = sizes(step.limits.replicas, step.limits.most)
        known = meta.annotations(by_name[own])
        if count != present:
            step.sizes[own] = count
            step.notes.append(_scaled(by_name[own], present, count))
        if any(known.get(key) != value for key, value in annotations.items()):
            step.annotations[own] = {**step.annotations.get(own, {}), **annotations}


def _scaled(replica_set: Object, before: int, after: int) -> Note:
    way = "up" if after > before else "down"
    words = f"Scaled {way} replica set {meta.name(replica_set)} from {before} to {after}"
    return Note("Normal", "ScalingReplicaSet", words)


def _not_made(own: str, why: str) -> str:
    return f'Failed to create new replica set "{own}": {why}'


def tell_of_set(deed: Deed) -> Note | None:
    if deed.verb != "create" or not deed.error or deed.error.endswith("already exists"):
        return None
    return Note("Warning", _CREATE_ERROR, _not_made(meta.name(deed.child), deed.error))
