"""Connections that are meant to hurt, against the real server on real sockets and on the loop that it runs on: whoever
else comes is served at once, and memory stays where it was."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path

import pytest
from served import HEAD, PING, SOON, Served, allow_descriptors, gone, memory, on_uvloop, serving

from homeport.apiserver import pki


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"G",
        b"GET /api HTTP/1.1\r\nHost: h\r\nX: ",
        b"POST /api HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{",
        b"POST /api HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n{",
        b"POST /api HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: ",
    ],
)
@on_uvloop
async def test_clients_that_never_end_a_request(start: bytes) -> None:
    async with serving(header_seconds=0.3, body_seconds=0.3, linger_seconds=0.05) as served:
        idle = [served.open(start) for _ in range(200)]
        await served.answers()
        await gone(served)
        for sock in idle:
            sock.close()
        await served.answers()


@on_uvloop
async def test_a_drop_now_and_then_does_not_keep_headers_open() -> None:
    async with serving(header_seconds=0.5, linger_seconds=0.05) as served:
        sock = served.open(b"GET / HTTP/1.1\r\nHost: h\r\n")
        begin = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - begin < 5 and served.http.connections:
                sock.sendall(b"X: y\r\n")
                await asyncio.sleep(0.05)
        assert time.monotonic() - begin < 3
        sock.close()


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET / HTTP/1.1\r\n\r\n"])
@on_uvloop
async def test_handshakes_that_never_end(tmp_path: Path, said: bytes) -> None:
    context = pki.server_context(pki.ensure(tmp_path))
    async with serving(context, handshake_seconds=0.5) as served:
        allow_descriptors(3000)
        idle = [served.open(said) for _ in range(500)]
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=trusting)
        writer.write(PING)
        assert (await asyncio.wait_for(reader.read(), SOON)).startswith(b"HTTP/1.1 200")
        writer.close()
        for sock in idle:
            sock.settimeout(0)
        async with asyncio.timeout(5):  # the server has hung up on each
            for sock in idle:
                while True:
                    with suppress(BlockingIOError):
                        try:
                            if not sock.recv(100):
                                break
                        except ConnectionError:
                            break
                    await asyncio.sleep(0.01)
                sock.close()


@on_uvloop
async def test_no_file_descriptors_are_left() -> None:
    """Honest clients wait until there are some again; the server neither spins nor dies."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(header_seconds=1.0) as served:
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, hard))
        held: list[socket.socket] = []
        try:
            with suppress(OSError):
                while True:
                    held.append(served.open())
                    await asyncio.sleep(0)
            begin = time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - begin < 0.4, "the server spins"
        finally:
            for sock in held:
                sock.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await gone(served)
        async with asyncio.timeout(5):
            await served.answers()


SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HEAD + b"\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Content-Length: 4\r\nContent-Length: 5",
        b"Content-Length: 4, 5",
        b"Content-Length: +4",
        b"Content-Length: 0x4",
        b"Content-Length : 4",
        b"Content-Length: 4 4",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b" Folded: x",
        b"X: a\r\n folded",
        b"X: a\rTransfer-Encoding: chunked",
        b"X\x00: a",
        b": a",
        b"X",
        b"Host: other",
    ],
)
@on_uvloop
async def test_requests_that_two_servers_would_read_differently(lines: bytes) -> None:
    async with serving(linger_seconds=0.05, header_seconds=0.5, body_seconds=0.5) as served:
        raw = await served.talk(b"POST /api HTTP/1.1\r\n" + HEAD + lines + b"\r\n\r\n0\r\n\r\n" + SMUGGLED)
        assert raw.startswith(b"HTTP/1.1 4"), raw
        assert raw.count(b"HTTP/1.1 ") == 1
        await served.answers()


@pytest.mark.parametrize(
    "chunks",
    [
        b"-1\r\n",
        b"0x1\r\nx",
        b"1 \r\nx",
        b"ffffffffffffffffff\r\n",
        b"1\r\nxy",
        b"1\nx\n0\n\n",
        b"\r\n",
        b"1;" + b"a" * (5 << 20),
    ],
    ids=range(8),
)
@on_uvloop
async def test_chunks_that_are_none(chunks: bytes) -> None:
    async with serving(linger_seconds=0.05, header_seconds=0.5, body_seconds=0.5) as served:
        head = b"POST /api HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        raw = await served.talk(head + chunks + b"\r\n0\r\n\r\n" + SMUGGLED)
        assert raw.startswith(b"HTTP/1.1 4") or not raw, raw
        assert raw.count(b"HTTP/1.1 ") <= 1
        await served.answers()


@on_uvloop
async def test_framing_without_end() -> None:
    """A body of nothing, with trailers or extensions that go on as long as the client likes."""
    async with serving(linger_seconds=0.05) as served:
        before = memory()
        head = b"POST /api HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        for endless in (b"0\r\nX: " + b"y" * (4 << 20), b"0\r\n" + b"X: y\r\n" * 700_000, b"1;" + b"a" * (4 << 20)):
            raw = await served.talk(head + endless)
            assert raw.startswith(b"HTTP/1.1 431") or not raw, raw[:200]
        assert memory() - before < 64 << 20
        await served.answers()


async def talk_in_small_chunks(served: Served) -> bytes:
    body = b'{"metadata":{"name":"small"},"data":{"a":"' + b"x" * 30_000 + b'"}}'
    head = b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    return await served.talk(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX: y\r\n\r\n")


@on_uvloop
async def test_chunks_of_one_byte_are_a_body() -> None:
    async with serving() as served:
        assert (await talk_in_small_chunks(served)).startswith(b"HTTP/1.1 201")
