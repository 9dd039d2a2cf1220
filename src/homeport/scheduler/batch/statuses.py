"""The status of a PodGroup of each kind. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from homeport.kube.kind import Resource
from homeport.kube.meta import Object, find_condition, metadata, spec, status, timestamp
from homeport.scheduler.batch import membership
from homeport.scheduler.batch.decisions import Condition, GroupOutcome
from homeport.scheduler.batch.model import GroupPhase

_NOT_COMPARED = frozenset({"transitionID", "lastTransitionTime", "lastProbeTime"})
_SCHEDULED = "PodGroupInitiallyScheduled"


def pod_group_status(resource: Resource, obj: Object, outcome: GroupOutcome, now: datetime) -> Object | None:
    """What to merge into the status of a PodGroup; None if it says all that already, but for times."""
    if resource == membership.COSCHEDULING:
        wanted = _coscheduling(obj, outcome, now)
    elif resource == membership.IN_TREE:
        wanted = {"conditions": _in_tree(obj, outcome, now)}
    else:
        wanted = _volcano(resource, obj, outcome, now)
    return None if _says(status(obj), wanted) else wanted


def _volcano(resource: Resource, obj: Object, outcome: GroupOutcome, now: datetime) -> Object:
    phase = outcome.phase
    if resource != membership.VOLCANO:  # kube-batch's have fewer
        phase = {GroupPhase.INQUEUE: GroupPhase.PENDING, GroupPhase.COMPLETED: GroupPhase.RUNNING}.get(phase, phase)
    counts = outcome.counts
    wanted: Object = {
        "phase": phase.value,
        "running": counts.running or None,
        "succeeded": counts.succeeded or None,
        "failed": counts.failed or None,
    }
    if outcome.conditions:
        wanted["conditions"] = _merged(status(obj).get("conditions") or (), outcome.conditions, now)
    return wanted


def _merged(known: Iterable[Mapping[str, Any]], new: Iterable[Condition], now: datetime) -> list[Object]:
    """Conditions by type: the new ones in the place of those they replace."""
    found: dict[str, Object] = {str(one.get("type")): dict(one) for one in known}
    for condition in new:
        wanted: Object = {"type": condition.type, "status": condition.status}
        wanted |= {"reason": condition.reason, "message": condition.message}
        former = found.get(condition.type)
        if former is not None and _says(former, wanted):
            continue
        stays = former is not None and former.get("status") == condition.status
        moment = former.get("lastTransitionTime") if former is not None and stays else timestamp(now)
        found[condition.type] = {**wanted, "transitionID": str(uuid4()), "lastTransitionTime": moment}
    return list(found.values())


def _coscheduling(obj: Object, outcome: GroupOutcome, now: datetime) -> Object:
    """The plug-in's own phases (scheduler-plugins, ``podgroup_controller.go``)."""
    counts, least = outcome.counts, int(spec(obj).get("minMember") or 1)
    if counts.succeeded >= least:
        phase = "Finished"
    elif counts.failed and counts.failed + counts.running + counts.succeeded >= least:
        phase = "Failed"
    elif counts.succeeded + counts.running >= least:
        phase = "Running"
    else:
        phase = "Scheduling" if outcome.phase is not GroupPhase.PENDING else "Pending"
    wanted: Object = {
        "phase": phase,
        "running": counts.running or None,
        "succeeded": counts.succeeded or None,
        "failed": counts.failed or None,
    }
    if not status(obj).get("scheduleStartTime"):
        wanted["scheduleStartTime"] = timestamp(now)
    return wanted


def _in_tree(obj: Object, outcome: GroupOutcome, now: datetime) -> list[Object]:
    """Kubernetes' own say no more than whether the group has been placed."""
    conditions = [dict(one) for one in status(obj).get("conditions") or ()]
    known = find_condition(conditions, _SCHEDULED)
    placed = outcome.phase in (GroupPhase.RUNNING, GroupPhase.COMPLETED)
    waits = next((one for one in outcome.conditions if one.type == "Unschedulable" and one.status == "True"), None)
    if not placed and (waits is None or (known or {}).get("status") == "True"):
        return conditions  # that it was placed once stays true
    wanted: Object = {
        "type": _SCHEDULED,
        "status": "True" if placed else "False",
        "reason": "Scheduled" if placed else "Unschedulable",
        "message": "" if placed or waits is None else waits.message,
        "observedGeneration": metadata(obj).get("generation") or 0,
    }
    if known is not None and _says(known, wanted):
        return conditions
    stays = known is not None and known.get("status") == wanted["status"]
    wanted["lastTransitionTime"] = known["lastTransitionTime"] if known is not None and stays else timestamp(now)
    return [*(one for one in conditions if one.get("type") != _SCHEDULED), wanted]


def _says(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether merging would change nothing but times and transition IDs."""
    return all(_alike(known.get(key), value) for key, value in wanted.items() if key not in _NOT_COMPARED)


def _alike(known: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(known, Mapping) and _says(known, wanted)
    if isinstance(wanted, list):
        return (
            isinstance(known, list | tuple)
            and len(known) == len(wanted)
            and all(_alike(one, other) for one, other in zip(known, wanted, strict=True))
        )
    return bool(known == wanted or (not known and not wanted))
