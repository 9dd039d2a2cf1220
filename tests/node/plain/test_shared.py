"""What programs are told where all pods have one address: which port of the machine is whose."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import multiprocessing
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from homeport.node.plain import blocks, doors, rewriting
from homeport.node.plain.addressing import Networks
from homeport.node.plain.doors import Doors
from homeport.node.plain.runtime import PlainRuntime
from homeport.node.plain.shared import Shared
from homeport.node.runtime import ContainerSpec, ImageRoot, SandboxSpec

PODS, SERVICES = ipaddress.IPv4Network("10.42.0.0/16"), ipaddress.IPv4Network("10.43.0.0/16")


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    (tmp_path / "records.json").write_text(json.dumps({"db.default.svc.cluster.local": ["10.43.0.7"]}))
    (tmp_path / "relays.json").write_text(json.dumps({"10.43.0.7:5432": 25432}))
    (tmp_path / "published.json").write_text(json.dumps({"443": 6443}))
    made = Shared(str(tmp_path), Networks(PODS, SERVICES, blocks.SHARED), "uid-0", "default", "job-worker-0")
    made.register("10.42.0.2")
    return made


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs on this machine."""
    monkeypatch.setattr(doors, "_is_free", lambda _port: True)


def test_replicas_with_one_port_number(shared: Shared, tmp_path: Path) -> None:
    cluster = {"worker": [f"job-worker-{number}.default.svc:2222" for number in range(3)]}
    env = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})}
    told = json.loads(rewriting.environment(env, shared.look_up)["TF_CONFIG"])["cluster"]["worker"]
    assert told[0] == "127.0.0.1:2222"
    assert len(set(told)) == 3
    other = Shared(str(tmp_path), Networks(PODS, SERVICES, blocks.SHARED), "uid-1", "default", "job-worker-1")
    assert json.loads(rewriting.environment(env, other.look_up)["TF_CONFIG"])["cluster"]["worker"] == told
    assert other.look_up("localhost", 2222, True) == ("127.0.0.1", int(told[1].split(":")[1]))
    assert other.look_up("0.0.0.0", 2222, True) == ("0.0.0.0", int(told[1].split(":")[1]))
    known = Doors(str(tmp_path))
    assert known.behind("default/job-worker-2", 2222) == int(told[2].split(":")[1])
    assert known.behind("default/job-worker-2", 80) == 80
    assert known.name_of("10.42.0.2") == "default/job-worker-0"


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({"MASTER_ADDR": "job-worker-0", "MASTER_PORT": "23456"}, {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "23456"}),
        ({"DB_SERVICE_HOST": "10.43.0.7", "DB_SERVICE_PORT": "5432"}, {"DB_SERVICE_PORT": "25432"}),
        ({"DB_PORT": "tcp://10.43.0.7:5432"}, {"DB_PORT": "tcp://127.0.0.1:25432"}),
        ({"URL": "postgres://me@db:5432/x?a=1"}, {"URL": "postgres://me@127.0.0.1:25432/x?a=1"}),
        ({"PET_RDZV_ENDPOINT": "job-worker-0:29400"}, {"PET_RDZV_ENDPOINT": "127.0.0.1:29400"}),
        (
            {"KUBERNETES_SERVICE_HOST": "10.43.0.1", "KUBERNETES_SERVICE_PORT": "443"},
            {"KUBERNETES_SERVICE_PORT": "6443"},
        ),
        ({"TIME": "12:30", "RATIO": "a:1,b:2", "IMAGE": "registry:5000"}, {"TIME": "12:30", "RATIO": "a:1,b:2"}),
        ({"OUTSIDE": "https://example.com:443/", "DNS": "8.8.8.8:53"}, {"DNS": "8.8.8.8:53"}),
    ],
)
def test_variables(shared: Shared, env: dict[str, str], wanted: dict[str, str]) -> None:
    told = rewriting.environment(env, shared.look_up)
    assert told.keys() == env.keys()
    assert {name: told[name] for name in wanted} == wanted
    if "OUTSIDE" in env:
        assert told["OUTSIDE"] == env["OUTSIDE"]


def test_a_door_stays_for_the_next_pod_of_the_name_and_goes_with_the_last_who_knows_it(tmp_path: Path) -> None:
    known = Doors(str(tmp_path))
    first = [known.open("a", f"default/{name}", 2222) for name in ("a", "b")]
    assert [known.open("b", f"default/{name}", 2222) for name in ("a", "b")] == first
    known.release("a")
    assert [known.open("a-again", f"default/{name}", 2222) for name in ("a", "b")] == first
    for uid in ("b", "a-again"):
        known.release(uid)
    assert json.loads((tmp_path / "doors.json").read_text()) == {"doors": {}, "pods": {}}


def test_ports_that_others_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        door = Doors(str(tmp_path)).open("a", "default/a", port)
    assert door != port


def test_many_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.starmap(opened, [(str(tmp_path), number) for number in range(40)])
    assert len(set(found)) == 40


LISTENER = """
import os, socket
host, port = os.environ["LISTEN"].split(":")
listener = socket.create_server((host, int(port)))
while True:
    connection, _ = listener.accept()
    connection.sendall(os.environ["HOSTNAME"].encode())
    connection.close()
"""


class Unwatched(PlainRuntime):
    """On a kernel that hands no system calls over."""

    async def _can_watch(self) -> bool:
        return False


@pytest.mark.slow
async def test_two_pods_that_listen_at_the_same_port(tmp_path: Path) -> None:
    runtime = Unwatched(tmp_path / "node")
    await runtime.start()
    try:
        found = []
        for name in ("one", "two"):
            place = tmp_path / name
            place.mkdir()
            sandbox = await runtime.create(SandboxSpec(name, "default", name, str(place), hostname=name))
            env = {"LISTEN": "0.0.0.0:2222", "HOSTNAME": name}
            argv, log = (sys.executable, "-c", LISTENER), str(place / "logs" / "main.log")
            await sandbox.start(ContainerSpec("main", 0, argv, env, "/", ImageRoot(), (), log))
            found.append(sandbox)
        for sandbox, name in zip(found, ("one", "two"), strict=True):
            assert await greeting(lambda s=sandbox: s.connect(2222)) == name
            assert await greeting(lambda s=sandbox: runtime.dial(s.address, 2222)) == name
    finally:
        await runtime.stop(end_pods=True)
    assert json.loads((tmp_path / "node" / "doors.json").read_text()) == {"doors": {}, "pods": {}}


async def greeting(connect: Callable[[], Awaitable[socket.socket]]) -> str:
    async with asyncio.timeout(30):
        while True:
            try:
                with await connect() as connection:
                    return (await asyncio.get_running_loop().sock_recv(connection, 100)).decode()
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)


def opened(directory: str, number: int) -> int:
    return Doors(directory).open(str(number), f"default/{number}", 2222)
