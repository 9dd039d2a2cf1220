from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from homeport.client.client import Client
from homeport.client.connection import encode_request
from homeport.client.http import HttpTransport
from homeport.client.kubeconfig import Access, ExecPlugin, KubeconfigError
from homeport.client.transport import Unreachable, collect
from homeport.kube.errors import Conflict, Expired, InternalError, NotFound, ServiceUnavailable, TooManyRequests
from homeport.kube.kind import Resource
from homeport.kube.wire import Request

_spec = importlib.util.spec_from_file_location("peer", Path(__file__).with_name("peer.py"))
assert _spec is not None
assert _spec.loader is not None
peer: Any = importlib.util.module_from_spec(_spec)
sys.modules["peer"] = peer
_spec.loader.exec_module(peer)

PODS = Resource("", "v1", "pods", "Pod")
GET = Request("GET", "/x")


async def test_connections_are_reused() -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(peer.answer(b"{}"))
        return True

    async with peer.serve(script) as server:
        transport = HttpTransport(Access(server.url))
        for _ in range(5):
            response = await transport.send(GET)
            assert (response.status, response.body) == (200, b"{}")
        assert server.connections == 1
        await asyncio.gather(*(transport.send(GET) for _ in range(4)))
        assert server.connections <= 5
        await transport.close()


async def test_a_chunked_answer_streams_and_its_connection_is_reused() -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (b"one", b"two", b"three"):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        return True

    async with peer.serve(script) as server:
        transport = HttpTransport(Access(server.url))
        for _ in range(2):
            response = await transport.send(GET)
            assert not isinstance(response.body, bytes)
            assert await collect(response.body) == b"onetwothree"
        assert server.connections == 1
        await transport.close()


