"""What a daemon set does next on each node (upstream: ``podsShouldBeOnNode`` and ``rollingUpdate``)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

import msgspec

from homeport.components.workloads import pods
from homeport.components.workloads.amounts import scaled
from homeport.components.workloads.daemon_nodes import belongs, target
from homeport.components.workloads.history import LABEL
from homeport.control.controller import Note
from homeport.kube import meta
from homeport.kube.core import pod_state
from homeport.kube.meta import Object

GENERATION = "deprecated.daemonset.template.generation"
GENERATION_LABEL = "pod-template-generation"
_FIRST, _LONGEST = 1.0, 900.0
"""Seconds before a pod that failed is replaced, at first and at most."""


class Place(msgspec.Struct, frozen=True):
    """A node and the set's pods on it, the oldest first."""

    node: str
    wanted: bool
    tolerated: bool
    pods: tuple[Object, ...]


class Steps(msgspec.Struct):
    """Nodes that get a pod, and names of pods to delete."""

    make: list[str] = msgspec.field(default_factory=list)
    delete: set[str] = msgspec.field(default_factory=set)
    notes: list[Note] = msgspec.field(default_factory=list)
    pauses: dict[str, dict[str, str | float]] = msgspec.field(default_factory=dict)
    """Node -> how long its failed pods are left alone, and since when."""
    again: list[float] = msgspec.field(default_factory=list)
    """Seconds until pauses end."""


