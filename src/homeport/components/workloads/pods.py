"""What controllers of pods that are kept running ask of a pod (upstream: ``pkg/api/v1/pod``, ``controller_utils``)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from homeport.kube import meta
from homeport.kube.core import pod_state
from homeport.kube.meta import Object


def phase(pod: Object) -> str:
    return str(meta.status(pod).get("phase") or "")


def ready_since(pod: Object) -> str:
    """The time (RFC 3339) since which the pod is ready; empty if it is not, or nobody knows."""
    condition = meta.find_condition(meta.status(pod).get("conditions"), "Ready") or {}
    return str(condition.get("lastTransitionTime") or "") if condition.get("status") == "True" else ""


def available_in(pod: Object, min_ready: int, now: datetime) -> float | None:
    """Seconds until the pod has been ready for `min_ready` seconds: 0 if it is available. None for one that isn't
    ready."""
    if not pod_state.is_ready(pod):
        return None
    if not min_ready:
        return 0.0
    since = ready_since(pod)
    if not since:
        return None
    due = meta.parse_time(since) + timedelta(seconds=min_ready)
    return max((due - now).total_seconds(), 0.0)


def is_available(pod: Object, min_ready: int, now: datetime) -> bool:
    return available_in(pod, min_ready, now) == 0.0


def next_availability(pods: Iterable[Object], min_ready: int, now: datetime) -> float | None:
    """Seconds until the next ready pod becomes available; None if none is about to."""
    if not min_ready:
        return None
    waits = (available_in(pod, min_ready, now) for pod in pods)
    return min((wait for wait in waits if wait), default=None)


def matters(old: Object, new: Object) -> bool:
    """Whether a pod's change is one that those who count pods have to see. Its binding, its address and how far its
    containers have come are not."""
    return _counted(old) != _counted(new)


def _counted(pod: Object) -> tuple[Any, ...]:
    metadata, status = meta.metadata(pod), meta.status(pod)
    return (
        status.get("phase"),
        meta.find_condition(status.get("conditions"), "Ready"),
        metadata.get("deletionTimestamp"),
        metadata.get("labels"),
        metadata.get("ownerReferences"),
    )


def from_template(template: Object, name: str, **metadata: Any) -> Object:
    """A pod of a template. `metadata` is added to that of the template."""
    given = meta.metadata(template)
    taken = {key: given[key] for key in ("labels", "annotations", "finalizers") if given.get(key)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **taken, **metadata},
        "spec": template.get("spec") or {},
    }


def without_zeros(status: Object) -> Object:
    """As upstream's ``omitempty`` leaves out what is nothing."""
    return {key: value for key, value in status.items() if value not in (0, None, [])}
