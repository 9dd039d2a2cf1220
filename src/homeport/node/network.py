"""The node's network as the platform sees it: what the network helper is told, and the sockets that it makes.

The helper is :mod:`homeport.node.sandbox.netd`, whatever runs the pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from homeport.node.control import Connection, readable
from homeport.node.runtime import SandboxError, Unenforceable
from homeport.node.sandbox import hostlink, network, wire

_LOG = logging.getLogger(__name__)
_RESTORE_SECONDS, _LONGEST_RESTORE_SECONDS = 0.2, 30.0


class NodeNetwork:
    """Talks to the network helper in `directory`. The networks are those of pods and of services. `start_helper` starts
    the helper if none answers; it raises SandboxError."""

    def __init__(
        self,
        directory: str,
        cidr: ipaddress.IPv4Network,
        services: ipaddress.IPv4Network,
        start_helper: Callable[[], Awaitable[None]],
    ) -> None:
        self._directory = directory
        self._network = cidr
        self._services = services
        self._start_helper = start_helper
        self._records: dict[str, tuple[str, ...]] = {}
        self._pushed: dict[str, tuple[str, ...]] = {}
        self._policies: dict[str, Any] | None = None
        self._frontends: dict[str, Mapping[str, Any]] | None = None
        """None until somebody has said which there are."""
        self._pushing = asyncio.Lock()
        self._connection: Connection | None = None
        self._restoring: asyncio.Task[None] | None = None
        self._is_stopped = False
        self.ports_changed: Callable[[Mapping[str, int]], None] = lambda _results: None
        """Hears which front ends the machine's network has (0), and why not others (errno)."""
        self._published: dict[int, Callable[[socket.socket], Awaitable[None]]] = {}

    @property
    def gateway(self) -> str:
        return str(network.gateway_of(self._network))

    @property
    def is_linked(self) -> bool:
        """Whether the machine's own network leads to the pods'."""
        return os.path.exists(f"/sys/class/net/{hostlink.name_of(self._directory)}")

    async def start(self) -> None:
        """Connect to the helper. Raises OSError or SandboxError."""
        self._is_stopped = False
        async with self._pushing:
            await self._connect()

    async def stop(self) -> None:
        """Let the helper alone."""
        self._is_stopped = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._restoring is not None:
            self._restoring.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._restoring

    async def set_records(self, records: Mapping[str, tuple[str, ...]]) -> None:
        self._records = {name: tuple(addresses) for name, addresses in records.items()}
        async with self._pushing:
            wanted = self._records
            try:
                if self._connection is None or not self._connection.is_open:
                    await self._connect()
                    return
                changed = {name: value for name, value in wanted.items() if self._pushed.get(name) != value}
                removed = [name for name in self._pushed if name not in wanted]
                if changed or removed:
                    await self._connection.request(op="records", set=changed, remove=removed)
                self._pushed = wanted
            except ConnectionError:
                await self._connect()

    async def set_policies(self, message: dict[str, Any]) -> None:
        """Let these rules hold (:func:`homeport.node.policies.message`), now and in every helper to come. Raises
        Unenforceable where the kernel can't, SandboxError or OSError if it could not be told or may do it later."""
        self._policies = message
        async with self._pushing:
            try:
                answer = await self._request_policies(message)
            except ConnectionError:
                answer = await self._request_policies(message)
        if "later" in answer:
            raise SandboxError(f"the kernel can't make the rules now: {answer['later']}")

    async def _request_policies(self, message: dict[str, Any]) -> dict[str, Any]:
        connection = await self._connected()
        try:
            return await connection.request(op="policies", **message)
        except SandboxError as error:
            raise Unenforceable(str(error)) from error

    async def set_frontends(self, changes: Mapping[str, Mapping[str, Any] | None], *, everything: bool = False) -> None:
        async with self._pushing:
            if everything or self._frontends is None:
                self._frontends = {}
            new = {text: value for text, value in changes.items() if value is not None}
            removed = [text for text, value in changes.items() if value is None]
            for text in removed:
                self._frontends.pop(text, None)
            self._frontends.update(new)
            if self._connection is None or not self._connection.is_open:
                await self._connect()
                return
            try:
                await self._connection.request(op="services", set=new, remove=removed, reset=everything)
            except ConnectionError:
                await self._connect()

    async def ask(self, **message: Any) -> None:
        """Have the helper do something that not every helper can. Raises SandboxError."""
        async with self._pushing:
            for is_last in (False, True):
                try:
                    connection = await self._connected()
                    await connection.request(**message)
                    return
                except OSError as error:
                    if is_last:
                        raise SandboxError(f"the node's network helper can't be reached: {error}") from error

    async def ask_apart(self, **message: Any) -> dict[str, Any]:
        """The same for what takes its time, on a connection of its own; the answer. What a helper had begun that ended
        is begun anew. Raises SandboxError."""
        for is_last in (False, True):
            try:
                connection = await Connection.open(await self._netd())
                try:
                    return await connection.request(**message)
                finally:
                    connection.close()
            except OSError as error:
                if is_last:
                    raise SandboxError(f"the node's network helper can't be reached: {error}") from error
        raise AssertionError("unreachable")

    async def _connected(self) -> Connection:
        """The connection to the helper, if need be a new one. Raises OSError or SandboxError."""
        if self._connection is None or not self._connection.is_open:
            await self._connect()
        if self._connection is None:
            raise ConnectionResetError("the node's network helper ended at once")
        return self._connection

    async def _connect(self) -> None:
        """Connect to the network helper, and tell it everything."""
        wanted = self._records
        for is_last in (False, True):
            connection = await Connection.open(await self._netd())
            try:
                await connection.request(op="records", reset=bool(wanted), set=wanted)
                if self._policies is not None:
                    with contextlib.suppress(SandboxError):  # whoever gave them has been told, or is now
                        await connection.request(op="policies", **self._policies)
                if self._frontends is not None:
                    await connection.request(op="services", reset=True, set=self._frontends)
                break
            except ConnectionError:
                connection.close()
                if is_last:
                    raise
                await self._start_helper()
            except BaseException:
                connection.close()
                raise
        self._connection, self._pushed = connection, wanted
        connection.listen(self._event, self._closed)
        for port in list(self._published):  # more may be published meanwhile
            await self._offer(port)

    def _event(self, message: dict[str, Any]) -> None:
        if message.get("event") == "ports":
            self.ports_changed(message["ports"])

    def _closed(self) -> None:
        """The network helper has gone: have another, which is to know the names too."""
        self._connection = None
        if not self._is_stopped:
            self._restoring = asyncio.get_running_loop().create_task(self._restore())

    async def _restore(self) -> None:
        delay = _RESTORE_SECONDS
        while True:
            async with self._pushing:
                if self._connection is not None:
                    return
                try:
                    await self._connect()
                    return
                except (OSError, SandboxError) as error:
                    # What starts it may be starting anew itself, and nobody tells when it has.
                    _LOG.warning("the node's network helper can't be reached: %s; again in %g s", error, delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_RESTORE_SECONDS)

    async def _netd(self) -> socket.socket:
        """A connection to the network helper, which is started if none answers."""
        path = network.helper_socket(self._directory)
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return wire.connect(path)
        await self._start_helper()
        return wire.connect(path)

    async def make_socket(self, **message: Any) -> socket.socket:
        """A socket that the network helper makes, non-blocking. Raises OSError."""
        try:
            try:
                answer, descriptor = await _exchange(await self._netd(), message)
            except ConnectionError:
                # It was about to end when it was asked.
                await self._start_helper()
                answer, descriptor = await _exchange(await self._netd(), message)
        except SandboxError as error:
            raise OSError(errno.ENETDOWN, str(error)) from None
        if descriptor is None:
            number = int(str(answer.get("errno", errno.EPROTO)))
            raise OSError(number, os.strerror(number))
        made = socket.socket(fileno=descriptor)
        made.setblocking(False)
        return made

    async def dial(self, address: str, port: int) -> socket.socket:
        value = ipaddress.ip_address(address)
        if value in self._network or value in self._services:
            made = await self.make_socket(op="socket", kind="tcp")
        else:
            # A pod on the machine's own network.
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, (address, port))
        except BaseException:
            made.close()
            raise
        return made

    async def listen(self, port: int) -> socket.socket:
        return await self.make_socket(op="listen", port=port)

    async def publish(self, port: int, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
        self._published[port] = serve
        await self._offer(port)

    async def _offer(self, port: int) -> None:
        try:
            listener = await self.listen(port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return  # the network is the one that it was, and so is its listener
            raise
        await self._published[port](listener)


async def _exchange(connection: socket.socket, message: wire.Message) -> tuple[wire.Message, int | None]:
    """Ask the network helper for a socket. Raises ConnectionError if it ends."""
    with connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(connection, wire.encode({"id": 0, **message}))
        await readable(connection.fileno())
        answer, descriptors = wire.receive_descriptors(connection)
        return answer, descriptors[0] if descriptors else None
