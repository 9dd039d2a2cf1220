"""Which changes of a child are a reason to look at its parent: most are not."""

from __future__ import annotations

from homeport.kube import meta
from homeport.kube.meta import Object

_WHOSE = ("labels", "annotations", "ownerReferences", "finalizers", "deletionTimestamp")


def pod_matters(old: Object, new: Object) -> bool:
    """A pod was bound, got an address, or a container of it waits for something else: its job doesn't care."""
    before, after = meta.status(old), meta.status(new)
    return (
        before.get("phase") != after.get("phase")
        or _ready(before) != _ready(after)
        or _restarts(before) != _restarts(after)
        or _whose(old) != _whose(new)
    )


def _ready(status: Object) -> object:
    return (meta.find_condition(status.get("conditions"), "Ready") or {}).get("status")


def _restarts(status: Object) -> list[object]:
    lists = (status.get("initContainerStatuses") or (), status.get("containerStatuses") or ())
    return [entry.get("restartCount") for entries in lists for entry in entries]


def _whose(obj: Object) -> list[object]:
    about = meta.metadata(obj)
    return [about.get(key) for key in _WHOSE]


def job_matters(old: Object, new: Object) -> bool:
    """A job that goes on running is of no interest to its cron job."""
    before, after = meta.status(old), meta.status(new)
    keys = ("conditions", "completionTime")
    return any(before.get(key) != after.get(key) for key in keys) or _whose(old) != _whose(new)
