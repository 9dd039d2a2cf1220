"""Revisions of a workload's template, kept as ``ControllerRevision`` objects (upstream: ``pkg/controller/history``)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from homeport.components.workloads.lineage import fnv1a, safe
from homeport.control.controller import Desired, Failure, Observed, Patch
from homeport.kube import meta
from homeport.kube.meta import Object

HASH = "controller.kubernetes.io/hash"
LABEL = "controller-revision-hash"
"""On pods: the revision that they are of."""
_LONGEST = 223


class History(msgspec.Struct, frozen=True):
    """The revisions, and which one has the workload's template."""

    revisions: tuple[Object, ...]
    """The oldest first."""
    collisions: int
    update: Object | None
    """None if it has yet to be made: `made`."""
    equal: tuple[Object, ...] = ()
    """All that have the workload's template: users may have made others beside it."""
    made: Object | None = None
    renumbered: int | None = None
    """The number that `update` has to get, because it is an older one come back."""


def history(parent: Object, revisions: Iterable[Object], failures: Sequence[Failure], *, label: str = HASH) -> History:
    """What revisions there are and have to be. `label` is the one by which a new revision tells its hash."""
    ordered = sorted(revisions, key=_order)
    collisions = int(meta.status(parent).get("collisionCount") or 0)
    data = snapshot(parent)
    equal = [each for each in ordered if each.get("data") == data]
    if equal and equal[-1] is ordered[-1]:
        return History(tuple(ordered), collisions, equal[-1], tuple(equal))
    number = int(ordered[-1].get("revision") or 0) + 1 if ordered else 1
    if equal:
        return History(tuple(ordered), collisions, equal[-1], tuple(equal), renumbered=number)
    taken = {each.name for each in failures if each.reason == "AlreadyExists" and each.kind == "ControllerRevision"}
    made = _revision(parent, data, number, collisions, label)
    if meta.name(made) in taken:
        collisions += 1
        made = _revision(parent, data, number, collisions, label)
    return History(tuple(ordered), collisions, None, made=made)


def snapshot(parent: Object) -> Object:
    """What a revision remembers: a strategic merge patch that brings the template back, as kubectl applies it.

    kubectl and others compare it byte by byte with what they would write themselves. So it has the form of Go's
    encoder: keys in order, and two fields that are never left out.
    """
    template = meta.spec(parent).get("template") or {}
    pod = dict(template.get("spec") or {})
    for group in ("containers", "initContainers"):
        if pod.get(group):
            pod[group] = [{**container, "resources": container.get("resources") or {}} for container in pod[group]]
    metadata = {**meta.metadata(template), "creationTimestamp": None}
    whole = {**template, "$patch": "replace", "metadata": metadata, "spec": pod}
    return {"spec": {"template": _ordered(whole)}}


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def template_of(revision: Object) -> Object:
    template = meta.spec(revision.get("data") or {}).get("template") or {}
    return {key: value for key, value in template.items() if key != "$patch"}


def revision_hash(revision: Object) -> str:
    """Of a daemon set's revision: what its pods have as their label."""
    return meta.labels(revision).get(LABEL) or meta.name(revision)


def with_revision(observed: Observed, known: History) -> Desired:
    """First of all the template is put on record. Nothing else happens before that."""
    assert known.made is not None
    before = meta.status(observed.parent)
    collided = known.collisions != (before.get("collisionCount") or 0)
    return Desired(
        status={**before, "collisionCount": known.collisions} if collided else None,
        children=(known.made,),
        keep=frozenset((kind, name) for kind, group in observed.children.items() for name in group),
    )


def renumbered(known: History) -> tuple[Patch, ...]:
    """A template that comes back has the newest revision again."""
    if known.update is None or known.renumbered is None:
        return ()
    return (Patch(known.update, {"revision": known.renumbered}),)


def forgotten(history: History, limit: int, live: Collection[str]) -> set[str]:
    """The names of revisions beyond the `limit`, the oldest first, that are not `live` (named there)."""
    dead = [meta.name(each) for each in history.revisions if meta.name(each) not in live]
    return set(dead[: max(len(dead) - limit, 0)])


def _order(revision: Object) -> tuple[int, str, str]:
    created = meta.metadata(revision).get("creationTimestamp") or ""
    return int(revision.get("revision") or 0), created, meta.name(revision)


def _revision(parent: Object, data: Object, number: int, collisions: int, label: str) -> Object:
    """The parent's annotations go with it: among them may be why it was changed."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    hash = safe(str(fnv1a(f"{text}{collisions}".encode())))
    labels = {**meta.labels(meta.spec(parent).get("template") or {}), label: hash}
    annotations = meta.annotations(parent)
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{meta.name(parent)[:_LONGEST]}-{hash}",
            "labels": labels,
            **({"annotations": annotations} if annotations else {}),
        },
        "data": data,
        "revision": number,
    }
