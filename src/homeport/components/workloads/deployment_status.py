"""What a deployment's status says (upstream: ``progress.go`` and ``calculateStatus``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from homeport.components.workloads.lineage import Lineage, size
from homeport.components.workloads.pods import without_zeros
from homeport.components.workloads.rollout import Limits, Sizes
from homeport.kube import meta
from homeport.kube.meta import Object

_NO_DEADLINE = 2**31 - 1
_COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
AVAILABLE, PROGRESSING, FAILURE = "Available", "Progressing", "ReplicaFailure"
TIMED_OUT = "ProgressDeadlineExceeded"
DONE = "NewReplicaSetAvailable"


def condition(type: str, status: str, reason: str, message: str, now: datetime) -> Object:
    moment = meta.timestamp(now)
    return {
        "type": type,
        "status": status,
        "lastUpdateTime": moment,
        "lastTransitionTime": moment,
        "reason": reason,
        "message": message,
    }


def with_condition(conditions: Iterable[Mapping[str, Any]], new: Object) -> list[Object]:
    """`conditions` with `new`, unless its status and reason are there already."""
    known = meta.find_condition(conditions, new["type"])
    if known is not None and (known["status"], known.get("reason")) == (new["status"], new["reason"]):
        return [dict(each) for each in conditions]
    if known is not None and known["status"] == new["status"]:
        new = {**new, "lastTransitionTime": known.get("lastTransitionTime")}
    return [*without(conditions, new["type"]), new]


def without(conditions: Iterable[Mapping[str, Any]], type: str) -> list[Object]:
    return [dict(each) for each in conditions if each["type"] != type]


def deadline(deployment: Object) -> int | None:
    """Seconds without progress after which the deployment counts as failed; None if it never does."""
    seconds = meta.spec(deployment).get("progressDeadlineSeconds")
    return None if seconds is None or seconds == _NO_DEADLINE else int(seconds)


def calculated(
    deployment: Object, limits: Limits, sets: Lineage, sizes: Sizes, conditions: list[Object], now: datetime
) -> Object:
    """The status that the replica sets amount to. `sizes` are those that they were just given."""
    wanted = sum(sizes.get(meta.name(each), size(each)) for each in sets.all)
    available = _sum(sets.all, "availableReplicas")
    enough = available >= limits.least_available
    minimum = condition(
        AVAILABLE,
        "True" if enough else "False",
        "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        "Deployment has minimum availability." if enough else "Deployment does not have minimum availability.",
        now,
    )
    status = without_zeros(
        {
            "observedGeneration": meta.metadata(deployment).get("generation"),
            "replicas": _sum(sets.all, "replicas"),
            "updatedReplicas": _sum(() if sets.new is None else (sets.new,), "replicas"),
            "readyReplicas": _sum(sets.all, "readyReplicas"),
            "availableReplicas": available,
            "unavailableReplicas": max(wanted - available, 0),
        }
    )
    if meta.status(deployment).get("collisionCount") is not None:
        status["collisionCount"] = meta.status(deployment)["collisionCount"]
    if all("terminatingReplicas" in meta.status(each) for each in sets.all):
        status["terminatingReplicas"] = _sum(sets.all, "terminatingReplicas")
    return {**status, "conditions": with_condition(conditions, minimum)}


def _sum(sets: Iterable[Object], field: str) -> int:
    return sum(int(meta.status(each).get(field) or 0) for each in sets)


def judged(deployment: Object, limits: Limits, sets: Lineage, status: Object, before: Object, now: datetime) -> Object:
    """`status` with what it says of the rollout's progress since `before`, and of pods that can't be made."""
    conditions: list[Object] = status["conditions"]
    current = meta.find_condition(conditions, PROGRESSING)
    if deadline(deployment) is None:
        conditions = without(conditions, PROGRESSING)
    elif not _was_complete(status, current):
        conditions = _progress(deployment, limits, sets, status, before, now)
    failures = _failures(sets)
    if failures:
        first = failures[0]
        conditions = with_condition(
            conditions, {**condition(FAILURE, first["status"], first["reason"], first["message"], now), **_times(first)}
        )
    else:
        conditions = without(conditions, FAILURE)
    return {**status, "conditions": conditions}


def _was_complete(status: Object, current: Mapping[str, Any] | None) -> bool:
    same = status.get("replicas") == status.get("updatedReplicas")
    return same and current is not None and current.get("reason") == DONE


def _progress(
    deployment: Object, limits: Limits, sets: Lineage, status: Object, before: Object, now: datetime
) -> list[Object]:
    conditions: list[Object] = status["conditions"]
    current = meta.find_condition(conditions, PROGRESSING)
    if sets.new is None:
        subject = f'Deployment "{meta.name(deployment)}"'
    else:
        subject = f'ReplicaSet "{meta.name(sets.new)}"'
    if is_complete(deployment, limits, status):
        words = f"{subject} has successfully progressed."
        return with_condition(conditions, condition(PROGRESSING, "True", DONE, words, now))
    if _progresses(status, before):
        new = condition(PROGRESSING, "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
        if current is not None and current["status"] == "True":
            new["lastTransitionTime"] = current.get("lastTransitionTime")
        return [*without(conditions, PROGRESSING), new]
    if _timed_out(deployment, current, now):
        words = f"{subject} has timed out progressing."
        return with_condition(conditions, condition(PROGRESSING, "False", TIMED_OUT, words, now))
    return conditions


def is_complete(deployment: Object, limits: Limits, status: Object) -> bool:
    counts = (status.get("updatedReplicas"), status.get("replicas"), status.get("availableReplicas"))
    generation = meta.metadata(deployment).get("generation") or 0
    return all((count or 0) == limits.replicas for count in counts) and (
        (status.get("observedGeneration") or 0) >= generation
    )


def _progresses(status: Object, before: Object) -> bool:
    now, then = (
        {name: int(each.get(name) or 0) for name in (*_COUNTS, "unavailableReplicas")} for each in (status, before)
    )
    old, formerly_old = (each["replicas"] - each["updatedReplicas"] for each in (now, then))
    return (
        old < formerly_old
        or now["updatedReplicas"] > then["updatedReplicas"]
        or now["readyReplicas"] > then["readyReplicas"]
        or now["availableReplicas"] > then["availableReplicas"]
    )


def _timed_out(deployment: Object, current: Mapping[str, Any] | None, now: datetime) -> bool:
    if current is None or current.get("reason") == DONE:
        return False
    if current.get("reason") == TIMED_OUT:
        return True
    due = _due(deployment, current)
    return due is not None and due < now


def _due(deployment: Object, current: Mapping[str, Any]) -> datetime | None:
    seconds, since = deadline(deployment), current.get("lastUpdateTime")
    return None if seconds is None or not since else meta.parse_time(since) + timedelta(seconds=seconds)


def next_check(deployment: Object, limits: Limits, status: Object, now: datetime) -> float | None:
    """Seconds until the deployment may count as failed; None if it can't."""
    current = meta.find_condition(status.get("conditions"), PROGRESSING)
    if current is None or current.get("reason") in (TIMED_OUT, DONE, "DeploymentPaused"):
        return None
    due = _due(deployment, current)
    if due is None or is_complete(deployment, limits, status):
        return None
    return max((due - now).total_seconds(), 0.0) + 1.0


def _failures(sets: Lineage) -> list[Mapping[str, Any]]:
    """The sets' conditions that tell of pods that can't be made; that of the new one first."""
    found = []
    for each in (*(() if sets.new is None else (sets.new,)), *sets.old):
        failure = meta.find_condition(meta.status(each).get("conditions"), FAILURE)
        if failure is not None:
            found.append(failure)
    return found


def _times(failure: Mapping[str, Any]) -> Object:
    since = failure.get("lastTransitionTime")
    return {"lastTransitionTime": since, "lastUpdateTime": since} if since else {}
