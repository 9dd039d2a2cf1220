"""Other resources for containers that run (``pods/resize``): what changes in place, and what takes a restart. Pure.

The rules are the kubelet's: what a pod asks for is taken over as a whole or not at all; a container's ``resizePolicy``
says, for processor time and for memory, whether it has to be started anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from homeport.kube.meta import Object
from homeport.node import resources
from homeport.node.endings import ask
from homeport.node.pod import Member, Role, grace_seconds
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
    if not waiting or infeasible(now):
        return
    anew = [m for m in waiting if _needs_restart(m, now.known(m).resources or {})]
    for member in anew:
        text = f"Container {member.name} resize requires restart"
        ask(now, member, "resize", grace_seconds(now.pod), text)
    if len(anew) < len(waiting) and not now.view.resizing and now.may_try("/resize"):
        now.note("Normal", "ResizeStarted", "Pod resize started")
        now.instructions.append(Resize())


def outstanding(now: Situation) -> list[Member]:
    """The containers that run with other resources than the pod says by now."""
    found = []
    for member in now.members:
        known = now.known(member)
        running = known.is_running and known.ending is None and member.role in (Role.MAIN, Role.SIDECAR)
        if running and known.resources is not None and _differs(known.resources, resources_of(member)):
            found.append(member)
    return found


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
    if now.ending or not outstanding(now):
        return []
    if reason := infeasible(now):
        return [{"type": PENDING, "status": "True", "reason": "Infeasible", "message": reason}]
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
