"""A runtime of its own per test, and short ways to say what a pod is to do."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from leftovers import Account

from homeport.node.process import ProcessRuntime
from homeport.node.runtime import ContainerSpec, ContainerState, ImageRoot, Sandbox, SandboxError, SandboxSpec
from homeport.node.sandbox import linux

SEARCHES = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")


class Pods:
    """A node directory with a runtime, and the pods of one test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runtime = ProcessRuntime(directory / "node", hidden=[directory])

    def path(self, name: str) -> Path:
        return self.directory / "pods" / name

    def spec(self, name: str, **changes: Any) -> SandboxSpec:
        self.path(name).mkdir(parents=True, exist_ok=True)
        made = SandboxSpec(
            uid=name,
            namespace="default",
            name=name,
            directory=str(self.path(name)),
            hostname=name,
            searches=SEARCHES,
        )
        return replace(made, **changes)

    async def create(self, name: str, **changes: Any) -> Sandbox:
        return await self.runtime.create(self.spec(name, **changes))

    def container(
        self, pod: str, *argv: str, name: str = "main", env: Mapping[str, str] | None = None, **changes: Any
    ) -> ContainerSpec:
        made = ContainerSpec(
            name=name,
            attempt=0,
            argv=argv,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", **(env or {})},
            cwd="/",
            image=ImageRoot(),
            mounts=(),
            log_path=str(self.path(pod) / "logs" / f"{name}.log"),
        )
        return replace(made, **changes)

    async def run(self, pod: str, *argv: str, sandbox: Sandbox | None = None, **changes: Any) -> ContainerState:
        """Run one command in a pod and wait for its end."""
        sandbox = sandbox or await self.create(pod)
        state = await sandbox.start(self.container(pod, *argv, **changes))
        return state if state.phase == "exited" else await self.exit_of(sandbox)

    @staticmethod
    async def exit_of(sandbox: Sandbox) -> ContainerState:
        """The next end of one of the sandbox's containers."""
        async with asyncio.timeout(60):
            async for state in sandbox.changes():
                return state
        raise AssertionError("the supervisor ended")

    @staticmethod
    async def until(holds: Callable[[], object]) -> None:
        """Wait for something that only the world can tell."""
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.01)

    def entries(self, pod: str, name: str = "main") -> list[tuple[str, str, str]]:
        """The log's entries: stream, tag, text."""
        entries = []
        text = (self.path(pod) / "logs" / f"{name}.log").read_text()
        # A write across two pages shows up in two steps: what has no end yet is not a line.
        for line in text[: text.rfind("\n") + 1].splitlines():
            _, stream, tag, content = line.split(" ", 3)
            entries.append((stream, tag, content))
        return entries

    def output(self, pod: str, name: str = "main", stream: str = "stdout") -> str:
        return "\n".join(text for found, _, text in self.entries(pod, name) if found == stream)

    @property
    def groups(self) -> list[str]:
        return groups_of(self.directory)

    @property
    def zygote(self) -> int:
        """The fork server's pid."""
        (pid,) = self.zygotes
        return pid

    @property
    def zygotes(self) -> list[int]:
        """The pids of the fork servers: one, if none is about to replace another."""
        found = {pid: linux.parent_of(pid) for pid in self.processes if is_zygote(pid)}
        # What it forks has its name at first, or for a short life: that is none, and may have ended by now.
        return [pid for pid, parent in found.items() if parent is not None and parent not in found]

    @property
    def processes(self) -> set[int]:
        return processes_of(self.directory)


def is_zygote(pid: int) -> bool:
    """Whether that is a fork server, or what one has just forked."""
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "homeport-zygote\n"
    except OSError:
        return False


def processes_of(directory: Path) -> set[int]:
    """The helpers and supervisors of the node in that directory (they all carry its path in their arguments)."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                arguments = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.fsencode(directory / "node") in arguments:
                found.add(int(name))
    return found


def groups_of(directory: Path) -> list[str]:
    """The cgroups of the node in that directory that are there."""
    record = directory / "node" / "cgroups.json"
    if not record.exists():
        return []
    return [top for _, base, _ in json.loads(record.read_text()) for top, _, _ in os.walk(base)]


@pytest.fixture
def node_directory() -> Iterator[Path]:
    # Long, since sockets' paths are limited and data directories are not.
    directory = Path(tempfile.mkdtemp(prefix="homeport-")) / ("long-" * 20)
    directory.mkdir()
    yield directory
    shutil.rmtree(directory.parent)


@pytest.fixture
async def pods(node_directory: Path) -> AsyncIterator[Pods]:
    made = Pods(node_directory)
    account = Account(node_directory / "node")
    try:
        await made.runtime.start()
    except SandboxError as error:
        pytest.skip(f"this machine can't run pods as processes: {error}")
    yield made
    # A test may have put another runtime in its place; whoever is last takes everything along.
    await made.runtime.stop(end_pods=True)
    await asyncio.to_thread(account.close)
