"""Exec, attach and port-forward through the API: what clients send and get, with one made-up process."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from api_testing import Caller, Clock, make_server, namespace, pod

from homeport.apiserver.streaming import remotecommand, spdy, websocket
from homeport.apiserver.streaming.pipe import Pipe
from homeport.kube.errors import InternalError
from homeport.kube.meta import Object
from homeport.store.memory import MemoryStore

PODS = "/api/v1/namespaces/default/pods"
KEY = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13"}


def asking(*protocols: str) -> dict[str, str]:
    offer = {"sec-websocket-protocol": ", ".join(protocols)} if protocols else {}
    return {"upgrade": "websocket", "connection": "Upgrade", **KEY, **offer}


SPDY = {
    "upgrade": "SPDY/3.1",
    "connection": "Upgrade",
    "x-stream-protocol-version": "v5.channel.k8s.io, v4.channel.k8s.io",
}


class Process:
    """Says what it hears in capitals, and ends when its input does."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.stdin: Any = self
        self.stdout = Pipe()
        self.stderr = Pipe()
        self.sizes: list[tuple[int, int]] = []
        self.closed = False
        self._ended = asyncio.Event()

    async def write(self, data: bytes) -> None:
        await self.stdout.write(data.upper())

    def close(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self.stdout.end()
            self.stderr.end()
        else:
            self.closed = True

    def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))

    async def wait(self) -> int:
        await self._ended.wait()
        return self.code


class Node:
    def __init__(self) -> None:
        self.process = Process(42)
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.problem = ""
        self.is_running = True
        self.port = 0

    def check_running(self, pod: Object, container: str) -> None:
        if not self.is_running:
            raise InternalError(f'container not found ("{container}")')

    async def execute(self, pod: Object, container: str, command: Sequence[str], wanted: Any) -> Process:
        self.asked.append((container, tuple(command)))
        if self.problem:
            raise InternalError(self.problem)
        return self.process

    async def connect(self, pod: Object, port: int) -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.port if port == 80 else 1))
        except OSError:
            made.close()
            raise
        return made

    async def attach(self, pod: Object, container: str, wanted: Any) -> Process:
        return self.process


class Peer:
    """The client's end: what it says, and what it has heard."""

    def __init__(self, *said: bytes) -> None:
        self.said = list(said)
        self.heard = b""
        self.gone = asyncio.Event()

    async def read(self, limit: int = 65536) -> bytes:
        if self.said:
            await asyncio.sleep(0.001)
            return self.said.pop(0)
        await self.gone.wait()
        return b""

    async def write(self, data: bytes) -> None:
        self.heard += data
        if data.startswith(b"\x88"):
            self.gone.set()

    def write_eof(self) -> None: ...

    def messages(self) -> list[bytes]:
        """What the server has sent, but for empty messages and the close."""
        found, data = [], self.heard
        while data:
            size, at = data[1], 2
            if size == 126:
                size, at = struct.unpack_from("!H", data, 2)[0], 4
            if data[0] & 0x0F < websocket.CLOSE and size > 1:
                found.append(data[at : at + size])
            data = data[at + size :]
        return found


def said(channel: int, data: bytes, opcode: int = websocket.BINARY) -> bytes:
    payload = bytes((channel,)) + data
    return bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
async def api(clock: Clock, node: Node) -> AsyncIterator[Caller]:
    store = MemoryStore()
    server = make_server(store, clock, node=node)
    caller = Caller(server, store, clock)
    (await caller.post("/api/v1/namespaces", namespace("default"))).ok(201)
    (await caller.post(PODS, pod("p"))).ok(201)
    (await caller.post(f"{PODS}/p/binding", {"target": {"name": "n"}})).ok(201)
    yield caller
    await server.close()
    await store.close()


