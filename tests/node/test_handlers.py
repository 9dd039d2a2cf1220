"""What probes and hooks ask of servers and commands, and what they make of the answers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st
from ports import free_port

from homeport.apiserver import pki
from homeport.node.handlers import calls, hpack
from homeport.node.handlers.target import Result, Target, Unanswerable
from homeport.node.runtime import StartError, Wanted

SECONDS = 5.0
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n"
NOT_FOLLOWED = "Probe terminated redirects, Response body: "


class Dialer:
    """The part of a runtime that handlers use: here the machine's own network."""

    def __init__(self) -> None:
        self.dialled: list[tuple[str, int]] = []

    async def dial(self, address: str, port: int) -> socket.socket:
        self.dialled.append((address, port))
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, (address, port))
        except BaseException:
            made.close()
            raise
        return made


class Lines:
    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)

    async def read(self, limit: int = 65536) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""


class Command:
    """A container in which every command does the same."""

    stdin = None

    def __init__(self, code: int = 0, output: Sequence[bytes] = (), *, seconds: float = 0, refuses: str = "") -> None:
        self.code, self.seconds, self.refuses = code, seconds, refuses
        self.stdout: Any = Lines(*output)
        self.stderr: Any = Lines(b"")
        self.argv: list[str] = []
        self.is_killed = self.is_closed = False

    async def execute(self, container: str, argv: Sequence[str], wanted: Wanted) -> Any:
        if self.refuses:
            raise StartError(self.refuses, 127)
        self.argv = list(argv)
        return self

    async def wait(self) -> int:
        await asyncio.sleep(self.seconds)
        return self.code

    def kill(self) -> None:
        self.is_killed = True

    def close(self) -> None:
        self.is_closed = True


def target(sandbox: Any = None, **spec: Any) -> Target:
    return Target("main", spec, sandbox, Dialer(), "127.0.0.1")  # type: ignore[arg-type]


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def answering(*answers: bytes, heads: list[str] | None = None) -> Serve:
    """A server that gives one answer for each connection, the last one again and again."""
    rest = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if heads is not None:
            heads.append(head)
        writer.write(rest.pop(0) if len(rest) > 1 else rest[0])
        await writer.drain()

    return serve


# HTTP.


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Result(True, "ok")),
        (b"HTTP/1.0 204 No Content\r\n\r\n", Result(True)),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", Result(True, "to the end")),
        (CHUNKED, Result(True, "abcd")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Result(True)),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Result(False, "HTTP probe failed with statuscode: 404")),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nbad", Result(False, "HTTP probe failed with statuscode: 500")),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", Result(True, NOT_FOLLOWED, warning=True)),
    ],
)  # fmt: skip
async def test_http_answers(answer: bytes, expected: Result) -> None:
    async with serving(answering(answer)) as port:
        assert await calls.probe(target(), {"httpGet": {"port": port}}, SECONDS) == expected


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "EOF"),
        (b"HTTP/1.1 200", "unexpected EOF"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "malformed HTTP response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "unexpected EOF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "malformed chunked encoding"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n", "headers exceeded"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_http_answers_that_are_none(answer: bytes, text: str) -> None:
    async with serving(answering(answer)) as port:
        result = await calls.probe(target(), {"httpGet": {"port": port, "path": "/x y"}}, SECONDS)
    assert not result.success
    assert result.text.startswith(f'Get "http://127.0.0.1:{port}/x%20y": ')
    assert text in result.text


async def test_what_an_http_server_is_sent() -> None:
    heads: list[str] = []
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(ok, heads=heads)) as port:
        ports = [{"name": "web", "containerPort": port}]
        await calls.probe(target(ports=ports), {"httpGet": {"port": "web", "path": "healthz?full=1"}}, SECONDS)
        own = [{"name": "Host", "value": "me"}, {"name": "Accept", "value": ""}, {"name": "X-A", "value": "1"}]
        own.append({"name": "user-agent", "value": "mine"})
        await calls.probe(target(), {"httpGet": {"port": port, "httpHeaders": own}}, SECONDS)
        assert await calls.run_hook(target(), {"httpGet": {"port": port}}, "p") == ""
    assert heads[0].split("\r\n")[:-2] == [
        "GET /healthz?full=1 HTTP/1.1", f"Host: 127.0.0.1:{port}", "User-Agent: kube-probe/1.35", "Accept: */*",
        "Connection: close",
    ]  # fmt: skip
    assert heads[1].split("\r\n")[1:-2] == ["Host: me", "X-A: 1", "user-agent: mine", "Connection: close"]
    assert "User-Agent: kube-lifecycle/1.35" in heads[2]


