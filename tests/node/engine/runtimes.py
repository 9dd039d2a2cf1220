"""What tests of every runtime work with: a node of one of them, its pods, and what they say."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from homeport.node.choice import PodRuntime
from homeport.node.cri import Decoder
from homeport.node.runtime import ContainerSpec, ContainerState, ImageRoot, Sandbox, SandboxSpec


class Pods:
    """A node directory with a runtime, and the pods of one test."""

    def __init__(self, directory: Path, make: Callable[[Path], PodRuntime], root: ImageRoot) -> None:
        self.directory = directory / "node"
        self.make = make
        self.runtime = make(self.directory)
        self.root = root
        self.kind = ""
        """Which runtime it is, as the fixture is told."""

    async def create(self, name: str, **changes: Any) -> Sandbox:
        place = self.directory / "pods" / name
        place.mkdir(parents=True, exist_ok=True)
        wanted = {
            "uid": name,
            "namespace": "default",
            "name": name,
            "directory": str(place),
            "hostname": name,
            "searches": ("default.svc.cluster.local",),
        }
        return await self.runtime.create(SandboxSpec(**(wanted | changes)))

    def log(self, sandbox: Sandbox, name: str = "main") -> Path:
        return Path(sandbox.directory) / "logs" / f"{name}.log"

    def spec(self, sandbox: Sandbox, script: str, name: str = "main", **changes: Any) -> ContainerSpec:
        wanted = {
            "name": name,
            "attempt": 0,
            "argv": ("sh", "-c", script),
            "env": {"PATH": "/usr/bin:/bin"},
            "cwd": "/",
            "image": self.root,
            "mounts": (),
            "log_path": str(self.log(sandbox, name)),
        }
        return ContainerSpec(**(wanted | changes))

    async def run(self, sandbox: Sandbox, script: str, name: str = "main", **changes: Any) -> ContainerState:
        """Run a script to its end."""
        state = await sandbox.start(self.spec(sandbox, script, name, **changes))
        return state if state.phase == "exited" else await end_of(sandbox)

    def lines(self, sandbox: Sandbox, stream: str = "stdout", name: str = "main") -> list[str]:
        decoder = Decoder(stream=stream.encode())
        lines = list(decoder.feed(self.log(sandbox, name).read_bytes().splitlines()))
        return [line.decode().removesuffix("\n") for line in lines]

    async def again(self) -> dict[str, Sandbox]:
        """As after a restart of the platform."""
        await self.runtime.stop(end_pods=False)
        self.runtime = self.make(self.directory)
        await self.runtime.start()
        return {sandbox.uid: sandbox for sandbox in await self.runtime.adopt()}


async def end_of(sandbox: Sandbox) -> ContainerState:
    async with asyncio.timeout(30), aclosing(sandbox.changes()) as changes:  # type: ignore[type-var]
        async for state in changes:
            return state
    raise AssertionError("the sandbox has ended")


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.02)


async def said(connect: Callable[[], Any]) -> bytes:
    """What a web server says that may not listen yet."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        while True:
            try:
                connection: socket.socket = await connect()
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
                continue
            with connection:
                await loop.sock_sendall(connection, b"GET / HTTP/1.0\r\n\r\n")
                data = b""
                while part := await loop.sock_recv(connection, 4096):
                    data += part
                return data


async def dialled(address: str, port: int) -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except OSError:
        made.close()
        raise
    return made


async def everything(reader: Any) -> bytes:
    data = b""
    async with asyncio.timeout(30):
        while part := await reader.read():
            data += part
    return data


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