async def test_leaving_a_stream_early_closes_its_connection() -> None:
    closed = asyncio.Event()

    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await writer.drain()
        try:
            while True:
                writer.write(b"1\r\nx\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)
        except ConnectionError:
            closed.set()
            raise

    async with peer.serve(script) as server:
        client = Client(HttpTransport(Access(server.url)))
        async with client.stream("/log") as chunks:
            assert (await chunks.__anext__()).startswith(b"x")
        async with asyncio.timeout(5):
            await closed.wait()
        await client.close()


async def test_a_stream_that_was_never_read_frees_its_connection() -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        if b"/again" in request:
            writer.write(peer.answer(b"{}"))
            return True
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        return True

    async with peer.serve(script) as server:
        transport = HttpTransport(Access(server.url))
        client = Client(transport)
        async with client.stream("/log"):
            pass
        for connection in list(transport._open):
            await connection.gone.wait()
        assert not transport._open
        assert await client.raw("GET", "/again") == b"{}"
        assert len(transport._open) == 1
        await client.close()


async def test_a_slow_reader_holds_the_server_back() -> None:
    sent = 0

    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        part = b"x" * 65536
        for _ in range(400):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
            sent += 1
        writer.write(b"0\r\n\r\n")
        return True

    async with peer.serve(script) as server:
        client = Client(HttpTransport(Access(server.url)))
        async with client.stream("/log") as chunks:
            total = len(await anext(chunks))
            await asyncio.sleep(0.2)
            assert sent < 300  # what the sockets' own buffers hold
            async for chunk in chunks:
                total += len(chunk)
        assert total == 400 * 65536
        await client.close()


async def test_a_body_without_length_ends_with_the_connection() -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        return False

    async with peer.serve(script) as server:
        transport = HttpTransport(Access(server.url))
        response = await transport.send(GET)
        assert await collect(response.body) == b"until the end"
        await transport.close()


async def test_a_truncated_body_is_an_error_not_a_short_answer() -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        if b"/chunked" in request:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        return False

    async with peer.serve(script) as server:
        transport = HttpTransport(Access(server.url))
        with pytest.raises(Unreachable):
            await transport.send(GET)
        response = await transport.send(Request("GET", "/chunked"))
        with pytest.raises(Unreachable):
            await collect(response.body)
        await transport.close()


async def test_a_read_is_sent_again_when_a_kept_connection_was_dead_and_a_write_is_not() -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        if number == 1 and len(server.requests) > 1:
            return False  # dead on its second use
        writer.write(peer.answer(b"{}"))
        return True

    async with peer.serve(script) as server:
        transport = HttpTransport(Access(server.url))
        await transport.send(GET)
        assert (await transport.send(GET)).status == 200
        assert server.connections == 2
        await transport.close()
    async with peer.serve(script) as server:
        transport = HttpTransport(Access(server.url))
        await transport.send(GET)
        with pytest.raises(Unreachable):
            await transport.send(Request("POST", "/x", body=b"{}"))
        assert len(server.requests) == 2
        await transport.close()


async def test_a_server_that_closes_idle_connections_is_not_an_error() -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(peer.answer(b"{}"))
        return False

    async with peer.serve(script) as server:
        transport = HttpTransport(Access(server.url))
        await transport.send(GET)
        await asyncio.sleep(0.05)
        assert (await transport.send(Request("POST", "/x", body=b"{}"))).status == 200
        await transport.close()


async def test_retry_after_is_waited_out_a_few_times() -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        if b"/never" in request or len(server.requests) < 3:
            writer.write(peer.answer(b'{"message":"busy","code":429}', "429 Too Many Requests", "Retry-After: 0"))
        else:
            writer.write(peer.answer(b"{}"))
        return True

    async with peer.serve(script) as server:
        client = Client(HttpTransport(Access(server.url)))
        assert await client.raw("GET", "/x") == b"{}"
        assert len(server.requests) == 3
        with pytest.raises(TooManyRequests, match="busy"):
            await client.raw("GET", "/never")
        assert len(server.requests) == 7
        await client.close()


async def test_without_retry_after_an_answer_stands() -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(peer.answer(b"<html>down</html>", "503 Service Unavailable"))
        return True

    async with peer.serve(script) as server:
        client = Client(HttpTransport(Access(server.url)))
        with pytest.raises(ServiceUnavailable, match="answered 503: <html>down"):
            await client.raw("GET", "/x")
        assert len(server.requests) == 1
        await client.close()


@pytest.mark.parametrize(
    ("reason", "code", "error"),
    [("NotFound", 404, NotFound), ("Conflict", 409, Conflict), ("Expired", 410, Expired), ("", 410, Expired)],
)
async def test_a_status_becomes_its_error(reason: str, code: int, error: type[Exception]) -> None:
    body = json.dumps({"kind": "Status", "message": "said so", "reason": reason, "code": code}).encode()

    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(peer.answer(body, f"{code} Whatever"))
        return True

    async with peer.serve(script) as server:
        client = Client(HttpTransport(Access(server.url)))
        with pytest.raises(error, match="said so"):
            await client.get(PODS, "p", "ns")
        await client.close()


async def test_nobody_listens() -> None:
    client = Client(HttpTransport(Access("http://127.0.0.1:1")))
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        await client.get(PODS, "p", "ns")


async def test_no_answer_in_time() -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(60)
        return False

    async with peer.serve(script) as server:
        client = Client(HttpTransport(Access(server.url)), timeout=0.05)
        with pytest.raises(Unreachable, match=r"no answer within 0\.05 s"):
            await client.get(PODS, "p", "ns")
        await client.close()


async def test_an_unasked_answer_is_never_paired_with_the_next_request() -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(peer.answer(b"first") + (peer.answer(b"stale") if number == 1 else b""))
        return True

    async with peer.serve(script) as server:
        transport = HttpTransport(Access(server.url))
        await transport.send(GET)
        await asyncio.sleep(0.01)
        assert (await transport.send(GET)).body == b"first"
        await transport.close()


async def test_garbage_instead_of_http() -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        return True

    async with peer.serve(script) as server:
        transport = HttpTransport(Access(server.url))
        with pytest.raises(Unreachable, match="not an HTTP answer"):
            await transport.send(GET)
        await transport.close()


@pytest.mark.parametrize("body", [b"no", b'{"a\xff": 1}', b"[" * 100_000, b"[]"])
async def test_answers_that_are_no_objects(body: bytes) -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        status = "200 OK" if b"watch=" in request or server.requests[1:] else "500 Internal Server Error"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b\n" % (status.encode(), len(body) + 1, body))
        return True

    async with peer.serve(script) as server:
        client = Client(HttpTransport(Access(server.url)))
        with pytest.raises(InternalError):
            await client.get(PODS, "p", "ns")
        with pytest.raises(InternalError, match="no JSON object"):
            await client.get(PODS, "p", "ns")
        async with client.watch(PODS, resource_version="1") as events:
            with pytest.raises(InternalError, match="can't be read"):
                await anext(events)
        await client.close()


async def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")

    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(peer.answer(b"{}"))
        return True

    async with peer.serve(script) as server:
        transport = HttpTransport(Access(server.url, token_file=token))
        await transport.send(GET)
        replacement = tmp_path / "new"
        replacement.write_text("two\n")
        replacement.replace(token)
        await transport.send(GET)
        assert b"authorization: Bearer one\r\n" in server.requests[0]
        assert b"authorization: Bearer two\r\n" in server.requests[1]
        await transport.close()


def plugin(tmp_path: Path, script: str, **settings: Any) -> ExecPlugin:
    path = tmp_path / "plugin"
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)
    return ExecPlugin(str(path), **settings)


