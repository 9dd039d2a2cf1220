"""What plug-ins give a job's pods, and what they make beside."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from volcano_world import task

from homeport.components.volcano.job import plugins
from homeport.kube.meta import Object


def pod(made: Any, name: str) -> Object:
    found: Object = made.pods[name]["spec"]
    return found


def variables(made: Any, name: str) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in pod(made, name)["containers"][0].get("env") or ()}


def test_env(world: Any) -> None:
    made = world(task(), plugins={"env": []}).settle()
    assert variables(made, "demo-worker-1") == {"VK_TASK_INDEX": "1", "VC_TASK_INDEX": "1"}


def test_svc(world: Any) -> None:
    made = world(task("ps", 1), task("my-worker", 2), plugins={"svc": []}).settle()
    data = made.children["ConfigMap"]["demo-svc"]["data"]
    assert data == {
        "ps.host": "demo-ps-0.demo",
        "VC_PS_HOSTS": "demo-ps-0.demo",
        "VC_PS_NUM": "1",
        "my_worker.host": "demo-my-worker-0.demo\ndemo-my-worker-1.demo",
        "VC_MY_WORKER_HOSTS": "demo-my-worker-0.demo,demo-my-worker-1.demo",
        "VC_MY_WORKER_NUM": "2",
    }
    service = made.children["Service"]["demo"]["spec"]
    assert service == {
        "clusterIP": "None",
        "selector": {"volcano.sh/job-name": "demo", "volcano.sh/job-namespace": "team"},
    }
    assert made.children["NetworkPolicy"]["demo"]["spec"]["policyTypes"] == ["Ingress"]
    spec = pod(made, "demo-ps-0")
    assert (spec["hostname"], spec["subdomain"]) == ("demo-ps-0", "demo")
    assert spec["containers"][0]["volumeMounts"] == [{"mountPath": "/etc/volcano", "name": "demo-svc"}]
    (number,) = [one for one in spec["containers"][0]["env"] if one["name"] == "VC_MY_WORKER_NUM"]
    assert number["valueFrom"]["configMapKeyRef"] == {"name": "demo-svc", "key": "VC_MY_WORKER_NUM"}


def test_svc_with_arguments(world: Any) -> None:
    arguments = ["--publish-not-ready-addresses=true", "--disable-network-policy", "--inject-hosts-env=false"]
    made = world(task(), plugins={"svc": arguments}).settle()
    assert made.children["Service"]["demo"]["spec"]["publishNotReadyAddresses"] is True
    assert made.children["NetworkPolicy"] == {}
    assert variables(made, "demo-worker-0") == {}


def test_ssh(world: Any) -> None:
    made = world(task(), plugins={"ssh": ["--ssh-port", "2200"]}).settle()
    secret = plugins.with_keys(made.children["Secret"]["demo-ssh"])
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert data["config"] == (
        "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n"
        "Host demo-worker-0\n  HostName demo-worker-0.demo\n  Port 2200\n"
        "Host demo-worker-1\n  HostName demo-worker-1.demo\n  Port 2200\n"
    )
    assert data["id_rsa"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert data["id_rsa.pub"] == data["authorized_keys"]
    assert data["id_rsa.pub"].startswith("ssh-rsa ")
    assert plugins.with_keys(secret) is secret
    (volume,) = pod(made, "demo-worker-0")["volumes"]
    assert volume["secret"]["defaultMode"] == 0o600


def test_ssh_with_the_users_keys(world: Any) -> None:
    keys = ["--ssh-private-key=mine", "--ssh-public-key=yours", "--ssh-key-file-path=/home/me/.ssh"]
    made = world(task(), plugins={"ssh": keys}).settle()
    data = made.children["Secret"]["demo-ssh"]["data"]
    assert base64.b64decode(data["id_rsa"]) == b"mine"
    assert pod(made, "demo-worker-0")["volumes"][0]["secret"]["defaultMode"] == 0o644


def test_tensorflow(world: Any) -> None:
    made = world(task("ps", 1), task("worker", 2), plugins={"tensorflow": ["--port=3333"]}).settle()
    assert json.loads(variables(made, "demo-worker-1")["TF_CONFIG"]) == {
        "cluster": {
            "ps": ["demo-ps-0.demo:3333"],
            "worker": ["demo-worker-0.demo:3333", "demo-worker-1.demo:3333"],
        },
        "task": {"type": "worker", "index": 1},
    }
    assert "demo" in made.children["Service"]  # it needs the hosts


def test_pytorch(world: Any) -> None:
    made = world(task("master", 1), task("worker", 2), plugins={"pytorch": []}).settle()
    found = variables(made, "demo-worker-1")
    assert {key: found[key] for key in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")} == {
        "MASTER_ADDR": "demo-master-0.demo",
        "MASTER_PORT": "23456",
        "WORLD_SIZE": "3",
        "RANK": "2",
    }
    assert variables(made, "demo-master-0")["RANK"] == "0"
    port = {"name": "pytorchjob-port", "containerPort": 23456}
    assert pod(made, "demo-master-0")["containers"][0]["ports"] == [port]


def test_mpi(world: Any) -> None:
    made = world(
        task("mpimaster", 1), task("mpiworker", 2), plugins={"mpi": ["--master=mpimaster", "--worker=mpiworker"]}
    )
    made.settle()
    assert variables(made, "demo-mpimaster-0")["MPI_HOST"] == "demo-mpiworker-0.demo,demo-mpiworker-1.demo"
    assert "MPI_HOST" not in variables(made, "demo-mpiworker-0")
    assert "demo-ssh" in made.children["Secret"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("svc", ["--unknown"]), ("svc", ["--inject-hosts-env=perhaps"]), ("ssh", ["--ssh-port=0"]), ("env", ["plain"])],
)
def test_arguments_that_nobody_knows(world: Any, name: str, arguments: list[str]) -> None:
    assert list(plugins.complaints(name, arguments))
    made = world(task(), plugins={name: arguments})
    made.job["status"] = {"state": {"phase": "Pending"}}  # it was let in when they were known
    made.sync()
    assert [note.reason for note in made.events] == ["PluginError"]
    assert made.pods == {}
