"""What only containers of an engine need."""

from __future__ import annotations

import asyncio
import json
import shutil
import struct
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import engines
import pytest

from homeport.node.engine import bodies, pause
from homeport.node.engine.api import Engine, EngineError
from homeport.node.engine.images import EngineImages, image_of
from homeport.node.engine.logfile import since
from homeport.node.engine.runtime import EngineRuntime
from homeport.node.host import ImageError
from homeport.node.runtime import ContainerSpec, ImageRoot, Limits, SandboxError, SandboxSpec, Security
from homeport.node.sandbox.capabilities import NUMBERS


def test_the_waiting_program_is_an_executable_of_its_machine() -> None:
    for machine, number in (("x86_64", 62), ("aarch64", 183)):
        program = pause.program(machine)
        assert program[:4] == b"\x7fELF"
        assert struct.unpack_from("<H", program, 18) == (number,)
        entry, size = struct.unpack_from("<Q", program, 24)[0], len(program)
        assert 0x400000 < entry < 0x400000 + size


def a_container(**changes: Any) -> ContainerSpec:
    wanted = {
        "name": "main",
        "attempt": 0,
        "argv": ("sh",),
        "env": {},
        "cwd": "/",
        "image": ImageRoot(reference="sha256:1"),
        "mounts": (),
        "log_path": "/log",
    }
    return ContainerSpec(**(wanted | changes))


def body_of(container: ContainerSpec, *, is_podman: bool = False, processes: str = "container") -> Any:
    return bodies.container(
        container,
        node="node",
        uid="uid",
        shared="id",
        files=(),
        termination_log="/ended",
        processes=processes,
        target="",
        is_podman=is_podman,
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"user": "trainer"}, "trainer"),
        ({"uid": 5}, "5"),
        ({"uid": 5, "gid": 6}, "5:6"),
        ({"user": "trainer:staff", "gid": 6}, "trainer:6"),
        ({"gid": 6}, "0:6"),
    ],
)
def test_whom_a_container_runs_as(changes: dict[str, Any], expected: str) -> None:
    assert body_of(a_container(**changes))["User"] == expected


def test_what_an_image_says_of_its_containers() -> None:
    image = image_of({"Id": "sha256:1", "Config": {"User": "1000:50", "StopSignal": "SIGINT", "Env": ["A=b=c"]}})
    assert (image.config.user, image.config.uid, image.config.gid) == ("1000:50", 1000, 50)
    assert (image.config.stop_signal, dict(image.config.env)) == ("SIGINT", {"A": "b=c"})
    body = body_of(a_container(user=image.config.user, gid=3000, env={"HOME": "", "A": ""}))
    assert (body["User"], body["Env"]) == ("1000:3000", ["A="])


def test_times_as_docker_wants_them() -> None:
    assert since("2026-11-22T16:49:55.123Z") == "1795366195.123000000"
    assert since("1970-01-01T00:00:00Z") == "0.000000000"


def test_devices_and_logs_of_a_bounded_size() -> None:
    container = a_container(devices=("/dev/nvidia0",), log_bytes=1000, log_files=5)
    host = body_of(container, is_podman=True)["HostConfig"]
    assert [one["PathInContainer"] for one in host["Devices"]] == ["/dev/nvidia0"]
    assert host["LogConfig"] == {"Type": "k8s-file", "Config": {"path": "/log", "max-size": "5000"}}
    assert body_of(container)["HostConfig"]["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "2"}


def test_what_a_container_may_do_and_use() -> None:
    security = Security(capabilities=frozenset({NUMBERS["CHOWN"], NUMBERS["KILL"]}), no_new_privileges=True)
    host = body_of(a_container(security=security, limits=Limits(memory=1 << 20, cpu_quota=50_000)))["HostConfig"]
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], ["CHOWN", "KILL"])
    assert host["SecurityOpt"] == ["no-new-privileges", "seccomp=unconfined"]
    assert (host["Memory"], host["MemorySwap"], host["CpuQuota"], host["CpuPeriod"]) == (
        1 << 20,
        1 << 20,
        50_000,
        100_000,
    )
    assert "PidMode" not in host
    shared = body_of(a_container(), processes="pod")["HostConfig"]
    assert shared["PidMode"] == shared["NetworkMode"] == "container:id"


