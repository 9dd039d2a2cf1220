"""What a pod's failure means: the pod failure policy, and the pause before the pod is replaced.

Upstream: ``pkg/controller/job/pod_failure_policy.go`` and ``backoff_utils.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from homeport.kube import meta
from homeport.kube.meta import Object

_BASE = timedelta(seconds=10)
"""The pause after the first failure; each further one doubles it."""
_COUNTED = 10
"""More failures make the pause no longer."""
_LONGEST = timedelta(minutes=6)


class Verdict(msgspec.Struct, frozen=True):
    """What the policy says of a failed pod."""

    action: Literal["Count", "FailIndex", "FailJob", "Ignore", ""] = ""
    """Empty: no rule is met, and the failure counts."""
    message: str = ""
    """For FailJob: what the job's condition says."""

    @property
    def counts(self) -> bool:
        """Towards the back-off limit."""
        return self.action != "Ignore"


_NO_POLICY = Verdict()


def judge(job: Object, pod: Object) -> Verdict:
    """By the first rule that `pod` meets."""
    spec = meta.spec(job)
    policy = spec.get("podFailurePolicy")
    if not policy:
        return _NO_POLICY
    for number, rule in enumerate(policy.get("rules") or ()):
        action = rule["action"]
        if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            continue
        met = _met(rule, pod)
        if met:
            place = f"{meta.namespace(pod)}/{meta.name(pod)}"
            return Verdict(action, met.format(pod=place) + f" matching {action} rule at index {number}")
    return _NO_POLICY


def _met(rule: Mapping[str, Any], pod: Object) -> str:
    """How `pod` meets the rule, with ``{pod}`` for its name; empty if it doesn't."""
    status = meta.status(pod)
    codes = rule.get("onExitCodes")
    if codes:
        for entry in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
            ended = (entry.get("state") or {}).get("terminated")
            code = (ended or {}).get("exitCode") or 0
            if code and codes.get("containerName") in (None, entry["name"]) and _holds(codes, code):
                return f"Container {entry['name']} for pod {{pod}} failed with exit code {code}"
        return ""
    patterns = rule.get("onPodConditions") or ()
    for condition in status.get("conditions") or ():
        for pattern in patterns:
            if condition.get("type") == pattern["type"] and condition.get("status") == pattern.get("status", "True"):
                return f"Pod {{pod}} has condition {condition['type']}"
    return ""


def _holds(codes: Mapping[str, Any], code: int) -> bool:
    return bool((code in codes["values"]) == (codes["operator"] == "In"))


def finished_at(pod: Object) -> datetime:
    """When a pod that has ended, or is being deleted, did so: by its containers; else by when it ceased to be ready;
    else by the moment of its deletion."""
    status, about = meta.status(pod), meta.metadata(pod)
    sidecars = {c["name"] for c in meta.spec(pod).get("initContainers") or () if c.get("restartPolicy") == "Always"}
    entries = [
        *(status.get("containerStatuses") or ()),
        *(entry for entry in status.get("initContainerStatuses") or () if entry.get("name") in sidecars),
    ]
    ends: list[Any] = [((entry.get("state") or {}).get("terminated") or {}).get("finishedAt") for entry in entries]
    if ends and all(ends):
        return max(map(meta.parse_time, ends))
    ready = meta.find_condition(status.get("conditions"), "Ready") or {}
    if ready.get("status") == "False" and ready.get("lastTransitionTime"):
        return meta.parse_time(ready["lastTransitionTime"])
    if "deletionTimestamp" in about:
        grace = timedelta(seconds=about.get("deletionGracePeriodSeconds") or 0)
        return meta.parse_time(about["deletionTimestamp"]) - grace
    return meta.parse_time(about["creationTimestamp"])


def pause_left(failures: int, last: datetime | None, now: datetime) -> float:
    """Seconds until a pod may be replaced after so many failures in a row, the last one at `last`."""
    if not failures or last is None:
        return 0.0
    pause = min(_BASE * (1 << min(failures - 1, 10)), _LONGEST)
    return max(0.0, (last + pause - now).total_seconds())


def in_a_row(memory: Object, failed: Iterable[Object], succeeded: Iterable[Object]) -> Object:
    """The failures since the last success, by uid with when they were: what `pause_of` counts.

    They are read off the pods, which stay when they have ended, so that no restart of the controller forgets them;
    `memory`, what this said last, has those that somebody has deleted.
    """
    ends: dict[str, str] = {**(memory.get("ends") or {}), **{meta.uid(pod): _moment(pod) for pod in failed}}
    if not ends:
        return {}
    success = max(map(_moment, succeeded), default="")
    success = max(success, memory.get("success") or "")
    latest = sorted((end, uid) for uid, end in ends.items() if end > success)[-_COUNTED:]
    return {"ends": {uid: end for end, uid in latest}, **({"success": success} if success else {})}


def _moment(pod: Object) -> str:
    return meta.timestamp(finished_at(pod))


def pause_of(row: Object, now: datetime) -> float:
    """Seconds until a job may replace pods that have failed `in_a_row`."""
    ends = (row.get("ends") or {}).values()
    return pause_left(len(ends), meta.parse_time(max(ends)), now) if ends else 0.0
