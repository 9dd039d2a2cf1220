"""Rules and defaults, through the kinds as the API server uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from homeport.components.training import KINDS
from homeport.kube.kind import Kind
from homeport.kube.meta import Object

Make = Callable[..., Any]


def kind_of(job: Object) -> Kind:
    return next(kind for kind in KINDS if (kind.api_version, kind.kind) == (job["apiVersion"], job["kind"]))


def errors(job: Object, old: Object | None = None) -> list[str]:
    kind = kind_of(job)
    return [str(error) for error in kind.validate(kind.prepare(job, old), old)]


def pods(*containers: Object) -> Object:
    return {"spec": {"containers": list(containers)}}


GOOD = {"name": "tensorflow", "image": "x"}


def test_a_job_without_a_spec() -> None:
    for kind in KINDS:
        if kind.resource.version != "v1":
            continue
        job = {"apiVersion": "kubeflow.org/v1", "kind": kind.kind, "metadata": {"name": "a", "namespace": "b"}}
        complaint, *_ = errors(job)
        told = "ReplicaSpecs: Required value: must be required" if kind.kind != "MXJob" else "field `jobMode`"
        assert complaint.endswith(told)


@pytest.mark.parametrize(
    ("kind", "replicas", "spec", "expected"),
    [
        ("TFJob", {"Worker": 1}, {}, []),
        ("TFJob", {"worker": 2, "ps": 1, "CHIEF": 1}, {}, []),
        ("TFJob", {}, {}, ["spec.tfReplicaSpecs: Required value: must be required"]),
        (
            "TFJob",
            {"Worker": {"template": pods({"name": "main", "image": "x"})}},
            {},
            [
                "spec.tfReplicaSpecs[Worker].template.spec.containers: Required value: "
                "must have at least one container with name tensorflow"
            ],
        ),
        (
            "TFJob",
            {"Worker": {"template": pods(GOOD, {"name": "side"})}},
            {},
            ["spec.tfReplicaSpecs[Worker].template.spec.containers[1].image: Required value: must be required"],
        ),
        (
            "TFJob",
            {"Worker": {"template": {}}},
            {},
            [
                "spec.tfReplicaSpecs[Worker].template.spec.containers: Required value: must be specified",
                "spec.tfReplicaSpecs[Worker].template.spec.containers: Required value: "
                "must have at least one container with name tensorflow",
            ],
        ),
        (
            "TFJob",
            {"Chief": 1, "Master": 1},
            {},
            ["spec.tfReplicaSpecs: Forbidden: must not have more than 1 Chief or Master role"],
        ),
        ("TFJob", {"Chief": 2}, {}, ["spec.tfReplicaSpecs[Chief].replicas: Forbidden: must be 1"]),
        ("TFJob", {"Worker": 0}, {}, ["spec.tfReplicaSpecs: Invalid value: 0: must ask for at least one replica"]),
        ("TFJob", {"Worker": -1, "PS": 2}, {}, ["spec.tfReplicaSpecs[Worker].replicas: Forbidden: must be at least 0"]),
        (
            "PyTorchJob",
            {"Boss": 1},
            {},
            ['spec.pytorchReplicaSpecs[Boss]: Unsupported value: "Boss": supported values: "Master", "Worker"'],
        ),
        ("PyTorchJob", {"Master": 2}, {}, ["spec.pytorchReplicaSpecs[Master].replicas: Forbidden: must be 1"]),
        (
            "PyTorchJob",
            {"Master": 1, "Worker": 0},
            {},
            ["spec.pytorchReplicaSpecs[Worker].replicas: Forbidden: must be at least 1"],
        ),
        (
            "PyTorchJob",
            {"Master": 1},
            {"elasticPolicy": {"minReplicas": 1}},
            ["spec.pytorchReplicaSpecs[Worker]: Required value: must be configured if elastic policy is used"],
        ),
        (
            "PyTorchJob",
            {"Worker": 1},
            {"elasticPolicy": {"nProcPerNode": 2}, "nprocPerNode": "2"},
            ["spec.elasticPolicy.nProcPerNode: Forbidden: must not be used with spec.nprocPerNode"],
        ),
        (
            "PyTorchJob",
            {"Worker": 1},
            {"elasticPolicy": {"minReplicas": 3, "maxReplicas": 2}},
            ["spec.elasticPolicy.maxReplicas: Invalid value: 2: must not be less than minReplicas (3)"],
        ),
        (
            "PyTorchJob",
            {"Worker": 1},
            {"nprocPerNode": "many"},
            ['spec.nprocPerNode: Invalid value: "many": must be auto, cpu, gpu or a positive number'],
        ),
        ("XGBoostJob", {"Worker": 1}, {}, ["spec.xgbReplicaSpecs[Master]: Required value: must be present"]),
        ("XGBoostJob", {"Master": 2}, {}, ["spec.xgbReplicaSpecs[Master].replicas: Forbidden: must be 1"]),
        (
            "XGBoostJob",
            {"Master": 0, "Worker": 1},
            {},
            ["spec.xgbReplicaSpecs[Master].replicas: Forbidden: must be 1"],
        ),
        ("PaddleJob", {"Master": 2, "worker": 1}, {}, []),
        (
            "PaddleJob",
            {"Worker": 1},
            {"elasticPolicy": {"minReplicas": 2, "maxReplicas": 1}},
            ["spec.elasticPolicy.maxReplicas: Invalid value: 1: must not be less than minReplicas (2)"],
        ),
        (
            "JAXJob",
            {"Master": 1},
            {},
            ['spec.jaxReplicaSpecs[Master]: Unsupported value: "Master": supported values: "Worker"'],
        ),
        ("MPIJob", {"Worker": 1}, {}, ["spec.mpiReplicaSpecs[Launcher]: Required value: must be present"]),
        ("MPIJob", {"Launcher": 2}, {}, ["spec.mpiReplicaSpecs[Launcher].replicas: Forbidden: must be 1"]),
        ("MXJob", {"scheduler": 2}, {}, ["spec.mxReplicaSpecs[Scheduler].replicas: Forbidden: must be 1"]),
        (
            "TFJob",
            {"Worker": 1},
            {"runPolicy": {"managedBy": "me"}},
            [
                'spec.runPolicy.managedBy: Unsupported value: "me": supported values: '
                '"kubeflow.org/training-operator", "kueue.x-k8s.io/multikueue"'
            ],
        ),
    ],
)
def test_rules(make_job: Make, kind: str, replicas: Any, spec: Any, expected: list[str]) -> None:
    assert errors(make_job(kind, replicas, **spec)) == expected


def test_pod_templates_are_judged_as_those_of_pods_are(make_job: Make) -> None:
    mounts = [{"name": "data", "mountPath": "/data"}]
    replicas = {"Worker": {"template": pods(GOOD | {"volumeMounts": mounts, "ports": [{"containerPort": 70000}]})}}
    found = errors(make_job("TFJob", replicas))
    path = "spec.tfReplicaSpecs[Worker].template.spec.containers[0]"
    assert f'{path}.volumeMounts[0].name: Not found: "data"' in found
    assert any(error.startswith(f"{path}.ports[0].containerPort: Invalid value: 70000") for error in found)


@pytest.mark.parametrize("name", ["1st", "Mnist", "a.b", "a_b", "-a"])
def test_names_are_dns_labels(make_job: Make, name: str) -> None:
    (error,) = errors(make_job("TFJob", {"Worker": 1}, name=name))
    assert error.startswith(f'metadata.name: Invalid value: "{name}": should match: a DNS-1035 label must consist of')


def test_names_leave_room_for_those_of_the_replicas(make_job: Make) -> None:
    assert errors(make_job("TFJob", {"Worker": 101}, name="a" * 52)) == []
    (error,) = errors(make_job("TFJob", {"Worker": 101}, name="a" * 53))
    assert "must be no more than 52 characters" in error
    assert "worker-100 must fit into 63" in error


class TestImmutableFields:
    def test_managed_by(self, make_job: Make) -> None:
        old = make_job("TFJob", {"Worker": 1})
        new = make_job("TFJob", {"Worker": 1}, runPolicy={"managedBy": "kueue.x-k8s.io/multikueue"})
        expected = 'spec.runPolicy.managedBy: Invalid value: "kueue.x-k8s.io/multikueue": field is immutable'
        assert errors(new, old) == [expected]
        assert errors(new, new) == []

    def test_queue(self, make_job: Make) -> None:
        old, new = (make_job("TFJob", {"Worker": 1}, runPolicy={"schedulingPolicy": {"queue": q}}) for q in "ab")
        path = "spec.runPolicy.schedulingPolicy.queue"
        assert errors(new, old) == [f'{path}: Invalid value: "b": {path} is immutable']


class TestDefaults:
    def test_are_set_without_touching_the_argument(self, make_job: Make) -> None:
        job = make_job("PyTorchJob", {"WORKER": {}, "master": {"restartPolicy": "Never"}})
        before = repr(job)
        spec = kind_of(job).prepare(job, None)["spec"]
        assert repr(job) == before
        assert list(spec["pytorchReplicaSpecs"]) == ["Master", "Worker"]
        assert spec["pytorchReplicaSpecs"]["Worker"]["replicas"] == 1
        assert spec["pytorchReplicaSpecs"]["Worker"]["restartPolicy"] == "OnFailure"
        assert spec["pytorchReplicaSpecs"]["Master"]["restartPolicy"] == "Never"
        assert spec["runPolicy"] == {"cleanPodPolicy": "None", "suspend": False}
        assert spec["nprocPerNode"] == "auto"

    def test_are_set_once(self, make_job: Make) -> None:
        job = make_job("TFJob", {"worker": 2}, runPolicy=None)
        kind = kind_of(job)
        prepared = kind.prepare(job, None)
        assert kind.prepare(prepared, prepared) is prepared
        assert prepared["spec"]["tfReplicaSpecs"]["Worker"]["restartPolicy"] == "Never"

    def test_a_key_in_another_spelling_replaces_the_stored_one(self, make_job: Make) -> None:
        job = make_job("TFJob", {"Worker": 2, "worker": 5})
        replicas = kind_of(job).prepare(job, None)["spec"]["tfReplicaSpecs"]
        assert list(replicas) == ["Worker"]
        assert replicas["Worker"]["replicas"] == 5

    def test_the_deprecated_processes_per_node_keep_the_default_out(self, make_job: Make) -> None:
        job = make_job("PyTorchJob", {"Worker": 2}, elasticPolicy={"nProcPerNode": 2})
        assert "nprocPerNode" not in kind_of(job).prepare(job, None)["spec"]
        assert errors(job) == []

    @pytest.mark.parametrize("spec", [None, [], {"tfReplicaSpecs": 3, "runPolicy": "x"}, {"tfReplicaSpecs": {"a": 1}}])
    def test_nonsense_is_left_to_the_schema(self, make_job: Make, spec: Any) -> None:
        job = {**make_job("TFJob", {"Worker": 1}), "spec": spec}
        assert errors(job)

    def test_paddles_limits_are_stored(self, make_job: Make) -> None:
        job = make_job("PaddleJob", {"worker": 3}, elasticPolicy={"metrics": []})
        assert kind_of(job).prepare(job, None)["spec"]["elasticPolicy"] == {
            "metrics": [],
            "minReplicas": 3,
            "maxReplicas": 3,
        }
