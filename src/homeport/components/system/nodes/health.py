"""What the conditions of nodes say: the taints that follow, and whether so many are in trouble that it can't be theirs.
Pure.

Upstream: ``pkg/controller/nodelifecycle``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum

from homeport.kube.core import taints
from homeport.kube.meta import Object, find_condition, labels, metadata, spec, status, timestamp

_TAINTS: Mapping[str, Mapping[str, str]] = {
    "Ready": {"False": taints.NOT_READY, "Unknown": taints.UNREACHABLE},
    "MemoryPressure": {"True": taints.MEMORY_PRESSURE},
    "DiskPressure": {"True": taints.DISK_PRESSURE},
    "PIDPressure": {"True": taints.PID_PRESSURE},
    "NetworkUnavailable": {"True": taints.NETWORK_UNAVAILABLE},
}
"""Of conditions: by which status which taint."""
_NO_SCHEDULE = frozenset(key for keys in _TAINTS.values() for key in keys.values()) | {taints.UNSCHEDULABLE}
_NO_EXECUTE = frozenset(_TAINTS["Ready"].values())
_TOLD_BY_NODES = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
"""Not the network: that is for others than the node to tell."""
_EXCLUDED = "node.kubernetes.io/exclude-disruption"
_UNHEALTHY_SHARE = 0.55
LARGE_ZONE = 50
"""Nodes of a zone from which on evictions go on, slowly, while many are in trouble; as
``--large-cluster-size-threshold``."""
_RATE, _SLOW_RATE = 0.1, 0.01
"""Nodes a second whose pods are driven away, as ``--node-eviction-rate`` and ``--secondary-node-eviction-rate``."""


class ZoneState(Enum):
    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


def readiness(node: Object) -> str:
    """The status of the condition Ready; empty if nobody has ever told it."""
    condition = find_condition(status(node).get("conditions"), "Ready")
    return "" if condition is None else condition.get("status") or ""


def zone(node: Object) -> tuple[str, str]:
    has = labels(node)
    return has.get("topology.kubernetes.io/region", ""), has.get("topology.kubernetes.io/zone", "")


def zone_states(nodes: Iterable[Object]) -> dict[tuple[str, str], ZoneState]:
    """How many nodes of each zone are in trouble."""
    counts: dict[tuple[str, str], list[int]] = {}
    for node in nodes:
        if _EXCLUDED not in labels(node):
            count = counts.setdefault(zone(node), [0, 0])
            count[readiness(node) != "True"] += 1
    return {place: _state(ready, unready) for place, (ready, unready) in counts.items()}


def _state(ready: int, unready: int) -> ZoneState:
    if unready and not ready:
        return ZoneState.FULL
    if unready > 2 and unready / (ready + unready) >= _UNHEALTHY_SHARE:
        return ZoneState.PARTIAL
    return ZoneState.NORMAL


def all_are_lost(states: Mapping[tuple[str, str], ZoneState]) -> bool:
    """Whether no node at all is well. Then it is rather the controller that is in trouble, or, where the only node is
    this machine, a pod would gain nothing by leaving it: nothing is evicted."""
    return bool(states) and all(state is ZoneState.FULL for state in states.values())


def rate(state: ZoneState, size: int) -> float:
    """Nodes a second of a zone of so many nodes that get a NoExecute taint for their condition; 0: none do."""
    if state is not ZoneState.PARTIAL:
        return _RATE
    return _SLOW_RATE if size > LARGE_ZONE else 0.0


def tainted(node: Object, *, may_evict: bool, must_not_evict: bool, added: str) -> list[Object]:
    """The taints that a node should have. `may_evict`: whether it may get a new NoExecute taint now; one for another
    trouble takes the place of one that there is at any time. `must_not_evict`: it shall have none at all. `added` is
    the moment at which new ones are added, as text."""
    present: Sequence[Object] = spec(node).get("taints") or ()
    wanted = {(key, "NoSchedule") for key in _wanted(node)}
    ours = {(taint.get("key") or "", taint.get("effect") or "") for taint in present if _is_ours(taint)}
    trouble = _TAINTS["Ready"].get(readiness(node))
    has_any = any(effect == "NoExecute" for _, effect in ours)
    if trouble is not None and not must_not_evict and (may_evict or has_any):
        wanted.add((trouble, "NoExecute"))
    kept = [t for t in present if not _is_ours(t) or (t.get("key") or "", t.get("effect") or "") in wanted]
    return [*kept, *({"key": key, "effect": effect, "timeAdded": added} for key, effect in sorted(wanted - ours))]


def would_evict(node: Object, taints_after: Iterable[Object]) -> bool:
    """Whether the node gets a NoExecute taint of ours that it has not had, nor another of these."""
    had = any(_is_ours(taint) and taint.get("effect") == "NoExecute" for taint in spec(node).get("taints") or ())
    return not had and any(_is_ours(taint) and taint.get("effect") == "NoExecute" for taint in taints_after)


def needs_eviction(node: Object) -> bool:
    """Whether the node is in a trouble for which it has no NoExecute taint yet."""
    if readiness(node) not in _TAINTS["Ready"]:
        return False
    return not any(_is_ours(taint) and taint.get("effect") == "NoExecute" for taint in spec(node).get("taints") or ())


def _wanted(node: Object) -> list[str]:
    keys = [
        _TAINTS[condition["type"]][condition["status"]]
        for condition in status(node).get("conditions") or ()
        if condition.get("status") in _TAINTS.get(condition.get("type") or "", ())
    ]
    return [*keys, taints.UNSCHEDULABLE] if spec(node).get("unschedulable") else keys


def _is_ours(taint: Mapping[str, str]) -> bool:
    ours = {"NoSchedule": _NO_SCHEDULE, "NoExecute": _NO_EXECUTE}.get(taint.get("effect") or "", frozenset())
    return taint.get("key") in ours


def unknown_conditions(node: Object, now: datetime) -> list[Object]:
    """The conditions of a node that gives no sign of life, only those that are to change."""
    present = status(node).get("conditions") or ()
    changed: list[Object] = []
    for type in _TOLD_BY_NODES:
        before = find_condition(present, type)
        if before is None:
            words = {"reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status."}
            heartbeat = metadata(node).get("creationTimestamp") or timestamp(now)
        elif before.get("status") == "Unknown":
            continue
        else:
            words = {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
            heartbeat = before.get("lastHeartbeatTime") or timestamp(now)
        condition = {"type": type, "status": "Unknown", "lastHeartbeatTime": heartbeat, **words}
        changed.append({**condition, "lastTransitionTime": timestamp(now)})
    return changed
