"""Pods as plain processes of this machine: the platform's side.

Each pod has an address, and behind it one of a network of 127.0.0.0/8 that this node has for itself; the rest of what
namespaces would do is in :mod:`homeport.node.plain.supervisor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from homeport.node import detached
from homeport.node.control import Connection
from homeport.node.messages import pod_message
from homeport.node.network import NodeNetwork
from homeport.node.plain import blocks, family, holding
from homeport.node.plain.addressing import Networks
from homeport.node.plain.doors import Doors
from homeport.node.plain.places import Links
from homeport.node.plain.supervisor import LOCK_FILE, forget_hosts, mark
from homeport.node.plain.tables import PUBLISHED
from homeport.node.runtime import ContainerSpec, Sandbox, SandboxError, SandboxSpec
from homeport.node.sandbox import groups, network, processes, record, registry, spec, trees, wire
from homeport.node.supervised import Supervised, connect, dead
from homeport.node.supervising import Supervising
from homeport.node.warmth import Warmth

_START_SECONDS = 30.0


class PlainSandbox(Supervised):
    """A pod without a network of its own: its loopback is its address."""

    def __init__(self, networks: Networks, doors: Doors, state: Mapping[str, Any], *others: Any) -> None:
        super().__init__(state, *others)
        self._networks = networks
        self._doors = doors

    async def connect(self, port: int) -> socket.socket:
        return await _dial(*place_of(self._networks, self._doors, self.address, port))


def place_of(networks: Networks, doors: Doors, address: str, port: int) -> tuple[str, int]:
    """Where a port is that pods know by that address."""
    if networks.is_shared and (name := doors.name_of(address)):
        port = doors.behind(name, port)
    return networks.behind(address), port


class PlainRuntime(Supervising):
    """The node's runtime on nothing but processes. `directory` holds the helper's socket and the pods' records."""

    def __init__(self, directory: Path, *, pod_cidr: str = "10.42.0.0/16", service_cidr: str = "10.43.0.0/16") -> None:
        self._directory = str(Path(directory).absolute())
        self._network, services = ipaddress.IPv4Network(pod_cidr), ipaddress.IPv4Network(service_cidr)
        self._networks = Networks(self._network, services, blocks.recorded(self._directory))
        self._doors = Doors(self._directory)
        self._net = NodeNetwork(self._directory, self._network, services, self._start_helper)
        self._sandboxes: dict[str, Supervised] = {}
        self._published: dict[int, int] = {}
        self._last = int(self._network.network_address) + 1
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Raises SandboxError."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        try:
            are_apart = await self._can_watch()
            real = await asyncio.to_thread(lambda: blocks.claim(self._directory, are_apart=are_apart))
            self._networks = self._networks._replace(real=real)
            await self._end_other_release()
            await self._net.start()
        except OSError as error:
            raise SandboxError(f"the node's network helper can't be reached: {error}") from error

    # Processes of ours.

    async def _can_watch(self) -> bool:
        """Whether the kernel hands system calls over: tried by a process without threads."""
        return processes.IS_LINUX and await detached.probe("plain-probe")

    async def _end_other_release(self) -> None:
        """The network helper outlives the platform, but no update. Raises OSError."""
        if (connection := await self._to_helper()) is None:
            return
        try:
            told = await connection.request(op="release")
        except SandboxError:
            told = {}  # it doesn't know the question
        finally:
            connection.close()
        if not spec.is_same_release(told):
            await self._end_helper()

    async def _to_helper(self) -> Connection | None:
        """A connection to the one that runs, None if none does. Raises OSError."""
        try:
            return await Connection.open(wire.connect(network.helper_socket(self._directory)))
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    async def _end_helper(self) -> None:
        """Raises OSError. The next one waits for the last that this one does."""
        if (connection := await self._to_helper()) is not None:
            try:
                with contextlib.suppress(ConnectionError, SandboxError):
                    await connection.request(op="stop")
            finally:
                connection.close()

    async def _start_helper(self) -> None:
        """Raises SandboxError."""
        async with self._starting:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                wire.connect(network.helper_socket(self._directory)).close()
                return
            receive, send = os.pipe()
            try:
                try:
                    await self._launch(send, "plain-net", "plain-net.log", *map(str, self._networks))
                finally:
                    os.close(send)
                async with asyncio.timeout(_START_SECONDS):
                    said = await asyncio.to_thread(os.read, receive, 4096)
            except TimeoutError:
                said = b"it does not answer"
            except OSError as error:
                raise SandboxError(f"the node's network helper can't be started: {error}") from error
            finally:
                os.close(receive)
            if said != b"\n":
                words = said.decode(errors="replace").strip() or "it ended at once"
                raise SandboxError(
                    f"the node's network helper can't be started: {words}; its log is {self._directory}/plain-net.log"
                )

    async def _launch(self, descriptor: int, what: str, log: str, *arguments: str) -> None:
        """Start a process that is nobody's child and has that descriptor. Raises OSError."""
        output = detached.open_log(os.path.join(self._directory, log))
        try:
            told = (what, str(descriptor), self._directory, *arguments)
            process = await detached.start(*told, log=output, keep=descriptor)
        finally:
            os.close(output)
        await process.wait()

    # Sandboxes.

    async def create(self, wanted: SandboxSpec) -> Sandbox:
        if (existing := self._known(wanted.uid)) is not None:
            return existing
        if wanted.sysctls:
            raise SandboxError(
                f"kernel parameters ({', '.join(wanted.sysctls)}) are the machine's own here: pods of the runtime "
                '"plain" have no namespaces'
            )
        pod = pod_message(wanted)
        address = "" if wanted.host_network else self._allocate()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                await self._launch(theirs.fileno(), "plain-pod", "plain-pods.log", *map(str, self._networks))
            connection = await Connection.open(ours)
        except OSError as error:
            ours.close()
            raise SandboxError(f"the pod's supervisor can't be started: {error}") from error
        try:
            answer = await connection.request(op="create", pod=pod, address=address)
        except ConnectionError:
            connection.close()
            raise SandboxError(
                f"the pod's supervisor ended at once; its log is {self._directory}/plain-pods.log"
            ) from None
        except BaseException:
            connection.close()
            raise
        if "exists" in answer:
            # Made for a platform that was killed before it heard of it.
            connection.close()
            connection, state = await self._connect(wanted.directory)
        else:
            state = answer["state"]
        sandbox = PlainSandbox(self._networks, self._doors, state, self._destroyed, self._settle, _kindle)
        sandbox.talk_over(connection)
        self._sandboxes[wanted.uid] = sandbox
        return sandbox

    async def _connect(self, directory: str) -> tuple[Connection, dict[str, Any]]:
        """To the supervisor of the pod in that directory. Raises SandboxError."""
        try:
            return await connect(directory)
        except OSError as error:
            raise SandboxError(f"the pod's supervisor ended meanwhile: {error}") from error

    def _allocate(self) -> str:
        """The next free address; one that was given back is used again as late as can be."""
        taken = {entry.address for entry in self._registry.entries()}
        first, size = int(self._network.network_address) + 2, self._network.num_addresses - 4
        for step in range(size):
            value = ipaddress.IPv4Address(first + (self._last + 1 - first + step) % size)
            if str(value) not in taken:
                self._last = int(value)
                return str(value)
        raise SandboxError(f"every address of {self._network} is in use")

    def not_held(self, container: ContainerSpec) -> list[str]:
        return holding.not_held(container)

    async def _adopt(self, entry: registry.Entry) -> Supervised:
        try:
            connection, state = await connect(entry.directory)
        except OSError:
            await self._end_processes(entry.uid)
            return dead(entry, self._destroyed, self._settle, _kindle)
        sandbox = PlainSandbox(self._networks, self._doors, state, self._destroyed, self._settle, _kindle)
        sandbox.talk_over(connection)
        return sandbox

    async def _settle(self, path: str) -> None:
        """A supervisor was killed, and its containers' first processes with it: end the others, too."""
        directory = os.path.dirname(path)
        # Found before the first wait: others come and go meanwhile.
        for uid in [uid for uid, sandbox in self._sandboxes.items() if sandbox.directory == directory]:
            await self._end_processes(uid)

    async def _end_processes(self, uid: str) -> None:
        prefix = mark(self._directory, uid)
        await asyncio.to_thread(lambda: family.kill(family.marked(prefix)))

    async def _destroyed(self, sandbox: Supervised) -> None:
        self._forget(sandbox)
        await self._end_processes(sandbox.uid)
        for name in ("layers", LOCK_FILE, spec.SOCKET_FILE, spec.STATE_FILE, f"{spec.STATE_FILE}{record.SUFFIX}"):
            await self.remove(os.path.join(sandbox.directory, name))
        await asyncio.to_thread(Links(self._directory, sandbox.uid).release)
        await asyncio.to_thread(self._doors.release, sandbox.uid)
        forget_hosts(self._directory, self._networks.behind(sandbox.address), sandbox.uid)
        self._registry.delete(sandbox.uid)

    # Files, which are the platform's user's.

    async def remove(self, path: str) -> None:
        if not Path(path).is_absolute():
            raise ValueError(f"{path} is no absolute path")
        await self._with_files(trees.remove, path)

    async def give(self, path: str, group: int, *, read_only: bool, only_if_root_differs: bool) -> None:
        if os.geteuid() == 0:
            await self._with_files(
                lambda: groups.give(path, group, read_only=read_only, only_if_root_differs=only_if_root_differs)
            )

    async def give_file(self, path: str, user: int) -> None:
        if os.geteuid() == 0:
            await self._with_files(groups.give_file, path, user)

    async def copy(self, source: str, target: str) -> None:
        await self._with_files(trees.copy, source, target)

    async def measure(self, paths: Sequence[str]) -> list[int]:
        return [await self._with_files(trees.measure, path) for path in paths]

    async def _with_files(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Raises SandboxError."""
        try:
            return await asyncio.to_thread(work, *arguments)
        except OSError as error:
            raise SandboxError(f"{error.filename or ''}: {error.strerror or error}") from error

    # The network.

    @property
    def is_linked(self) -> bool:
        return True  # it is the same network

    async def dial(self, address: str, port: int) -> socket.socket:
        return await _dial(*place_of(self._networks, self._doors, address, port))

    async def listen(self, port: int) -> socket.socket:
        """Ports that an ordinary user may not have are others in truth, which pods are led to."""
        listener = _listener(self._networks.behind(self.gateway), 0 if port < 1024 else port)
        if port < 1024:
            self._published[port] = listener.getsockname()[1]
            await asyncio.to_thread(record.write, os.path.join(self._directory, PUBLISHED), self._published)
        return listener

    async def publish(self, port: int, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
        await serve(await self.listen(port))

    # The end.

    async def stop(self, *, end_pods: bool) -> None:
        if end_pods:
            await asyncio.gather(*(sandbox.destroy() for sandbox in await self.adopt()))
        self._let_go()
        await self._net.stop()
        if end_pods:
            await self._leave_nothing()

    async def shut_down(self, grace: float) -> None:
        """End every pod, within `grace` seconds if it listens to SIGTERM, and the helper. How the containers ended
        stays on disk: the next ``adopt`` tells it."""
        await self.adopt()
        sandboxes = list(self._sandboxes.values())
        await asyncio.gather(*(sandbox.leave(grace) for sandbox in sandboxes))
        for sandbox in sandboxes:
            await self._end_processes(sandbox.uid)
            await asyncio.to_thread(Links(self._directory, sandbox.uid).release)
        await self.stop(end_pods=False)
        await self._leave_nothing()

    async def _leave_nothing(self) -> None:
        await self._end_helper()
        await asyncio.to_thread(blocks.release, self._directory)


def _kindle(_warmth: Warmth, _message: dict[str, Any]) -> None:
    """Nothing is kept warm: a fork of such an interpreter could not be told from it."""


async def _dial(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


def _listener(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(512)
    except BaseException:
        made.close()
        raise
    return made
