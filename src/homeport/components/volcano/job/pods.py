"""The pods of a job, and the claims that they mount."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from homeport.components.volcano.job import plugins, shape
from homeport.components.volcano.job.shape import PREFIX, Task
from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.kube.scheduling import names

_INHERITED = ("preemptable", "cooldown-time", "revocable-zone")
_BUDGETS = ("jdb-min-available", "jdb-max-unavailable")


def group_name(job: Object) -> str:
    return f"{meta.name(job)}-{meta.uid(job)}"


class Builder:
    """Makes the pods of one job at its present version."""

    def __init__(self, job: Object, used: Mapping[str, plugins.Arguments]) -> None:
        self._job, self._used, self._name = job, used, meta.name(job)
        spec, status = meta.spec(job), meta.status(job)
        self._queue, self._scheduler = spec.get("queue") or "", spec.get("schedulerName") or names.VOLCANO
        self._class = spec.get("priorityClassName") or ""
        self._version, self._retries = status.get("version") or 0, status.get("retryCount") or 0

    def pod(self, task: Task, index: int) -> Object:
        spec = dict(task.pod)
        spec["schedulerName"] = spec.get("schedulerName") or self._scheduler
        if self._class and not spec.get("priorityClassName"):
            spec["priorityClassName"] = self._class
        metadata = task.template.get("metadata") or {}
        labels = {**(metadata.get("labels") or {}), **self._labels(task, index)}
        annotations = {**(metadata.get("annotations") or {}), **self._annotations(task, index)}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": task.pod_name(index), "labels": labels, "annotations": annotations},
            "spec": plugins.shaped(self._job, self._used, task, index, self._with_volumes(spec)),
        }

    def _labels(self, task: Task, index: int) -> dict[str, str]:
        labels = {
            shape.TASK_INDEX: str(index),
            shape.JOB_NAME: self._name,
            shape.TASK_SPEC: task.name,
            shape.JOB_NAMESPACE: meta.namespace(self._job),
            shape.QUEUE_NAME: self._queue,
        }
        if partition := task.spec.get("partitionPolicy"):
            labels[shape.PARTITION_ID] = str(index // max(partition.get("partitionSize") or 1, 1))
        own = meta.labels(self._job)
        return labels | {PREFIX + key: own[PREFIX + key] for key in _INHERITED[:2] if PREFIX + key in own}

    def _annotations(self, task: Task, index: int) -> dict[str, str]:
        found = {
            shape.TASK_INDEX: str(index),
            shape.TASK_SPEC: task.name,
            names.GROUP_NAME: group_name(self._job),
            shape.JOB_NAME: self._name,
            shape.QUEUE_NAME: self._queue,
            shape.JOB_VERSION: str(self._version),
            shape.TEMPLATE_UID: f"{self._name}-{task.name}",
            shape.RETRY_COUNT: str(self._retries),
        }
        if task.spec.get("topologyPolicy"):
            found[f"{PREFIX}numa-topology-policy"] = task.spec["topologyPolicy"]
        own = meta.annotations(self._job)
        found |= {PREFIX + key: own[PREFIX + key] for key in _INHERITED if PREFIX + key in own}
        budget = next((PREFIX + key for key in _BUDGETS if PREFIX + key in own), None)
        return found | ({budget: own[budget]} if budget else {})

    def _with_volumes(self, spec: Object) -> Object:
        claims = list(claim_names(self._job))
        if not claims:
            return spec
        given = meta.spec(self._job).get("volumes") or ()
        volumes: dict[str, Object] = {}
        mounts: list[Object] = []
        for number, (claim, volume) in enumerate(zip(claims, given, strict=True)):
            name = f"{self._name}-volume-{number}"
            known = volumes.setdefault(claim, {"name": name, "persistentVolumeClaim": {"claimName": claim}})
            mounts.append({"mountPath": volume["mountPath"], "name": known["name"]})
        containers = [{**c, "volumeMounts": [*(c.get("volumeMounts") or ()), *mounts]} for c in spec["containers"]]
        return {**spec, "containers": containers, "volumes": [*(spec.get("volumes") or ()), *volumes.values()]}


def claim_names(job: Object) -> Iterator[str]:
    """The claim of each of the job's volumes: the one that it names, or the one that is made for it."""
    for index, volume in enumerate(meta.spec(job).get("volumes") or ()):
        if name := volume.get("volumeClaimName"):
            yield name
        else:
            digest = hashlib.sha256(f"{meta.uid(job)}/{index}".encode()).hexdigest()[:12]
            yield f"{meta.name(job)}-pvc-{digest}"


def claims(job: Object) -> Iterator[Object]:
    """The claims that are made for the job."""
    for name, volume in zip(claim_names(job), meta.spec(job).get("volumes") or (), strict=True):
        if volume.get("volumeClaim") is not None:
            yield {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name},
                "spec": volume["volumeClaim"],
            }
