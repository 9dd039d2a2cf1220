"""kubeflow: the trainer's client as its users have it, from the list of runtimes to the deletion of a job.

What trains is plain Python, in a runtime of the test's own: no framework has to be installed for it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kubeflow.trainer import CustomTrainer, CustomTrainerContainer, Runtime, TrainerClient
from kubeflow.trainer.options import (
    ActiveDeadlineSeconds,
    Annotations,
    ContainerPatch,
    JobSetSpecPatch,
    JobSetTemplatePatch,
    JobSpecPatch,
    JobTemplatePatch,
    Labels,
    Name,
    PodSpecPatch,
    PodTemplatePatch,
    ReplicatedJobPatch,
    RuntimePatch,
    TrainerArgs,
    TrainerCommand,
    TrainingRuntimeSpecPatch,
)
from kubernetes import client, config

GROUP, VERSION, NAMESPACE = "trainer.kubeflow.org", "v1alpha1", "default"
STOCK = {
    "torch-distributed": "torch",
    "deepspeed-distributed": "deepspeed",
    "mlx-distributed": "mlx",
    "jax-distributed": "jax",
    "xgboost-distributed": "xgboost",
    "torchtune-llama3.2-1b": "torchtune",
    "torchtune-llama3.2-3b": "torchtune",
    "torchtune-qwen2.5-1.5b": "torchtune",
}
SECONDS = 90


def events(trainer: TrainerClient, name: str) -> set[tuple[str, str]]:
    return {(event.involved_object_kind, event.reason) for event in trainer.get_job_events(name)}


def plain_runtime(name: str) -> dict[str, Any]:
    labels = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    pod = {"containers": [{"name": "node", "image": "python:3"}]}
    job = {"metadata": {"labels": labels}, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}
    pod["restartPolicy"] = "Never"  # type: ignore[assignment]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainingRuntime",
        "metadata": {"name": name, "labels": {"trainer.kubeflow.org/framework": "plain"}},
        "spec": {
            "mlPolicy": {"numNodes": 1},
            "template": {"spec": {"replicatedJobs": [{"name": "node", "template": job}]}},
        },
    }


@pytest.fixture(scope="module")
def trainer() -> TrainerClient:
    config.load_kube_config()
    return TrainerClient()


@pytest.fixture(scope="module")
def runtime(trainer: TrainerClient) -> Iterator[Runtime]:
    custom, name = client.CustomObjectsApi(), f"plain-{uuid.uuid4().hex[:6]}"
    custom.create_namespaced_custom_object(GROUP, VERSION, NAMESPACE, "trainingruntimes", plain_runtime(name))
    yield trainer.get_runtime(name)
    custom.delete_namespaced_custom_object(GROUP, VERSION, NAMESPACE, "trainingruntimes", name)


def stored(name: str) -> Any:
    return client.CustomObjectsApi().get_namespaced_custom_object(GROUP, VERSION, NAMESPACE, "trainjobs", name)


def count(epochs: int) -> None:
    import os
    import time

    for epoch in range(epochs):
        print(f"{os.environ['MODEL']} has seen epoch {epoch}", flush=True)
        time.sleep(0.2)


def report(percent: int) -> None:
    import json
    import os
    import ssl
    import urllib.request

    with open(os.environ["KUBEFLOW_TRAINER_SERVER_TOKEN"]) as file:
        token = file.read()
    status = {
        "progressPercentage": percent,
        "metrics": [{"name": "loss", "value": "0.25"}],
        "lastUpdatedTime": "2026-01-01T00:00:00Z",
    }
    request = urllib.request.Request(
        os.environ["KUBEFLOW_TRAINER_SERVER_URL"],
        json.dumps({"trainerStatus": status}).encode(),
        {"Authorization": "Bearer " + token, "Content-Type": "application/json"},
    )
    context = ssl.create_default_context(cafile=os.environ["KUBEFLOW_TRAINER_SERVER_CA_CERT"])
    print(urllib.request.urlopen(request, context=context).status)


def fail() -> None:
    raise ValueError("no such data")


def wait() -> None:
    import time

    time.sleep(600)


def test_the_stock_runtimes_are_listed(trainer: TrainerClient) -> None:
    found = {runtime.name: runtime.trainer.framework for runtime in trainer.list_runtimes()}
    assert STOCK.items() <= found.items()
    torch = trainer.get_runtime("torch-distributed")
    assert (torch.kind.value, torch.trainer.num_nodes) == ("ClusterTrainingRuntime", 1)
    with pytest.raises(Exception, match=r"404|[Nn]ot found|[Ff]ailed"):
        trainer.get_runtime("no-such-runtime")


def test_a_function_trains_on_two_nodes(trainer: TrainerClient, runtime: Runtime) -> None:
    name = f"count-{uuid.uuid4().hex[:6]}"
    made = trainer.train(
        runtime=runtime,
        trainer=CustomTrainer(
            func=count,
            func_args={"epochs": 10},
            num_nodes=2,
            env={"MODEL": "small"},
            resources_per_node={"cpu": 0.5, "memory": "128Mi"},
        ),
        options=[Name(name), Labels({"team": "vision"}), Annotations({"why": "to see"})],
    )
    assert made == name
    assert trainer.wait_for_job_status(name, status={"Running", "Complete"}, timeout=SECONDS).name == name
    followed = list(trainer.get_job_logs(name, step="node-1", follow=True))
    assert [line for line in followed if "has seen" in line] == [f"small has seen epoch {n}" for n in range(10)]
    job = trainer.wait_for_job_status(name, timeout=SECONDS)
    assert (job.status, job.num_nodes, job.runtime.name) == ("Complete", 2, runtime.name)
    steps = {step.name: step.status for step in job.steps}
    assert steps == {"node-0": "Succeeded", "node-1": "Succeeded"}
    assert any("small has seen epoch 9" in line for line in trainer.get_job_logs(name))
    deadline = time.monotonic() + SECONDS
    while ("TrainJob", "AllJobsCompleted") not in (seen := events(trainer, name)):  # a moment after the status has it
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)
    assert {"JobSet", "Pod"} <= {kind for kind, _ in seen}
    assert stored(name)["metadata"]["labels"] == {"team": "vision"}
    assert name in [found.name for found in trainer.list_jobs(runtime=runtime)]
    trainer.delete_job(name)
    assert name not in [found.name for found in trainer.list_jobs()]


def test_nodes_of_an_elastic_runtime_come_and_go(trainer: TrainerClient) -> None:
    """The client knows nothing of it, and tells what there is."""
    custom, elastic = client.CustomObjectsApi(), plain_runtime(f"elastic-{uuid.uuid4().hex[:6]}")
    elastic["spec"]["mlPolicy"] = {"numNodes": 2, "torch": {"elasticPolicy": {"minNodes": 1, "maxNodes": 3}}}
    custom.create_namespaced_custom_object(GROUP, VERSION, NAMESPACE, "trainingruntimes", elastic)
    name = trainer.train(
        runtime=trainer.get_runtime(elastic["metadata"]["name"]),
        trainer=CustomTrainerContainer(image="busybox"),
        options=[TrainerCommand(command=["sleep"]), TrainerArgs(args=["600"])],
    )
    for nodes in (2, 3, 1):
        scale = {"spec": {"replicas": nodes}}
        custom.patch_namespaced_custom_object_scale(GROUP, VERSION, NAMESPACE, "trainjobs", name, scale)
        wanted = {f"node-{index}": "Running" for index in range(nodes)}
        deadline = time.monotonic() + SECONDS
        while (steps := {step.name: step.status for step in trainer.get_job(name).steps}) != wanted:
            assert time.monotonic() < deadline, steps
            time.sleep(0.2)
        job = trainer.get_job(name)
        assert (job.status, job.num_nodes) == ("Running", nodes)
    trainer.delete_job(name)
    custom.delete_namespaced_custom_object(GROUP, VERSION, NAMESPACE, "trainingruntimes", elastic["metadata"]["name"])


def test_training_says_how_far_it_is(trainer: TrainerClient, runtime: Runtime) -> None:
    name = trainer.train(runtime=runtime, trainer=CustomTrainer(func=report, func_args={"percent": 40}))
    job = trainer.wait_for_job_status(name, status={"Complete", "Failed"}, timeout=SECONDS)
    assert job.status == "Complete", list(trainer.get_job_logs(name))
    assert stored(name)["status"]["trainerStatus"] == {
        "progressPercentage": 40,
        "metrics": [{"name": "loss", "value": "0.25"}],
        "lastUpdatedTime": "2026-01-01T00:00:00Z",
    }
    trainer.delete_job(name)


def test_a_job_that_fails(trainer: TrainerClient, runtime: Runtime) -> None:
    name = trainer.train(runtime=runtime, trainer=CustomTrainer(func=fail))
    with pytest.raises(RuntimeError, match="Failed"):
        trainer.wait_for_job_status(name, timeout=SECONDS)
    assert trainer.get_job(name).status == "Failed"
    assert any("no such data" in line for line in trainer.get_job_logs(name))
    trainer.delete_job(name)


def test_a_job_that_takes_too_long(trainer: TrainerClient, runtime: Runtime) -> None:
    name = trainer.train(runtime=runtime, trainer=CustomTrainer(func=wait), options=[ActiveDeadlineSeconds(seconds=2)])
    job = trainer.wait_for_job_status(name, status={"Failed"}, timeout=SECONDS)
    assert job.status == "Failed"
    (condition,) = stored(name)["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("Failed", "DeadlineExceeded")
    trainer.delete_job(name)


def test_a_patched_runtime_and_a_container_of_ones_own(trainer: TrainerClient, runtime: Runtime) -> None:
    pod = PodSpecPatch(
        volumes=[{"name": "scratch", "emptyDir": {}}],
        containers=[ContainerPatch(name="node", volume_mounts=[{"name": "scratch", "mountPath": "/scratch"}])],
    )
    job = JobTemplatePatch(spec=JobSpecPatch(template=PodTemplatePatch(spec=pod)))
    spec = JobSetSpecPatch(replicated_jobs=[ReplicatedJobPatch(name="node", template=job)])
    patch = TrainingRuntimeSpecPatch(template=JobSetTemplatePatch(metadata={"labels": {"queue": "a"}}, spec=spec))
    image = CustomTrainerContainer(image="busybox", num_nodes=1, env={"GREETING": "hello"})
    name = trainer.train(runtime=runtime, trainer=image, options=[RuntimePatch(training_runtime_spec=patch)])
    trainer.wait_for_job_status(name, status={"Complete", "Failed"}, timeout=SECONDS)
    selector = f"jobset.sigs.k8s.io/jobset-name={name}"
    (found,) = client.CoreV1Api().list_namespaced_pod(NAMESPACE, label_selector=selector).items
    node = found.spec.containers[0]
    assert node.image == "busybox"
    assert ("scratch", "/scratch") in [(mount.name, mount.mount_path) for mount in node.volume_mounts]
    assert ("GREETING", "hello") in [(each.name, each.value) for each in node.env]
    patches = stored(name)["spec"]["runtimePatches"]
    assert [(each["manager"], "time" in each) for each in patches] == [("trainer.kubeflow.org/kubeflow-sdk", True)]
    trainer.delete_job(name)


def test_a_command_in_place_of_the_images(trainer: TrainerClient, runtime: Runtime) -> None:
    image = CustomTrainerContainer(image="busybox", num_nodes=1)
    command = [TrainerCommand(command=["sh", "-c"]), TrainerArgs(args=["echo I am $HOSTNAME"])]
    name = trainer.train(runtime=runtime, trainer=image, options=command)
    trainer.wait_for_job_status(name, timeout=SECONDS)
    assert [line for line in trainer.get_job_logs(name) if line.startswith("I am")] == [f"I am {name}-node-0-0"]
    trainer.delete_job(name)


def test_the_packages_of_a_runtime(
    trainer: TrainerClient, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.get_runtime_packages(runtime)
    shown = capsys.readouterr().out
    assert "Python: 3." in shown
    assert "pip " in shown
