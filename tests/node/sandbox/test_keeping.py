"""Volumes in memory live as long as their pods: whoever looks after the pod may be killed."""

from __future__ import annotations

import json
import os
import select
import signal
from pathlib import Path
from typing import Any

import pytest

from homeport.node.process import ProcessRuntime
from homeport.node.runtime import MemoryVolume, Mount, Sandbox
from homeport.node.sandbox import keeping

Pods = Any

WRITE = "echo kept >/memory/file; dd if=/dev/zero of=/memory/large bs=1M count=9 2>/dev/null; ls /memory"


def kill(pid: int) -> None:
    handle = os.pidfd_open(pid)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    select.select([handle], [], [])
    os.close(handle)


def kill_supervisor(pods: Pods, name: str) -> None:
    kill(json.loads((pods.path(name) / "state.json").read_text())["pid"])


def held_by(pid: int) -> list[str]:
    """The mount namespaces that a process has descriptors of."""
    names = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return [name for name in names if name.startswith("mnt:")]


class Memory:
    """A pod with a volume in memory."""

    def __init__(self, pods: Pods) -> None:
        self.pods = pods
        self.path = pods.path("a") / "volumes" / "memory"
        self.attempt = 0

    async def create(self) -> Sandbox:
        return await self.pods.create("a", memory=(MemoryVolume(str(self.path), 8 << 20),))

    async def run(self, sandbox: Sandbox, script: str) -> str:
        name, mounts = f"c{self.attempt}", (Mount(str(self.path), "/memory"),)
        self.attempt += 1
        await self.pods.run("a", "sh", "-c", script, sandbox=sandbox, name=name, mounts=mounts)
        return self.pods.output("a", name)

    async def lose(self, sandbox: Sandbox) -> Sandbox:
        """Another sandbox after the first one's supervisor was killed, as the agent makes it."""
        kill_supervisor(self.pods, "a")
        async for _ in sandbox.changes():
            pass
        await sandbox.destroy()
        return await self.create()


@pytest.fixture
def memory(pods: Pods) -> Memory:
    return Memory(pods)


async def test_what_they_hold_outlives_the_supervisor(memory: Memory) -> None:
    sandbox = await memory.create()
    assert await memory.run(sandbox, WRITE) == "file\nlarge"
    for _ in range(3):
        sandbox = await memory.lose(sandbox)
        found = await memory.run(sandbox, "cat /memory/file; stat -c %s /memory/large; stat -fc %T /memory")
        assert found.split() == ["kept", str((8 << 20) - 4096), "tmpfs"]
    assert os.listdir(memory.path) == [], "nobody else sees it"


async def test_a_supervisor_that_an_earlier_fork_server_made_leaves_them_too(memory: Memory) -> None:
    sandbox = await memory.create()
    await memory.run(sandbox, WRITE)
    kill(memory.pods.zygote)
    await memory.pods.run("b", "true")  # by the next one
    sandbox = await memory.lose(sandbox)
    assert await memory.run(sandbox, "cat /memory/file") == "kept"


async def test_a_platform_that_was_away_finds_them(memory: Memory) -> None:
    pods = memory.pods
    sandbox = await memory.create()
    await memory.run(sandbox, WRITE)
    await pods.create("b")
    await pods.runtime.stop(end_pods=False)
    kill_supervisor(pods, "a")
    pods.runtime = ProcessRuntime(pods.directory / "node", hidden=[pods.directory])
    await pods.runtime.start()
    (dead,) = [found for found in await pods.runtime.adopt() if found.uid == "a"]
    await dead.destroy()
    assert await memory.run(await memory.create(), "cat /memory/file") == "kept"


async def test_they_are_gone_once_they_are_deleted(memory: Memory) -> None:
    sandbox = await memory.create()
    await memory.run(sandbox, WRITE)
    sandbox = await memory.lose(sandbox)
    assert len(held_by(memory.pods.zygote)) == 1
    await sandbox.destroy()
    await memory.pods.runtime.remove(str(memory.path))
    assert not held_by(memory.pods.zygote)
    assert await memory.run(await memory.create(), "ls /memory") == ""


@pytest.mark.parametrize(
    ("path", "touches"),
    [
        ("/pods", True),
        ("/pods/a", True),
        ("/pods/a/volumes", True),
        ("/pods/a/volumes/memory", True),
        ("/pods/a/layers", False),
        ("/pods/ab", False),
        ("/pods/b/volumes/memory", False),
    ],
)
def test_what_takes_them_away(path: str, touches: bool) -> None:
    assert keeping._touches(path, "/pods/a") is touches
