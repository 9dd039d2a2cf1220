"""Clients at the processes of a container of the engine: commands, and the streams of its first process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from homeport.node.engine import states
from homeport.node.engine.api import Engine, EngineError
from homeport.node.engine.session import EngineSession
from homeport.node.runtime import SandboxError, Session, StartError, Wanted

_RESIZE_DELAYS = (0.01, 0.03, 0.1, 0.3)
"""A command has no terminal before it runs, which the engine does not tell: as Docker's own client, ask again."""


async def execute(
    engine: Engine, container: str, argv: Sequence[str], wanted: Wanted, end: Callable[[int], Awaitable[None]]
) -> Session:
    """Run a command in the container with this id; `end` kills a process by its id. Raises StartError or
    SandboxError."""
    body = {
        "AttachStdin": wanted.stdin,
        "AttachStdout": wanted.stdout or wanted.tty,
        "AttachStderr": wanted.stderr and not wanted.tty,
        "Tty": wanted.tty,
        "Cmd": list(argv),
    }
    try:
        made = await engine.request("POST", f"/containers/{container}/exec", body)
        identity = str(made["Id"])
        connection, early = await engine.hijack(f"/exec/{identity}/start", {"Detach": False, "Tty": wanted.tty})
    except EngineError as error:
        if error.status in (404, 409) and not states.is_not_found(str(error)):
            raise SandboxError(str(error)) from error
        raise StartError(str(error), states.code_of(str(error))) from error

    async def exited() -> int:
        await session.drained()
        return await _exit_code(engine, identity)

    async def kill() -> None:
        # The engine has no word for it.
        described = await engine.request("GET", f"/exec/{identity}/json")
        if described["Running"] and described.get("Pid"):
            await end(int(described["Pid"]))

    resize = _resizing(engine, f"/exec/{identity}")
    session = EngineSession(connection, early, wanted, tty=wanted.tty, exited=exited, resize=resize, kill=kill)
    return session


async def _exit_code(engine: Engine, identity: str) -> int:
    """Of a command whose streams have ended: the engine notes it a moment later."""
    delay = 0.005
    while True:
        try:
            described = await engine.request("GET", f"/exec/{identity}/json")
        except EngineError as error:
            raise ConnectionError(str(error)) from error
        if not described["Running"] and described.get("ExitCode") is not None:
            return int(described["ExitCode"])
        await asyncio.sleep(delay)
        delay = min(2 * delay, 0.5)


async def attach(
    engine: Engine, container: str, wanted: Wanted, *, tty: bool, exited: Callable[[], Awaitable[int]]
) -> Session:
    """Get at the streams of the first process of the container with this id. Raises SandboxError."""
    query = {"stream": "true", "logs": "false"}
    query |= {name: "true" for name in ("stdin", "stdout", "stderr") if getattr(wanted, name)}
    try:
        connection, early = await engine.hijack(f"/containers/{container}/attach", query=query)
    except EngineError as error:
        raise SandboxError(str(error)) from error
    resize = _resizing(engine, f"/containers/{container}")
    return EngineSession(connection, early, wanted, tty=tty, exited=exited, resize=resize)


def _resizing(engine: Engine, path: str) -> Callable[[int, int], Awaitable[None]]:
    async def resize(rows: int, columns: int) -> None:
        for delay in (*_RESIZE_DELAYS, None):
            try:
                await engine.request("POST", f"{path}/resize", query={"h": str(rows), "w": str(columns)})
                return
            except EngineError as error:
                if delay is None:
                    raise ConnectionError(str(error)) from error
                await asyncio.sleep(delay)

    return resize
