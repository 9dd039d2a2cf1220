"""The run policy: who manages a job, what is left of it when it has ended, and its deadlines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from homeport.components.training import autoscaling, conditions, podgroups
from homeport.components.training.framework import Framework
from homeport.components.training.kinds import OUR_MANAGER
from homeport.components.training.outcome import moment
from homeport.control.controller import Desired, Observed
from homeport.kube import core, meta
from homeport.kube.meta import Object

Children = Mapping[str, Mapping[str, Object]]


def run_policy(job: Object) -> Mapping[str, Any]:
    """The job's ``runPolicy`` as it is stored, which may be nonsense: an ended job is cleaned up all the same."""
    policy = meta.spec(job).get("runPolicy") if isinstance(job.get("spec"), dict) else None
    return policy if isinstance(policy, dict) else {}


def _beside(job: Object) -> Any:
    """The ``cleanPodPolicy`` that MPIJobs may have beside the run policy."""
    spec = job.get("spec")
    return spec.get("cleanPodPolicy") if isinstance(spec, dict) else None


def _seconds(policy: Mapping[str, Any], field: str) -> int | None:
    value = policy.get(field)
    return value if isinstance(value, int) else None


def is_managed_elsewhere(job: Object) -> bool:
    return run_policy(job).get("managedBy") not in (None, "", OUR_MANAGER)


def leave(observed: Observed) -> Desired:
    """Touch nothing."""
    return Desired(keep=_all(observed.children))


def _all(children: Children) -> frozenset[tuple[str, str]]:
    return frozenset((kind, name) for kind, objects in children.items() for name in objects)


def kept(job: Object, children: Children, *, stopped: bool) -> frozenset[tuple[str, str]]:
    """What an ended job keeps: (kind, name).

    No autoscaler and no pod group: nothing is left to scale or to place. Else ``cleanPodPolicy: None`` keeps
    everything, ``All`` no pod and no service, ``Running`` the pods that have ended and their services. A job that was
    `stopped` must not go on running, so None is Running then.
    """
    policy = run_policy(job).get("cleanPodPolicy") or _beside(job) or "None"
    children = {kind: objects for kind, objects in children.items() if kind not in (autoscaling.KIND, podgroups.KIND)}
    if policy == "None" and not stopped:
        return _all(children)
    pods = children.get("Pod", {})
    stays = set() if policy == "All" else {name for name, pod in pods.items() if core.has_ended(pod)}
    return frozenset((kind, name) for kind, name in _all(children) if kind not in ("Pod", "Service") or name in stays)


def time_left(start: datetime | None, seconds: int | None, now: datetime) -> float | None:
    """Seconds until `seconds` after `start`, 0 if that is past; None if there is no such time."""
    if start is None or seconds is None:
        return None
    return max(0.0, (start + timedelta(seconds=seconds) - now).total_seconds())


def ended(framework: Framework, job: Object, children: Children, now: datetime) -> Desired:
    """What should be of a job that has ended: its remains, until its time to live runs out."""
    status = meta.status(job)
    left = time_left(_end(status), _seconds(run_policy(job), "ttlSecondsAfterFinished"), now)
    return Desired(
        keep=kept(job, children, stopped=_was_stopped(framework, job)),
        requeue_after=left or None,
        delete_parent=left == 0.0,
    )


def _end(status: Object) -> datetime | None:
    """When the job ended; the Training Operator doesn't always set ``completionTime``, but there is the condition."""
    for type in (conditions.FAILED, conditions.SUCCEEDED):
        condition = meta.find_condition(status.get("conditions"), type)
        if condition and condition.get("status") == "True":
            return moment(status.get("completionTime")) or moment(condition.get("lastTransitionTime"))
    return None


def _was_stopped(framework: Framework, job: Object) -> bool:
    """True if a limit ended the job, not a replica: read off the status, so that no restart forgets it."""
    status, policy = meta.status(job), run_policy(job)
    failed = meta.find_condition(status.get("conditions"), conditions.FAILED)
    if not failed or failed.get("status") != "True":
        return False
    if failed.get("reason") == framework.reason("FailedValidation"):
        return True
    start, end = moment(status.get("startTime")), _end(status)
    limit, deadline = _seconds(policy, "backoffLimit"), _seconds(policy, "activeDeadlineSeconds")
    if end is not None and time_left(start, deadline, end) == 0.0:
        return True
    restarts = status.get("gangRestarts") or 0
    restarts += sum(entry.get("restarts") or 0 for entry in (status.get("replicaStatuses") or {}).values())
    return limit is not None and restarts > limit
