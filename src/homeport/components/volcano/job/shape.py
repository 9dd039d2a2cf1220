"""What can be read off a job: its tasks, and the names of its pods and of their hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from homeport.kube import meta
from homeport.kube.meta import Object

PREFIX = "volcano.sh/"
TASK_INDEX, TASK_SPEC, JOB_NAME = f"{PREFIX}task-index", f"{PREFIX}task-spec", f"{PREFIX}job-name"
JOB_NAMESPACE, QUEUE_NAME = f"{PREFIX}job-namespace", f"{PREFIX}queue-name"
JOB_VERSION, RETRY_COUNT = f"{PREFIX}job-version", f"{PREFIX}job-retry-count"
TEMPLATE_UID, PARTITION_ID = f"{PREFIX}template-uid", f"{PREFIX}partition-id"
OUT_OF_SYNC = f"{PREFIX}out-of-sync"
"""Annotation of a pod that the controller is about to delete: its end is no event."""


class Task:
    """One task of a job whose defaults are set."""

    def __init__(self, job: Object, spec: Mapping[str, Any]) -> None:
        self.job, self.spec = meta.name(job), spec
        self.name: str = spec.get("name") or "default"
        self.replicas: int = spec.get("replicas") or 0
        self.template: Object = spec.get("template") or {}

    @property
    def pod(self) -> Object:
        """The pods' spec."""
        found: Object = self.template.get("spec") or {}
        return found

    @property
    def least(self) -> int:
        """How many of its pods the task needs."""
        given = self.spec.get("minAvailable")
        if given is not None:
            return int(given)
        partition = self.spec.get("partitionPolicy") or {}
        size = (partition.get("minPartitions") or 0) * (partition.get("partitionSize") or 0)
        return int(size) or self.replicas

    def pod_name(self, index: int) -> str:
        return f"{self.job}-{self.name}-{index}"

    def host(self, index: int) -> str:
        """By which the other pods of the job find one."""
        return f"{self.pod.get('hostname') or self.pod_name(index)}.{self.pod.get('subdomain') or self.job}"

    @property
    def hosts(self) -> list[str]:
        """Of all pods; a template that sets a host name has the same for all."""
        return [self.host(index) for index in range(1 if self.pod.get("hostname") and self.replicas else self.replicas)]


def tasks(job: Object) -> list[Task]:
    return [Task(job, spec) for spec in meta.spec(job).get("tasks") or ()]


def pod_names(job: Object) -> Iterator[str]:
    for task in tasks(job):
        yield from (task.pod_name(index) for index in range(task.replicas))


def task_of(pod: Object) -> str:
    return str(meta.annotations(pod).get(TASK_SPEC) or "")


def version_of(pod: Object) -> int:
    """The version of the job that made the pod; -1 for one that it did not make."""
    text = meta.annotations(pod).get(JOB_VERSION) or ""
    return int(text) if text.isdigit() else -1
