"""Requests passed on to pods and services, by a real backend on a socket."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from api_testing import Caller, Clock, make_server, namespace, pod

from homeport.apiserver.authn import Identified
from homeport.apiserver.fairness.gate import Shares
from homeport.apiserver.streaming import links
from homeport.apiserver.transport.http import serve
from homeport.kube.wire import Duplex, Request, Response, User
from homeport.store.memory import MemoryStore

PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"


class Backend:
    """What runs in the pod: says what it was asked, among other things."""

    def __init__(self) -> None:
        self.port = 0
        self.dialled: list[tuple[str, int]] = []

    async def __call__(self, request: Request) -> Response:
        if request.path == "/page":
            return Response(200, {"content-type": "text/html; charset=utf-8"}, b'<a href="/rewriteme">test</a>')
        if request.path == "/packed":
            page = gzip.compress(b"<img src='/x.png'>")
            return Response(200, {"content-type": "text/html", "content-encoding": "gzip"}, page)
        if request.path == "/go":
            return Response(302, {"location": "/there/?a=b"}, repeated=(("set-cookie", "a=1"), ("set-cookie", "b=2")))
        if request.path == "/hang":
            await asyncio.Event().wait()
        if request.path == "/stream":
            return Response(200, {"content-type": "text/plain"}, self.stream())
        if request.path == "/socket":
            return Response(101, {"connection": "Upgrade", "upgrade": "echo"}, upgrade=self.echo)
        body = {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": dict(request.headers),
            "body": request.body.decode(),
        }
        return Response(201, {"content-type": "application/json", "x-own": "1"}, json.dumps(body).encode())

    async def stream(self) -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d\n" % number

    async def echo(self, peer: Duplex) -> None:
        while data := await peer.read():
            await peer.write(data.upper())

    async def dial(self, address: str, port: int) -> socket.socket:
        self.dialled.append((address, port))
        made = socket.socket()
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.port))
        except BaseException:
            made.close()
            raise
        return made


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    made = Backend()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    made.port = listener.getsockname()[1]
    server = await serve(made, listener)
    yield made
    await server.close(1)


@pytest.fixture
async def api(clock: Clock, backend: Backend) -> AsyncIterator[Caller]:
    store = MemoryStore()
    server = make_server(store, clock, node=backend)
    caller = Caller(server, store, clock)
    (await caller.post("/api/v1/namespaces", namespace("default"))).ok(201)
    made = pod("web", containers=[{"name": "main", "image": "x", "ports": [{"name": "http", "containerPort": 8080}]}])
    made["metadata"]["labels"] = {"app": "web"}
    (await caller.post(PODS, made)).ok(201)
    status: Any = {
        "podIP": "10.42.0.7",
        "podIPs": [{"ip": "10.42.0.7"}],
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    (await caller.patch(f"{PODS}/web/status", {"status": status})).ok()
    ports = [{"name": "one", "port": 80, "targetPort": "http"}, {"name": "two", "port": 81, "targetPort": 99}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": ports},
    }
    (await caller.post(SERVICES, service)).ok(201)
    yield caller
    await server.close()
    await store.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("base", [f"{PODS}/web/proxy", f"{SERVICES}/web:one/proxy"])
async def test_every_method_and_path(api: Caller, base: str, method: str) -> None:
    body = b"hello" if method in ("POST", "PUT", "PATCH") else None
    headers = {
        "authorization": "Bearer secret",
        "host": "example:6443",
        "connection": "x-hop",
        "x-hop": "1",
        "x-own": "2",
        "content-type": "text/x",
    }
    answer = await api.call(method, f"{base}/some//path%2Fwith%20x/?a=b&c=d%26", body, headers=headers)
    seen = answer.ok(201)
    assert (seen["method"], seen["path"]) == (method, "/some//path/with x/")
    assert (seen["query"], seen["body"]) == ([["a", "b"], ["c", "d&"]], "hello" if body else "")
    assert {"authorization", "x-hop"}.isdisjoint(seen["headers"])
    assert (seen["headers"]["x-own"], seen["headers"]["host"]) == ("2", "example:6443")
    assert seen["headers"]["x-forwarded-uri"] == base + "/some//path/with%20x/"
    assert answer.headers["x-own"] == "1"


async def test_which_port(api: Caller, backend: Backend) -> None:
    for target, port in (
        (f"{PODS}/web", 8080),
        (f"{PODS}/http:web:1234", 1234),
        (f"{PODS}/web:http", 8080),
        (f"{SERVICES}/web:80", 8080),
        (f"{SERVICES}/http:web:two", 99),
        (f"{SERVICES}/web%3Aone", 8080),
    ):
        (await api.get(f"{target}/proxy/")).ok(201)
        assert backend.dialled.pop() == ("10.42.0.7", port)
    (await api.get(f"{SERVICES}/web/proxy/")).error(503, "ServiceUnavailable", "no endpoints available for service")
    (await api.get(f"{SERVICES}/web:82/proxy/")).error(503, "ServiceUnavailable", "no service port 82 found")
    (await api.get(f"{SERVICES}/none/proxy/")).error(404, "NotFound", 'services "none" not found')
    (await api.get(f"{PODS}/ftp:web:1/proxy/")).error(400, "BadRequest", 'invalid pod request "ftp:web:1"')
    backend.port = 1
    (await api.get(f"{PODS}/web/proxy/")).error(503, "ServiceUnavailable", "error trying to reach service")


async def test_pages_lead_through_the_proxy(api: Caller) -> None:
    base = f"{PODS}/web:1080/proxy"
    assert (await api.get(f"{base}/page")).body == f'<a href="{base}/rewriteme">test</a>'.encode()
    packed = await api.get(f"{base}/packed", headers={"accept-encoding": "gzip"})
    assert packed.body == f"<img src='{base}/x.png'>".encode()
    response = await api.open("GET", f"{base}/go")
    assert (response.status, response.headers["location"]) == (302, f"{base}/there/?a=b")
    assert response.repeated == (("set-cookie", "a=1"), ("set-cookie", "b=2"))
    await response.body.aclose()  # type: ignore[union-attr]
    bare = await api.get(f"{base}?x=1")
    assert (bare.status, bare.headers["location"]) == (301, f"{base}/?x=1")


async def test_streams_and_other_protocols_go_through(api: Caller) -> None:
    assert (await api.get(f"{PODS}/web/proxy/stream")).body == b"0\n1\n2\n"
    headers = {"connection": "Upgrade", "upgrade": "echo"}
    response = await api.open("GET", f"{PODS}/web/proxy/socket", headers=headers)
    assert (response.status, response.headers["upgrade"]) == (101, "echo")

    class Peer:
        sent = b""
        heard = [b"hello", b"more"]

        async def read(self, limit: int = 65536) -> bytes:
            if self.heard:
                return self.heard.pop(0)
            while self.sent != b"HELLOMORE":
                await asyncio.sleep(0.001)
            return b""

        async def write(self, data: bytes) -> None:
            self.sent += data

        def write_eof(self) -> None: ...

    peer = Peer()
    assert response.upgrade is not None
    await response.upgrade(peer)
    assert peer.sent == b"HELLOMORE"
    plain = await api.get(f"{PODS}/web/proxy/plain", headers=headers)
    plain.error(500, "InternalError", "invalid upgrade response: status code 201")


async def test_pods_that_take_their_time_keep_nobody_from_a_seat(clock: Clock, backend: Backend, api: Caller) -> None:
    class Anybody:
        async def authenticate(self, request: Request) -> Identified:
            return self.recall(request)

        def recall(self, request: Request) -> Identified:
            return Identified(User("anybody", ("system:masters", "system:authenticated")))

    server = make_server(api.store, clock, node=backend, authenticators=[Anybody()], shares=Shares(in_flight=20))
    hanging = [asyncio.create_task(server.handle(Request("GET", f"{PODS}/web/proxy/hang"))) for _ in range(60)]
    try:
        while len(backend.dialled) < len(hanging):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            assert (await server.handle(Request("GET", SERVICES))).status == 200
    finally:
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        await server.close()


@pytest.mark.parametrize("headers", [None, {"connection": "close"}])
async def test_a_backend_switches_protocols_only_when_asked(
    api: Caller, backend: Backend, headers: dict[str, str] | None
) -> None:
    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nanything")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(switch, "127.0.0.1", 0) as listener:
        backend.port = listener.sockets[0].getsockname()[1]
        answer = await api.get(f"{PODS}/web/proxy/x", headers=headers)
        answer.error(503, "ServiceUnavailable", "it switched protocols unasked")


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('<a href="/x">', '<a href="/p/x">'),
        ("<A HREF=/x/ class=b>", "<A HREF=/p/x/ class=b>"),
        ('<a href="x">', '<a href="x">'),
        ('<a href="http://other/x">', '<a href="http://other/x">'),
        ('<a href="http://own:80/x?q=1#f">', '<a href="/p/x?q=1#f">'),
        ('<a href="/p/x">', '<a href="/p/x">'),
        ("<script>var a = \"<a href='/x'>\";</script>", "<script>var a = \"<a href='/x'>\";</script>"),
        ('<script src="/x.js"></script>', '<script src="/p/x.js"></script>'),
        ('<!-- <a href="/x"> --><b>', '<!-- <a href="/x"> --><b>'),
        ('<div href="/x" title="a > b">', '<div href="/x" title="a > b">'),
        ('<a href="http://[bad/x">', '<a href="http://[bad/x">'),
    ],
)
def test_links(page: str, expected: str) -> None:
    assert links.rewrite_html(page.encode(), "/p", frozenset({"own:80"})).decode() == expected


@pytest.mark.parametrize(
    "page",
    [
        b"<!--" * 200_000,
        b"<script>" * 100_000,
        b"<script " * 100_000,
        b"<style></style " * 60_000,
        b"<a " + b"x" * 800_000 + b">",
        b"<a " + b"x " * 400_000 + b">",
        b"<a" + b" " * 800_000,
        b'<a href="' * 100_000,
        b"<a href =" * 100_000,
        b"<" + b"a" * 800_000,
    ],
    ids=lambda page: page[:9].decode(),
)
def test_a_page_of_any_shape_takes_time_that_grows_with_it(page: bytes) -> None:
    began = time.process_time()
    links.rewrite_html(page, "/p", frozenset())
    assert time.process_time() - began < 3  # it was hours


def test_what_no_tag_closes_is_left_alone() -> None:
    for page in (b'<!-- <a href="/x">', b'<script><a href="/x">', b'<script src="/x" <a href="/y"'):
        assert links.rewrite_html(page, "/p", frozenset()) == page