async def talk(api: Caller, target: str, headers: dict[str, str], peer: Peer, method: str = "GET") -> dict[str, str]:
    response = await api.open(method, f"{PODS}/p/{target}", headers=headers)
    assert response.status == 101, response.body
    assert response.upgrade is not None
    async with asyncio.timeout(10):
        await response.upgrade(peer)
    return response.headers


EXEC = "exec?command=cat&command=-&stdin=true&stdout=true&stderr=true"
FAILED = {
    "metadata": {},
    "status": "Failure",
    "message": "command terminated with non-zero exit code: exit status 42",
    "reason": "NonZeroExitCode",
    "details": {"causes": [{"reason": "ExitCode", "message": "42"}]},
}


async def test_a_command_by_websocket(api: Caller, node: Node) -> None:
    peer = Peer(said(0, b"he"), said(0, b"llo", websocket.TEXT), said(255, b"\0"))
    headers = await talk(api, EXEC, asking("v5.channel.k8s.io", "v4.channel.k8s.io"), peer)
    assert headers["sec-websocket-protocol"] == "v5.channel.k8s.io"
    *outputs, status = peer.messages()
    assert b"".join(message[1:] for message in outputs) == b"HELLO"
    assert {message[0] for message in outputs} == {1}
    assert (status[0], json.loads(status[1:])) == (3, FAILED)
    assert node.asked == [("main", ("cat", "-"))]
    assert node.process.closed


async def test_a_dashboards_characters(api: Caller, node: Node) -> None:
    text = base64.b64encode(b"hello")
    node.process.code = 0
    peer = Peer(said(ord("0"), text[:3]) + b"", said(ord("0"), text))

    async def end() -> None:
        while b"SEVMTE8=" not in peer.heard:
            await asyncio.sleep(0.001)
        node.process.close()

    ending = asyncio.create_task(end())
    await talk(api, EXEC, asking("v4.base64.channel.k8s.io"), peer)
    await ending
    output, status = peer.messages()
    assert output == b"1" + base64.b64encode(b"HELLO")
    assert json.loads(base64.b64decode(status[1:])) == {"metadata": {}, "status": "Success"}


def test_sizes_come_cut_anywhere_and_what_is_none_is_left_out() -> None:
    first = remotecommand.read_sizes('{"Width": 80, "Height": 24} [1] {"Width": 0, "Height": 1}{"Wid')
    assert first == ([remotecommand.Size(24, 80)], '{"Wid')
    assert remotecommand.read_sizes(first[1] + 'th": 9, "Height": 8}') == ([remotecommand.Size(8, 9)], "")
    for endless in ("[" * 4096, '{"a":' * 800, "1" * 4096):
        assert remotecommand.read_sizes(endless)[0] == []


async def test_a_terminals_size(api: Caller, node: Node) -> None:
    peer = Peer(
        said(4, b'{"Width":80,"Hei'), said(4, b'ght":24}{"Width":0,"Height":1}[]'), said(0, b"x"), said(255, b"\0")
    )
    await talk(api, EXEC + "&tty=true", asking("v5.channel.k8s.io"), peer)
    assert node.process.sizes == [(24, 80)]


async def test_a_command_by_spdy(api: Caller, node: Node) -> None:
    writer = spdy.HeaderWriter()
    streams = b"".join(
        writer.syn_stream(2 * number + 1, {"streamtype": name})
        for number, name in enumerate(("error", "stdin", "stdout", "stderr"))
    )
    peer = Peer(streams, spdy.data_frame(3, b"hello", fin=True))

    async def leave() -> None:
        while b'"status":"Failure"' not in peer.heard:
            await asyncio.sleep(0.001)
        peer.gone.set()

    leaving = asyncio.create_task(leave())
    headers = await talk(api, EXEC, SPDY, peer, "POST")
    await leaving
    assert headers["x-stream-protocol-version"] == "v4.channel.k8s.io"
    data: dict[int, bytes] = {}
    for frame in spdy.Parser().feed(peer.heard):
        if isinstance(frame, spdy.Data):
            data[frame.stream] = data.get(frame.stream, b"") + frame.data
    assert data[5] == b"HELLO"
    assert json.loads(data[1]) == FAILED


