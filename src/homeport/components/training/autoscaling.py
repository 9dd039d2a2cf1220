"""The autoscaler of an elastic job: named as the job, with the metrics of its ``elasticPolicy``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from homeport.components.training.framework import Job
from homeport.components.training.kinds import ElasticLimits
from homeport.control.controller import Child
from homeport.kube import core
from homeport.kube.meta import Object

KIND = core.HORIZONTAL_POD_AUTOSCALER.kind
CHILD = Child(core.HORIZONTAL_POD_AUTOSCALER.resource, optional=True)


def scale_paths(replicas_field: str) -> tuple[str, str, str]:
    """``Framework.scale_paths``: what an autoscaler, and ``kubectl scale``, changes and reads are the Workers."""
    worker = ".status.replicaStatuses.Worker"
    return f".spec.{replicas_field}.Worker.replicas", f"{worker}.active", f"{worker}.selector"


def autoscaler(job: Job, pods: Mapping[str, Object]) -> Iterator[Object]:
    """``Framework.objects``: one if there are metrics; a suspended or ended job has none."""
    elastic: ElasticLimits | None = job.spec.elastic_policy
    if elastic is None or not elastic.metrics:
        return
    least, most = elastic.bounds(job.count("Worker"))
    yield {
        "apiVersion": core.HORIZONTAL_POD_AUTOSCALER.api_version,
        "kind": KIND,
        "metadata": {"name": job.name},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": job.framework.resource.api_version,
                "kind": job.framework.kind,
                "name": job.name,
            },
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": elastic.metrics,
        },
    }
