"""kubeflow-training: jobs of every kind that the SDK knows, from submission to deletion, as its users do it.

What trains prints and ends: no framework has to be installed for it. `TrainingClient.train` needs `peft` and
`transformers` on this side, and a model hub on the other: what it uses of the former is stood in for here, and the
images that know the latter are stood in for by the platform's image file.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from kubeflow.training import TrainingClient, models
from kubernetes import client

NAMESPACE = "default"
SECONDS = 90


class Shape(NamedTuple):
    """What is particular to a kind."""

    kind: str
    field: str
    container: str
    replicas: dict[str, int]
    leader: str
    """The replica with the role of the master."""


SHAPES = (
    Shape("TFJob", "tf", "tensorflow", {"Chief": 1, "Worker": 1}, "chief-0"),
    Shape("PyTorchJob", "pytorch", "pytorch", {"Master": 1, "Worker": 1}, "master-0"),
    Shape("XGBoostJob", "xgb", "xgboost", {"Master": 1, "Worker": 1}, "master-0"),
    Shape("MPIJob", "mpi", "mpi", {"Launcher": 1, "Worker": 1}, "launcher"),
    Shape("PaddleJob", "paddle", "paddle", {"Master": 1, "Worker": 1}, "master-0"),
    Shape("JAXJob", "jax", "jax", {"Worker": 2}, "worker-0"),
)
every_kind = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
Submit = Callable[[Shape, str], tuple[TrainingClient, str, Any]]


def build(shape: Shape, name: str, script: str) -> Any:
    container = client.V1Container(name=shape.container, image="busybox", command=["sh", "-c"], args=[script])
    template = client.V1PodTemplateSpec(spec=client.V1PodSpec(containers=[container]))
    specs = {
        type: models.KubeflowOrgV1ReplicaSpec(replicas=count, restart_policy="Never", template=template)
        for type, count in shape.replicas.items()
    }
    policy = models.KubeflowOrgV1RunPolicy(clean_pod_policy="None")
    spec = getattr(models, f"KubeflowOrgV1{shape.kind}Spec")
    return getattr(models, f"KubeflowOrgV1{shape.kind}")(
        api_version="kubeflow.org/v1",
        kind=shape.kind,
        metadata=client.V1ObjectMeta(name=name, namespace=NAMESPACE),
        spec=spec(run_policy=policy, **{f"{shape.field}_replica_specs": specs}),
    )


@pytest.fixture
def submit() -> Iterator[Submit]:
    made: list[tuple[TrainingClient, str]] = []

    def make(shape: Shape, script: str) -> tuple[TrainingClient, str, Any]:
        training, name = TrainingClient(job_kind=shape.kind), f"sdk-{uuid.uuid4().hex[:8]}"
        job = build(shape, name, script)
        training.create_job(job, namespace=NAMESPACE)
        made.append((training, name))
        return training, name, job

    yield make
    for training, name in made:
        if name in names(training):
            training.delete_job(name, namespace=NAMESPACE)


def names(training: TrainingClient) -> list[str]:
    return [job.metadata.name for job in training.list_jobs(namespace=NAMESPACE)]


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.5)


def wait(training: TrainingClient, name: str, *conditions: str) -> Any:
    return training.wait_for_job_conditions(
        name, namespace=NAMESPACE, expected_conditions=set(conditions), polling_interval=1, wait_timeout=SECONDS
    )


@every_kind
def test_a_job_to_its_end_and_its_logs(shape: Shape, submit: Submit) -> None:
    training, name, _ = submit(shape, "echo I am $HOSTNAME; sleep 2; echo bye")
    leader, count = f"{name}-{shape.leader}", sum(shape.replicas.values())
    until(
        lambda: (
            client.CoreV1Api().read_namespaced_pod(leader, NAMESPACE).status.phase != "Pending"
            if len(training.get_job_pod_names(name, namespace=NAMESPACE)) == count
            else False
        )
    )
    followed, _ = training.get_job_logs(name, namespace=NAMESPACE, follow=True)
    assert list(followed) == [leader]
    assert "I am" in followed[leader]
    assert "bye" in followed[leader]
    done = wait(training, name, "Succeeded")
    assert training.is_job_succeeded(job=done)
    assert training.is_job_created(name, namespace=NAMESPACE)
    assert not training.is_job_running(name, namespace=NAMESPACE)
    assert not training.is_job_restarting(name, namespace=NAMESPACE)
    types = [condition.type for condition in training.get_job_conditions(name, namespace=NAMESPACE)]
    assert {"Created", "Succeeded"} <= set(types)
    assert len(training.get_job_pod_names(name, namespace=NAMESPACE)) == count
    assert training.get_job_pod_names(name, namespace=NAMESPACE, is_master=True) == [leader]
    logs, _ = training.get_job_logs(name, namespace=NAMESPACE, is_master=False)
    assert len(logs) == count
    assert all("I am" in text for text in logs.values())

    def told() -> bool:  # a moment after the status has it
        _, events = training.get_job_logs(name, namespace=NAMESPACE, is_master=False, verbose=True)
        job = events.get(f"{shape.kind.lower()}/{name}", [])
        return any("succeeded" in line for line in job) and f"pod/{leader}" in events

    until(told)


@every_kind
def test_a_job_is_suspended_resumed_and_deleted(shape: Shape, submit: Submit) -> None:
    training, name, job = submit(shape, "sleep 600 & trap 'exit 1' TERM; wait")
    assert training.is_job_running(job=wait(training, name, "Running"))
    count = sum(shape.replicas.values())
    assert len(training.get_job_pod_names(name, namespace=NAMESPACE)) == count
    (worker,) = training.get_job_pods(name, namespace=NAMESPACE, replica_type="worker", replica_index=0)
    assert worker.metadata.name == f"{name}-worker-0"
    job.spec.run_policy.suspend = True
    job.metadata.labels = {"team": "vision"}
    training.update_job(job, name, namespace=NAMESPACE)
    assert training.get_job(name, namespace=NAMESPACE).metadata.labels == {"team": "vision"}
    until(lambda: not training.get_job_pod_names(name, namespace=NAMESPACE))
    assert not training.is_job_running(name, namespace=NAMESPACE)
    job.spec.run_policy.suspend = False
    training.update_job(job, name, namespace=NAMESPACE)
    wait(training, name, "Running")
    assert name in names(training)
    training.delete_job(name, namespace=NAMESPACE)
    until(lambda: name not in names(training) and not training.get_job_pod_names(name, namespace=NAMESPACE))
    with pytest.raises(RuntimeError):
        training.get_job(name, namespace=NAMESPACE)


@every_kind
def test_a_job_that_fails_says_why(shape: Shape, submit: Submit) -> None:
    training, name, _ = submit(shape, "echo no such data; exit 3")
    with pytest.raises(RuntimeError, match="Failed"):
        wait(training, name, "Succeeded")
    assert training.is_job_failed(name, namespace=NAMESPACE)
    (failed,) = [one for one in training.get_job_conditions(name, namespace=NAMESPACE) if one.type == "Failed"]
    assert "code 3" in failed.message
    assert "no such data" in failed.message


def greet(parameters: dict[str, str]) -> None:
    import os

    print(f"{parameters['greeting']} from {os.environ['ROLE']}, {os.environ.get('RANK', '?')}")


@pytest.mark.parametrize("kind", ["TFJob", "PyTorchJob"])
def test_a_function_becomes_a_job(kind: str) -> None:
    training, name = TrainingClient(job_kind=kind), f"fn-{uuid.uuid4().hex[:8]}"
    training.create_job(
        name=name,
        namespace=NAMESPACE,
        train_func=greet,
        parameters={"greeting": "hello"},
        base_image="python:3",
        num_workers=1,
        env_vars={"ROLE": "trainer"},
        resources_per_worker={"cpu": "0.1", "memory": "64Mi"},
        labels={"made-by": "function"},
        queue_name="no-such-queue",
    )
    try:
        done = wait(training, name, "Succeeded")
        assert done.metadata.labels == {"made-by": "function", "kueue.x-k8s.io/queue-name": "no-such-queue"}
        logs, _ = training.get_job_logs(name, namespace=NAMESPACE)
        assert ["hello from trainer" in text for text in logs.values()] == [True]
    finally:
        training.delete_job(name, namespace=NAMESPACE)


@pytest.mark.parametrize("kind", ["TFJob", "PyTorchJob"])
def test_an_image_becomes_a_job(kind: str) -> None:
    training, name = TrainingClient(job_kind=kind), f"image-{uuid.uuid4().hex[:8]}"
    training.create_job(name=name, namespace=NAMESPACE, base_image="busybox", num_workers=2)
    try:
        wait(training, name, "Succeeded")
        pods = training.get_job_pods(name, namespace=NAMESPACE)
        assert [pod.spec.containers[0].image for pod in pods] == ["busybox", "busybox"]
    finally:
        training.delete_job(name, namespace=NAMESPACE)


class Arguments(dict[str, Any]):
    """What `train` asks of LoraConfig and TrainingArguments."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(fields)

    def to_dict(self) -> dict[str, Any]:
        return dict(self)


