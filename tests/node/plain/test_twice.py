"""A pod has one supervisor, whenever the platform that asks for it is killed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from homeport.node.plain import supervisor
from homeport.node.plain.runtime import PlainRuntime
from homeport.node.runtime import ContainerSpec, ImageRoot, SandboxSpec

pytestmark = pytest.mark.slow
KILLED = """
import asyncio, os, sys
from pathlib import Path
from homeport.node.control import Connection
from homeport.node.plain.runtime import PlainRuntime
from homeport.node.runtime import SandboxSpec

async def main():
    node, pod = map(Path, sys.argv[1:])
    runtime = PlainRuntime(node)
    await runtime.start()
    request = Connection.request
    async def killed(self, **message):
        if message["op"] == "create":
            asyncio.get_running_loop().call_later(0.1, os._exit, 9)  # asked for, and not heard of
        return await request(self, **message)
    Connection.request = killed
    await runtime.create(SandboxSpec("uid", "default", "one", str(pod), hostname="one"))

asyncio.run(main())
"""


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[PlainRuntime]:
    made = PlainRuntime(tmp_path / "node")
    await made.start()
    yield made
    await made.stop(end_pods=True)


@pytest.fixture
def pod(tmp_path: Path) -> SandboxSpec:
    directory = tmp_path / "pod"
    directory.mkdir()
    return SandboxSpec("uid", "default", "one", str(directory), hostname="one")


def supervisors(tmp_path: Path) -> list[str]:
    lines = subprocess.run(("ps", "-A", "-ww", "-o", "pid=,args="), capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines() if "plain-pod" in line and str(tmp_path / "node") in line]


@contextmanager
def held(pod: SandboxSpec) -> Iterator[None]:
    """As if a supervisor took its time."""
    descriptor = os.open(Path(pod.directory) / supervisor.LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


async def ask_and_be_killed(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, str(tmp_path / "node"), str(tmp_path / "pod"))
    )
    assert await process.wait() == 9


async def test_asked_for_again_before_the_first_is_there(
    tmp_path: Path, runtime: PlainRuntime, pod: SandboxSpec
) -> None:
    with held(pod):
        await ask_and_be_killed(tmp_path)
        assert len(supervisors(tmp_path)) == 1
        assert not await runtime.adopt()
        creating = asyncio.create_task(runtime.create(pod))
        while len(supervisors(tmp_path)) < 2:
            await asyncio.sleep(0.02)
    sandbox = await creating
    while len(supervisors(tmp_path)) > 1:
        await asyncio.sleep(0.02)
    assert sandbox.alive
    assert [found.uid for found in await runtime.adopt()] == ["uid"]


async def test_asked_for_again_when_the_first_is_there(tmp_path: Path, runtime: PlainRuntime, pod: SandboxSpec) -> None:
    first = await runtime.create(pod)
    other = PlainRuntime(tmp_path / "node")
    await other.start()
    try:
        second = await other.create(pod)  # which does not look who is there
        assert second.address == first.address
        while len(supervisors(tmp_path)) > 1:
            await asyncio.sleep(0.02)
        assert first.alive
        assert second.alive
    finally:
        await other.stop(end_pods=False)


async def test_a_supervisor_is_killed_while_other_pods_come(
    tmp_path: Path, runtime: PlainRuntime, pod: SandboxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is heard of, whatever happens while its processes are looked for."""
    sandbox = await runtime.create(pod)
    other = replace(pod, uid="other", directory=str(tmp_path / "other"))
    os.mkdir(other.directory)
    end = PlainRuntime._end_processes

    async def end_late(self: PlainRuntime, uid: str) -> None:
        await end(self, uid)
        await runtime.create(other)  # which is there already the second time

    monkeypatch.setattr(PlainRuntime, "_end_processes", end_late)
    container = ContainerSpec(
        "main", 0, ("sleep", "300"), {}, "", ImageRoot(), mounts=(), log_path=str(tmp_path / "main.log")
    )
    await sandbox.start(container)
    (line,) = supervisors(tmp_path)
    os.kill(int(line.split()[0]), signal.SIGKILL)
    async with asyncio.timeout(10):
        ended = await anext(aiter(sandbox.changes()))
    assert (ended.phase, ended.exit_code) == ("exited", 137)


async def test_nobody_asks_again(tmp_path: Path, runtime: PlainRuntime, pod: SandboxSpec) -> None:
    with held(pod):
        await ask_and_be_killed(tmp_path)
    while supervisors(tmp_path):
        await asyncio.sleep(0.02)
    assert not await runtime.adopt()
