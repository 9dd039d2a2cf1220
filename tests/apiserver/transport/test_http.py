"""The HTTP layer: framing, order, limits, streams. A tiny handler stands in for the API; the sockets are real."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.apiserver.transport.connection import Connection
from homeport.apiserver.transport.http import HttpServer, Limits, serve
from homeport.kube.wire import Request, Response


async def echo(request: Request) -> Response:
    await asyncio.sleep(0)
    payload = {
        "method": request.method,
        "path": request.path,
        "query": list(request.query),
        "body": request.body.decode("latin-1"),
        "headers": dict(request.headers),
    }
    return Response(200, {"content-type": "application/json"}, json.dumps(payload).encode())


@asynccontextmanager
async def serving(
    handler: Callable[[Request], Awaitable[Response]] = echo, **limits: float
) -> AsyncIterator[tuple[HttpServer, int]]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = await serve(handler, listener, limits=Limits(**limits))  # type: ignore[arg-type]
    try:
        yield server, listener.getsockname()[1]
    finally:
        await server.close(1)


async def talk(port: int, *chunks: bytes, end: bool = False) -> bytes:
    """Send the chunks one by one (and with `end` say that there are no more); everything until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for chunk in chunks:
        writer.write(chunk)
        await writer.drain()
        await asyncio.sleep(0.001)
    if end:
        writer.write_eof()
    answer = b""
    with suppress(ConnectionResetError):
        while chunk := await asyncio.wait_for(reader.read(65536), 5):
            answer += chunk
    writer.close()
    return answer


def split_answers(data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    answers = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        status = int(lines[0].split()[1])
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        if status == 100:
            answers.append((100, headers, b""))
            continue
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while True:
                size, _, data = data.partition(b"\r\n")
                count = int(size, 16)
                body += data[:count]
                data = data[count + 2 :]
                if not count:
                    break
        else:
            length = int(headers.get("content-length", 0))
            body, data = data[:length], data[length:]
        answers.append((status, headers, body))
    return answers


async def test_answers_a_request_and_keeps_the_connection() -> None:
    async with serving() as (_, port):
        raw = await talk(
            port,
            b"GET /a%20b?x=1&y=a+b%2Fc HTTP/1.1\r\nHost: h\r\n\r\n",
            b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        )
    (first, second) = split_answers(raw)
    assert json.loads(first[2])["path"] == "/a b"
    assert json.loads(first[2])["query"] == [["x", "1"], ["y", "a b/c"]]
    assert json.loads(second[2])["body"] == "abc"
    assert second[1]["connection"] == "close"


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def slow_first(request: Request) -> Response:
        await asyncio.sleep(0.02 if request.path == "/0" else 0)
        return Response(200, {}, request.path.encode())

    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(100))
    last = b"GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    async with serving(slow_first) as (_, port):
        answers = split_answers(await talk(port, requests + last))
    assert [a[2].decode() for a in answers] == [f"/{n}" for n in range(100)] + ["/end"]