class Plan:
    """`hashes` are those of revisions with the set's template, `pauses` what the last plan left."""

    def __init__(
        self,
        parent: Object,
        places: Iterable[Place],
        hashes: Collection[str],
        pauses: Mapping[str, Object],
        now: datetime,
    ):
        self.places = tuple(places)
        self.steps = Steps()
        self._parent = parent
        self._hashes = hashes
        self._pauses = pauses
        self._now = now
        self._min_ready = int(meta.spec(parent).get("minReadySeconds") or 0)
        strategy = meta.spec(parent).get("updateStrategy") or {}
        self._rolling = strategy.get("type", "RollingUpdate") == "RollingUpdate"
        update = strategy.get("rollingUpdate") or {}
        desired = sum(place.wanted for place in self.places)
        self._surge = scaled(update.get("maxSurge"), desired, up=True) if self._rolling else 0
        self._unavailable = scaled(update.get("maxUnavailable", 1), desired, up=True)
        if not self._surge and not self._unavailable:
            self._unavailable = 1

    def make(self) -> Steps:
        for place in self.places:
            self._keep(place)
        if self._rolling and not self.steps.make and not self.steps.delete:
            if self._surge:
                self._update_by_surge()
            else:
                self._update()
        return self.steps

    def is_updated(self, pod: Object) -> bool:
        labels = meta.labels(pod)
        generation = meta.annotations(self._parent).get(GENERATION)
        same = generation is not None and labels.get(GENERATION_LABEL) == generation
        return labels.get(LABEL) in self._hashes or same

    def is_available(self, pod: Object) -> bool:
        return pods.is_available(pod, self._min_ready, self._now)

    # -- one pod on each node

    def _keep(self, place: Place) -> None:
        alive = [pod for pod in place.pods if not meta.is_deleting(pod)]
        if place.wanted and not place.pods:
            self.steps.make.append(place.node)
        elif place.tolerated:
            running = [pod for pod in alive if not pod_state.has_ended(pod)]
            for pod in alive:
                if pod_state.has_ended(pod):
                    self._bury(place.node, pod)
            if self._surge:
                self._thin_out(running)
            else:
                self.steps.delete.update(meta.name(pod) for pod in running[1:])
        else:
            self.steps.delete.update(meta.name(pod) for pod in alive)

    def _bury(self, node: str, pod: Object) -> None:
        """A pod that ended makes room for the next; ever more slowly if it failed, for who refuses it may go on to."""
        subject = f"{meta.namespace(pod)}/{meta.name(pod)} on node {node}"
        if pods.phase(pod) == "Succeeded":
            words = f"Found succeeded daemon pod {subject}, will try to delete it"
            self.steps.notes.append(Note("Normal", "SucceededDaemonPod", words))
            self.steps.delete.add(meta.name(pod))
            return
        left = self._pause(node)
        if left > 0:
            self.steps.again.append(left)
            return
        words = f"Found failed daemon pod {subject}, will try to kill it"
        self.steps.notes.append(Note("Warning", "FailedDaemonPod", words))
        self.steps.delete.add(meta.name(pod))

    def _pause(self, node: str) -> float:
        """Seconds for which failed pods of the node are still left alone; if none, the next pause begins."""
        known = self._pauses.get(node)
        length = _FIRST
        if known is not None:
            since = (self._now - meta.parse_time(str(known["since"]))).total_seconds()
            if since < float(known["seconds"]):
                self.steps.pauses[node] = dict(known)
                return float(known["seconds"]) - since
            length = _FIRST if since > 2 * _LONGEST else min(2 * float(known["seconds"]), _LONGEST)
        self.steps.pauses[node] = {"seconds": length, "since": meta.micro_timestamp(self._now)}
        return 0.0

    def _thin_out(self, running: list[Object]) -> None:
        """While pods surge there may be two: an old one that is ready, and a new one that is not yet available."""
        new = [pod for pod in running if self.is_updated(pod)]
        old = [pod for pod in running if not self.is_updated(pod)]
        gone = [*new[1:], *old[1:]]
        if new and old and (not pod_state.is_ready(old[0]) or self.is_available(new[0])):
            gone.append(old[0])
        self.steps.delete.update(meta.name(pod) for pod in gone)

    # -- rolling updates

    def _on(self, place: Place) -> tuple[Object | None, Object | None, bool]:
        """The new and the old pod of a node, and whether there is at most one of each."""
        alive = [pod for pod in place.pods if not meta.is_deleting(pod)]
        new = [pod for pod in alive if self.is_updated(pod)]
        old = [pod for pod in alive if not self.is_updated(pod)]
        return next(iter(new), None), next(iter(old), None), len(new) <= 1 and len(old) <= 1

    def _update(self) -> None:
        """Old pods go before new ones come: at once where they aren't available anyway."""
        missing = 0
        candidates: list[str] = []
        for place in self.places:
            if not place.wanted and not place.pods:
                continue
            new, old, clear = self._on(place)
            if not clear or (new is None) == (old is None):
                missing += 1
            elif old is None:
                assert new is not None
                missing += not self.is_available(new)
            elif not self.is_available(old):
                missing += 1
                self.steps.delete.add(meta.name(old))
            else:
                candidates.append(meta.name(old))
        self.steps.delete.update(candidates[: max(self._unavailable - missing, 0)])

    def _update_by_surge(self) -> None:
        """New pods come before old ones go."""
        surging = 0
        candidates: list[str] = []
        for place in self.places:
            new, old, clear = self._on(place)
            if not clear:
                surging += 1
            elif old is None or not place.wanted:
                continue
            elif new is None:
                (candidates if self.is_available(old) else self.steps.make).append(place.node)
            elif self.is_available(new):
                self.steps.delete.add(meta.name(old))
            else:
                surging += 1
        self.steps.make += candidates[: max(self._surge - surging, 0)]


def places(parent: Object, nodes: Iterable[Object], members: Iterable[Object]) -> tuple[Place, ...]:
    """All nodes with the set's pods."""
    spec = meta.spec(meta.spec(parent).get("template") or {})
    on: dict[str, list[Object]] = {}
    for pod in sorted(members, key=_age):
        on.setdefault(target(pod), []).append(pod)
    return tuple(
        Place(meta.name(node), *belongs(spec, node), tuple(on.get(meta.name(node), ())))
        for node in sorted(nodes, key=meta.name)
    )


def homeless(nodes: Iterable[Object], members: Iterable[Object]) -> set[str]:
    """The names of pods that wait for a node that has gone."""
    known = {meta.name(node) for node in nodes}
    return {meta.name(pod) for pod in members if not meta.spec(pod).get("nodeName") and target(pod) not in known}


def _age(pod: Object) -> tuple[bool, str, str]:
    created = meta.metadata(pod).get("creationTimestamp") or ""
    return not meta.spec(pod).get("nodeName"), created, meta.name(pod)
