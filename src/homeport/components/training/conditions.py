"""A job's conditions: a list whose last entry is the job's state (``kubectl get`` prints that).

As in the Training Operator: Running and Restarting exclude each other; with Succeeded or Failed, Running and Restarting
turn False.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.kube.meta import find_condition

CREATED, RUNNING, RESTARTING = "Created", "Running", "Restarting"
SUSPENDED, SUCCEEDED, FAILED = "Suspended", "Succeeded", "Failed"

Condition = Mapping[str, Any]

_EXCLUDES = {RUNNING: (RESTARTING,), RESTARTING: (RUNNING,)}
_ENDS = {SUCCEEDED: (RUNNING, RESTARTING), FAILED: (RUNNING, RESTARTING)}


def set_condition(
    conditions: list[Condition], type: str, status: bool, reason: str, message: str, now: str
) -> list[Condition]:
    """The list with this condition in it; the very same list if nothing changes.

    A condition that keeps its status keeps its ``lastTransitionTime``; one that becomes true goes to the end.
    """
    flag = "True" if status else "False"
    old = find_condition(conditions, type)
    if old and old.get("status") == flag:
        if old.get("reason") == reason and old.get("message") == message:
            return conditions
        new = {**old, "reason": reason, "message": message, "lastUpdateTime": now}
        return [new if c is old else c for c in conditions]
    new = {
        "type": type,
        "status": flag,
        "reason": reason,
        "message": message,
        "lastUpdateTime": now,
        "lastTransitionTime": now,
    }
    if old and not status:
        return _state_last([new if c is old else c for c in conditions])
    excluded, ended = _EXCLUDES.get(type, ()), _ENDS.get(type, ())
    others = [c for c in conditions if c is not old and c.get("type") not in excluded]
    return _state_last([*(_turned_false(c, now) if c.get("type") in ended else c for c in others), new])


def _turned_false(condition: Condition, now: str) -> Condition:
    if condition.get("status") == "False":
        return condition
    return {**condition, "status": "False", "lastUpdateTime": now, "lastTransitionTime": now}


def _state_last(conditions: list[Condition]) -> list[Condition]:
    """With a true condition at the end, if there is one: the last one is what people read as the state."""
    if not conditions or conditions[-1].get("status") == "True":
        return conditions
    last = next((c for c in reversed(conditions) if c.get("status") == "True"), None)
    return conditions if last is None else [c for c in conditions if c is not last] + [last]
