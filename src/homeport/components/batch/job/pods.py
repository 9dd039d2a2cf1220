"""A job's pods: what they are named and labelled, how they are judged, and which of too many go first.

Upstream: ``pkg/controller/job/indexed_job_utils.go`` and ``pkg/controller/controller_utils.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from homeport.control.naming import fresh_names
from homeport.kube import meta
from homeport.kube.meta import Object

FINALIZER = "batch.kubernetes.io/job-tracking"
"""A pod that carries it is not counted in the job's status yet."""
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
_INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
_MAX_PREFIX = 63 - 5
_MAX_COUNT = 2**31 - 1


def is_indexed(job: Object) -> bool:
    return meta.spec(job).get("completionMode") == "Indexed"


def index_of(pod: Object) -> int | None:
    """The completion index; None if the pod has none that makes sense."""
    value = meta.annotations(pod).get(INDEX, "")
    return int(value) if value.isascii() and value.isdigit() else None


def is_tracked(pod: Object) -> bool:
    return FINALIZER in (meta.metadata(pod).get("finalizers") or ())


def has_succeeded(pod: Object) -> bool:
    return meta.status(pod).get("phase") == "Succeeded"


def replaces_failed_only(job: Object) -> bool:
    """Whether a pod that goes away is replaced when it has gone, not before."""
    spec = meta.spec(job)
    return spec.get("podReplacementPolicy") == "Failed" or spec.get("podFailurePolicy") is not None


def has_failed(job: Object, pod: Object) -> bool:
    """Also a pod that is deleted before its end: one that no node reports on never gets to the phase Failed."""
    if meta.status(pod).get("phase") == "Failed":
        return True
    return not replaces_failed_only(job) and meta.is_deleting(pod) and not has_succeeded(pod)


def restarts(pods: Iterable[Object]) -> int:
    """Of containers, in pods that run or wait."""
    return sum(
        entry.get("restartCount") or 0
        for pod in pods
        if meta.status(pod).get("phase") in ("Running", "Pending")
        for name in ("initContainerStatuses", "containerStatuses")
        for entry in meta.status(pod).get(name) or ()
    )


def count_of(pod: Object, annotation: str) -> int:
    """A number of failures that an annotation holds; 0 for one that makes no sense."""
    value = meta.annotations(pod).get(annotation, "")
    number = int(value) if value.isascii() and value.isdigit() and len(value) <= 10 else 0
    return number if number <= _MAX_COUNT else 0


def surplus(job: Object, active: Sequence[Object], wanted: int) -> list[Object]:
    """The active pods to delete so that at most `wanted` are left; all that have no valid index or share one, too."""
    if len(active) <= wanted and not (is_indexed(job) and _clash(job, active)):
        return []
    left, removed = sorted(active, key=_standing), []
    if is_indexed(job):
        completions = meta.spec(job)["completions"]
        kept: dict[int, Object] = {}
        for pod in left:
            index = index_of(pod)
            if index is None or index >= completions:
                removed.append(pod)
            else:
                if index in kept:
                    removed.append(kept[index])
                kept[index] = pod  # the furthest one of those with the same index
        left = sorted(kept.values(), key=_standing)
    return removed + left[: max(0, len(active) - max(0, wanted) - len(removed))]


def _clash(job: Object, active: Sequence[Object]) -> bool:
    """Whether two pods have the same index, or one has none that the job has."""
    completions = meta.spec(job)["completions"]
    found = {index for pod in active if (index := index_of(pod)) is not None and index < completions}
    return len(found) < len(active)


def _standing(pod: Object) -> tuple[Any, ...]:
    """Ascending: those that have done the least come first."""
    status = meta.status(pod)
    ready = meta.find_condition(status.get("conditions"), "Ready") or {}
    is_ready = ready.get("status") == "True"
    containers = status.get("containerStatuses") or ()
    return (
        bool(meta.spec(pod).get("nodeName")),
        ("Pending", "Unknown", "Running").index(status.get("phase") or "Pending"),
        is_ready,
        _reversed(ready.get("lastTransitionTime") or "") if is_ready else "",
        -max((entry.get("restartCount") or 0 for entry in containers), default=0),
        _reversed(meta.metadata(pod).get("creationTimestamp") or ""),
        meta.name(pod),
    )


def _reversed(text: str) -> tuple[int, ...]:
    """Sorts the other way round than `text`."""
    return tuple(-ord(character) for character in text)


class Template:
    """Makes the pods of a job."""

    def __init__(self, job: Object, present: Iterable[Object]) -> None:
        """`present`: all the job's pods that are there, whose names are taken."""
        self._job = job
        self._names: dict[int | None, list[str]] = {}
        template = meta.spec(job)["template"]
        about = template.get("metadata") or {}
        self._spec: Object = template.get("spec") or {}
        self._about: Object = {
            **{key: about[key] for key in ("labels", "annotations") if about.get(key)},
            "finalizers": [*(key for key in about.get("finalizers") or () if key != FINALIZER), FINALIZER],
        }
        indexed = is_indexed(job)
        if indexed:
            self._spec = _with_variable(self._spec)
        for pod in present:
            self._names.setdefault(index_of(pod) if indexed else None, []).append(meta.name(pod))

    def some(self, count: int) -> Iterator[Object]:
        """So many pods of a job without indexes."""
        prefix = f"{meta.name(self._job)}-"
        for name in islice(fresh_names(prefix, self._job, self._names.get(None, ())), count):
            about = {**self._about, "name": name, "generateName": prefix}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": self._spec}

    def indexed(self, index: int, annotations: Object | None = None) -> Object:
        """The pod of one index; `annotations`: what else its annotations say."""
        name, ending = meta.name(self._job), f"-{index}-"
        prefix = name[: _MAX_PREFIX - len(ending)] + ending
        about = {
            **self._about,
            "name": next(fresh_names(prefix, self._job, (prefix, *self._names.get(index, ())))),
            "generateName": prefix,
            "labels": {**(self._about.get("labels") or {}), INDEX: str(index)},
            "annotations": {**(self._about.get("annotations") or {}), INDEX: str(index), **(annotations or {})},
        }
        spec = {**self._spec, "hostname": f"{name}-{index}"}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}


def _with_variable(spec: Object) -> Object:
    """With the index as an environment variable of each container that doesn't set it itself."""
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}

    def container(entry: Object) -> Object:
        variables = entry.get("env") or []
        if any(variable.get("name") == _INDEX_VARIABLE for variable in variables):
            return entry
        return {**entry, "env": [*variables, {"name": _INDEX_VARIABLE, "valueFrom": source}]}

    lists = ("initContainers", "containers")
    return {**spec, **{key: [container(entry) for entry in spec[key]] for key in lists if spec.get(key)}}
