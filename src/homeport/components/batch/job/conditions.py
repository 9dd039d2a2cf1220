"""A job's conditions: a list in the order in which they came (upstream: ``ensureJobConditionStatus``)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from homeport.kube import meta
from homeport.kube.meta import Object

COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"
SUCCESS_CRITERIA_MET, FAILURE_TARGET = "SuccessCriteriaMet", "FailureTarget"
"""That a job is about to complete, or to fail: it does so when no pod of it is left to count or to go away."""


def is_finished(job: Object) -> bool:
    return finish(job) is not None


def finish(job: Object) -> Object | None:
    """The condition that ended the job."""
    for condition in meta.status(job).get("conditions") or ():
        if condition["type"] in (COMPLETE, FAILED) and condition["status"] == "True":
            return dict(condition)
    return None


def with_condition(
    conditions: Iterable[Object], type: str, status: bool, reason: str, message: str, now: datetime
) -> list[Object]:
    """The list with this condition in it, as it was if nothing changes. One that isn't there is not added as False."""
    conditions, moment = list(conditions), meta.timestamp(now)
    wanted = {"type": type, "status": "True" if status else "False", "reason": reason, "message": message}
    new = {**wanted, "lastProbeTime": moment, "lastTransitionTime": moment}
    for place, old in enumerate(conditions):
        if old["type"] == type:
            if any((old.get(key) or "") != value for key, value in wanted.items()):
                conditions[place] = new
            return conditions
    return [*conditions, new] if status else conditions
