"""Ports of the machine that lead to pods, and those that somebody else has."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Mapping
from typing import Any

import pytest

SERVER = """
import socket
server = socket.create_server(("", 80))
print("up", flush=True)
while True:
    connection, _ = server.accept()
    connection.send(b"hello")
    connection.close()
"""


def taken() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


async def read(address: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_port_is_had_once_it_is_free(pods: Any) -> None:
    heard: asyncio.Queue[Mapping[str, int]] = asyncio.Queue()
    pods.runtime.watch_ports(heard.put_nowait)
    sandbox = await pods.create("p")
    await sandbox.start(pods.container("p", "/usr/bin/python3", "-c", SERVER))
    await pods.until(lambda: "up" in pods.output("p"))
    backend = {"to": [[sandbox.address, 80]], "published": True}
    with taken() as other:
        port = other.getsockname()[1]
        text = f"tcp * {port}"
        await pods.runtime.set_frontends({text: backend})
        assert await heard.get() == {text: errno.EADDRINUSE}
    async with asyncio.timeout(30):
        assert await heard.get() == {text: 0}
    assert await read("127.0.0.1", port) == b"hello"
    await pods.runtime.set_frontends({text: None})
    with pytest.raises(ConnectionRefusedError):
        await read("127.0.0.1", port)


async def test_same_port_of_different_addresses(pods: Any) -> None:
    addresses = {}
    for name in ("a", "b"):
        sandbox = await pods.create(name)
        script = SERVER.replace("hello", f"hello {name}")
        await sandbox.start(pods.container(name, "/usr/bin/python3", "-c", script))
        addresses[name] = sandbox.address
    for name in addresses:
        await pods.until(lambda name=name: "up" in pods.output(name))
    with taken() as other:
        port = other.getsockname()[1]
    exact = {
        f"tcp 127.0.0.{number} {port}": {"to": [[addresses[name], 80]], "published": True, "exact": True}
        for number, name in ((1, "a"), (2, "b"))
    }
    await pods.runtime.set_frontends(exact)
    assert (await read("127.0.0.1", port), await read("127.0.0.2", port)) == (b"hello a", b"hello b")