@pytest.fixture
def hugging_face(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = ("SequenceClassification", "TokenClassification", "QuestionAnswering", "CausalLM", "MaskedLM")
    models = {f"AutoModelFor{task}": type(f"AutoModelFor{task}", (), {}) for task in (*tasks, "ImageClassification")}
    parts = {"transformers": {**models, "TrainingArguments": Arguments}, "peft": {"LoraConfig": Arguments}}
    for name, content in parts.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("hugging_face")
def test_a_model_of_the_hub_is_fine_tuned() -> None:
    """The claim, the initializer in the master, and arguments that come where they belong, in every replica."""
    import transformers
    from kubeflow.storage_initializer.hugging_face import (
        HuggingFaceDatasetParams,
        HuggingFaceModelParams,
        HuggingFaceTrainerParams,
    )
    from peft import LoraConfig

    training, name = TrainingClient(), f"tune-{uuid.uuid4().hex[:6]}"
    training.train(
        name=name,
        num_workers=2,
        num_procs_per_worker=1,
        resources_per_worker={"cpu": "0.2", "memory": "128Mi"},
        model_provider_parameters=HuggingFaceModelParams("hf://tiny/llama", transformers.AutoModelForCausalLM),
        dataset_provider_parameters=HuggingFaceDatasetParams("tiny/digits", split="train[:10]"),
        trainer_parameters=HuggingFaceTrainerParams(transformers.TrainingArguments(epochs=1), LoraConfig(r=8)),
        init_env_vars={"HF_ENDPOINT": "http://hub.local"},
        storage_config={"size": "10Mi"},
    )
    try:
        wait(training, name, "Succeeded")
        core = client.CoreV1Api()

        def log(pod: str) -> str:
            return str(core.read_namespaced_pod_log(pod, NAMESPACE, container="pytorch"))

        for index, pod in enumerate((f"{name}-master-0", f"{name}-worker-0")):
            expected = f"tunes hf://tiny/llama (AutoModelForCausalLM) on tiny/digits, r=8, as rank {index} of 2\n"
            until(lambda pod=pod, expected=expected: log(pod) == expected)  # type: ignore[misc]
        told = core.read_namespaced_pod_log(f"{name}-master-0", NAMESPACE, container="storage-initializer")
        assert told.strip() == "fetched by hf and hf from http://hub.local"
    finally:
        training.delete_job(name)
        client.CoreV1Api().delete_namespaced_persistent_volume_claim(name, NAMESPACE)
