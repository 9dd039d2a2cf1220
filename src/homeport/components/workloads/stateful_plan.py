"""What a stateful set does next: which pods are made, deleted or left (upstream: ``stateful_set_control.go``).

``OrderedReady`` sets take one step at a time, and none past a pod that is not available; ``Parallel`` ones take all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from homeport.components.workloads import pods
from homeport.components.workloads.amounts import scaled
from homeport.components.workloads.stateful_pods import identity, ordinal, pod_name, revision_of
from homeport.kube import meta
from homeport.kube.core import pod_state
from homeport.kube.meta import Object


class Rules(msgspec.Struct, frozen=True):
    """What a set's spec says of its pods."""

    replicas: int
    start: int
    ordered: bool
    min_ready: int
    rolling: bool
    partition: int
    unavailable: int

    @classmethod
    def of(cls, parent: Object) -> Rules:
        spec = meta.spec(parent)
        replicas = int(spec.get("replicas", 1))
        strategy = spec.get("updateStrategy") or {}
        update = strategy.get("rollingUpdate") or {}
        return cls(
            replicas=replicas,
            start=int((spec.get("ordinals") or {}).get("start") or 0),
            ordered=spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady",
            min_ready=int(spec.get("minReadySeconds") or 0),
            rolling=strategy.get("type", "RollingUpdate") == "RollingUpdate",
            partition=int(update.get("partition") or 0),
            # Never 0: upstream rounds up here.
            unavailable=max(scaled(update.get("maxUnavailable", 1), replicas, up=True), 1),
        )

    @property
    def numbers(self) -> range:
        return range(self.start, self.start + self.replicas)


class Steps(msgspec.Struct):
    """Numbers of pods to make, names of pods to delete, and numbers of pods that have come past every hurdle."""

    make: list[int] = msgspec.field(default_factory=list)
    delete: set[str] = msgspec.field(default_factory=set)
    sound: list[int] = msgspec.field(default_factory=list)
    condemned: list[Object] = msgspec.field(default_factory=list)
    """Pods beyond the set's size whose turn has come to be looked at, the highest number first."""


class Planner:
    """`blocked`: numbers of missing pods that can't be made yet, because a claim of theirs is going away."""

    def __init__(
        self, parent: Object, members: Mapping[str, Object], revision: str, blocked: frozenset[int], now: datetime
    ) -> None:
        self._rules = rules = Rules.of(parent)
        self._parent = parent
        self._revision = revision
        self._blocked = blocked
        self._now = now
        self._replicas = {number: members.get(pod_name(parent, number)) for number in rules.numbers}
        numbered = [(ordinal(parent, pod), pod) for pod in members.values()]
        beyond = [(number, pod) for number, pod in numbered if number is not None and number not in self._replicas]
        self._condemned = [pod for _, pod in sorted(beyond, key=lambda entry: entry[0], reverse=True)]
        self._steps = Steps()

    def plan(self) -> Steps:
        if self._keep() and self._shrink() and self._rules.rolling:
            self._update()
        return self._steps

    def _keep(self) -> bool:
        """Pods that are missing are made, those that ended are deleted first. Whether there is more to do."""
        for number, pod in self._replicas.items():
            if not self._keep_one(number, pod) and self._rules.ordered:
                return False
        return True

    def _keep_one(self, number: int, pod: Object | None) -> bool:
        """Whether the next pod's turn has come."""
        if pod is None:
            if number not in self._blocked:
                self._steps.make.append(number)
            return False
        if pod_state.has_ended(pod):
            if not meta.is_deleting(pod):
                self._steps.delete.add(meta.name(pod))
            return False
        if self._rules.ordered and (meta.is_deleting(pod) or not self._is_available(pod)):
            return False
        self._steps.sound.append(number)
        return True

    def _shrink(self) -> bool:
        """Pods beyond the size go, the highest number first. Whether there is more to do."""
        first = self._first_unavailable()
        for pod in self._condemned:
            self._steps.condemned.append(pod)
            if meta.is_deleting(pod):
                if self._rules.ordered:
                    return False
                continue
            if self._rules.ordered and pod is not first and not self._is_available(pod):
                return False
            self._steps.delete.add(meta.name(pod))
            if self._rules.ordered:
                return False
        return not self._condemned or not self._rules.ordered

    def _update(self) -> None:
        """Pods of another revision go, the highest number first, as many as may be missing at a time."""
        if self._rules.unavailable > 1:
            self._update_several()
            return
        for number in reversed(self._rules.numbers):
            if number < self._rules.start + self._rules.partition:
                return
            pod = self._replicas[number]
            if pod is not None and self._is_old(pod):
                self._steps.delete.add(meta.name(pod))
                return
            if not self._is_up(pod):
                return

    def _update_several(self) -> None:
        missing = sum(not self._is_up(pod) for pod in self._replicas.values())
        left = self._rules.unavailable - missing
        for number in reversed(self._rules.numbers):
            if left <= 0 or number < self._rules.start + self._rules.partition:
                return
            pod = self._replicas[number]
            if pod is not None and self._is_old(pod):
                self._steps.delete.add(meta.name(pod))
                left -= 1

    def _is_old(self, pod: Object) -> bool:
        return revision_of(pod) != self._revision and not meta.is_deleting(pod)

    def _first_unavailable(self) -> Object | None:
        """The pod with the lowest number that isn't up; pods of the set's size before those beyond."""
        for pod in (*self._replicas.values(), *reversed(self._condemned)):
            if pod is not None and not self._is_up(pod):
                return pod
        return None

    def _is_available(self, pod: Object) -> bool:
        return pods.phase(pod) == "Running" and pods.is_available(pod, self._rules.min_ready, self._now)

    def _is_up(self, pod: Object | None) -> bool:
        return pod is not None and not meta.is_deleting(pod) and self._is_available(pod)


def revision_for(parent: Object, number: int, current: str, update: str) -> str:
    """Of which revision a missing pod is made: below a rolling update's partition of the current one."""
    rules = Rules.of(parent)
    return current if rules.rolling and number < rules.start + rules.partition else update


def lacking(parent: Object, pod: Object, number: int) -> dict[str, str]:
    """The labels of its identity that a pod does not have."""
    present = meta.labels(pod)
    return {key: value for key, value in identity(parent, number).items() if present.get(key) != value}