async def test_redirects_within_a_host_are_followed() -> None:
    there = b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n"
    away = b"HTTP/1.1 302 Found\r\nLocation: http://localhost/\r\nContent-Length: 4\r\n\r\nthis"
    ok = b"HTTP/1.1 200 OK\r\n\r\nhere"
    async with serving(answering(there, ok)) as port:
        assert await calls.probe(target(), {"httpGet": {"port": port}}, SECONDS) == Result(True, "here")
    async with serving(answering(away)) as port:
        result = await calls.probe(target(), {"httpGet": {"port": port}}, SECONDS)
        assert (result.success, result.warning, result.text.endswith("this")) == (True, True, True)
    async with serving(answering(there)) as port:
        assert "stopped after 10 redirects" in (await calls.probe(target(), {"httpGet": {"port": port}}, SECONDS)).text


async def test_a_server_that_keeps_silent() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(serve) as port:
        for handler in ({"httpGet": {"port": port}}, {"grpc": {"port": port}}):
            result = await calls.probe(target(), handler, 0.1)
            assert not result.success
            assert "context deadline exceeded" in result.text


async def test_nobody_listens() -> None:
    port = free_port()
    refused = f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    for handler, begin in (
        ({"httpGet": {"port": port}}, f'Get "http://127.0.0.1:{port}/": '),
        ({"tcpSocket": {"port": port}}, ""),
        ({"grpc": {"port": port}}, f'error: failed to connect service "127.0.0.1:{port}": connection error: '),
    ):
        assert await calls.probe(target(), handler, SECONDS) == Result(False, begin + refused)
    assert refused in await calls.run_hook(target(), {"httpGet": {"port": port}}, "p")


async def test_a_port_by_a_name_that_there_is_not() -> None:
    with pytest.raises(Unanswerable, match="couldn't find port: 'web'"):
        await calls.probe(target(), {"tcpSocket": {"port": "web"}}, SECONDS)
    with pytest.raises(Unanswerable, match="invalid port number: 0"):
        await calls.probe(target(), {"tcpSocket": {"port": 0}}, SECONDS)


async def test_a_connection_is_enough() -> None:
    async with serving(answering(b"")) as port:
        assert await calls.probe(target(), {"tcpSocket": {"port": str(port), "host": "localhost"}}, SECONDS) == Result(
            True
        )


async def test_https_without_a_look_at_the_certificate(tmp_path: Path) -> None:
    context = pki.server_context(pki.ensure(tmp_path))
    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), context) as port:
        handler = {"httpGet": {"port": port, "scheme": "HTTPS"}}
        assert await calls.probe(target(), handler, SECONDS) == Result(True, "ok")
    async with serving(answering(b"x")) as port:
        handler = {"httpGet": {"port": port, "scheme": "HTTPS"}}
        assert not (await calls.probe(target(), handler, 1.0)).success


# Commands.


