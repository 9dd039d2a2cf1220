"""Jobs and runtimes for tests."""

from __future__ import annotations

from typing import Any

from homeport.components.trainer import stock
from homeport.kube.meta import Object


def stock_runtime(name: str) -> Object:
    return stock.runtime(stock.stock()[name])


def job(runtime: str = "torch-distributed", *, kind: str = "ClusterTrainingRuntime", **spec: Any) -> Object:
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": "mnist", "namespace": "default"},
        "spec": {"runtimeRef": {"name": runtime, "kind": kind}, **spec},
    }


def patch(job: str, manager: str = "example.com/me", **pod: Any) -> Object:
    """A runtime patch of the pods of one replicated job."""
    group = {"name": job, "template": {"spec": {"template": {"spec": pod}}}}
    return {"manager": manager, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [group]}}}}
