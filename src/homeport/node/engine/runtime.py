"""The node's runtime on Docker or Podman."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import logging
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from homeport.node import enginesocket
from homeport.node.engine import bodies, helpers, removing, volumes
from homeport.node.engine.api import Engine, EngineError
from homeport.node.engine.facts import Facts
from homeport.node.engine.remains import Remains
from homeport.node.engine.sandbox import EngineSandbox
from homeport.node.network import NodeNetwork
from homeport.node.networked import Networked
from homeport.node.runtime import Mount, Sandbox, SandboxError, SandboxSpec
from homeport.node.sandbox import enginegroups, enginenet, etc, network, spec

_LOG = logging.getLogger(__name__)


class EngineRuntime(Networked):
    """Pods as containers of the engine at the unix socket `path`, which has to run on this machine's own kernel.

    `directory` is the node's, with the helper's socket; pods' directories are below it. `volumes` is where volumes lie
    that outlive pods.
    """

    def __init__(
        self,
        path: str,
        directory: Path,
        *,
        pod_cidr: str = "10.42.0.0/16",
        service_cidr: str = "10.43.0.0/16",
        volumes: Path | None = None,
    ) -> None:
        self._engine = Engine(path)
        self._directory = str(Path(directory).absolute())
        self._volumes = str(Path(volumes or directory).absolute())
        self._node = bodies.node_key(self._directory)
        self._network, services = ipaddress.IPv4Network(pod_cidr), ipaddress.IPv4Network(service_cidr)
        self._helpers = helpers.Helpers(self._engine, self._directory, self._volumes, (self._network, services))
        self._net = NodeNetwork(self._directory, self._network, services, self._start_helper)
        self._sandboxes: dict[str, EngineSandbox] = {}
        self._remains = Remains(lambda: self._sandboxes)
        self._taken: set[str] = set()
        self._last = int(self._network.network_address) + 1
        self._facts: Facts | None = None
        self._is_started = False

    @property
    def directory(self) -> str:
        return self._directory

    @property
    def engine(self) -> Engine:
        return self._engine

    async def start(self) -> None:
        """Raises SandboxError, with the remedy, if the engine can't be used."""
        if sys.platform != "linux":
            raise SandboxError(
                "pods as containers need an engine on this machine's own kernel, which is Linux's; on other systems "
                "run Homeport inside the engine's virtual machine, or use a cluster"
            )
        for place in (self._directory, self._volumes):
            os.makedirs(place, mode=0o700, exist_ok=True)
        try:
            await self._learn()
            await self._helpers.make_image()
            await self._net.start()
            self._is_started = True
        except EngineError as error:
            raise SandboxError(_explain(error, self._engine.path)) from error
        except OSError as error:
            raise SandboxError(f"the node's helper can't be reached: {error}") from error

    async def _learn(self) -> Facts:
        """Which engine this is. Raises EngineError; SandboxError for one that can't be used."""
        if self._facts is None:
            about, more = await asyncio.gather(
                self._engine.request("GET", "/version"), self._engine.request("GET", "/info")
            )
            described = enginesocket.about_of(more)
            if words := enginesocket.in_a_virtual_machine(described, platform.release()):
                raise SandboxError(
                    f"the engine at {self._engine.path} {words}. Run Homeport inside that machine, or on one with "
                    "Linux, whose engine it can use; without --runtime it takes what this machine has"
                )
            names = {str(part.get("Name", "")) for part in about.get("Components") or ()}
            self._facts = Facts(
                engine=self._engine,
                node=self._node,
                net=self._net,
                places=enginenet.places(self._directory, self._volumes),
                is_podman=any("Podman" in name for name in names),
                # An ordinary user's engine has none, or systemd's.
                has_groups=more.get("CgroupDriver") == "cgroupfs" and not described.is_rootless,
            )
        return self._facts

    async def _start_helper(self) -> None:
        """Raises SandboxError."""
        try:
            facts = await self._learn()
        except EngineError as error:
            raise SandboxError(_explain(error, self._engine.path)) from error
        await self._helpers.start(is_podman=facts.is_podman)
        # Where what held the network had gone as well, it is a new one.
        await asyncio.gather(*(one.rejoin() for one in self._sandboxes.values()))

    # Sandboxes.

    async def create(self, wanted: SandboxSpec) -> Sandbox:
        existing = self._sandboxes.get(wanted.uid)
        if existing is not None and existing.alive:
            return existing
        facts = await self._learn()
        address = network.host_address() if wanted.host_network else self._allocate()
        try:
            async with self._remains.sparing(facts, wanted.uid):
                files = self._write_files(wanted, address)
                await removing.remove_pod(facts, wanted.uid)  # what is left of a former sandbox
                sandbox = EngineSandbox(facts, await self._make(facts, wanted, address), files, self._destroyed)
                if not wanted.host_network:
                    await sandbox.link()
                self._sandboxes[wanted.uid] = sandbox
        except (EngineError, OSError) as error:
            self._taken.discard(address)
            raise SandboxError(f"the pod's sandbox can't be made: {error}") from error
        except SandboxError:
            self._taken.discard(address)
            raise
        return sandbox

    async def _make(self, facts: Facts, wanted: SandboxSpec, address: str) -> Mapping[str, Any]:
        """What holds a pod together: its group, its volumes in memory, its infrastructure container; what the engine
        says of that. Raises EngineError or SandboxError."""
        group = ""
        if facts.has_groups:
            await self._net.ask(op="group", uid=wanted.uid, limits=dataclasses.asdict(wanted.limits))
            group = enginegroups.parent(self._node, wanted.uid)
        in_memory = await volumes.make(self._engine, self._node, wanted)
        body = bodies.infrastructure(
            wanted, node=self._node, image=self._helpers.image, address=address, group=group, volumes=in_memory
        )
        name = bodies.container_name(self._node, "POD", wanted.name, wanted.namespace, wanted.uid, 0)
        identity = await helpers.create(self._engine, name, body)
        described: Mapping[str, Any] = await self._engine.request("GET", f"/containers/{identity}/json")
        return described

    def _allocate(self) -> str:
        """The next free address, of those that :meth:`homeport.node.sandbox.zygote.Zygote` gives."""
        first, size = int(self._network.network_address) + 2, self._network.num_addresses - 4
        for step in range(size):
            value = ipaddress.IPv4Address(first + (self._last + 1 - first + step) % size)
            if str(value) not in self._taken:
                self._last = int(value)
                self._taken.add(str(value))
                return str(value)
        raise SandboxError(f"every address of {self._network} is in use")

    def _write_files(self, wanted: SandboxSpec, address: str) -> list[Mount]:
        values = dataclasses.asdict(wanted)
        pod = spec.pod_from({field: values[field] for field in spec.Pod._fields})
        place = os.path.join(wanted.directory, "etc")
        os.makedirs(place, mode=0o755, exist_ok=True)
        for name, text in etc.files(pod, address, self.gateway).items():
            with open(os.path.join(place, name), "w", encoding="utf-8") as file:
                file.write(text)
        return _files_of(wanted.directory)

    async def adopt(self) -> list[Sandbox]:
        try:
            facts = await self._learn()
            listed = await self._engine.request("GET", "/containers/json", query=bodies.labelled(node=self._node))
            wanted = [one["Id"] for one in listed if one["Labels"].get(bodies.ROLE) in (bodies.SHARED, bodies.OWN)]
            described = [one for one in await asyncio.gather(*map(self._engine.described, wanted)) if one is not None]
        except EngineError as error:
            raise SandboxError(_explain(error, self._engine.path)) from error
        by_pod: dict[str, list[Mapping[str, Any]]] = {}
        for one in described:
            by_pod.setdefault(one["Config"]["Labels"][bodies.UID], []).append(one)
        for uid, containers in by_pod.items():
            known = self._sandboxes.get(uid)
            if known is None or not known.alive:
                await self._adopt(uid, containers)
        try:
            await self._remains.sweep(facts)
        except (EngineError, SandboxError) as error:
            _LOG.warning("something of ended pods is left: %s", error)
            self._remains.sweep_soon(facts)
        return list(self._sandboxes.values())

    async def _adopt(self, uid: str, containers: Iterable[Mapping[str, Any]]) -> None:
        facts = await self._learn()
        by_role: dict[str, list[Mapping[str, Any]]] = {bodies.SHARED: [], bodies.OWN: []}
        for one in containers:
            by_role[one["Config"]["Labels"][bodies.ROLE]].append(one)
        if not by_role[bodies.SHARED]:
            # Somebody has removed what held the pod together.
            await removing.remove_pod(facts, uid)
            return
        shared = by_role[bodies.SHARED][0]
        labels = shared["Config"]["Labels"]
        sandbox = EngineSandbox(facts, shared, _files_of(labels[bodies.DIRECTORY]), self._destroyed)
        self._sandboxes[uid] = sandbox
        self._taken.add(sandbox.address)
        await sandbox.adopt(by_role[bodies.OWN])
        if self._is_started:
            await sandbox.rejoin()

    def _destroyed(self, sandbox: EngineSandbox) -> None:
        if self._sandboxes.get(sandbox.uid) is sandbox:
            del self._sandboxes[sandbox.uid]
        self._taken.discard(sandbox.address)

    async def remove(self, path: str) -> None:
        if not Path(path).is_absolute():
            raise ValueError(f"{path} is no absolute path")
        await self._net.ask_apart(op="remove", path=path)

    async def give(self, path: str, group: int, *, read_only: bool, only_if_root_differs: bool) -> None:
        wanted = {"path": path, "group": group, "read_only": read_only, "only_if_root_differs": only_if_root_differs}
        await self._net.ask_apart(op="give", **wanted)

    async def give_file(self, path: str, user: int) -> None:
        await self._net.ask_apart(op="give-file", path=path, user=user)

    async def copy(self, source: str, target: str) -> None:
        await self._net.ask_apart(op="copy", source=source, target=target)

    async def measure(self, paths: Sequence[str]) -> list[int]:
        return list((await self._net.ask_apart(op="measure", paths=list(paths)))["sizes"])

    # The end.

    async def stop(self, *, end_pods: bool) -> None:
        if end_pods:
            await asyncio.gather(*(sandbox.destroy() for sandbox in await self.adopt()))
        for sandbox in self._sandboxes.values():
            sandbox.detach()
        self._sandboxes.clear()
        await self._remains.stop()
        await self._net.stop()
        if end_pods:
            await self._helpers.remove()

    async def shut_down(self, grace: float) -> None:
        """End every pod, within `grace` seconds if it listens to SIGTERM, and the node's containers. How the pods'
        containers ended stays with the engine: the next ``adopt`` tells it."""
        await self.adopt()
        await asyncio.gather(*(sandbox.leave(grace) for sandbox in self._sandboxes.values()))
        await self.stop(end_pods=False)
        await self._helpers.remove()


def _files_of(directory: str) -> list[Mount]:
    names = ("hosts", "resolv.conf", "hostname")
    return [Mount(os.path.join(directory, "etc", name), f"/etc/{name}") for name in names]


def _explain(error: EngineError, path: str) -> str:
    if error.status:
        return f"the engine at {path} refuses: {error}"
    return f"no engine answers at {path} ({error}). Start Docker or Podman's service, or name its socket in DOCKER_HOST"
