"""The node's runtime on Docker or Podman."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import ipaddress
import json
import logging
import os
import platform
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from homeport.node.engine import bodies, pause
from homeport.node.engine.api import Engine, EngineError
from homeport.node.engine.frames import Frames
from homeport.node.engine.removing import remove, remove_all
from homeport.node.engine.sandbox import EngineSandbox, Facts
from homeport.node.network import NodeNetwork
from homeport.node.networked import Networked
from homeport.node.runtime import Mount, Sandbox, SandboxError, SandboxSpec
from homeport.node.sandbox import __main__ as program
from homeport.node.sandbox import enginenet, etc, layout, network, spec

_LOG = logging.getLogger(__name__)
_PROGRAM = os.path.abspath(program.__file__)
_PACKAGES = str(Path(_PROGRAM).parents[3])
_START_SECONDS = 30.0
_IMAGE = "homeport/node"
_NETWORK, _HELPER = "network", "helper"
"""Roles: the container that holds the node's network namespace; the network helper."""
_PLACES = ("proc", "sys", "dev", "etc", "tmp", "run", "var", *layout.PROGRAMS)


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
        self._network = ipaddress.IPv4Network(pod_cidr)
        self._services = ipaddress.IPv4Network(service_cidr)
        self._net = NodeNetwork(self._directory, self._network, self._services, self._start_helper)
        self._image = ""
        self._starting = asyncio.Lock()
        self._creating = asyncio.Lock()
        self._sandboxes: dict[str, EngineSandbox] = {}
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
            await self._make_image()
            await self._net.start()
            self._is_started = True
        except EngineError as error:
            raise SandboxError(_explain(error, self._engine.path)) from error
        except OSError as error:
            raise SandboxError(f"the node's helper can't be reached: {error}") from error

    async def _learn(self) -> Facts:
        """Which engine this is. Raises EngineError."""
        if self._facts is None:
            about = await self._engine.request("GET", "/version")
            names = {str(part.get("Name", "")) for part in about.get("Components") or ()}
            self._facts = Facts(
                engine=self._engine,
                node=self._node,
                is_podman=any("Podman" in name for name in names),
                unlink=self._unlink,
                loopback=self._loopback,
                kill=self._kill,
            )
        return self._facts

    # The node's own containers.

    async def _make_image(self) -> None:
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
        self._image = str((await self._engine.request("GET", "/images/json", query=query))[0]["Id"])

    async def _ours(self, role: str) -> list[Mapping[str, Any]]:
        query = bodies.labelled(node=self._node, role=role)
        return list(await self._engine.request("GET", "/containers/json", query=query))

    async def _namespace_holder(self) -> int:
        """The process id of the container that holds the node's network namespace."""
        for one in await self._ours(_NETWORK):
            if one["State"] == "running":
                return await self._pid(one["Id"])
            await remove(self._engine, one["Id"])
        body = bodies.pausing(node=self._node, image=self._image, role=_NETWORK)
        identity = await self._create(f"homeport_network_{self._node}", body)
        return await self._pid(identity)

    async def _start_helper(self) -> None:
        """Start the network helper anew. Raises SandboxError."""
        try:
            async with self._starting, asyncio.timeout(_START_SECONDS):
                for one in await self._ours(_HELPER):
                    await remove(self._engine, one["Id"])
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(network.helper_socket(self._directory))
                pid = await self._namespace_holder()
                command = [
                    *(_python(), "-I", "-S", _PROGRAM, "engine-net"),
                    *(self._directory, str(self._network), str(self._services), str(pid), self._volumes),
                ]
                body = bodies.helper(
                    node=self._node,
                    image=self._image,
                    role=_HELPER,
                    command=command,
                    mounts=self._helper_mounts(),
                    is_podman=(await self._learn()).is_podman,
                )
                await self._say_hello(f"homeport_helper_{self._node}", body)
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
        own = dict.fromkeys((self._directory, self._volumes, "/dev/shm"))
        return [*mounts, *(Mount(path, path) for path in own)]

    async def _create(self, name: str, body: bodies.Body) -> str:
        """Make and start a container; what is left of one with that name goes."""
        await remove(self._engine, name)
        identity = str((await self._engine.request("POST", "/containers/create", body, query={"name": name}))["Id"])
        await self._engine.request("POST", f"/containers/{identity}/start")
        return identity

    async def _pid(self, identity: str) -> int:
        return int((await self._engine.request("GET", f"/containers/{identity}/json"))["State"]["Pid"])

    # Sandboxes.

    async def create(self, wanted: SandboxSpec) -> Sandbox:
        existing = self._sandboxes.get(wanted.uid)
        if existing is not None and existing.alive:
            return existing
        facts = await self._learn()
        address = network.host_address() if wanted.host_network else self._allocate()
        try:
            files = self._write_files(wanted, address)
            body = bodies.infrastructure(wanted, node=self._node, image=self._image, address=address)
            name = bodies.container_name(self._node, "POD", wanted.name, wanted.namespace, wanted.uid, 0)
            await self._delete_all(wanted.uid)
            identity = await self._create(name, body)
            described = await self._engine.request("GET", f"/containers/{identity}/json")
            if not wanted.host_network:
                await self._net.ask(op="link", pid=int(described["State"]["Pid"]), address=address)
        except (EngineError, OSError) as error:
            self._taken.discard(address)
            raise SandboxError(f"the pod's sandbox can't be made: {error}") from error
        except SandboxError:
            self._taken.discard(address)
            raise
        sandbox = EngineSandbox(facts, described, files, self._destroyed)
        self._sandboxes[wanted.uid] = sandbox
        return sandbox

    async def _delete_all(self, uid: str) -> None:
        """What is left of a former sandbox of the pod."""
        found = await self._engine.request("GET", "/containers/json", query=bodies.labelled(node=self._node, uid=uid))
        await remove_all(self._engine, [str(one["Id"]) for one in found])

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
            await self._learn()
            listed = await self._engine.request("GET", "/containers/json", query=bodies.labelled(node=self._node))
            described = await asyncio.gather(
                *(
                    self._engine.request("GET", f"/containers/{one['Id']}/json")
                    for one in listed
                    if one["Labels"].get(bodies.ROLE) in (bodies.SHARED, bodies.OWN)
                )
            )
        except EngineError as error:
            raise SandboxError(_explain(error, self._engine.path)) from error
        by_pod: dict[str, list[Mapping[str, Any]]] = {}
        for one in described:
            by_pod.setdefault(one["Config"]["Labels"][bodies.UID], []).append(one)
        for uid, containers in by_pod.items():
            known = self._sandboxes.get(uid)
            if known is None or not known.alive:
                await self._adopt(uid, containers)
        return list(self._sandboxes.values())

    async def _adopt(self, uid: str, containers: Iterable[Mapping[str, Any]]) -> None:
        facts = await self._learn()
        by_role: dict[str, list[Mapping[str, Any]]] = {bodies.SHARED: [], bodies.OWN: []}
        for one in containers:
            by_role[one["Config"]["Labels"][bodies.ROLE]].append(one)
        if not by_role[bodies.SHARED]:
            # Somebody has removed what held the pod together.
            await remove_all(self._engine, [str(one["Id"]) for one in by_role[bodies.OWN]])
            return
        shared = by_role[bodies.SHARED][0]
        labels = shared["Config"]["Labels"]
        sandbox = EngineSandbox(facts, shared, _files_of(labels[bodies.DIRECTORY]), self._destroyed)
        self._sandboxes[uid] = sandbox
        self._taken.add(sandbox.address)
        await sandbox.adopt(by_role[bodies.OWN])
        if self._is_started and sandbox.alive and shared["HostConfig"]["NetworkMode"] != "host":
            await self._net.ask(op="join", pid=int(shared["State"]["Pid"]), address=sandbox.address)

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

    # The network.

    async def _unlink(self, address: str) -> None:
        await self._net.ask(op="unlink", address=address)

    async def _kill(self, pid: int) -> None:
        await self._net.ask(op="kill", pid=pid)

    async def _loopback(self, pid: int) -> socket.socket:
        return await self._net.make_socket(op="pod-socket", pid=pid)

    # The end.

    async def stop(self, *, end_pods: bool) -> None:
        if end_pods:
            await asyncio.gather(*(sandbox.destroy() for sandbox in await self.adopt()))
        for sandbox in self._sandboxes.values():
            sandbox.detach()
        self._sandboxes.clear()
        await self._net.stop()
        if end_pods:
            await self._stop_helpers()

    async def shut_down(self, grace: float) -> None:
        """End every pod, within `grace` seconds if it listens to SIGTERM, and the node's containers. How the pods'
        containers ended stays with the engine: the next ``adopt`` tells it."""
        await self.adopt()
        await asyncio.gather(*(sandbox.leave(grace) for sandbox in self._sandboxes.values()))
        await self.stop(end_pods=False)
        await self._stop_helpers()

    async def _stop_helpers(self) -> None:
        try:
            for role in (_HELPER, _NETWORK):
                for one in await self._ours(role):
                    await remove(self._engine, one["Id"])
        except EngineError as error:
            raise SandboxError(f"the node's containers can't be removed: {error}") from error
        with contextlib.suppress(FileNotFoundError):
            os.unlink(network.helper_socket(self._directory))


def _python() -> str:
    """The interpreter itself: an environment's is a link that leads out of what the helper sees."""
    return os.path.realpath(sys.executable)


def _files_of(directory: str) -> list[Mount]:
    names = ("hosts", "resolv.conf", "hostname")
    return [Mount(os.path.join(directory, "etc", name), f"/etc/{name}") for name in names]


def _parents(mounts: Iterable[Mount]) -> Iterable[str]:
    """Every directory on the way to a mount, for engines that make none of them."""
    for mount in mounts:
        parts = mount.target.strip("/").split("/")
        for length in range(1, len(parts) + (mount.target != "/etc/resolv.conf")):
            yield "/".join(parts[:length])


def _explain(error: EngineError, path: str) -> str:
    if error.status:
        return f"the engine at {path} refuses: {error}"
    return f"no engine answers at {path} ({error}). Start Docker or Podman's service, or name its socket in DOCKER_HOST"