@pytest.fixture
async def runtime(engine: str) -> AsyncIterator[EngineRuntime]:
    directory = Path(tempfile.mkdtemp(prefix="homeport-engine-"))
    made = EngineRuntime(engine, directory / "node")
    await made.start()
    yield made
    await made.stop(end_pods=True)
    query = {"all": "true"}
    assert await made.engine.request("GET", "/containers/json", query=query) == []
    shutil.rmtree(directory)


async def ours(runtime: EngineRuntime, role: str) -> str:
    query = {"all": "true", "filters": json.dumps({"label": [f"{bodies.ROLE}={role}"]})}
    (found,) = await runtime.engine.request("GET", "/containers/json", query=query)
    return str(found["Id"])


async def sandbox_of(runtime: EngineRuntime, place: Path) -> Any:
    await asyncio.to_thread(place.mkdir, parents=True)
    return await runtime.create(
        SandboxSpec(uid="one", namespace="default", name="one", directory=str(place), hostname="one")
    )


@pytest.mark.slow
async def test_a_network_helper_that_is_removed_comes_back_and_pods_keep_their_network(
    runtime: EngineRuntime, engine: str, tmp_path: Path
) -> None:
    sandbox = await sandbox_of(runtime, tmp_path / "one")
    image = await runtime.engine.request("GET", f"/images/{engines.IMAGE}/json")
    log = str(tmp_path / "one" / "logs" / "main.log")
    script = ("sh", "-c", "echo hello > /index.html; httpd -f -p 80 -h /")
    await sandbox.start(a_container(argv=script, image=ImageRoot(reference=image["Id"]), log_path=log))
    await runtime.engine.request("DELETE", f"/containers/{await ours(runtime, 'helper')}", query={"force": "true"})
    async with asyncio.timeout(30):
        while True:
            try:
                with await runtime.dial(sandbox.address, 80):
                    break
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
    assert sandbox.alive


@pytest.mark.slow
async def test_a_pod_whose_shared_container_is_removed_has_ended(runtime: EngineRuntime, tmp_path: Path) -> None:
    sandbox = await sandbox_of(runtime, tmp_path / "one")
    identity = await ours(runtime, bodies.SHARED)
    await runtime.engine.request("POST", f"/containers/{identity}/kill")
    async with asyncio.timeout(30):
        async for _ in sandbox.changes():
            pass
    assert not sandbox.alive
    with pytest.raises(SandboxError):
        await sandbox.start(a_container())


@pytest.mark.slow
async def test_a_container_that_was_made_and_never_started_is_as_if_it_were_not(
    runtime: EngineRuntime, engine: str, tmp_path: Path
) -> None:
    sandbox = await sandbox_of(runtime, tmp_path / "one")
    image = await runtime.engine.request("GET", f"/images/{engines.IMAGE}/json")
    container = a_container(
        image=ImageRoot(reference=image["Id"]), log_path=str(tmp_path / "log"), argv=("sh", "-c", "echo $HOME; exit 4")
    )
    labels = {bodies.NODE: bodies.node_key(runtime.directory), bodies.ROLE: bodies.OWN, bodies.UID: "one"}
    labels |= {bodies.CONTAINER: "main", bodies.ATTEMPT: "0", bodies.LOG: container.log_path, bodies.TERMINATION: "/t"}
    await runtime.engine.request("POST", "/containers/create", {"Image": image["Id"], "Labels": labels})
    await runtime.stop(end_pods=False)
    again = EngineRuntime(engine, Path(runtime.directory))
    await again.start()
    (sandbox,) = await again.adopt()
    assert sandbox.containers() == {}
    await sandbox.start(container)
    async with asyncio.timeout(30):
        async for state in sandbox.changes():
            assert (state.exit_code, state.reason) == (4, "Error")
            break
    await again.stop(end_pods=False)
    await runtime.start()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["create", "json"])