async def test_commands() -> None:
    handler = {"exec": {"command": ["test", "$(WHO)", "$(OTHER)"]}}
    env = [{"name": "WHO", "value": "me"}, {"name": "OTHER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    command = Command(0, [b"fine"])
    assert await calls.probe(target(command, env=env), handler, SECONDS) == Result(True, "fine")
    assert command.argv == ["test", "me", "$(OTHER)"], "what has no value of its own is not known by now"
    assert command.is_closed
    assert await calls.probe(target(Command(3, [b"a", b"b"])), handler, SECONDS) == Result(False, "ab")
    assert len((await calls.probe(target(Command(1, [b"x" * 9000] * 3)), handler, SECONDS)).text) == 10240
    refused = await calls.probe(target(Command(refuses='exec: "x": not found')), handler, SECONDS)
    assert refused == Result(False, 'OCI runtime exec failed: exec: "x": not found')


async def test_a_command_that_takes_too_long_is_killed() -> None:
    command = Command(0, seconds=60)
    result = await calls.probe(target(command), {"exec": {"command": ["sleep", "60"]}}, 0.05)
    assert result == Result(False, 'command timed out: "sleep 60" timed out after 0.05s')
    assert command.is_killed
    assert command.is_closed


async def test_hooks() -> None:
    handler = {"exec": {"command": ["do", "it"]}}
    assert await calls.run_hook(target(Command(0)), handler, "p_ns(u)") == ""
    failed = await calls.run_hook(target(Command(2, [b"the password is"])), handler, "p_ns(u)")
    assert "command exited with 2" in failed
    assert "password" not in failed
    assert "not there" in await calls.run_hook(target(Command(refuses="not there")), handler, "p")
    assert await calls.run_hook(target(), {"sleep": {"seconds": 0}}, "p") == ""
    assert "Invalid handler" in await calls.run_hook(target(), {"tcpSocket": {"port": 1}}, "p")
    async with serving(answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")) as port:
        assert await calls.run_hook(target(), {"httpGet": {"port": port}}, "p") == "", "an answer is an answer"


# HTTP/2 and gRPC, with a server of other people's making.


def speaking_h2(respond: Callable[[h2.connection.H2Connection, int, list[tuple[str, str]], bytes], None]) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        headers: dict[int, Any] = {}
        body = b""
        while True:
            writer.write(connection.data_to_send())
            data = await reader.read(65536)
            if not data:
                return
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    headers[event.stream_id] = event.headers
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    respond(connection, event.stream_id, headers[event.stream_id], body)

    return serve


def health(status: int | None, code: int = 0, message: str = "") -> Serve:
    """A gRPC health service; without a status it answers with trailers only."""

    def respond(
        connection: h2.connection.H2Connection, stream: int, headers: list[tuple[str, str]], body: bytes
    ) -> None:
        sent = dict(headers)
        assert (sent[":path"], sent["te"]) == ("/grpc.health.v1.Health/Check", "trailers")
        assert body in (b"\0\0\0\0\0", b"\0\0\0\0\x05\n\x03abc")
        first = [(":status", "200"), ("content-type", "application/grpc")]
        trailers = [("grpc-status", str(code)), ("grpc-message", message)]
        if status is None:
            connection.send_headers(stream, [*first, *trailers], end_stream=True)
            return
        connection.ping(b"12345678")
        connection.send_headers(stream, first)
        connection.send_data(stream, b"\0\0\0\0\x02\x08" + bytes((status,)) if status else b"\0\0\0\0\0", pad_length=3)
        connection.send_headers(stream, trailers, end_stream=True)

    return speaking_h2(respond)


@pytest.mark.parametrize(
    ("serve", "expected"),
    [
        (health(1), Result(True, "service healthy")),
        (health(2), Result(False, 'service unhealthy (responded with "NOT_SERVING")')),
        (health(0), Result(False, 'service unhealthy (responded with "UNKNOWN")')),
        (
            health(None, 5, "unknown%20service"),
            Result(False, "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"),
        ),
        (
            health(None, 12),
            Result(
                False,
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
                "rpc error: code = Unimplemented desc = ",
            ),
        ),
    ],
)
async def test_grpc(serve: Serve, expected: Result) -> None:
    async with serving(serve) as port:
        assert await calls.probe(target(), {"grpc": {"port": port}}, SECONDS) == expected
        assert await calls.probe(target(), {"grpc": {"port": port, "service": "abc"}}, SECONDS) == expected


async def test_grpc_to_somebody_who_does_not_speak_it() -> None:
    for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\0\0\0\x07\0\0\0\0\0"):
        async with serving(answering(answer)) as port:
            result = await calls.probe(target(), {"grpc": {"port": port}}, SECONDS)
            assert not result.success
            assert result.text.startswith("error: health rpc probe failed: rpc error: code = Unavailable")


async def test_http2() -> None:
    def respond(
        connection: h2.connection.H2Connection, stream: int, headers: list[tuple[str, str]], body: bytes
    ) -> None:
        found = dict(headers)[":path"] == "/yes"
        connection.send_headers(stream, [(":status", "200" if found else "404"), ("server", "h2")])
        connection.send_data(stream, b"hello", end_stream=True)

    async with serving(speaking_h2(respond)) as port:
        handler = {"httpGet": {"port": port, "path": "/yes", "protocol": "HTTP2"}}
        assert await calls.probe(target(), handler, SECONDS) == Result(True, "hello")
        handler = {"httpGet": {"port": port, "protocol": "HTTP2"}}
        assert await calls.probe(target(), handler, SECONDS) == Result(False, "HTTP probe failed with statuscode: 404")


TEXT = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)


@given(headers=st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=8), huffman=st.booleans())
def test_headers_of_another_encoder_are_understood(headers: list[tuple[str, str]], huffman: bool) -> None:
    encoder = Encoder()
    encoder.header_table_size = 0
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    assert list(hpack.decode(encoder.encode(raw, huffman=huffman))) == headers
    assert list(hpack.decode(hpack.encode(headers))) == headers


@given(block=st.binary(max_size=64))
def test_a_header_block_of_nonsense_is_refused_or_read(block: bytes) -> None:
    with suppress(hpack.HeaderError):
        list(hpack.decode(block))
