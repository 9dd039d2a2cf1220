"""A pod's volumes on an engine.

Those in memory are the engine's own volumes, which are mounted as long as the pod's infrastructure container has them.
The other containers have them as what the engine has mounted, and of every volume the very place that they are to see:
before version 26 of Docker a volume has no path below it that a container could be given alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from homeport.node.engine import bodies
from homeport.node.engine.api import Engine
from homeport.node.network import NodeNetwork
from homeport.node.runtime import Mount, NotYet, SandboxError, SandboxSpec
from homeport.node.sandbox import enginefiles

_PAGE = os.sysconf("SC_PAGE_SIZE")


async def make(engine: Engine, node: str, pod: SandboxSpec) -> dict[str, str]:
    """The engine's names of the pod's volumes in memory, by the places where they are meant to be. Raises
    EngineError."""
    made = {}
    for volume in pod.memory:
        # As processes in namespaces have it: whose what is made in it is, and deleted by nobody else.
        owner = "mode=1777" if volume.group is None else f"mode=3777,gid={volume.group}"
        name = bodies.container_name(node, os.path.basename(volume.path), pod.name, pod.namespace, pod.uid, 0)
        # In pages: a size in bytes is to Podman 4 one of the disk's quota.
        pages = -(-volume.size // _PAGE)
        options = {"type": "tmpfs", "device": "tmpfs", "o": f"nodev,nr_blocks={pages},{owner}"}
        labels = {bodies.NODE: node, bodies.UID: pod.uid}
        body = {"Name": name, "Driver": "local", "DriverOpts": options, "Labels": labels}
        await engine.request("POST", "/volumes/create", body)
        made[volume.path] = name
    return made


class Volumes:
    """Of the pod whose infrastructure container the engine describes as `shared`. `net` asks the network helper, which
    may use what is in `places`."""

    def __init__(self, net: NodeNetwork, places: Sequence[str], shared: Mapping[str, Any]) -> None:
        mounts = shared.get("Mounts") or ()
        self._net = net
        self._places = tuple(places)
        self._pid = int(shared["State"]["Pid"])
        self._mounted = {one["Destination"]: one["Source"] for one in mounts if one.get("Type") == "volume"}
        """Where the engine has mounted what is in memory, by the places where it is meant to be."""

    async def whole(self, mount: Mount) -> Mount:
        """The mount without a path below its source, from where the engine has it. A container that changes that path
        at the same moment is not noticed. Raises NotYet if that path leads nowhere."""
        source = self._mounted.get(mount.source, mount.source)
        if not mount.sub_path:
            return replace(mount, source=source)
        try:
            part = await self._below(mount.source, mount.sub_path)
        except SandboxError as error:
            raise NotYet("CreateContainerConfigError", str(error)) from error
        return replace(mount, source=f"{source}/{part}", sub_path="")

    async def _below(self, volume: str, path: str) -> str:
        if f"{volume}/".startswith(self._places):
            answer = await self._net.ask_apart(op="below", volume=volume, path=path, pid=self._holder_of(volume))
            return str(answer["path"])
        try:  # a directory of the machine, which the helper does not see
            return await asyncio.to_thread(enginefiles.below, volume, path)
        except OSError as error:
            raise SandboxError(f"{error.strerror or error}") from error

    async def read(self, volume: str, path: str) -> bytes | None:
        """A file; None if it is not there. Raises SandboxError."""
        try:
            answer = await self._net.ask_apart(op="read", volume=volume, path=path, pid=self._holder_of(volume))
        except SandboxError as error:
            raise SandboxError(f"{path} of {volume} can't be read: {error}") from error
        return bytes.fromhex(answer["content"]) if "content" in answer else None

    def _holder_of(self, volume: str) -> int:
        """The process that has a volume which is not one of the machine's directories; 0 for those that are."""
        return self._pid if volume in self._mounted else 0
