"""How many pods each replica set of a deployment shall have next: rolling updates, recreation and proportional scaling
(upstream: ``rolling.go``, ``recreate.go`` and ``scale`` in ``sync.go``)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from homeport.components.workloads.amounts import fenceposts
from homeport.components.workloads.lineage import DESIRED, MOST, Lineage, by_age, number, revision, size
from homeport.kube import meta
from homeport.kube.meta import Object


class Limits(msgspec.Struct, frozen=True):
    """What a deployment's strategy allows."""

    replicas: int
    rolling: bool
    surge: int
    unavailable: int

    @classmethod
    def of(cls, deployment: Object) -> Limits:
        spec = meta.spec(deployment)
        replicas = int(spec.get("replicas", 1))
        strategy = spec.get("strategy") or {}
        rolling = strategy.get("type", "RollingUpdate") == "RollingUpdate"
        if not rolling:
            return cls(replicas, rolling, 0, 0)
        surge, unavailable = fenceposts(strategy.get("rollingUpdate") or {}, replicas)
        return cls(replicas, rolling, surge, min(unavailable, replicas))

    @property
    def most(self) -> int:
        return self.replicas + self.surge

    @property
    def least_available(self) -> int:
        return self.replicas - self.unavailable


Sizes = dict[str, int]
"""Name of a replica set -> the number of pods that it shall have."""


def available(replica_set: Object) -> int:
    return int(meta.status(replica_set).get("availableReplicas") or 0)


def total(sets: Iterable[Object]) -> int:
    return sum(map(size, sets))


def first_size(limits: Limits, old: Iterable[Object]) -> int:
    """With how many pods a new replica set begins."""
    return grown(limits, 0, total(old)) if limits.rolling else limits.replicas


def grown(limits: Limits, own: int, others: int) -> int:
    """To how many pods the new set may grow beside `others`."""
    room = limits.most - own - others
    return own if room <= 0 else own + min(room, max(limits.replicas - own, 0))


# -- rolling updates


def rolling(limits: Limits, sets: Lineage) -> Sizes:
    """One step: first the new set grows (or shrinks to what is wanted); if it can't, old ones shrink."""
    new = sets.new
    assert new is not None
    own = size(new)
    if own > limits.replicas:
        return {meta.name(new): limits.replicas}
    if own < limits.replicas:
        wanted = grown(limits, own, total(sets.old))
        if wanted != own:
            return {meta.name(new): wanted}
    return _shrunk(limits, new, [each for each in sets.old if size(each)])


def _shrunk(limits: Limits, new: Object, old: list[Object]) -> Sizes:
    """Pods that aren't available go first: they are missed by nobody. What is left goes as far as enough stay."""
    spare = total((*old, new)) - limits.least_available - (size(new) - available(new))
    if not old or spare <= 0:
        return {}
    left = {meta.name(each): size(each) for each in old}
    for each in sorted(old, key=by_age):
        unhealthy = min(spare, left[meta.name(each)] - available(each))
        if unhealthy > 0:
            left[meta.name(each)] -= unhealthy
            spare -= unhealthy
    spare = sum(map(available, (*old, new))) - limits.least_available
    for each in sorted(old, key=by_age):
        if spare <= 0:
            break
        gone = min(left[meta.name(each)], spare)
        left[meta.name(each)] -= gone
        spare -= gone
    return {meta.name(each): left[meta.name(each)] for each in old if left[meta.name(each)] != size(each)}


# -- recreation


def emptied(sets: Lineage) -> Sizes:
    """All old sets that still want pods."""
    return {meta.name(each): 0 for each in sets.old if size(each)}


def old_pods_run(sets: Lineage) -> bool:
    """Whether an old set has pods, or has not yet told that it has none."""
    return any(
        status.get("replicas")
        or status.get("terminatingReplicas")
        or (status.get("observedGeneration") or 0) < (meta.metadata(each).get("generation") or 0)
        for each in sets.old
        for status in (meta.status(each),)
    )


# -- scaling


def is_scaled(limits: Limits, sets: Lineage) -> bool:
    """Whether the deployment's size is another than when its sets were last scaled: then that comes first."""
    desired = (number(each, DESIRED) for each in sets.all if size(each))
    return any(each is not None and each != limits.replicas for each in desired)


def proportional(deployment: Object, limits: Limits, sets: Lineage) -> Sizes:
    """The sizes after scaling, without a step of a rollout: one set takes all of it, several share in proportion. Sets
    that are in it have their annotations brought up to date even if their size stays."""
    only = _active_or_latest(sets)
    if only is not None:
        return {meta.name(only): limits.replicas}
    if _is_saturated(limits, sets.new):
        return emptied(sets)
    return _shares(deployment, limits, [each for each in sets.all if size(each)]) if limits.rolling else {}


def _active_or_latest(sets: Lineage) -> Object | None:
    active = [each for each in sets.all if size(each)]
    if len(active) > 1:
        return None
    if active:
        return active[0]
    return sets.new if sets.new is not None else max(sets.old, key=by_age, default=None)


def _is_saturated(limits: Limits, new: Object | None) -> bool:
    return new is not None and size(new) == number(new, DESIRED) == available(new) == limits.replicas


def _shares(deployment: Object, limits: Limits, active: list[Object]) -> Sizes:
    to_add = (limits.most if limits.replicas else 0) - total(active)
    # The largest is first; of equals, the newest when they grow and the oldest when they shrink.
    active = sorted(active, key=by_age, reverse=to_add > 0)
    active.sort(key=size, reverse=True)
    shares: Sizes = {}
    added = 0
    for each in active:
        share = _proportion(deployment, limits, each, to_add, added) if to_add else 0
        shares[meta.name(each)] = size(each) + share
        added += share
    if to_add and active:
        largest = meta.name(active[0])
        shares[largest] = max(shares[largest] + to_add - added, 0)
    return shares


def _proportion(deployment: Object, limits: Limits, replica_set: Object, to_add: int, added: int) -> int:
    left = to_add - added
    if not left:
        return 0
    fraction = _fraction(deployment, limits, replica_set)
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _fraction(deployment: Object, limits: Limits, replica_set: Object) -> int:
    if not limits.replicas:
        return -size(replica_set)
    before = number(replica_set, MOST) or meta.status(deployment).get("replicas") or 0
    if not before:
        return 0
    share = size(replica_set) * limits.most / before
    return math.floor(share + 0.5) - size(replica_set)


# -- history


def forgotten(deployment: Object, old: Iterable[Object]) -> set[str]:
    """The names of old sets beyond the history limit, if they have no pods. Those with the lowest revision are first:
    one that a rollback brought back has a higher one than its age tells."""
    limit = meta.spec(deployment).get("revisionHistoryLimit")
    alive = sorted(
        (each for each in old if not meta.is_deleting(each)), key=lambda each: (revision(each), by_age(each))
    )
    surplus = 0 if limit is None else max(len(alive) - int(limit), 0)
    return {meta.name(each) for each in alive[:surplus] if _is_empty(each)}


def _is_empty(replica_set: Object) -> bool:
    status: Mapping[str, int] = meta.status(replica_set)
    generation = meta.metadata(replica_set).get("generation") or 0
    return (
        not status.get("replicas") and not size(replica_set) and generation <= (status.get("observedGeneration") or 0)
    )