async def test_a_container_whose_answer_was_lost_runs_once(
    runtime: EngineRuntime, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    sandbox = await sandbox_of(runtime, tmp_path / "one")
    image = await runtime.engine.request("GET", f"/images/{engines.IMAGE}/json")
    log = tmp_path / "log"
    container = a_container(
        image=ImageRoot(reference=image["Id"]), log_path=str(log), argv=("sh", "-c", "echo once; exit 4")
    )
    ask = Engine.request

    async def losing(self: Engine, method: str, path: str, *more: Any, **options: Any) -> Any:
        answer = await ask(self, method, path, *more, **options)
        if path.endswith(lost):
            if lost == "json":  # it was made, started, and has ended
                await ask(self, "POST", f"/containers/{name}/wait")
            raise EngineError("the engine has gone")
        return answer

    name = bodies.container_name(bodies.node_key(runtime.directory), "main", "one", "default", "one", 0)
    with monkeypatch.context() as gone:
        gone.setattr(Engine, "request", losing)
        with pytest.raises(SandboxError, match="the engine has gone"):
            await sandbox.start(container)
    await sandbox.start(container)
    async with asyncio.timeout(30):
        async for state in sandbox.changes():
            assert (state.exit_code, state.reason) == (4, "Error")
            break
    assert len(log.read_text().splitlines()) == 1


@pytest.mark.slow
async def test_a_debugger_is_among_the_processes_of_its_target(runtime: EngineRuntime, tmp_path: Path) -> None:
    sandbox = await sandbox_of(runtime, tmp_path / "one")
    image = await runtime.engine.request("GET", f"/images/{engines.IMAGE}/json")
    root = ImageRoot(reference=image["Id"])
    await sandbox.start(a_container(argv=("sleep", "600"), image=root, log_path=str(tmp_path / "main")))
    script = ("sh", "-c", "cat /proc/1/cmdline")
    log = tmp_path / "debugger"
    await sandbox.start(a_container(name="debugger", target="main", argv=script, image=root, log_path=str(log)))
    async with asyncio.timeout(30):
        async for state in sandbox.changes():
            assert (state.name, state.exit_code) == ("debugger", 0)
            break
    assert "sleep" in log.read_text()
    with pytest.raises(SandboxError):
        await sandbox.start(a_container(name="other", target="nobody", image=root, log_path=str(tmp_path / "other")))


@pytest.mark.slow
async def test_images_are_known_as_they_come_and_go(engine: str) -> None:
    client = Engine(engine)
    images = EngineImages(client)
    watching = asyncio.create_task(images.watch())
    async with asyncio.timeout(30):
        while images.ready(engines.IMAGE) is None:
            await asyncio.sleep(0.02)
        image = images.ready("shell:1")
        assert image is not None
        assert image.config.env["FROM_IMAGE"] == "yes"
        assert image.config.args == ("sh",)
        await client.request("POST", f"/images/{image.root.reference}/tag", query={"repo": "other", "tag": "2"})
        while images.ready("other:2") is None:
            await asyncio.sleep(0.02)
        await client.request("DELETE", "/images/other:2")
        while images.ready("other:2") is not None:
            await asyncio.sleep(0.02)
    with pytest.raises(ImageError, match="no-such-image"):
        await images.pull("localhost:1/no-such-image:1")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await images.close()


async def test_an_engine_in_a_virtual_machine_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        asked.append(line.split()[1].decode())
        body = json.dumps({"Name": "docker-desktop", "KernelVersion": "6.10.14-linuxkit", "CgroupDriver": "cgroupfs"})
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "docker.sock")
    async with server:
        with pytest.raises(SandboxError, match=r"virtual machine \(kernel 6.10.14-linuxkit\)"):
            await EngineRuntime(str(tmp_path / "docker.sock"), tmp_path / "node").start()
    assert sorted(path.rpartition("/")[2] for path in asked) == ["info", "version"]


async def test_an_engine_that_does_not_answer_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="DOCKER_HOST"):
        await EngineRuntime(str(tmp_path / "none.sock"), tmp_path / "node").start()
    with pytest.raises(EngineError):
        await Engine(str(tmp_path / "none.sock")).request("GET", "/version")
