"""Health checks of load balancers that send traffic only to nodes with pods of the service (``externalTrafficPolicy:
Local``): each such service has a port where the node says how many there are.

Upstream: ``pkg/proxy/healthcheck/service_health.go``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import NamedTuple

_REQUEST_SECONDS = 10.0
_LONGEST_REQUEST = 8192


class Health(NamedTuple):
    namespace: str
    name: str
    endpoints: int
    """Ready pods of the service on this node."""


class HealthPorts:
    """Serves every address of the machine as long as the platform runs."""

    def __init__(self) -> None:
        self._servers: dict[int, asyncio.Server] = {}
        self._health: dict[int, Health] = {}

    async def set(self, wanted: Mapping[int, Health]) -> dict[int, OSError]:
        """Serve these ports, and no others. Gives those that can't be had, and why: the next call tries them again."""
        missing: dict[int, OSError] = {}
        self._health = dict(wanted)
        for port in self._servers.keys() - wanted.keys():
            self._servers.pop(port).close()
        for port in wanted.keys() - self._servers.keys():
            try:
                self._servers[port] = await asyncio.start_server(
                    lambda reader, writer, port=port: self._answer(port, reader, writer),  # type: ignore[misc]
                    port=port,
                    limit=_LONGEST_REQUEST,
                )
            except OSError as error:
                missing[port] = error
        return missing

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    async def _answer(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(response(self._health.get(port)))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asks so is not answered
        finally:
            writer.close()


def response(health: Health | None) -> bytes:
    """What a balancer hears: 200 as long as there is a pod, else 503."""
    if health is None:
        return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    body = json.dumps(
        {
            "service": {"namespace": health.namespace, "name": health.name},
            "localEndpoints": health.endpoints,
            "serviceProxyHealthy": True,
        }
    )
    head = (
        f"HTTP/1.1 {'200 OK' if health.endpoints else '503 Service Unavailable'}",
        "Content-Type: application/json",
        "X-Content-Type-Options: nosniff",
        f"X-Load-Balancing-Endpoint-Weight: {health.endpoints}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()