CONVERSATION = (
    b"POST /one?a=b HTTP/1.1\r\nHost: h\r\nX-Empty:\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4\r\nabcd\r\n3;ext=1\r\nefg\r\n0\r\nTrailer: x\r\n\r\n"
    b"GET //two// HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\nAccept: text/plain\r\n\r\n"
    b"PUT /three HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close\r\n\r\n12345"
)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, len(CONVERSATION) - 1), max_size=12))
def test_how_bytes_arrive_does_not_matter(cuts: list[int]) -> None:
    edges = [0, *sorted(set(cuts)), len(CONVERSATION)]
    pieces = [CONVERSATION[a:b] for a, b in pairwise(edges)]

    async def run() -> list[tuple[int, dict[str, str], bytes]]:
        async with serving() as (_, port):
            return split_answers(await talk(port, *pieces))

    answers = asyncio.run(run())
    bodies = [json.loads(body) for _, _, body in answers]
    assert [a[0] for a in answers] == [200, 200, 200]
    assert [b["path"] for b in bodies] == ["/one", "//two//", "/three"]
    assert [b["body"] for b in bodies] == ["abcdefg", "", "12345"]
    assert bodies[0]["headers"]["x-empty"] == ""
    assert "trailer" not in bodies[0]["headers"]
    assert bodies[1]["headers"]["accept"] == "application/json, text/plain"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"hello there\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xff" + b"\0" * 40, 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 5000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 2000 + b"\r\n", 431),
        (b"GET /" + b"y" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n" + b"y" * 10000, 413),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n"
            + b"y" * 10000
            + b"\r\n0\r\n\r\n",
            413,
        ),
    ],
)
async def test_what_is_wrong_ends_in_a_status_and_a_close(request_bytes: bytes, status: int) -> None:
    async with serving(header_bytes=4096, body_bytes=8192, linger_seconds=0.05) as (_, port):
        answers = split_answers(await talk(port, request_bytes))
        assert [a[0] for a in answers] == [status]
        body = json.loads(answers[0][2])
        assert body["kind"] == "Status"
        assert body["code"] == status
        assert answers[0][1]["connection"] == "close"
        # The server is as good as before.
        again = await talk(port, b"GET /ok HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert split_answers(again)[0][0] == 200


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_never_breaks_the_server(garbage: bytes) -> None:
    async def run() -> None:
        async with serving(linger_seconds=0.01) as (_, port):
            answer = await talk(port, b"GET /x HTTP/1.1\r\nHost: h\r\n" + garbage, end=True)
            for status, _, body in split_answers(answer):
                assert status in (100, 200, 400, 408, 413, 431, 505)
                assert body.startswith(b"{") or status == 100
            ok = await talk(port, b"GET /ok HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            assert split_answers(ok)[0][0] == 200

    asyncio.run(run())


async def test_a_refusal_comes_after_the_answers_before_it() -> None:
    async with serving(linger_seconds=0.05) as (_, port):
        raw = await talk(
            port, b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n"
        )
    assert [a[0] for a in split_answers(raw)] == [200, 400]


async def test_slow_headers_and_slow_bodies_time_out() -> None:
    async with serving(header_seconds=0.05, body_seconds=0.05, linger_seconds=0.01) as (_, port):
        assert split_answers(await talk(port, b"GET / HTT"))[0][0] == 408
        body = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc"
        assert split_answers(await talk(port, body))[0][0] == 408
        assert await talk(port) == b""


async def test_idle_connections_are_closed() -> None:
    async with serving(idle_seconds=0.05) as (_, port):
        raw = await talk(port, b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert [a[0] for a in split_answers(raw)] == [200]


async def test_continue_is_sent_before_the_body() -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await asyncio.wait_for(reader.readline(), 2)).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_body_that_will_be_refused_is_not_asked_for() -> None:
    async with serving(body_bytes=10, linger_seconds=0.01) as (_, port):
        raw = await talk(port, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n")
    assert [a[0] for a in split_answers(raw)] == [413]


async def test_an_upgrade_request_is_answered_as_an_ordinary_one() -> None:
    async with serving(linger_seconds=0.01) as (_, port):
        raw = await talk(
            port, b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00"
        )
    assert [a[0] for a in split_answers(raw)] == [200]


async def test_head_has_no_body() -> None:
    async with serving() as (_, port):
        raw = await talk(port, b"HEAD /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"content-length: " in head
    assert body == b""


class Stream:
    """A streamed answer whose end can be watched."""

    def __init__(self, chunks: int, size: int = 10, pause: float = 0.0) -> None:
        self.closed = asyncio.Event()
        self.sent = 0
        self._chunks, self._size, self._pause = chunks, size, pause

    async def body(self) -> AsyncIterator[bytes]:
        try:
            for _ in range(self._chunks):
                await asyncio.sleep(self._pause)
                self.sent += 1
                yield b"x" * self._size
        finally:
            self.closed.set()

    async def handler(self, request: Request) -> Response:
        return Response(200, {"content-type": "text/plain"}, self.body())


async def test_a_stream_is_chunked_and_the_connection_lives_on() -> None:
    stream = Stream(5)
    async with serving(stream.handler) as (_, port):
        raw = await talk(
            port, b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        )
    assert [a[2] for a in split_answers(raw)] == [b"x" * 50, b"x" * 50]


async def test_a_stream_of_known_size_is_not_chunked() -> None:
    async def handler(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"abc"
            yield b"def"

        return Response(200, {"content-length": "6"}, body())

    async with serving(handler) as (_, port):
        raw = await talk(port, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert raw.endswith(b"\r\n\r\nabcdef")
    assert b"chunked" not in raw


async def test_a_stream_ends_when_the_client_goes() -> None:
    stream = Stream(1_000_000, pause=0.001)
    async with serving(stream.handler) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.close()
        await asyncio.wait_for(stream.closed.wait(), 2)


async def test_a_slow_reader_slows_the_stream_down() -> None:
    stream = Stream(10_000, size=1 << 16)
    async with serving(stream.handler) as (_, port):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.sleep(0.3)
        assert stream.sent < 2000  # what the sockets' buffers take, and no more
        client.close()
        await asyncio.wait_for(stream.closed.wait(), 2)


async def test_a_stream_that_fails_is_cut_off_unfinished(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"abc"
            raise RuntimeError("boom")

        return Response(200, {}, body())

    async with serving(handler) as (_, port):
        raw = await talk_reset(port, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert not raw.endswith(b"0\r\n\r\n")
    assert "boom" in caplog.text


async def talk_reset(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    received = b""
    try:
        while chunk := await asyncio.wait_for(reader.read(1000), 2):
            received += chunk
    except ConnectionResetError:
        pass
    writer.close()
    return received


async def test_closing_finishes_answers_and_ends_streams_as_complete() -> None:
    stream = Stream(1_000_000, pause=0.001)
    async with serving(stream.handler) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.sleep(0.05)
        _, idle = await asyncio.open_connection("127.0.0.1", port)
        await server.close(2)
        raw = await asyncio.wait_for(reader.read(), 2)
        assert raw.endswith(b"0\r\n\r\n")
        assert stream.closed.is_set()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        idle.close()


async def test_header_values_cannot_split_the_answer() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, {"warning": "a\r\nevil: 1"}, b"")

    async with serving(handler) as (_, port):
        raw = await talk(port, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert "evil" not in split_answers(raw)[0][1]


class Quick:
    """Answers at once what is asked below /quick."""

    def __init__(self, body: bytes = b"") -> None:
        self.body = body
        self.quick = self.slow = 0

    async def handle(self, request: Request) -> Response:
        self.slow += 1
        await asyncio.sleep(0.001)
        return Response(200, {}, self.body or request.path.encode())

    def at_once(self, request: Request, memory: dict[str, Any]) -> Response | None:
        if not request.path.startswith("/quick"):
            return None
        self.quick += 1
        return Response(200, {}, self.body or request.path.encode())


@asynccontextmanager
async def serving_at_once(handler: Quick, **limits: float) -> AsyncIterator[tuple[HttpServer, int]]:
    async with serving(handler, **limits) as (server, port):  # type: ignore[arg-type]
        yield server, port


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("GET /quick", "GET /slow", "HEAD /quick", "PUT /slow")), st.booleans())))
def test_answers_come_in_order_at_once_or_not(asked: list[tuple[str, bool]]) -> None:
    """Pipelined in as many pieces as the flags say."""
    asked = [*asked, ("GET /quick", True)]
    pieces = [b""]
    for number, (what, ends) in enumerate(asked):
        pieces[-1] += f"{what}{number} HTTP/1.1\r\nHost: h\r\n\r\n".encode()
        if ends:
            pieces.append(b"")
    pieces[-1] = b"GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    paths = [what.split()[1] + str(number) for number, (what, _) in enumerate(asked)]

    async def run() -> None:
        async with serving_at_once(Quick()) as (_, port):
            answer = await talk(port, *pieces)
        for (what, _), path in zip(asked, paths, strict=True):
            head, _, answer = answer.partition(b"\r\n\r\n")
            assert f"content-length: {len(path)}".encode() in head
            if not what.startswith("HEAD"):
                assert answer.startswith(path.encode())
                answer = answer[len(path) :]
        assert answer.endswith(b"/end")

    asyncio.run(run())


async def test_who_does_not_read_is_not_answered_at_once_for_ever() -> None:
    handler = Quick(b"x" * 50_000)
    async with serving_at_once(handler) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n" * 1000
        sending = asyncio.create_task(_send(writer, sent))
        before = -1
        while handler.quick + handler.slow != before:
            before = handler.quick + handler.slow
            await asyncio.sleep(0.1)
        assert before < 500  # the sockets' buffers hold some megabytes
        received = 0
        while received < 1000 * 50_000:
            received += len(await asyncio.wait_for(reader.read(1 << 20), 5))
        await sending
        assert handler.quick + handler.slow == 1000
        writer.close()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def test_what_ends_with_its_request_is_answered() -> None:
    async with serving_at_once(Quick()) as (_, port):
        answers = split_answers(await talk(port, b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n", end=True))
    assert [answer[2] for answer in answers] == [b"/quick"]


class Wire(asyncio.Transport):
    """Collects what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


async def test_a_server_that_closes_answers_what_it_would_have_answered_at_once() -> None:
    handler = Quick()
    server = HttpServer(handler.handle, Limits(), handler.at_once)
    connection, wire = Connection(server), Wire()
    connection.connection_made(wire)
    connection.data_received(b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n")
    connection.shut_down()
    while not wire.closed:
        await asyncio.sleep(0)
    assert wire.written.endswith(b"/quick")
    assert b"connection: close" in wire.written
    connection.connection_lost(None)


async def test_answers_of_a_turn_are_written_when_all_are_there() -> None:
    handler = Quick()
    server = HttpServer(handler.handle, Limits(), handler.at_once)
    wires = [Wire() for _ in range(3)]
    connections = [Connection(server) for _ in wires]
    for connection, wire in zip(connections, wires, strict=True):
        connection.connection_made(wire)
        connection.data_received(b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n")
    assert handler.quick == 0
    connections[1].connection_lost(None)
    await asyncio.sleep(0)
    assert [bool(wire.written) for wire in wires] == [True, False, True]
    for connection in (connections[0], connections[2]):
        connection.connection_lost(None)


async def test_a_second_request_that_comes_slowly_times_out_as_the_first() -> None:
    async with serving(header_seconds=0.15, linger_seconds=0.02) as (_, port):
        begin = asyncio.get_running_loop().time()
        answers = split_answers(await talk(port, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /b HTTP/1.1\r\nHo"))
        assert [answer[0] for answer in answers] == [200, 408]
        assert asyncio.get_running_loop().time() - begin < 3
