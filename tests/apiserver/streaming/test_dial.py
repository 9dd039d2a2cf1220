"""Where services and pods are."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from typing import Any

import pytest

from homeport.apiserver.node import NodeProxy
from homeport.apiserver.streaming import dial
from homeport.kube.errors import BadRequest, NotFound, ServiceUnavailable
from homeport.kube.meta import Object
from homeport.store.memory import MemoryStore
from homeport.store.protocol import Key, Put

LABELS = {"app": "web"}
NAMED = [{"name": "http", "containerPort": 8080}]


class Parts:
    """What of the server's parts dialling uses."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.node: Any = None

    async def put(self, resource: str, name: str, **fields: Any) -> Object:
        obj = {"metadata": {"name": name, "namespace": "default", **fields.pop("metadata", {})}, **fields}
        await self.store.write(Put(Key(resource, "default", name), obj, 0))
        return obj

    async def pod(self, name: str, address: str, *, ready: bool = True, ports: Any = NAMED, **fields: Any) -> Object:
        return await self.put(
            "/pods",
            name,
            metadata={"labels": LABELS, **fields.pop("metadata", {})},
            spec={"containers": [{"name": "main", "ports": ports}], **fields},
            status={"podIP": address, "phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
        )

    async def service(self, **spec: Any) -> Object:
        ports = [{"name": "web", "port": 80, "targetPort": "http"}, {"name": "other", "port": 81}]
        return await self.put("/services", "web", spec={"selector": {"app": "web"}, "ports": ports, **spec})


@pytest.fixture
def parts() -> Parts:
    return Parts()


def addresses(parts: Any, service: Object, port: str) -> list[tuple[str, int]]:
    return sorted(dial.service_addresses(parts, service, port))


async def test_ready_pods_are_behind_a_service(parts: Parts) -> None:
    await parts.pod("a", "10.42.0.2")
    await parts.pod("b", "10.42.0.3", ports=[{"name": "http", "containerPort": 9090}])
    await parts.pod("c", "10.42.0.4", ready=False)
    await parts.pod("d", "10.42.0.5", metadata={"labels": {"app": "x"}})
    await parts.pod("e", "10.42.0.6", metadata={"labels": {"app": "web"}, "deletionTimestamp": "2026-01-01T00:00:00Z"})
    service = await parts.service()
    assert addresses(parts, service, "80") == addresses(parts, service, "web")
    assert addresses(parts, service, "80") == [("10.42.0.2", 8080), ("10.42.0.3", 9090)]
    assert addresses(parts, service, "other") == [("10.42.0.2", 81), ("10.42.0.3", 81)]
    with pytest.raises(ServiceUnavailable, match='no service port 82 found for service "web"'):
        addresses(parts, service, "82")
    with pytest.raises(ServiceUnavailable, match='no endpoints available for service "web"'):
        addresses(parts, service, "")


async def test_addresses_that_somebody_wrote(parts: Parts) -> None:
    service = await parts.service(selector=None)
    subset = {"addresses": [{"ip": "192.0.2.1"}], "ports": [{"name": "web", "port": 8000}]}
    await parts.put("/endpoints", "web", subsets=[subset])
    assert addresses(parts, service, "80") == [("192.0.2.1", 8000)]
    await parts.put(
        "discovery.k8s.io/endpointslices",
        "web-1",
        metadata={"labels": {"kubernetes.io/service-name": "web"}},
        endpoints=[{"addresses": ["192.0.2.2"]}, {"addresses": ["192.0.2.3"], "conditions": {"ready": False}}],
        ports=[{"name": "web", "port": 8001}, {"name": "other", "port": 1}],
    )
    assert addresses(parts, service, "80") == [("192.0.2.2", 8001)]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "", "nonsense"],
)
async def test_the_machine_itself_is_not_reached_by_a_written_address(parts: Parts, address: str) -> None:
    service = await parts.service(selector=None)
    await parts.put(
        "/endpoints", "web", subsets=[{"addresses": [{"ip": address}], "ports": [{"name": "web", "port": 1}]}]
    )
    with pytest.raises(BadRequest, match="address not allowed"):
        addresses(parts, service, "web")
    pod = await parts.pod("p", address)
    with pytest.raises(BadRequest, match="address not allowed"):
        dial.pod_address(pod, "80")
    selecting = {"metadata": {"name": "s", "namespace": "default"}, "spec": {**service["spec"], "selector": LABELS}}
    with pytest.raises(ServiceUnavailable, match="no endpoints available"):
        addresses(parts, selecting, "web")


async def test_the_port_of_a_pod(parts: Parts) -> None:
    pod = await parts.pod("p", "10.42.0.2")
    assert dial.pod_address(pod, "") == ("10.42.0.2", 8080)
    assert dial.pod_address(pod, "http") == ("10.42.0.2", 8080)
    assert dial.pod_address(pod, "99") == ("10.42.0.2", 99)
    bare = await parts.pod("q", "10.42.0.2", ports=[])
    assert dial.pod_address(bare, "", "https") == ("10.42.0.2", 443)
    with pytest.raises(BadRequest):
        dial.pod_address(pod, "99999")


def test_targets() -> None:
    assert dial.parse_target("web", "service") == ("", "web", "")
    assert dial.parse_target("web:80", "service") == ("", "web", "80")
    assert dial.parse_target("https:web:", "service") == ("https", "web", "")
    for bad in ("", "ftp:web:1", "a:b:c:d", ":80"):
        with pytest.raises(BadRequest, match="invalid service request"):
            dial.parse_target(bad, "service")


class Wire(NodeProxy):
    """Dials whatever the address to one listener, or is refused."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def dial(self, address: str, port: int) -> socket.socket:
        if address == "10.42.0.9":
            raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        made = socket.socket()
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.port))
        return made


async def test_a_service_is_reached_by_the_pod_that_answers(parts: Parts) -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps((await reader.readline()).decode()).encode())
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    parts.node = Wire(server.sockets[0].getsockname()[1])
    await parts.service()
    with pytest.raises(ServiceUnavailable):
        await dial.open_service(parts, "default", "web", 80)  # type: ignore[arg-type]
    await parts.pod("a", "10.42.0.9")
    with pytest.raises(ServiceUnavailable, match=r"error trying to reach service: .*connection refused"):
        await dial.open_service(parts, "default", "web", 80)  # type: ignore[arg-type]
    await parts.pod("b", "10.42.0.2")
    reader, writer = await dial.open_service(parts, "default", "web", 80)  # type: ignore[arg-type]
    writer.write(b"x\n")
    assert await reader.read() == b'"x\\n"'
    writer.close()
    await writer.wait_closed()
    with pytest.raises(NotFound):
        await dial.open_service(parts, "default", "none", 80)  # type: ignore[arg-type]
    server.close()
    await server.wait_closed()
