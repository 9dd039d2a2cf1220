"""The fork server as the platform sees it: started when it is needed, replaced when it is of another version, held as
long as the platform runs.

The fork server (:mod:`homeport.node.sandbox.zygote`) ends by itself once nobody holds it and no pod runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from homeport.node import detached
from homeport.node.control import Connection, readable
from homeport.node.runtime import SandboxError
from homeport.node.sandbox import cgroups, linux, registry, spec, trees, warmers, wire, zygote

_LOG = logging.getLogger(__name__)
_START_SECONDS = 30.0
SETTLE_SECONDS = 10.0
"""What is killed with its supervisor ends at once, unless the kernel has to wait for a device."""


class ForkServer:
    """Talks to the fork server in `directory`. The networks are those of pods and of services; `hidden` are directories
    that no container may see."""

    def __init__(
        self, directory: str, network: ipaddress.IPv4Network, services: ipaddress.IPv4Network, hidden: Sequence[str]
    ) -> None:
        self._directory = directory
        self._network = network
        self._services = services
        self._hidden = hidden
        self._log_path = os.path.join(directory, "zygote.log")
        self._starting = asyncio.Lock()
        self._held: Connection | None = None
        self._holding: asyncio.Task[None] | None = None
        self._is_wanted = False

    async def start(self) -> None:
        """Have one of this release, and hold it until :meth:`release`; pods go on with one of another release until
        they end. Raises SandboxError or OSError."""
        self._is_wanted = True
        try:
            if not await self._try_to_hold():
                await self._settle_all()
                await self.release()
                await self.stop()
                self._is_wanted = True
                await self._hold()
        except BaseException:
            self._is_wanted = False
            raise

    async def _try_to_hold(self) -> bool:
        """Hold the one that runs, or a new one: whether it is of this release."""
        try:
            return await self._hold()
        except SandboxError:
            # It is so old that it doesn't know the question; or none can be started, which this says again.
            (await self._connect()).close()
            return False

    async def ask(self, **message: Any) -> dict[str, Any]:
        """The answer to one question. Raises SandboxError."""
        connection, answer = await self.request(message)
        connection.close()
        return answer

    async def request(self, message: dict[str, Any]) -> tuple[Connection, dict[str, Any]]:
        """Ask, and ask a new one if this one ends meanwhile: nothing that it forked is left without answer. The
        connection is the caller's."""
        for is_last in (False, True):
            connection = await Connection.open(await self._connect())
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

    async def settle(self, path: str) -> None:
        """Return once the state file at `path` says how the containers of a killed supervisor ended, as far as the fork
        server can know: one that is started only now can't. Raises OSError or SandboxError."""
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            connection = await Connection.open(wire.connect(zygote.socket_path(self._directory)))
            try:
                await connection.request(op="ends", path=path)
            finally:
                connection.close()

    async def _settle_all(self) -> None:
        """Have it write down what only it can know, before it is replaced."""
        for entry in self._entries():
            if not linux.is_alive(entry.pid, entry.start_time):
                try:
                    async with asyncio.timeout(SETTLE_SECONDS):
                        await self.settle(os.path.join(entry.directory, spec.STATE_FILE))
                except (TimeoutError, OSError, SandboxError) as error:
                    _LOG.warning("how the containers of a killed supervisor ended can't be found out: %s", error)

    async def release(self) -> None:
        """Let it end when it has nothing to do any more."""
        self._is_wanted = False
        if self._holding is not None:
            # What it has begun to start would else be nobody's.
            await self._holding
            self._holding = None
        if self._held is not None:
            self._held.close()
            self._held = None

    async def stop(self) -> None:
        """End it and its helpers, and return when they have. Pods are not its business, nor is what they need."""
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            connected = wire.connect(zygote.socket_path(self._directory))
            try:
                pidfd = os.pidfd_open(wire.peer_pid(connected))
            except ProcessLookupError:
                connected.close()  # it ends by itself in this moment
            else:
                try:
                    connection = await Connection.open(connected)
                    with contextlib.suppress(ConnectionError):
                        await connection.request(op="stop")
                    await readable(pidfd)
                    connection.close()
                finally:
                    os.close(pidfd)
        await self._clear_up()

    async def _clear_up(self) -> None:
        """Take away what a fork server that was killed has left."""
        if not await asyncio.to_thread(os.path.isdir, self._directory):
            return
        recorded = registry.recorded_helper(self._directory)
        await _kill(linux.open_process(*recorded) if recorded else None)
        alive = self._alive()
        for pid, started in warmers.recorded(self._directory):
            pidfd = linux.open_process(pid, started)
            if pidfd is None or not (alive and warmers.has_children(pid)):
                await _kill(pidfd)
            else:
                os.close(pidfd)
        for path in zygote.leftovers(self._directory):
            await asyncio.to_thread(trees.remove, path)
        try:
            await asyncio.to_thread(cgroups.clear, self._directory, alive)
        except OSError as error:
            _LOG.warning("cgroups of pods that are gone are left: %s", error)

    def _alive(self) -> dict[str, int]:
        """The pids of the supervisors that run, by their pods' uids."""
        return {entry.uid: entry.pid for entry in self._entries() if linux.is_alive(entry.pid, entry.start_time)}

    def _entries(self) -> list[registry.Entry]:
        path = os.path.join(self._directory, "sandboxes")
        return registry.Registry(path).entries() if os.path.isdir(path) else []

    async def _hold(self) -> bool:
        """Let it not end: whether it is of this release. It ends by itself as soon as nobody holds it, so this is the
        first question."""
        connection, answer = await self.request({"op": "hold"})
        is_same = spec.is_same_release(answer)
        if not self._is_wanted:
            connection.close()
            return is_same
        self._held = connection
        connection.listen(_ignore, self._lost)
        return is_same

    def _lost(self) -> None:
        """It has gone: have another, since it hears of the ends of supervisors."""
        self._held = None
        if self._is_wanted:
            self._holding = asyncio.get_running_loop().create_task(self._hold_again(), name="fork server")

    async def _hold_again(self) -> None:
        try:
            await self._hold()
        except (OSError, SandboxError) as error:
            # Whoever needs it next tries again, and is told.
            _LOG.warning("the node's fork server has ended, and there is no other: %s", error)

    async def _connect(self) -> socket.socket:
        """A connection to the fork server, which is started if none answers."""
        path = zygote.socket_path(self._directory)
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return wire.connect(path)
        async with self._starting:
            # Somebody else may have started it meanwhile.
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                return wire.connect(path)
            await self._launch()
            return wire.connect(path)

    async def _launch(self) -> None:
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            log = detached.open_log(self._log_path)
        except OSError as error:
            raise SandboxError(f"the node's directory {self._directory} can't be used: {error.strerror}") from error
        receive, send = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                networks = (str(self._network), str(self._services))
                process = await detached.start(
                    "zygote", self._directory, *networks, str(send), *self._hidden, log=log, keep=send
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
            from homeport.node import doctor  # a machine that can run pods doesn't need it

            raise SandboxError(await asyncio.to_thread(doctor.explain, str(told["error"]), Path(self._directory)))


def _ignore(_message: dict[str, Any]) -> None:
    return


async def _kill(pidfd: int | None) -> None:
    if pidfd is None:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        await readable(pidfd)
    finally:
        os.close(pidfd)


async def _line(descriptor: int) -> bytes:
    """What comes through a pipe up to its end."""
    data = b""
    os.set_blocking(descriptor, False)
    while True:
        await readable(descriptor)
        if not (part := os.read(descriptor, 65536)):
            return data
        data += part
