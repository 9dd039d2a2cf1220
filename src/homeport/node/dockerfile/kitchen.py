"""Where ``RUN`` runs: a sandbox of our own kind, with the network that pods have, started with the first one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from homeport.node.inotify import Watches, watches
from homeport.node.local.users import User
from homeport.node.logs import LogSource, read
from homeport.node.process import ProcessRuntime
from homeport.node.runtime import ContainerSpec, ContainerState, ImageRoot, Mount, Sandbox, SandboxError, SandboxSpec
from homeport.node.sandbox import spec


class _Following(msgspec.Struct, frozen=True):
    """Options of a log that is read whole and to its end."""

    follow: bool = True
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since_seconds: int | None = None
    since: datetime | None = None
    limit_bytes: int | None = None
    stream: str = "All"


class Ran(msgspec.Struct, frozen=True):
    exit_code: int
    message: str
    """Why it could not be started, if it could not."""
    uppers: Mapping[str, str]
    """What it wrote: path -> directory."""


class Kitchen:
    """`directory` is on the disk that the layers are on. To be closed."""

    def __init__(self, directory: Path, hidden: Sequence[Path]) -> None:
        self._directory = directory
        self._runtime = ProcessRuntime(directory / "node", hidden=[directory, *hidden])
        self._sandbox: Sandbox | None = None
        self._count = 0
        self._watches: Watches | None = None

    async def _ready(self) -> Sandbox:
        if self._sandbox is None:
            await self._runtime.start()
            place = self._directory / "pod"
            place.mkdir(mode=0o700)
            self._sandbox = await self._runtime.create(
                SandboxSpec(uid="build", namespace="build", name="build", directory=str(place), hostname="build")
            )
        return self._sandbox

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        image: ImageRoot,
        user: User,
        mounts: Sequence[Mount],
        output: Callable[[str], None],
    ) -> Ran:
        """Run a command to its end; `output` hears of its lines. Raises SandboxError or OSError."""
        sandbox = await self._ready()
        self._count += 1
        name = f"step{self._count}"
        log = self._directory / f"{name}.log"
        os.close(os.open(log, os.O_WRONLY | os.O_CREAT, 0o600))
        state = await sandbox.start(
            ContainerSpec(
                name=name,
                attempt=0,
                argv=tuple(argv),
                env=env,
                cwd=cwd,
                image=image,
                mounts=tuple(mounts),
                log_path=str(log),
                uid=user.uid,
                gid=user.gid,
                groups=user.groups,
                termination_message_path="",
                keeps_writes=True,
            )
        )
        if state.phase == "running":
            state = await self._follow(sandbox, name, log, output)
        elif state.reason == "StartError":
            return Ran(state.exit_code, state.message, {})
        base = Path(sandbox.directory) / "layers" / f"{name}-0"
        uppers = {
            spec.path_of(entry.removeprefix(spec.UPPER)): str(base / entry)
            for entry in os.listdir(base)
            if entry.startswith(spec.UPPER)
        }
        return Ran(state.exit_code, state.message if state.reason == "OOMKilled" else "", uppers)

    async def _follow(self, sandbox: Sandbox, name: str, log: Path, output: Callable[[str], None]) -> ContainerState:
        ended: list[ContainerState] = []

        async def end() -> None:
            async for state in sandbox.changes():
                if state.name == name:
                    ended.append(state)
                    return

        if self._watches is None:
            self._watches = watches()
        rest = b""
        async with aclosing(read(LogSource(log, end), _Following(), self._watches, datetime.now(UTC))) as chunks:
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    output(line.decode(errors="replace"))
        if rest:
            output(rest.decode(errors="replace"))
        if not ended:
            raise SandboxError("the supervisor of the step has ended")
        return ended[0]

    async def close(self) -> None:
        if self._watches is not None:
            self._watches.close()
        if (self._directory / "node").exists():
            await self._runtime.stop(end_pods=True)


async def close_down(directory: Path) -> None:
    """End what a killed build has left running: its processes outlive it, as those of pods do."""
    if (directory / "node").exists():
        await ProcessRuntime(directory / "node").stop(end_pods=True)
