"""When the node is short of something, what it says then, and whose pods end first. Pure.

The rules, words and figures are those of the kubelet's eviction manager (upstream: ``pkg/kubelet/eviction``), but for
the thresholds of the disk: a tenth of a large disk, upstream's default, is more than many a machine at home has free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from homeport.kube import meta, quantity
from homeport.kube.meta import Object
from homeport.node import resources
from homeport.node.memory import Verdict
from homeport.node.pod import Role, members

Signal: TypeAlias = Literal["memory.available", "nodefs.available", "nodefs.inodesFree", "pid.available"]
Condition: TypeAlias = Literal["MemoryPressure", "DiskPressure", "PIDPressure"]

DEFAULT_THRESHOLDS: Mapping[str, str] = {
    "memory.available": "100Mi",
    "nodefs.available": "1Gi",
    "nodefs.inodesFree": "2%",
    "pid.available": "5%",
}
TRANSITION = timedelta(minutes=5)
"""A condition stays that long after its cause was last seen, so that pods don't come and go."""
CONDITIONS: Mapping[Signal, Condition] = {
    "memory.available": "MemoryPressure",
    "nodefs.available": "DiskPressure",
    "nodefs.inodesFree": "DiskPressure",
    "pid.available": "PIDPressure",
}
_RESOURCES: Mapping[Signal, str] = {
    "memory.available": "memory",
    "nodefs.available": "ephemeral-storage",
    "nodefs.inodesFree": "inodes",
    "pid.available": "pids",
}
_WORDS: Mapping[Condition, tuple[str, str, str, str]] = {
    "MemoryPressure": (
        "KubeletHasInsufficientMemory",
        "kubelet has insufficient memory available",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    "DiskPressure": (
        "KubeletHasDiskPressure",
        "kubelet has disk pressure",
        "KubeletHasNoDiskPressure",
        "kubelet has no disk pressure",
    ),
    "PIDPressure": (
        "KubeletHasInsufficientPID",
        "kubelet has insufficient PID available",
        "KubeletHasSufficientPID",
        "kubelet has sufficient PID available",
    ),
}


class Level(msgspec.Struct, frozen=True):
    """How much of something there is, and how much of it is left."""

    capacity: int
    available: int


Levels: TypeAlias = Mapping[Signal, Level]


class Crossing(msgspec.Struct, frozen=True):
    """Less is left of something than there has to be."""

    signal: Signal
    least: int
    available: int

    @property
    def resource(self) -> str:
        return _RESOURCES[self.signal]


class Footprint(msgspec.Struct, frozen=True):
    """What a pod uses of one resource."""

    pod: Object
    total: int
    containers: Mapping[str, int] = {}


def least(signal: Signal, capacity: int, thresholds: Mapping[str, str]) -> int:
    """How much has to be left; a threshold is a quantity or a share of what there is. Raises ValueError."""
    text = thresholds.get(signal, "0")
    if text.endswith("%"):
        return int(capacity * Decimal(text[:-1]) / 100)
    return int(quantity.parse(text))


def crossings(levels: Levels, thresholds: Mapping[str, str]) -> list[Crossing]:
    """What there is too little of. Memory first, as the kernel ends processes for it."""
    found = []
    for signal in CONDITIONS:
        level = levels.get(signal)
        # A file system without a number of inodes, a kernel that names no limit: no limit.
        if level is None or not level.capacity:
            continue
        wanted = least(signal, level.capacity, thresholds)
        if level.available < wanted:
            found.append(Crossing(signal, wanted, level.available))
    return found


def pressures(
    found: Iterable[Crossing], before: Mapping[Condition, datetime], now: datetime
) -> dict[Condition, datetime]:
    """The conditions that hold, and when each was last seen to."""
    held = {condition: seen for condition, seen in before.items() if now - seen < TRANSITION}
    return {**held, **{CONDITIONS[crossing.signal]: now for crossing in found}}


def conditions(held: Iterable[Condition]) -> list[Object]:
    """The node's conditions, without their times."""
    holding = set(held)
    made = []
    for condition, (bad, bad_text, good, good_text) in _WORDS.items():
        is_held = condition in holding
        made.append(
            {
                "type": condition,
                "status": "True" if is_held else "False",
                "reason": bad if is_held else good,
                "message": bad_text if is_held else good_text,
            }
        )
    return made


# Who ends.


def may_be_evicted(pod: Object) -> bool:
    return resources.priority(pod) < resources.SYSTEM_CRITICAL


def ranked(footprints: Iterable[Footprint], resource: str) -> list[Footprint]:
    """Whose pods end first: those that use more than they asked for, of these the less important, of these those that
    are the furthest beyond."""

    def order(footprint: Footprint) -> tuple[bool, int, int]:
        beyond = footprint.total - int(resources.pod_requests(footprint.pod).get(resource, 0))
        return beyond <= 0, resources.priority(footprint.pod), -beyond

    return sorted((f for f in footprints if may_be_evicted(f.pod)), key=order)


def eviction(crossing: Crossing, footprint: Footprint) -> Verdict:
    """The end of a pod for what the node is short of."""
    text = f"The node was low on resource: {crossing.resource}. "
    text += f"Threshold quantity: {_text(crossing.least)}, available: {_text(crossing.available)}. "
    for member in members(footprint.pod):
        used = footprint.containers.get(member.name, 0)
        asked = resources.requests(member).get(crossing.resource, Decimal(0))
        if used > asked:
            text += (
                f"Container {member.name} was using {_text(used)}, request is {_text(int(asked))}, "
                f"has larger consumption of {crossing.resource}. "
            )
    return Verdict("Evicted", text, disrupts=True)


def _text(amount: int) -> str:
    """An amount of bytes in Ki, as the kubelet's messages have it; other amounts as they are."""
    if amount >= 1024:
        return quantity.to_text(Decimal(amount // 1024 * 1024), "binary")
    return str(amount)


# Local storage.


def limits_storage(pod: Object) -> bool:
    """Whether the pod may use only so much of the disk."""
    return "ephemeral-storage" in resources.pod_limits(pod) or any(sized_volumes(pod))


def sized_volumes(pod: Object) -> dict[str, str]:
    """The emptyDir volumes on the disk that have a size, and which."""
    found = {}
    for volume in meta.spec(pod).get("volumes") or ():
        source = volume.get("emptyDir")
        if source and source.get("sizeLimit") and quantity.parse(str(source["sizeLimit"])) > 0:
            found[str(volume["name"])] = str(source["sizeLimit"])
    return found


def storage_verdict(pod: Object, containers: Mapping[str, int], volumes: Mapping[str, int]) -> Verdict | None:
    """What follows from the bytes on disk of a pod's containers (layers and logs) and its emptyDir volumes."""
    for name, size in sized_volumes(pod).items():
        if volumes.get(name, 0) > quantity.parse(size):
            return Verdict("Evicted", f'Usage of EmptyDir volume "{name}" exceeds the limit "{size}". ', disrupts=True)
    limit = resources.pod_limits(pod).get("ephemeral-storage")
    if limit is not None and sum(containers.values()) + sum(volumes.values()) > limit:
        text = f"Pod ephemeral local storage usage exceeds the total limit of containers {_text(int(limit))}. "
        return Verdict("Evicted", text, disrupts=True)
    for member in members(pod):
        own = ((member.spec.get("resources") or {}).get("limits") or {}).get("ephemeral-storage")
        if own and member.role is not Role.INIT and containers.get(member.name, 0) > quantity.parse(str(own)):
            text = f'Container {member.name} exceeded its local ephemeral storage limit "{own}". '
            return Verdict("Evicted", text, disrupts=True)
    return None
