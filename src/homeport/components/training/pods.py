"""The pods and services of a job's replicas, made from its templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from homeport.components.training.framework import Job, Replica
from homeport.components.training.podgroups import Gang
from homeport.components.training.services import service, service_ports
from homeport.kube.meta import Object

LABEL_PREFIX = "training.kubeflow.org/"
OPERATOR_LABEL = LABEL_PREFIX + "operator-name"
JOB_LABEL = LABEL_PREFIX + "job-name"
TYPE_LABEL = LABEL_PREFIX + "replica-type"
INDEX_LABEL = LABEL_PREFIX + "replica-index"
ROLE_LABEL = LABEL_PREFIX + "job-role"


def replicas(job: Job) -> Iterator[Replica]:
    """All replicas that the job asks for, in the order in which their pods are made."""
    for type in job.replicas:
        for index in range(job.count(type)):
            yield Replica(type, index, job.host(type, index))


def type_labels(job: Job, type: str) -> dict[str, str]:
    """What all pods of a type bear, and no other pod of the namespace."""
    return {OPERATOR_LABEL: job.framework.operator, JOB_LABEL: job.name, TYPE_LABEL: type.lower()}


def selector(job: Job, type: str) -> str:
    """The label selector of a type's pods, as text (keys sorted)."""
    return ",".join(f"{key}={value}" for key, value in sorted(type_labels(job, type).items()))


class _Template(msgspec.Struct, frozen=True):
    """What all pods of one type share: worked out once a sync, however many replicas there are."""

    labels: dict[str, str]
    annotations: dict[str, str]
    user_labels: dict[str, str]
    spec: Object
    containers: Sequence[Object]
    ports: list[Object]


class Builder:
    """Makes pods and services of one job, whose pods are placed together by `gang`."""

    def __init__(self, job: Job, gang: Gang | None = None) -> None:
        self._job, self._gang = job, gang
        self._environment = job.framework.environment(job)
        self._templates: dict[str, _Template] = {}

    def pod(self, replica: Replica) -> Object:
        job, template = self._job, self._template(replica.type)
        labels = template.user_labels | template.labels | {INDEX_LABEL: str(replica.index)}
        if job.framework.is_master(job, replica):
            labels[ROLE_LABEL] = "master"
        metadata: Object = {"name": replica.name, "labels": labels}
        if template.annotations:
            metadata["annotations"] = dict(template.annotations)
        spec = {**template.spec, "containers": self._containers(replica, template)}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": job.framework.shape_pod(job, replica, spec),
        }

    def service(self, replica: Replica) -> Object:
        template = self._template(replica.type)
        return service(replica, template.labels | {INDEX_LABEL: str(replica.index)}, template.ports)

    def _containers(self, replica: Replica, template: _Template) -> list[Object]:
        variables = self._environment(replica)
        if not variables:
            return list(template.containers)
        framework, names = self._job.framework, {variable["name"] for variable in variables}
        return [
            # In front of the user's own, so that those may refer to them: $(RANK).
            {**c, "env": [*variables, *(v for v in c.get("env") or () if v.get("name") not in names)]}
            if framework.all_containers or framework.is_main(index, c)
            else c
            for index, c in enumerate(template.containers)
        ]

    def _template(self, type: str) -> _Template:
        found = self._templates.get(type)
        if found is None:
            found = self._templates[type] = self._prepare(type)
        return found

    def _prepare(self, type: str) -> _Template:
        job, replica_spec = self._job, self._job.replicas[type]
        template = self._gang.tie(replica_spec.template, type.lower()) if self._gang else replica_spec.template
        metadata = template.get("metadata") or {}
        spec = dict(template.get("spec") or {})
        # Pods know no ExitCode, and nothing of one another: the controller decides what becomes of one that failed.
        decides = job.gang_restart or replica_spec.restart_policy == "ExitCode"
        spec["restartPolicy"] = "Never" if decides else replica_spec.restart_policy
        return _Template(
            labels=type_labels(job, type),
            annotations=dict(metadata.get("annotations") or {}),
            user_labels=dict(metadata.get("labels") or {}),
            spec=spec,
            containers=[self._prepared(i, container) for i, container in enumerate(spec.get("containers") or ())],
            ports=service_ports(job, type) if job.framework.services else [],
        )

    def _prepared(self, index: int, container: Object) -> Object:
        framework = self._job.framework
        if not framework.is_main(index, container):
            return container
        result = dict(container)
        ports = container.get("ports") or []
        if framework.port_name and not any(port.get("name") == framework.port_name for port in ports):
            result["ports"] = [*ports, {"name": framework.port_name, "containerPort": framework.port}]
        # So that a failed container's last output becomes its termination message, which the job's condition repeats.
        result.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
        return result
