"""What a job's failure means for its job set (upstream: ``pkg/controllers/failure_policy.go``)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from homeport.components.batch.jobset import shape
from homeport.kube import meta, regex
from homeport.kube.meta import Object


class Consequence(msgspec.Struct, frozen=True):
    """The job set fails, or is restarted."""

    restart: bool
    reason: str
    message: str
    """Of the condition."""
    action: str = ""
    """For a restart: what the event says was done."""
    counts: bool = True
    """For a restart: whether it is one of ``maxRestarts``."""


def consequence(job_set: Object, failed: Sequence[Object]) -> Consequence:
    policy = meta.spec(job_set).get("failurePolicy")
    first = min(failed, key=_failed_at)
    if policy is None:
        return Consequence(False, "FailedJobs", _told("jobset failed due to one or more job failures", first))
    rule, job = None, first
    for candidate in policy.get("rules") or ():
        meeting = [each for each in failed if _meets(candidate, each)]
        if meeting:
            rule, job = candidate, min(meeting, key=_failed_at)
            break
    action = rule["action"] if rule else "RestartJobSet"
    words = _told(f"applying {action} failure policy action", job)
    if action == "FailJobSet":
        return Consequence(False, "FailJobSetFailurePolicyAction", words)
    counts = action == "RestartJobSet"
    if counts and (meta.status(job_set).get("restartsCountTowardsMax") or 0) >= (policy.get("maxRestarts") or 0):
        return Consequence(
            False, "ReachedMaxRestarts", _told("jobset failed due to reaching max number of restarts", job)
        )
    reason = f"FailurePolicy_{rule['name']}" if rule else "DefaultFailurePolicy"
    return Consequence(True, reason, words, f"{action}FailurePolicyAction", counts)


def _told(message: str, job: Object) -> str:
    return f"{message} (first failed job: {meta.name(job)})"


def _condition(job: Object) -> Object:
    return dict(meta.find_condition(meta.status(job).get("conditions"), "Failed") or {})


def _failed_at(job: Object) -> tuple[str, str]:
    return (_condition(job).get("lastTransitionTime") or "", meta.name(job))


def _meets(rule: Object, job: Object) -> bool:
    condition = _condition(job)
    reasons, patterns = rule.get("onJobFailureReasons"), rule.get("onJobFailureMessagePatterns")
    targets = rule.get("targetReplicatedJobs")
    group = meta.labels(job).get(shape.REPLICATED_JOB)
    if not group or (targets and group not in targets) or (reasons and condition.get("reason") not in reasons):
        return False
    return not patterns or any(_matches(pattern, condition.get("message") or "") for pattern in patterns)


def _matches(pattern: str, message: str) -> bool:
    try:
        return regex.compile(pattern).search(message)
    except regex.PatternError:
        return False  # one that is no expression matches nothing
