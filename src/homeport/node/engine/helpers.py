"""The node's own containers on the engine: the one that holds the node's network, and the network helper."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from homeport.node.engine import bodies, pause
from homeport.node.engine.api import Engine, EngineError
from homeport.node.engine.frames import Frames
from homeport.node.engine.removing import remove
from homeport.node.runtime import Mount, SandboxError
from homeport.node.sandbox import __main__ as program
from homeport.node.sandbox import enginenet, hostlink, layout, network

_PROGRAM = os.path.abspath(program.__file__)
_PACKAGES = str(Path(_PROGRAM).parents[3])
_START_SECONDS = 30.0
_IMAGE = "homeport/node"
_NETWORK, _HELPER = "network", "helper"
"""Roles: the container that holds the node's network namespace; the network helper."""
_PLACES = ("proc", "sys", "dev", "etc", "tmp", "run", "var", *layout.PROGRAMS)
_GROUPS = "/sys/fs/cgroup"


class Helpers:
    """Those of the node in `directory`, whose volumes lie in `volumes`."""

    def __init__(
        self,
        engine: Engine,
        directory: str,
        volumes: str,
        networks: tuple[ipaddress.IPv4Network, ipaddress.IPv4Network],
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._volumes = volumes
        self._networks = networks
        self._node = bodies.node_key(directory)
        self._starting = asyncio.Lock()
        self._starts = 0
        self.image = ""
        """The image of the containers that are ours, once it is made."""

    async def make_image(self) -> None:
        """The image of the containers that are ours: a program that waits, and places to mount something on."""
        machine = pause.NAMES.get(platform.machine())
        if machine is None:
            raise SandboxError(f"pods as containers are known on x86_64 and aarch64, not on {platform.machine()}")
        archive = pause.root(machine, tuple(dict.fromkeys((*_PLACES, *_parents(self._helper_mounts())))))
        name = f"{_IMAGE}:{hashlib.sha256(archive).hexdigest()[:12]}"
        query = {"filters": json.dumps({"reference": [name]})}
        if not await self._engine.request("GET", "/images/json", query=query):
            # The tag is part of the name, since Podman 4 does not look at a parameter of its own.
            async for line in self._engine.lines(
                "POST", "/images/create", archive, query={"fromSrc": "-", "repo": name}
            ):
                if "error" in line:
                    raise EngineError(str(line["error"]), 500)
        self.image = str((await self._engine.request("GET", "/images/json", query=query))[0]["Id"])

    async def _ours(self, role: str) -> list[Mapping[str, Any]]:
        query = bodies.labelled(node=self._node, role=role)
        return list(await self._engine.request("GET", "/containers/json", query=query))

    async def _namespace_holder(self) -> int:
        """The process id of the container that holds the node's network namespace."""
        for one in await self._ours(_NETWORK):
            if one["State"] == "running":
                return await self._pid(one["Id"])
            await remove(self._engine, one["Id"])
        body = bodies.pausing(node=self._node, image=self.image, role=_NETWORK)
        identity = await create(self._engine, f"homeport_network_{self._node}", body)
        return await self._pid(identity)

    async def start(self, *, is_podman: bool) -> None:
        """Start the network helper anew; whoever waits for that meanwhile has it, too. Raises SandboxError."""
        starts = self._starts
        try:
            async with self._starting, asyncio.timeout(_START_SECONDS):
                if starts != self._starts:
                    return  # one more would end that one's work
                for one in await self._ours(_HELPER):
                    await remove(self._engine, one["Id"])
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(network.helper_socket(self._directory))
                if not self.image:
                    await self.make_image()
                pid = await self._namespace_holder()
                command = [
                    *(_python(), "-I", "-S", _PROGRAM, "engine-net"),
                    *(self._directory, *map(str, self._networks), str(pid), self._volumes, self._node),
                ]
                body = bodies.helper(
                    node=self._node,
                    image=self.image,
                    role=_HELPER,
                    command=command,
                    mounts=self._helper_mounts(),
                    is_podman=is_podman,
                )
                await self._say_hello(f"homeport_helper_{self._node}", body)
                self._starts += 1
        except TimeoutError:
            raise SandboxError(f"the node's network helper does not start within {_START_SECONDS:.0f} s") from None
        except EngineError as error:
            raise SandboxError(f"the node's network helper can't be started: {error}") from error

    async def _say_hello(self, name: str, body: bodies.Body) -> None:
        """Start the helper and wait for its word."""
        made = await self._engine.request("POST", "/containers/create", body, query={"name": name})
        identity = str(made["Id"])
        await self._engine.request("POST", f"/containers/{identity}/start")
        said = b""
        query = {"follow": "true", "stdout": "true", "stderr": "true"}
        frames = Frames()
        async with contextlib.aclosing(
            self._engine.stream("GET", f"/containers/{identity}/logs", query=query)
        ) as chunks:
            async for chunk in chunks:
                said += b"".join(content for _, content in frames.feed(chunk))
                if enginenet.READY in said:
                    break
        if enginenet.READY not in said:
            raise SandboxError(f"the node's network can't be made: {said.decode(errors='replace').strip()}")
        if not await asyncio.to_thread(os.path.exists, network.helper_socket(self._directory)):
            raise SandboxError(
                f"the engine at {self._engine.path} does not share this machine's files: it has to run on the machine "
                "itself, not in a virtual machine"
            )

    def _helper_mounts(self) -> list[Mount]:
        """What the helper sees of the machine: programs and libraries, this package, the node's directory."""
        seen = [f"/{name}" for name in layout.PROGRAMS if os.path.isdir(f"/{name}")]
        seen += [path for path in layout.READ_ONLY if os.path.isdir(path)]
        mounts = [Mount(path, path, read_only=True) for path in seen]
        for path in (os.path.realpath(sys.base_prefix), _PACKAGES):
            if not any(f"{path}/".startswith(f"{mount.target}/") for mount in mounts):
                mounts.append(Mount(path, path, read_only=True))
        if os.path.exists("/etc/resolv.conf"):
            mounts.append(Mount(os.path.realpath("/etc/resolv.conf"), "/etc/resolv.conf", read_only=True))
        own = dict.fromkeys((self._directory, self._volumes, "/dev/shm", _GROUPS))
        return [*mounts, *(Mount(path, path) for path in own)]

    async def _pid(self, identity: str) -> int:
        return int((await self._engine.request("GET", f"/containers/{identity}/json"))["State"]["Pid"])

    async def remove(self) -> None:
        """Raises SandboxError."""
        try:
            for role in (_HELPER, _NETWORK):
                for one in await self._ours(role):
                    await remove(self._engine, one["Id"])
        except EngineError as error:
            raise SandboxError(f"the node's containers can't be removed: {error}") from error
        with contextlib.suppress(FileNotFoundError):
            os.unlink(network.helper_socket(self._directory))
        try:
            hostlink.remove(self._directory)
        except OSError as error:
            raise SandboxError(f"the link to the pods' network can't be removed: {error}") from error


async def create(engine: Engine, name: str, body: bodies.Body) -> str:
    """Make and start a container; what is left of one with that name goes. Raises EngineError."""
    await remove(engine, name)
    identity = str((await engine.request("POST", "/containers/create", body, query={"name": name}))["Id"])
    await engine.request("POST", f"/containers/{identity}/start")
    return identity


def _python() -> str:
    """The interpreter itself: an environment's is a link that leads out of what the helper sees."""
    return os.path.realpath(sys.executable)


def _parents(mounts: Iterable[Mount]) -> Iterable[str]:
    """Every directory on the way to a mount, for engines that make none of them."""
    for mount in mounts:
        parts = mount.target.strip("/").split("/")
        for length in range(1, len(parts) + (mount.target != "/etc/resolv.conf")):
            yield "/".join(parts[:length])
