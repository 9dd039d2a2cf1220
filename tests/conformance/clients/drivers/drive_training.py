"""kubeflow-training: a TFJob from submission to its logs, as the SDK's users do it."""

from __future__ import annotations

import uuid

from kubeflow.training import TrainingClient
from kubernetes import client


def test_a_job_from_submission_to_logs() -> None:
    name = f"sdk-{uuid.uuid4().hex[:8]}"
    training = TrainingClient(job_kind="PyTorchJob")
    container = client.V1Container(
        name="pytorch", image="busybox", command=["sh", "-c"], args=["echo $RANK of $WORLD_SIZE; sleep 1"]
    )
    template = client.V1PodTemplateSpec(spec=client.V1PodSpec(containers=[container]))
    from kubeflow.training import models

    def replicas(count: int) -> models.KubeflowOrgV1ReplicaSpec:
        return models.KubeflowOrgV1ReplicaSpec(replicas=count, restart_policy="Never", template=template)

    job = models.KubeflowOrgV1PyTorchJob(
        api_version="kubeflow.org/v1",
        kind="PyTorchJob",
        metadata=client.V1ObjectMeta(name=name, namespace="default"),
        spec=models.KubeflowOrgV1PyTorchJobSpec(
            run_policy=models.KubeflowOrgV1RunPolicy(clean_pod_policy="None"),
            pytorch_replica_specs={"Master": replicas(1), "Worker": replicas(1)},
        ),
    )
    training.create_job(job, namespace="default")
    try:
        done = training.wait_for_job_conditions(name, namespace="default", polling_interval=1, wait_timeout=60)
        assert training.is_job_succeeded(job=done)
        assert len(training.get_job_pod_names(name, namespace="default")) == 2
        logs, _ = training.get_job_logs(name, namespace="default")
        assert "0 of 2" in "".join(logs.values())
        assert name in [item.metadata.name for item in training.list_jobs(namespace="default")]
    finally:
        training.delete_job(name, namespace="default")
