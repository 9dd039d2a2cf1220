"""kubeflow: the trainer's client lists runtimes, submits a job and reads it back through its strict models."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kubeflow.trainer import CustomTrainer, TrainerClient
from kubernetes import client
from open_kinds import definition, served

GROUP, VERSION = "trainer.kubeflow.org", "v1alpha1"


@pytest.fixture(scope="module", autouse=True)
def kinds() -> Iterator[None]:
    with served(
        definition(GROUP, VERSION, "TrainJob", "trainjobs"),
        definition(GROUP, VERSION, "TrainingRuntime", "trainingruntimes"),
        definition(GROUP, VERSION, "ClusterTrainingRuntime", "clustertrainingruntimes", "Cluster"),
    ):
        yield


def runtime(name: str) -> dict[str, Any]:
    node = {"name": "node", "image": "pytorch/pytorch"}
    labels = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    job = {"spec": {"template": {"spec": {"containers": [node]}}}, "metadata": {"labels": labels}}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ClusterTrainingRuntime",
        "metadata": {"name": name, "labels": {"trainer.kubeflow.org/framework": "torch"}},
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {"spec": {"replicatedJobs": [{"name": "node", "template": job}]}},
        },
    }


def train() -> None:
    print("trained")


def test_a_job_is_submitted_and_read_back() -> None:
    custom = client.CustomObjectsApi()
    name = f"torch-{uuid.uuid4().hex[:8]}"
    custom.create_cluster_custom_object(GROUP, VERSION, "clustertrainingruntimes", runtime(name))
    trainer = TrainerClient()
    try:
        assert name in [found.name for found in trainer.list_runtimes()]
        submitted = trainer.train(
            runtime=trainer.get_runtime(name),
            trainer=CustomTrainer(func=train, num_nodes=2, resources_per_node={"cpu": 2}),
        )
        job = trainer.get_job(submitted)
        assert (job.name, job.num_nodes, job.status) == (submitted, 2, "Created")
        assert submitted in [found.name for found in trainer.list_jobs()]
        trainer.delete_job(submitted)
        assert submitted not in [found.name for found in trainer.list_jobs()]
    finally:
        custom.delete_cluster_custom_object(GROUP, VERSION, "clustertrainingruntimes", name)
