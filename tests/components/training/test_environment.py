"""The variables by which replicas find each other, exactly as the Training Operator v1.9 sets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from homeport.components.training import Settings, controllers
from homeport.kube.meta import Object

Make = Callable[..., Any]


def env(world: Any, name: str, container: int = 0) -> dict[str, Any]:
    variables = world.pods[name]["spec"]["containers"][container].get("env") or []
    assert len({v["name"] for v in variables}) == len(variables)
    return {v["name"]: v.get("value") for v in variables}


class TestTensorFlow:
    def test_lists_the_cluster(self, world: Make) -> None:
        w = world("TFJob", {"worker": 2, "PS": 1})
        w.sync()
        assert env(w, "mnist-worker-1") == {
            "TF_CONFIG": '{"cluster":{"ps":["mnist-ps-0.team.svc:2222"],'
            '"worker":["mnist-worker-0.team.svc:2222","mnist-worker-1.team.svc:2222"]},'
            '"task":{"type":"worker","index":1},"environment":"cloud"}'
        }
        assert json.loads(env(w, "mnist-ps-0")["TF_CONFIG"])["task"] == {"type": "ps", "index": 0}

    def test_is_absent_from_a_job_of_one(self, world: Make) -> None:
        w = world("TFJob", {"Worker": 1, "PS": 0})
        w.sync()
        assert env(w, "mnist-worker-0") == {}

    def test_keeps_the_evaluator_out_of_the_cluster(self, world: Make) -> None:
        w = world("TFJob", {"Chief": 1, "Evaluator": 1, "Worker": 1})
        w.sync()
        for name, task in (("mnist-evaluator-0", "evaluator"), ("mnist-chief-0", "chief")):
            config = json.loads(env(w, name)["TF_CONFIG"])
            assert sorted(config["cluster"]) == ["chief", "worker"]
            assert config["task"] == {"type": task, "index": 0}

    def test_is_sparse_for_dynamic_workers(self, world: Make) -> None:
        w = world("TFJob", {"Worker": 2, "PS": 2, "Chief": 1}, enableDynamicWorker=True)
        w.sync()
        assert env(w, "mnist-worker-1")["TF_CONFIG"] == (
            '{"cluster":{"worker":{"1":"mnist-worker-1.team.svc:2222"},'
            '"ps":["mnist-ps-0.team.svc:2222","mnist-ps-1.team.svc:2222"]},"task":{"type":"worker","index":1}}'
        )
        assert env(w, "mnist-ps-1")["TF_CONFIG"] == (
            '{"cluster":{"worker":{},"ps":["mnist-ps-1.team.svc:2222"]},"task":{"type":"ps","index":1}}'
        )
        assert json.loads(env(w, "mnist-chief-0")["TF_CONFIG"])["cluster"] == {"worker": {}, "ps": []}

    def test_uses_the_port_of_the_container_and_the_cluster_domain(self, make_world: Any, make_job: Make) -> None:
        container = {
            "name": "tensorflow",
            "image": "x",
            "ports": [{"name": "metrics", "containerPort": 9}, {"name": "tfjob-port", "containerPort": 3333}],
        }
        job = make_job("TFJob", {"PS": 1, "Worker": {"template": {"spec": {"containers": [container]}}}})
        w = make_world(job, controllers(Settings(cluster_domain="cluster.local"))[0])
        w.sync()
        assert json.loads(env(w, "mnist-ps-0")["TF_CONFIG"])["cluster"] == {
            "ps": ["mnist-ps-0.team.svc.cluster.local:2222"],
            "worker": ["mnist-worker-0.team.svc.cluster.local:3333"],
        }
        assert w.children["Service"]["mnist-worker-0"]["spec"]["ports"] == [
            {"name": "metrics", "port": 9},
            {"name": "tfjob-port", "port": 3333},
        ]

    def test_goes_to_the_training_container_only(self, world: Make) -> None:
        side = {"name": "side", "image": "x"}
        template = {"spec": {"containers": [side, {"name": "tensorflow", "image": "x"}]}}
        w = world("TFJob", {"Worker": {"replicas": 2, "template": template}})
        w.sync()
        assert env(w, "mnist-worker-0", 0) == {}
        assert "TF_CONFIG" in env(w, "mnist-worker-0", 1)
        assert w.pods["mnist-worker-0"]["spec"]["containers"][0] == side


class TestPyTorch:
    def test_master_and_workers(self, world: Make) -> None:
        w = world("PyTorchJob", {"Worker": 2, "Master": 1}, nprocPerNode="4")
        w.sync()
        common = {
            "PYTHONUNBUFFERED": "1",
            "MASTER_PORT": "23456",
            "PET_MASTER_PORT": "23456",
            "MASTER_ADDR": "mnist-master-0",
            "PET_MASTER_ADDR": "mnist-master-0",
            "WORLD_SIZE": "12",
            "PET_NPROC_PER_NODE": "4",
            "PET_NNODES": "3",
        }
        assert env(w, "mnist-master-0") == common | {"RANK": "0", "PET_NODE_RANK": "0"}
        assert env(w, "mnist-worker-1") == common | {"RANK": "2", "PET_NODE_RANK": "2"}

    @pytest.mark.parametrize(("given", "seen"), [(None, "auto"), ("cpu", "cpu"), ("gpu", "gpu")])
    def test_processes_that_torchrun_counts_itself_make_one_rank_a_pod(
        self, world: Make, given: str | None, seen: str
    ) -> None:
        w = world("PyTorchJob", {"Master": 1, "Worker": 1}, **({"nprocPerNode": given} if given else {}))
        w.sync()
        assert env(w, "mnist-worker-0")["PET_NPROC_PER_NODE"] == seen
        assert env(w, "mnist-worker-0")["WORLD_SIZE"] == "2"

    def test_workers_alone(self, world: Make) -> None:
        w = world("PyTorchJob", {"Worker": 2})
        w.sync()
        assert env(w, "mnist-worker-1") == {"PYTHONUNBUFFERED": "1", "PET_NPROC_PER_NODE": "auto", "PET_NNODES": "2"}

    def test_elastic(self, world: Make) -> None:
        policy = {
            "minReplicas": 1,
            "maxReplicas": 3,
            "maxRestarts": 5,
            "rdzvId": "meet",
            "rdzvConf": [{"key": "timeout", "value": "60"}, {"key": "is_host", "value": "1"}],
            "standalone": True,
        }
        w = world("PyTorchJob", {"Worker": 2}, elasticPolicy=policy)
        w.sync()
        assert env(w, "mnist-worker-0") == {
            "PYTHONUNBUFFERED": "1",
            "PET_NPROC_PER_NODE": "auto",
            "PET_RDZV_ENDPOINT": "mnist-worker-0:23456",
            "PET_RDZV_BACKEND": "c10d",
            "PET_NNODES": "1:3",
            "PET_MAX_RESTARTS": "5",
            "PET_RDZV_ID": "meet",
            "PET_RDZV_CONF": "timeout=60,is_host=1",
            "PET_STANDALONE": "1",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        }

    def test_elastic_with_a_store_for_all_rounds(self, world: Make) -> None:
        own = [{"name": "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "value": "0"}]
        template = {"spec": {"containers": [{"name": "pytorch", "image": "x", "env": own}]}}
        w = world("PyTorchJob", {"Worker": {"replicas": 1, "template": template}}, elasticPolicy={})
        w.sync()
        assert env(w, "mnist-worker-0")["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "0"

    @pytest.mark.parametrize(
        ("policy", "nodes"),
        [
            ({}, "2:2"),
            ({"minReplicas": 1}, "1:1"),
            ({"maxReplicas": 4}, "4:4"),
            ({"minReplicas": 2, "maxReplicas": 8}, "2:8"),
        ],
    )
    def test_elastic_bounds_default_to_each_other_and_to_the_workers(
        self, world: Make, policy: Object, nodes: str
    ) -> None:
        w = world("PyTorchJob", {"Worker": 2}, elasticPolicy=policy)
        w.sync()
        assert env(w, "mnist-worker-0")["PET_NNODES"] == nodes

    def test_elastic_elsewhere(self, world: Make) -> None:
        policy = {"rdzvHost": "etcd.team", "rdzvPort": 2379, "rdzvBackend": "etcd-v2", "nProcPerNode": 2}
        w = world("PyTorchJob", {"Worker": 2}, elasticPolicy=policy)
        w.sync()
        seen = env(w, "mnist-worker-0")
        assert seen["PET_RDZV_ENDPOINT"] == "etcd.team:2379"
        assert seen["PET_RDZV_BACKEND"] == "etcd-v2"
        assert seen["PET_NPROC_PER_NODE"] == "2"

    def test_every_container_gets_them_in_front_of_its_own(self, world: Make) -> None:
        own = [{"name": "NAME", "value": "rank-$(RANK)"}, {"name": "WORLD_SIZE", "value": "99"}]
        template = {
            "spec": {"containers": [{"name": "pytorch", "image": "x", "env": own}, {"name": "side", "image": "x"}]}
        }
        w = world("PyTorchJob", {"Master": {"template": template}, "Worker": 1})
        w.sync()
        names = [v["name"] for v in w.pods["mnist-master-0"]["spec"]["containers"][0]["env"]]
        assert names.index("RANK") < names.index("NAME")
        assert env(w, "mnist-master-0")["WORLD_SIZE"] == "2"
        assert env(w, "mnist-master-0", 1)["RANK"] == "0"


def test_xgboost_alone_has_no_workers_to_list(world: Make) -> None:
    w = world("XGBoostJob", {"Master": 1, "Worker": 0})
    w.sync()
    assert env(w, "mnist-master-0") == {
        "MASTER_PORT": "9999",
        "MASTER_ADDR": "mnist-master-0",
        "WORLD_SIZE": "1",
        "RANK": "0",
        "PYTHONUNBUFFERED": "1",
    }


def test_paddle_meets_at_the_leader_which_knows_itself_by_its_address(world: Make) -> None:
    w = world("PaddleJob", {"Worker": 2})
    w.sync()
    shared = {"PYTHONUNBUFFERED": "1", "PADDLE_JOB_ID": "mnist", "PADDLE_NNODES": "2"}
    at_itself = {"POD_IP_DUMMY": None, "PADDLE_MASTER": "$(POD_IP_DUMMY):36543"}
    assert env(w, "mnist-worker-0") == shared | at_itself
    assert env(w, "mnist-worker-1") == shared | {"PADDLE_MASTER": "mnist-worker-0:36543"}


def test_mxnet_has_its_cluster_and_the_variables_of_its_store(world: Make) -> None:
    w = world("MXJob", {"Worker": 2, "Scheduler": 1, "Server": 1})
    w.sync()
    found = env(w, "mnist-worker-1")
    assert json.loads(found.pop("MX_CONFIG")) == {
        "cluster": {
            "scheduler": [{"url": "mnist-scheduler-0", "port": 9091}],
            "server": [{"url": "mnist-server-0", "port": 9091}],
            "worker": [{"url": "mnist-worker-0", "port": 9091}, {"url": "mnist-worker-1", "port": 9091}],
        },
        "labels": {"scheduler": "", "server": "", "worker": ""},
        "task": {"type": "worker", "index": 1},
    }
    assert found == {
        "DMLC_PS_ROOT_PORT": "9091",
        "DMLC_PS_ROOT_URI": "mnist-scheduler-0",
        "DMLC_NUM_SERVER": "1",
        "DMLC_NUM_WORKER": "2",
        "DMLC_ROLE": "worker",
        "DMLC_USE_KUBERNETES": "1",
        "DMLC_WORKER_ID": "1",
    }
    assert "DMLC_WORKER_ID" not in env(w, "mnist-server-0")


@pytest.mark.parametrize(
    ("kind", "replicas", "leading"),
    [
        ("TFJob", {"Chief": 1, "Worker": 2}, ["chief-0"]),
        ("TFJob", {"PS": 1, "Worker": 2}, ["worker-0"]),
        ("PyTorchJob", {"Master": 1, "Worker": 2}, ["master-0"]),
        ("PyTorchJob", {"Worker": 2}, ["worker-0"]),
        ("XGBoostJob", {"Master": 1, "Worker": 2}, ["master-0"]),
        ("PaddleJob", {"Master": 2, "Worker": 2}, ["master-0", "master-1"]),
        ("JAXJob", {"Worker": 2}, ["worker-0"]),
        ("MXJob", {"Scheduler": 1, "Server": 2, "Worker": 2}, ["server-0", "server-1"]),
    ],
)
def test_the_master_label(world: Make, kind: str, replicas: Any, leading: list[str]) -> None:
    w = world(kind, replicas)
    w.sync()
    label = "training.kubeflow.org/job-role"
    marked = [name for name, pod in w.pods.items() if pod["metadata"]["labels"].get(label) == "master"]
    assert marked == [f"mnist-{name}" for name in leading]


def test_labels_annotations_and_services(world: Make) -> None:
    template = {
        "metadata": {
            "labels": {"app": "mnist", "training.kubeflow.org/job-name": "other"},
            "annotations": {"note": "x"},
            "creationTimestamp": None,
        },
        "spec": {
            "restartPolicy": "Always",
            "nodeSelector": {"disk": "fast"},
            "containers": [{"name": "pytorch", "image": "x", "terminationMessagePolicy": "File"}],
        },
    }
    w = world("PyTorchJob", {"Worker": {"replicas": 2, "template": template, "restartPolicy": "Never"}})
    w.sync()
    pod, service = w.pods["mnist-worker-1"], w.children["Service"]["mnist-worker-1"]
    labels = {
        "training.kubeflow.org/operator-name": "pytorchjob-controller",
        "training.kubeflow.org/job-name": "mnist",
        "training.kubeflow.org/replica-type": "worker",
        "training.kubeflow.org/replica-index": "1",
    }
    assert pod["metadata"]["labels"] == {"app": "mnist"} | labels
    assert pod["metadata"]["annotations"] == {"note": "x"}
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["nodeSelector"] == {"disk": "fast"}
    assert pod["spec"]["containers"][0]["terminationMessagePolicy"] == "File"
    assert pod["spec"]["containers"][0]["ports"] == [{"name": "pytorchjob-port", "containerPort": 23456}]
    assert service["metadata"]["labels"] == labels
    assert service["spec"] == {
        "clusterIP": "None",
        "selector": labels,
        "ports": [{"name": "pytorchjob-port", "port": 23456}],
        "publishNotReadyAddresses": True,
    }
    assert w.status["replicaStatuses"]["Worker"]["selector"] == (
        "training.kubeflow.org/job-name=mnist,training.kubeflow.org/operator-name=pytorchjob-controller,"
        "training.kubeflow.org/replica-type=worker"
    )


def test_unnamed_ports_get_names_that_a_service_needs(world: Make) -> None:
    ports = [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]
    template = {"spec": {"containers": [{"name": "pytorch", "image": "x", "ports": ports}]}}
    w = world("PyTorchJob", {"Worker": {"template": template}})
    w.sync()
    assert w.children["Service"]["mnist-worker-0"]["spec"]["ports"] == [
        {"name": "pytorchjob-port", "port": 23456},
        {"name": "port-80", "port": 80},
        {"name": "port-53-udp", "port": 53, "protocol": "UDP"},
    ]
    assert w.pods["mnist-worker-0"]["spec"]["containers"][0]["ports"][:2] == ports
