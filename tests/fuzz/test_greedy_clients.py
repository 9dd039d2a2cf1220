"""Clients that want more than their share of memory, time or connections: others are served as if there were none."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest
from api_testing import ADMIN, config_map, namespace
from served import HEAD, PING, Served, allow_descriptors, gone, memory, on_uvloop, serving

import support
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.components import system
from homeport.control.informer import Informers

MAPS = "/api/v1/namespaces/default/configmaps"
WATCH = f"GET {MAPS}?watch=true HTTP/1.1\r\n".encode() + HEAD + b"\r\n"


@on_uvloop
async def test_clients_that_ask_and_never_read() -> None:
    """Lists, watches, pipelined requests: what the sockets hold, and no more."""
    async with serving() as served:
        path = "/api/v1/namespaces/default/configmaps"
        for number in range(50):
            (await served.caller.post(path, config_map(f"m{number}", {"a": "x" * 50_000}))).ok(201)
        await served.answers()
        before = memory()
        ask = f"GET {path} HTTP/1.1\r\n".encode() + HEAD + b"\r\n"
        watch = f"GET {path}?watch=true HTTP/1.1\r\n".encode() + HEAD + b"\r\n"
        idle = [served.open(ask * 200) for _ in range(20)] + [served.open(watch) for _ in range(20)]
        await asyncio.sleep(0.5)
        for number in range(50):
            (await served.caller.post(path, config_map(f"n{number}", {"a": "x" * 50_000}))).ok(201)
            await asyncio.sleep(0)
        await served.answers()
        assert memory() - before < 300 << 20
        for sock in idle:
            sock.close()
        await gone(served)


@pytest.mark.alone
@pytest.mark.parametrize("count", [300, pytest.param(1000, marks=pytest.mark.slow)])
@on_uvloop
async def test_many_watches_that_nobody_reads_beside_controllers_at_work(count: int) -> None:
    allow_descriptors(3000)
    async with serving() as served:
        client = Client(LocalTransport(served.caller.server.handle, ADMIN))
        informers, ready = Informers(client), asyncio.Event()
        async with support.running(informers.run(), system.run(client, informers, ca_pem="CA", ready=ready)):
            await ready.wait()
            before = memory()
            watching = []
            for _ in range(count):
                watching.append(served.open(WATCH))
                await asyncio.sleep(0)
            while len(served.http.connections) < count:
                await asyncio.sleep(0)
            await served.answers()
            for number in range(50):
                (await served.caller.post(MAPS, config_map(f"m{number}", {"a": "x" * 10_000}))).ok(201)
            (await served.caller.post("/api/v1/namespaces", namespace("team"))).ok(201)
            async with asyncio.timeout(5):  # what every namespace gets from the controllers
                while (await served.caller.get("/api/v1/namespaces/team/serviceaccounts/default")).status != 200:
                    await asyncio.sleep(0.01)
            await served.answers()
            assert memory() - before < (50 << 20) + count * (100 << 10)
            for sock in watching:
                sock.close()
            await gone(served, 10)


async def begin_body(served: Served, size: int, sent: int) -> socket.socket:
    """A request whose body stops before its end."""
    sock = served.open()
    sock.setblocking(False)
    head = f"POST {MAPS} HTTP/1.1\r\nContent-Length: {size}\r\n".encode() + HEAD + b"\r\n"
    await asyncio.get_running_loop().sock_sendall(sock, head + b"x" * sent)
    return sock


@on_uvloop
async def test_bodies_that_never_end_share_a_bound() -> None:
    """The oldest of them give way; whoever sends the whole of a body is served."""
    async with serving(unfinished_bytes=4 << 20, linger_seconds=0.05) as served:
        before = memory()
        held = [await begin_body(served, 1 << 20, 200_000) for _ in range(200)]
        assert served.http.unfinished.total <= 4 << 20
        assert memory() - before < 64 << 20
        name = b'{"metadata":{"name":"honest"},"data":{"a":"' + b"y" * 900_000 + b'"}}'
        head = f"POST {MAPS} HTTP/1.1\r\nContent-Length: {len(name)}\r\nConnection: close\r\n".encode() + HEAD
        assert (await served.talk(head + b"\r\n" + name)).startswith(b"HTTP/1.1 201")
        await served.answers()
        first = await asyncio.get_running_loop().sock_recv(held[0], 1000)
        assert first.startswith(b"HTTP/1.1 429")
        for sock in held:
            sock.close()
        await gone(served)
        assert served.http.unfinished.total == 0


@on_uvloop
async def test_a_drop_now_and_then_does_not_keep_a_body_open() -> None:
    async with serving(body_seconds=0.3, whole_body_seconds=0.6, linger_seconds=0.05) as served:
        sock = await begin_body(served, 1 << 20, 1)
        async with asyncio.timeout(5):
            while not served.http.connections:
                await asyncio.sleep(0)
            with suppress(ConnectionError):
                while served.http.connections:
                    await asyncio.get_running_loop().sock_sendall(sock, b"x")
                    await asyncio.sleep(0.05)
        assert sock.recv(1000).startswith(b"HTTP/1.1 408")
        sock.close()
        await served.answers()


@on_uvloop
async def test_an_answer_that_nobody_reads_is_given_up_and_one_that_is_read_slowly_is_not() -> None:
    async with serving(unread_seconds=0.5) as served:
        for number in range(40):
            (await served.caller.post(MAPS, config_map(f"m{number}", {"a": "x" * 500_000}))).ok(201)
        ask = f"GET {MAPS} HTTP/1.1\r\n".encode() + HEAD + b"Connection: close\r\n\r\n"
        idle = served.open(ask)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 16)
        writer.write(ask)
        size = 0
        while chunk := await reader.read(1 << 20):
            size += len(chunk)
            await asyncio.sleep(0.02)
        assert size > 40 * 500_000
        writer.close()
        await gone(served)
        idle.close()
        await served.answers()


@pytest.mark.alone
@on_uvloop
async def test_a_flood_of_pipelined_requests() -> None:
    async with serving() as served:
        count = 5_000
        flood = PING.replace(b"Connection: close\r\n", b"") * count + PING
        flooding = asyncio.create_task(served.talk(flood, seconds=30))
        await asyncio.sleep(0)
        while not flooding.done():
            await served.answers()
        assert flooding.result().count(b"HTTP/1.1 200") == count + 1
