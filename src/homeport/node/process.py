"""Pods as processes of this machine: the platform's side of :mod:`homeport.node.sandbox`. Linux only.

Everything lasting is in processes of their own (fork server, network helper, one supervisor per pod); this side asks
them over unix sockets, and finds them again after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from homeport.node import doctor
from homeport.node.control import Connection, readable
from homeport.node.network import NodeNetwork
from homeport.node.runtime import Sandbox, SandboxError, SandboxSpec
from homeport.node.sandbox import __main__ as program
from homeport.node.sandbox import linux, registry, spec, wire, zygote
from homeport.node.supervised import Supervised, connect, dead

_START_SECONDS = 30.0
_PROGRAM = os.path.abspath(program.__file__)


class ProcessRuntime:
    """The node's runtime on Linux namespaces, as root or as an ordinary user.

    `directory` holds the helpers' sockets and records; one runtime per directory, and its pods live on when the
    platform ends. `hidden` are further directories that no container may see, such as the platform's data directory
    (containers see the machine's programs, /etc and /opt as any user may).
    """

    def __init__(self, directory: Path, *, pod_cidr: str = "10.42.0.0/16", hidden: Sequence[Path] = ()) -> None:
        self._directory = str(Path(directory).absolute())
        self._network = ipaddress.IPv4Network(pod_cidr)
        self._log_path = os.path.join(self._directory, "zygote.log")
        self._hidden = [str(Path(path).absolute()) for path in hidden]
        self._starting = asyncio.Lock()
        self._sandboxes: dict[str, Supervised] = {}
        self._net = NodeNetwork(self._directory, self._network, self._start_netd)

    @property
    def gateway(self) -> str:
        return self._net.gateway

    async def start(self) -> None:
        """Raises SandboxError, with the remedy, where the machine refuses."""
        if sys.platform != "linux":
            raise SandboxError(await asyncio.to_thread(doctor.explain, "pods can't run here", Path(self._directory)))
        try:
            await self._replace_old_zygote()
            await self._net.start()
        except OSError as error:
            raise SandboxError(f"the node's helpers can't be reached: {error}") from error

    @property
    def _registry(self) -> registry.Registry:
        return registry.Registry(os.path.join(self._directory, "sandboxes"))

    # The fork server.

    async def _zygote(self) -> socket.socket:
        """A connection to the fork server, which is started if none answers."""
        path = zygote.socket_path(self._directory)
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return wire.connect(path)
        async with self._starting:
            # Somebody else may have started it meanwhile.
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                return wire.connect(path)
            await self._start_zygote()
            return wire.connect(path)

    async def _replace_old_zygote(self) -> None:
        """Start the fork server if none runs, or if the one that does is of another version; pods go on in any case."""
        try:
            if (await self._ask_zygote(op="version"))["version"] == spec.VERSION:
                return
        except SandboxError:
            # One so old that it doesn't know the question, or none can be started, which the next line says again.
            (await self._zygote()).close()
        await self._stop_helpers()
        (await self._zygote()).close()

    async def _start_zygote(self) -> None:
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            log = os.open(self._log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SandboxError(f"the node's directory {self._directory} can't be used: {error.strerror}") from error
        receive, send = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-I", "-S", _PROGRAM, "zygote"),
                    *(self._directory, str(self._network), str(send), *self._hidden),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(send,),
                    start_new_session=True,
                    cwd="/",
                    env={"LC_ALL": "C.UTF-8"},
                )
            finally:
                os.close(log)
                os.close(send)
            async with asyncio.timeout(_START_SECONDS):
                answer = await _line(receive)
                await process.wait()
        except TimeoutError:
            raise SandboxError(f"the node's fork server doesn't start; its log is {self._log_path}") from None
        finally:
            os.close(receive)
        if not answer:
            raise SandboxError(f"the node's fork server ended at once; its log is {self._log_path}")
        told = json.loads(answer)
        if "error" in told:
            raise SandboxError(await asyncio.to_thread(doctor.explain, str(told["error"]), Path(self._directory)))

    async def _ask_zygote(self, **message: Any) -> dict[str, Any]:
        connection, answer = await self._request_of_zygote(message)
        connection.close()
        return answer

    async def _request_of_zygote(self, message: dict[str, Any]) -> tuple[Connection, dict[str, Any]]:
        """Ask the fork server, and a new one if that ends meanwhile: nothing that it forked is left without answer."""
        for is_last in (False, True):
            connection = await Connection.open(await self._zygote())
            try:
                return connection, await connection.request(**message)
            except ConnectionError:
                connection.close()
                if is_last:
                    break
            except BaseException:
                connection.close()
                raise
        raise SandboxError(f"the node's fork server, or what it forked, ended at once; its log is {self._log_path}")

    # Sandboxes.

    async def create(self, wanted: SandboxSpec) -> Sandbox:
        existing = self._sandboxes.get(wanted.uid)
        if existing is not None and existing.alive:
            return existing
        pod = {field: getattr(wanted, field) for field in spec.Pod._fields}
        pod["hosts"] = dict(wanted.hosts)
        # The fork server hands the connection over to the new supervisor, which answers.
        connection, answer = await self._request_of_zygote({"op": "create", "pod": pod})
        sandbox = Supervised(answer["state"], self._destroyed)
        sandbox.talk_over(connection)
        self._sandboxes[wanted.uid] = sandbox
        return sandbox

    async def adopt(self) -> list[Sandbox]:
        entries = await asyncio.to_thread(self._registry.entries)
        for entry in entries:
            known = self._sandboxes.get(entry.uid)
            if known is None or not known.alive:
                self._sandboxes[entry.uid] = await self._adopt(entry)
        return [self._sandboxes[entry.uid] for entry in entries if entry.uid in self._sandboxes]

    async def _adopt(self, entry: registry.Entry) -> Supervised:
        if linux.is_alive(entry.pid, entry.start_time):
            # One that ends in this moment leaves its state on disk like any other.
            with contextlib.suppress(OSError):
                connection, state = await connect(entry.directory)
                sandbox = Supervised(state, self._destroyed)
                sandbox.talk_over(connection)
                return sandbox
        return dead(entry, self._destroyed)

    async def _destroyed(self, sandbox: Supervised) -> None:
        """The rest of a sandbox whose supervisor has gone, in whatever way."""
        if self._sandboxes.get(sandbox.uid) is sandbox:
            del self._sandboxes[sandbox.uid]
        for path in _left_in(sandbox.directory):
            await self.remove(path)
        self._registry.delete(sandbox.uid)

    async def remove(self, path: str) -> None:
        if not Path(path).is_absolute():
            raise ValueError(f"{path} is no absolute path")
        await self._ask_zygote(op="remove", path=path)

    # The network.

    async def set_records(self, records: Mapping[str, tuple[str, ...]]) -> None:
        await self._net.set_records(records)

    async def dial(self, address: str, port: int) -> socket.socket:
        return await self._net.dial(address, port)

    async def listen(self, port: int) -> socket.socket:
        return await self._net.listen(port)

    async def publish(self, port: int, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
        await self._net.publish(port, serve)

    async def _start_netd(self) -> None:
        await self._ask_zygote(op="helper")

    # The end.

    async def stop(self, *, end_pods: bool) -> None:
        await self._net.stop()
        if end_pods:
            await asyncio.gather(*(sandbox.destroy() for sandbox in await self.adopt()))
            await self._stop_helpers()
            return
        for sandbox in self._sandboxes.values():
            sandbox.detach()
        self._sandboxes.clear()

    async def shut_down(self, grace: float) -> None:
        """End every pod, within `grace` seconds if it listens to SIGTERM, and the helpers. How the containers ended
        stays on disk: the next ``adopt`` tells it."""
        await self.adopt()
        await asyncio.gather(*(sandbox.leave(grace) for sandbox in self._sandboxes.values()))
        await self.stop(end_pods=False)
        await self._stop_helpers()

    async def _stop_helpers(self) -> None:
        try:
            connected = wire.connect(zygote.socket_path(self._directory))
        except (FileNotFoundError, ConnectionRefusedError):
            # Only the network helper can be left.
            recorded = zygote.recorded_helper(self._directory)
            pidfd = linux.open_process(*recorded) if recorded else None
            if pidfd is not None:
                try:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    await readable(pidfd)
                finally:
                    os.close(pidfd)
            return
        pidfd = os.pidfd_open(wire.peer_pid(connected))
        try:
            connection = await Connection.open(connected)
            with contextlib.suppress(ConnectionError):
                await connection.request(op="stop")
            await readable(pidfd)
            connection.close()
        finally:
            os.close(pidfd)


def _left_in(directory: str) -> list[str]:
    """What a supervisor deletes when it destroys its sandbox, as far as it is there."""
    names = ("layers", spec.SOCKET_FILE, spec.STATE_FILE)
    return [path for name in names if os.path.lexists(path := os.path.join(directory, name))]


async def _line(descriptor: int) -> bytes:
    """What comes through a pipe up to its end."""
    data = b""
    os.set_blocking(descriptor, False)
    while True:
        await readable(descriptor)
        if not (part := os.read(descriptor, 65536)):
            return data
        data += part
