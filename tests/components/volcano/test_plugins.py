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


def container_of(made: Any, name: str) -> Object:
    (found,) = pod(made, name)["containers"]
    return dict(found)


def test_ray(world: Any) -> None:
    names = ["--headContainer=main", "--workerContainer=main"]
    made = world(task("head", 1), task("worker", 2), task("other", 1), plugins={"ray": names}).settle()
    head = container_of(made, "demo-head-0")
    assert head["command"] == [
        "sh",
        "-c",
        "ray start --head --block --dashboard-host=0.0.0.0 --port=6379 --dashboard-port=8265 "
        "--ray-client-server-port=10001",
    ]
    assert head["ports"] == [
        {"name": "gcs", "containerPort": 6379},
        {"name": "dashboard", "containerPort": 8265},
        {"name": "client-server", "containerPort": 10001},
    ]
    worker = container_of(made, "demo-worker-1")
    assert worker["command"] == ["sh", "-c", "ray start --block --address=demo-head-0.demo:6379"]
    assert "ports" not in worker
    assert "command" not in container_of(made, "demo-other-0")
    assert made.children["Service"]["demo"]["spec"]["clusterIP"] == "None"  # it needs the hosts
    service = made.children["Service"]["demo-head-svc"]["spec"]
    assert service["selector"]["volcano.sh/task-spec"] == "head"
    assert [(port["name"], port["port"], port["targetPort"]) for port in service["ports"]] == [
        ("gcs", 6379, 6379),
        ("dashboard", 8265, 8265),
        ("client-server", 10001, 10001),
    ]


def test_ray_with_arguments(world: Any) -> None:
    """The flag for the client's port is another one in upstream's documentation than in its code."""
    for flag in ("--clientServerPort=7001", "--clientPort=7001"):
        arguments = ["--head=chief", "--worker=hand", "--port=7000", flag, "--dashboardPort", "7002"]
        chief, hand = task("chief", 1), task("hand", 1)
        aside = {"name": "aside", "image": "proxy"}
        own = {"name": "head", "image": "ray", "ports": [{"name": "web", "containerPort": 7002}]}
        chief["template"]["spec"] = {"hostname": "boss", "subdomain": "works", "containers": [aside, own]}
        hand["template"]["spec"]["containers"][0]["name"] = "worker"
        made = world(chief, hand, plugins={"ray": arguments}).settle()
        left, head = pod(made, "demo-chief-0")["containers"]
        assert "command" not in left
        assert "ports" not in left
        assert head["command"][2].endswith(" --port=7000 --dashboard-port=7002 --ray-client-server-port=7001")
        assert [port["name"] for port in head["ports"]] == ["web", "gcs", "client-server"]
        command = container_of(made, "demo-hand-0")["command"]
        assert command[2] == "ray start --block --address=boss.works:7000"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ray", ["--port=none"]),
        ("ray", ["--dashboardPort=70000"]),
        ("svc", ["--unknown"]),
        ("svc", ["--inject-hosts-env=perhaps"]),
        ("ssh", ["--ssh-port=0"]),
        ("env", ["plain"]),
    ],
)
def test_arguments_that_nobody_knows(world: Any, name: str, arguments: list[str]) -> None:
    assert list(plugins.complaints(name, arguments))
    made = world(task(), plugins={name: arguments})
    made.job["status"] = {"state": {"phase": "Pending"}}  # it was let in when they were known
    made.sync()
    assert [note.reason for note in made.events] == ["PluginError"]
    assert made.pods == {}
