"""Other resources for containers that run (``pods/resize``): what changes in place, and what takes a restart. Pure.

The rules are the kubelet's (``pkg/kubelet/allocation``): what a pod asks for is taken over as a whole or not at all,
and may have to wait until others leave room; a container's ``resizePolicy`` says, for processor time and for memory,
whether it has to be started anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec.structs import replace

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node import resources
from homeport.node.endings import ask
from homeport.node.memory import Memory
from homeport.node.pod import Member, Role, grace_seconds, members
from homeport.node.situation import Situation
from homeport.node.view import Resize

PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
_SIDES = ("limits", "requests")


def resize(now: Situation) -> None:
    """Take over what has changed, and see to what has not been yet."""
    for member in now.members:
        known = now.known(member)
        attempt, applied = now.view.resized.get(member.name, (-1, {}))
        is_of_it = known.is_running and known.current is not None and known.current.attempt == attempt
        if is_of_it and known.resources is not None and known.resources != applied:
            now.remember(member, replace(known, resources=applied))
            if not _differs(applied, resources_of(member)):
                now.note("Normal", "ResizeCompleted", f"Resized container {member.name}", member.name)
    waiting = outstanding(now)
    reason, message = _obstacle(now) if waiting else ("", "")
    if reason != now.memory.resize_pending:
        now.memory = replace(now.memory, resize_pending=reason)
        if reason:
            now.note("Warning", f"Resize{reason}", f"Pod resize {reason}: {message}")
    if not waiting or reason:
        return
    for member in waiting:
        if not now.is_running(member):  # it will start with them
            now.remember(member, replace(now.known(member), resources=resources_of(member)))
    running = [m for m in waiting if now.is_running(m) and now.known(m).ending is None]
    anew = [m for m in running if _needs_restart(m, now.known(m).resources or {})]
    for member in anew:
        text = f"Container {member.name} resize requires restart"
        ask(now, member, "resize", grace_seconds(now.pod), text)
    if len(anew) < len(running) and not now.view.resizing and now.may_try("/resize"):
        now.note("Normal", "ResizeStarted", "Pod resize started")
        now.instructions.append(Resize())


def outstanding(now: Situation) -> list[Member]:
    """The containers that have, or last had, other resources than the pod says by now."""
    return [member for member in now.members if _waits(now.memory, member)]


def is_wanted(pod: Object, memory: Memory) -> bool:
    """Whether the pod asks for other resources than its containers have."""
    return any(_waits(memory, member) for member in members(pod))


def _waits(memory: Memory, member: Member) -> bool:
    before = memory.of(member.name).resources
    return before is not None and member.role in (Role.MAIN, Role.SIDECAR) and _differs(before, resources_of(member))


def granted(member: Member, memory: Memory) -> Object:
    """The resources that the node gives a container: those that the pod says, or, while these can't be had, those of
    before."""
    before = memory.of(member.name).resources
    return before if memory.resize_pending and before is not None else resources_of(member)


def allocated(pod: Object, memory: Memory) -> Object:
    """The pod with the resources that the node gives it."""
    if not memory.resize_pending:
        return pod
    given = {member.name: granted(member, memory) for member in members(pod)}
    spec = dict(meta.spec(pod))
    for field in ("initContainers", "containers"):
        if spec.get(field):
            spec[field] = [{**each, "resources": given[each["name"]]} for each in spec[field]]
    return {**pod, "spec": spec}


def _obstacle(now: Situation) -> tuple[Literal["", "Deferred", "Infeasible"], str]:
    """Why the node doesn't give what the pod asks for: never, or not now."""
    if message := infeasible(now):
        return "Infeasible", message
    return ("Deferred", now.view.lacking) if now.view.lacking else ("", "")


def infeasible(now: Situation) -> str:
    """Why the node can never give what the pod asks for; empty if it can."""
    capacity = resources.amounts(now.view.allocatable)
    for name, amount in resources.pod_requests(now.pod).items():
        if name in ("cpu", "memory") and name in capacity and amount > capacity[name]:
            wanted, most = (int(value * (1000 if name == "cpu" else 1)) for value in (amount, capacity[name]))
            return f"Node didn't have enough capacity: {name}, requested: {wanted}, capacity: {most}"
    return ""


def conditions(now: Situation) -> list[Object]:
    """What the pod's conditions say of it."""
    waiting = outstanding(now)
    if now.ending or not waiting:
        return []
    reason, message = _obstacle(now)
    if reason:
        return [{"type": PENDING, "status": "True", "reason": reason, "message": message}]
    problem = now.view.problems.get("/resize")
    if problem is not None:
        return [{"type": IN_PROGRESS, "status": "True", "reason": "Error", "message": problem.message}]
    return [{"type": IN_PROGRESS, "status": "True"}]


def resources_of(member: Member) -> Object:
    found: Object = member.spec.get("resources") or {}
    return found


def _differs(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return any(
        resources.amounts(one.get(side)) != resources.amounts(other.get(side)) for side in ("limits", "requests")
    )


def _needs_restart(member: Member, before: Mapping[str, Any]) -> bool:
    after = resources_of(member)
    restarts = {
        entry.get("resourceName")
        for entry in member.spec.get("resizePolicy") or ()
        if entry.get("restartPolicy") == "RestartContainer"
    }
    for side in _SIDES:
        old, new = resources.amounts(before.get(side)), resources.amounts(after.get(side))
        if any(old.get(name) != new.get(name) for name in restarts & (old.keys() | new.keys())):
            return True
    return False
