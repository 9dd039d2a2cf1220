"""When an indexed job is done before all its indexes are (upstream: ``pkg/controller/job/success_policy.go``)."""

from __future__ import annotations

from homeport.components.batch.job import indexes
from homeport.components.batch.job.indexes import Intervals
from homeport.kube import meta
from homeport.kube.meta import Object


def met(job: Object, succeeded: Intervals) -> str:
    """What the job's condition says of the first rule that is met; empty if none is."""
    spec = meta.spec(job)
    policy = spec.get("successPolicy")
    if not policy or not succeeded:
        return ""
    for number, rule in enumerate(policy.get("rules") or ()):
        count, named = rule.get("succeededCount"), rule.get("succeededIndexes")
        if named is not None:
            required = indexes.parse(named, spec["completions"])
            reached = indexes.overlap(required, succeeded)
            done = bool(required) and (reached == indexes.total(required) or (count is not None and reached >= count))
        else:
            done = count is not None and indexes.total(succeeded) >= count
        if done:
            return f"Matched rules at index {number}"
    return ""
