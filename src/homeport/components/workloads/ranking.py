"""Which pods go first when there are too many (upstream: ``ActivePodsWithRanks``)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import cmp_to_key
from typing import Any, NamedTuple

from homeport.components.workloads import pods
from homeport.kube import meta
from homeport.kube.core import pod_state
from homeport.kube.meta import Object

COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


class _Standing(NamedTuple):
    """A pod as the order sees it. Those first in `order` are deleted first."""

    order: tuple[Any, ...]
    """Not bound to a node; not started; not ready; cheap to delete; more of its like on the same node."""
    ready: tuple[str, int]
    """Since when, and the magnitude of the time since; nothing if it isn't."""
    restarts: tuple[int, ...]
    created: tuple[str, int]
    uid: str


def doomed(active: Sequence[Object], count: int, now: datetime) -> list[Object]:
    """The `count` of the active pods to delete. Crowded nodes are told from the pods of this parent alone."""
    if count >= len(active):
        return list(active)
    crowds = Counter(meta.spec(pod).get("nodeName") or "" for pod in active)
    key = cmp_to_key(_compare)
    standings = {id(pod): key(_standing(pod, crowds, now)) for pod in active}
    return sorted(active, key=lambda pod: standings[id(pod)])[:count]


def _standing(pod: Object, crowds: Counter[str], now: datetime) -> _Standing:
    node = meta.spec(pod).get("nodeName") or ""
    ready = pods.ready_since(pod)
    order = (bool(node), _PHASES.get(pods.phase(pod), 0), pod_state.is_ready(pod), _cost(pod), -crowds[node])
    created = str(meta.metadata(pod).get("creationTimestamp") or "")
    return _Standing(order, _since(ready, now), _restarts(pod), _since(created, now), meta.uid(pod))


def _cost(pod: Object) -> int:
    try:
        return int(meta.annotations(pod).get(COST, "0"))
    except ValueError:
        return 0


def _restarts(pod: Object) -> tuple[int, ...]:
    """The most restarts of a container and of a sidecar; more of them are deleted first."""
    status = meta.status(pod)
    always = {
        container.get("name")
        for container in meta.spec(pod).get("initContainers") or ()
        if container.get("restartPolicy") == "Always"
    }
    sidecars = (c for c in status.get("initContainerStatuses") or () if c.get("name") in always)
    groups = (status.get("containerStatuses") or (), sidecars)
    return tuple(-max((int(each.get("restartCount") or 0) for each in group), default=0) for group in groups)


def _compare(one: _Standing, other: _Standing) -> int:
    if one.order != other.order:
        return -1 if one.order < other.order else 1
    if one.ready[0] != other.ready[0]:
        return _younger(one.ready, other.ready, one, other)
    if one.restarts != other.restarts:
        return -1 if one.restarts < other.restarts else 1
    if one.created[0] != other.created[0]:
        return _younger(one.created, other.created, one, other)
    return 0


def _younger(mine: tuple[str, int], yours: tuple[str, int], one: _Standing, other: _Standing) -> int:
    """What is younger goes first, but ages are compared by their order of magnitude only, and the uid decides between
    equals: so that not always the pods of the same rollout go."""
    if not mine[0] or not yours[0]:
        return -1 if not mine[0] else 1
    return mine[1] - yours[1] or (-1 if one.uid < other.uid else 1)


def _since(moment: str, now: datetime) -> tuple[str, int]:
    """A time, and the order of magnitude of what has passed since: the power of two of its nanoseconds."""
    if not moment:
        return "", 0
    age = (now - meta.parse_time(moment)).total_seconds() * 1e9
    return moment, int(math.log2(age)) if age > 0 else -1
