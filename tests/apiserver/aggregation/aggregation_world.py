"""An API server with an extra one behind a service, both with real certificates and the second one on a real socket."""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from api_testing import Caller, Clock, crd, make_server, namespace, with_default_namespace

from homeport.apiserver import pki
from homeport.apiserver.aggregation.remote import Identity
from homeport.apiserver.authn import ClientCertificates
from homeport.apiserver.identity.request_header import IssuedBy, RequestHeaders
from homeport.apiserver.transport.http import HttpServer, serve
from homeport.kube.meta import Object, find_condition
from homeport.kube.wire import Duplex, Request, Response
from homeport.settings import RequestHeaderSettings
from homeport.store.memory import MemoryStore

GROUP, VERSION = "wardle.example.com", "v1"
NAME = f"{VERSION}.{GROUP}"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


class Extra:
    """The extra server, which can be stopped; and the network between the two."""

    def __init__(self, caller: Caller, context: ssl.SSLContext) -> None:
        self.caller = caller
        self._context = context
        self._server: HttpServer | None = None
        self._port = 0
        self.asked: list[str] = []
        """The paths of its objects, as they came."""

    async def start(self) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self._port = listener.getsockname()[1]
        self._server = await serve(self._answer, listener, self._context)

    async def _answer(self, request: Request) -> Response:
        """As the server does; with one more path, of a resource that is connected to."""
        if request.path.endswith("/flunders/echo/connect"):
            return Response(101, {"connection": "Upgrade", "upgrade": "echo"}, upgrade=_echo)
        if "flunders" in request.path:
            self.asked.append(request.path)
        return await self.caller.server.handle(request)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close(0.1)
            self._server = None

    async def dial(self, address: str, port: int) -> socket.socket:
        """Of the node: pods' addresses lead to the one server that there is."""
        assert (address, port) == ("10.244.0.9", 8443)
        connected = socket.socket()
        connected.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", self._port))
        except OSError:
            connected.close()
            raise
        return connected


async def _echo(peer: Duplex) -> None:
    while data := await peer.read():
        await peer.write(data.upper())


@dataclass
class World:
    api: Caller
    """The aggregating server."""
    extra: Extra
    ca_pem: bytes
    """Of the extra server's certificate."""

    def api_service(self, **spec: Any) -> Object:
        backend = {"namespace": "default", "name": "wardle", "port": 443}
        return {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": NAME},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 2000,
                "versionPriority": 200,
                "service": backend,
                "caBundle": b64encode(self.ca_pem).decode(),
                **spec,
            },
        }

    async def add_service(self) -> None:
        """One without a selector: somebody wrote its endpoints."""
        service = {"metadata": {"name": "wardle"}, "spec": {"ports": [{"port": 443, "targetPort": 8443}]}}
        endpoints = {
            "metadata": {"name": "wardle"},
            "subsets": [{"addresses": [{"ip": "10.244.0.9"}], "ports": [{"port": 8443}]}],
        }
        (await self.api.post("/api/v1/namespaces/default/services", service)).ok(201)
        (await self.api.post("/api/v1/namespaces/default/endpoints", endpoints)).ok(201)

    async def becomes(self, reason: str) -> Object:
        """The condition, once it has this reason."""

        async def look() -> Object | None:
            obj = (await self.api.get(f"{SERVICES}/{NAME}")).ok()
            found = find_condition(obj.get("status", {}).get("conditions"), "Available")
            return found if found is not None and found["reason"] == reason else None

        return await self.until(look)

    async def until(self, look: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(10):
            while not (found := await look()):
                await asyncio.sleep(0.02)
        return found


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[pki.Paths, pki.Paths]:
    """Of the aggregating and of the extra server."""
    directory = tmp_path_factory.mktemp("pki")
    return pki.ensure(directory / "own"), pki.ensure(directory / "extra", names=("wardle.default.svc",))


@pytest.fixture
async def world(certificates: tuple[pki.Paths, pki.Paths], clock: Clock, tmp_path: Path) -> AsyncIterator[World]:
    own, others = certificates
    context = pki.server_context(others)
    context.load_verify_locations(own.front_proxy_ca)
    settings = RequestHeaderSettings(own.front_proxy_ca, (pki.FRONT_PROXY,))
    extra_store, store = MemoryStore(), MemoryStore()
    extra_server = make_server(
        extra_store,
        clock,
        authenticators=(
            RequestHeaders(settings, IssuedBy(own.front_proxy_ca.read_bytes())),
            ClientCertificates(trusted=IssuedBy(others.ca.read_bytes())),
        ),
    )
    extra = Extra(Caller(extra_server, extra_store, clock), context)
    (await extra.caller.post("/api/v1/namespaces", namespace("default"))).ok(201)
    definition = crd("flunders", "Flunder", GROUP)
    (await extra.caller.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)).ok(201)
    await extra.start()
    server = make_server(store, clock, node=extra, front_proxy=Identity(own.front_proxy, own.front_proxy_key))
    api = await with_default_namespace(Caller(server, store, clock))
    await server.aggregation.start()
    yield World(api, extra, others.ca.read_bytes())
    await server.close()
    await extra.stop()
    await extra_server.close()
    await store.close()
    await extra_store.close()