async def test_what_cannot_be_started_is_told_as_the_end(api: Caller, node: Node) -> None:
    node.problem = "no such command"
    peer = Peer()
    await talk(api, EXEC, asking("v4.channel.k8s.io"), peer)
    (status,) = peer.messages()
    told = json.loads(status[1:])
    assert (told["reason"], told["message"]) == ("InternalError", "Internal error occurred: no such command")


async def test_a_client_that_goes_takes_the_session_along(api: Caller, node: Node) -> None:
    peer = Peer(said(0, b"x"))
    talking = asyncio.create_task(talk(api, EXEC, asking("v4.channel.k8s.io"), peer))
    while b"X" not in peer.heard:
        await asyncio.sleep(0.001)
    peer.gone.set()
    await talking
    node.process.close()
    assert node.process.closed


async def test_a_port_by_websocket(api: Caller, node: Node) -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    node.port = server.sockets[0].getsockname()[1]
    peer = Peer(said(0, b"hello\n"))
    # Its second port is one that nobody listens on.
    await talk(api, "portforward?ports=80,81", asking("v5.channel.k8s.io", "v4.channel.k8s.io"), peer)
    server.close()
    await server.wait_closed()
    found: dict[int, bytes] = {}
    for message in peer.messages():
        found[message[0]] = found.get(message[0], b"") + message[1:]
    assert (found[0], found[1], found[2]) == (b"\x50\0HELLO\n", b"\x50\0", b"\x51\0")
    assert b"error forwarding port 81 to pod p" in found[3]
    assert peer.heard.endswith(websocket.close_frame(1000))


@pytest.mark.parametrize(
    ("target", "headers", "status", "words"),
    [
        (EXEC, {}, 400, "Upgrade request required"),
        ("exec?command=x", asking("v4.channel.k8s.io"), 400, "at least 1 of stdin, stdout, stderr"),
        ("exec?stdout=1", asking("v4.channel.k8s.io"), 400, "at least one command"),
        (EXEC + "&container=x", asking("v4.channel.k8s.io"), 400, "container x is not valid for pod p"),
        (EXEC, asking("v9.channel.k8s.io"), 403, "requested protocol(s) are not supported"),
        (EXEC, {**SPDY, "x-stream-protocol-version": "v9"}, 403, "unable to negotiate protocol"),
        (EXEC, asking("v4.channel.k8s.io") | {"sec-websocket-version": "8"}, 400, "Sec-WebSocket-Version"),
        ("attach", asking("v4.channel.k8s.io"), 400, "at least 1 of"),
        ("portforward", asking("v4.channel.k8s.io"), 400, 'query parameter "ports" is required'),
        ("portforward?ports=0", asking(), 400, "must be > 0"),
        ("portforward?ports=99999", asking(), 400, "as a port"),
        ("portforward", {}, 400, "Upgrade request required"),
    ],
)
async def test_what_is_refused(api: Caller, target: str, headers: dict[str, str], status: int, words: str) -> None:
    answer = await api.get(f"{PODS}/p/{target}", headers=headers)
    assert answer.status == status, answer.body
    assert words in answer.json["message"]


async def test_a_container_that_does_not_run(api: Caller, node: Node) -> None:
    node.is_running = False
    answer = await api.get(f"{PODS}/p/{EXEC}", headers=asking("v5.channel.k8s.io"))
    answer.error(500, "InternalError", 'unable to upgrade connection: container not found ("main")')
    (await api.get(f"{PODS}/none/{EXEC}", headers=asking())).error(404, "NotFound")
    (await api.post(PODS, pod("q"))).ok(201)
    (await api.get(f"{PODS}/q/{EXEC}", headers=asking())).error(400, "BadRequest", "does not have a host assigned")
    (await api.delete(f"{PODS}/p/{EXEC}")).error(405, "MethodNotAllowed")
