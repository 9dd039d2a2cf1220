"""What of a runtime is its node's network: the same for all that have a network helper."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from homeport.node.network import NodeNetwork
from homeport.node.runtime import ContainerSpec


class Networked:
    """The methods of :class:`homeport.node.runtime.Runtime` that ask the network helper, by `_net`."""

    _net: NodeNetwork

    def not_held(self, _container: ContainerSpec) -> list[str]:
        return []

    @property
    def gateway(self) -> str:
        return self._net.gateway

    async def set_records(self, records: Mapping[str, tuple[str, ...]]) -> None:
        await self._net.set_records(records)

    def watch_ports(self, changed: Callable[[Mapping[str, int]], None]) -> None:
        self._net.ports_changed = changed

    @property
    def is_linked(self) -> bool:
        return self._net.is_linked

    async def set_policies(self, message: Mapping[str, Any]) -> None:
        await self._net.set_policies(dict(message))

    async def set_frontends(self, changes: Mapping[str, Mapping[str, Any] | None], *, everything: bool = False) -> None:
        await self._net.set_frontends(changes, everything=everything)

    async def dial(self, address: str, port: int) -> socket.socket:
        return await self._net.dial(address, port)

    async def listen(self, port: int) -> socket.socket:
        return await self._net.listen(port)

    async def publish(self, port: int, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
        await self._net.publish(port, serve)
