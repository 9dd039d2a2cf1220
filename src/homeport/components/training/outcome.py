"""What a pod's status says about its replica: how it stands, why it failed, what it waits for."""

from __future__ import annotations

from enum import Enum

from homeport.kube import meta
from homeport.kube.core.pod_failure import Failure, failure, last_failure, moment, of, statuses, tail
from homeport.kube.meta import Object

_PATIENCE = frozenset({"ContainerCreating", "PodInitializing"})
"""Waiting reasons of a container that is on its way."""


class Standing(Enum):
    ABSENT = "absent"
    """No pod, or one that is being deleted: it will be made anew."""
    PENDING = "pending"
    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


def standing(pod: Object | None) -> Standing:
    """A pod that somebody deletes is no failure, whatever its containers do on the way; a success remains one."""
    if pod is None:
        return Standing.ABSENT
    phase = meta.status(pod).get("phase")
    if phase == "Succeeded":
        return Standing.SUCCEEDED
    if meta.is_deleting(pod):
        return Standing.ABSENT
    if phase == "Failed":
        return Standing.FAILED
    return Standing.ACTIVE if phase == "Running" else Standing.PENDING


def restarts(pod: Object) -> int:
    """Restarts of the pod's containers in place."""
    return sum(status.get("restartCount") or 0 for status in statuses(pod))


def waiting(pod: Object) -> tuple[str, str] | None:
    """(reason, message) of what keeps a pod that has not ended from running; None if it runs or is on its way."""
    for status in statuses(pod):
        held = (status.get("state") or {}).get("waiting")
        if not held or not held.get("reason") or held["reason"] in _PATIENCE:
            continue
        if held["reason"] == "CrashLoopBackOff":
            # Its own message changes with each step of the back-off; what the user needs is why the container ended.
            ended = (status.get("lastState") or {}).get("terminated")
            if ended:
                return held["reason"], f"{of(status, ended)} (restarts: {status.get('restartCount') or 0})"
        return held["reason"], tail(held.get("message") or "")
    scheduled = meta.find_condition(meta.status(pod).get("conditions"), "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        return scheduled.get("reason") or "Unschedulable", tail(scheduled.get("message") or "")
    return None


__all__ = ["Failure", "Standing", "failure", "last_failure", "moment", "restarts", "standing", "tail", "waiting"]