async def test_a_plugin_is_asked_once_and_again_after_a_401(tmp_path: Path) -> None:
    script = f"""echo run >> {tmp_path}/runs
printf '{{"kind":"ExecCredential","status":{{"token":"t%s"}}}}' "$(wc -l < {tmp_path}/runs | tr -d ' ')"
"""

    async def reply(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        fine = len(server.requests) < 3 or b"Bearer t2" in request
        writer.write(peer.answer(b"{}") if fine else peer.answer(b"{}", "401 Unauthorized"))
        return True

    async with peer.serve(reply) as server:
        transport = HttpTransport(Access(server.url, plugin=plugin(tmp_path, script)))
        for _ in range(3):
            assert (await transport.send(GET)).status == 200
        assert [b"Bearer t1" in request for request in server.requests] == [True, True, True, False]
        await transport.close()


@pytest.mark.parametrize(
    ("script", "error", "said"),
    [
        ("echo no such account >&2; exit 3", Unreachable, "ended with code 3: no such account"),
        ("echo hello", Unreachable, "printed no ExecCredential"),
        ("echo '{}'", Unreachable, "neither a token nor a certificate"),
    ],
)
async def test_a_plugin_that_fails_says_why(tmp_path: Path, script: str, error: type[Exception], said: str) -> None:
    transport = HttpTransport(Access("http://127.0.0.1:1", plugin=plugin(tmp_path, script)))
    with pytest.raises(error, match=said):
        await transport.send(GET)


async def test_a_missing_plugin_comes_with_its_hint() -> None:
    access = Access("http://127.0.0.1:1", plugin=ExecPlugin("/nonexistent/x", install_hint="install it with y"))
    with pytest.raises(KubeconfigError, match="install it with y"):
        await HttpTransport(access).send(GET)


async def test_a_proxy_is_asked_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" if request.startswith(b"CONNECT") else peer.answer(b"{}"))
        return True

    async with peer.serve(script) as server:
        monkeypatch.setenv("http_proxy", server.url.replace("//", "//me:pass%21@"))
        monkeypatch.setenv("no_proxy", "inside.example")
        transport = HttpTransport(Access("http://cluster.example:8080"))
        assert (await transport.send(GET)).status == 200
        assert server.requests[0].startswith(b"CONNECT cluster.example:8080 HTTP/1.1\r\n")
        assert b"proxy-authorization: Basic bWU6cGFzcyE=\r\n" in server.requests[0]
        await transport.close()

    async def refuse(number: int, request: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        return True

    async with peer.serve(refuse) as server:
        transport = HttpTransport(Access("http://cluster.example:8080", proxy_url=server.url))
        with pytest.raises(Unreachable, match=r"proxy refused: HTTP/1\.1 403"):
            await transport.send(GET)


def test_a_header_can_not_smuggle_another() -> None:
    with pytest.raises(ValueError, match="line break"):
        encode_request(GET, "host", [("impersonate-user", "a\r\nimpersonate-group: system:masters")])


def test_paths_and_queries_are_encoded() -> None:
    request = Request("GET", "/api/v1/namespaces/a b/pods", (("labelSelector", "k in (a, b)"), ("watch", "true")))
    line = encode_request(request, "h", ()).split(b"\r\n")[0]
    assert line == b"GET /api/v1/namespaces/a%20b/pods?labelSelector=k+in+%28a%2C+b%29&watch=true HTTP/1.1"


@pytest.mark.parametrize("server", ["localhost:6443", "ftp://x", "https://"])
def test_a_server_that_is_no_url(server: str) -> None:
    with pytest.raises(ValueError, match="expected a URL"):
        HttpTransport(Access(server))
