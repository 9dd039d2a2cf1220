"""Services: from pods, from the node's network and from the machine; by the kernel and by a process."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import time
from typing import Any

import pytest
from ports import free_port

from homeport.node.runtime import Sandbox

Pods = Any
PYTHON = "/usr/bin/python3"
SERVER = """
import socket, sys, threading
name = socket.gethostname().encode()
stream, datagrams = socket.create_server(("", 8080)), socket.socket(type=socket.SOCK_DGRAM)
datagrams.bind(("", 5300))
def answer():
    while True:
        data, asker = datagrams.recvfrom(99)
        datagrams.sendto(name, asker)
threading.Thread(target=answer, daemon=True).start()
print("listening", flush=True)
while True:
    client, (address, _) = stream.accept()
    client.sendall(name + b" " + address.encode())
    client.close()
"""
ASK = """
import socket, sys
for place in sys.argv[1:]:
    kind, address, port = place.split(",")
    try:
        if kind == "tcp":
            print(socket.create_connection((address, int(port)), 5).recv(99).decode())
        else:
            asker = socket.socket(type=socket.SOCK_DGRAM)
            asker.settimeout(5)
            asker.connect((address, int(port)))
            asker.send(b"?")
            print(asker.recv(99).decode())
    except OSError as error:
        print(type(error).__name__)
"""


async def serve(pods: Pods, name: str) -> Sandbox:
    sandbox = await pods.create(name)
    await sandbox.start(pods.container(name, PYTHON, "-c", SERVER))
    await pods.until(lambda: "listening" in pods.output(name))
    return sandbox


async def ask(pods: Pods, sandbox: Sandbox, *places: str) -> list[str]:
    """What a pod hears at each place."""
    number = len(os.listdir(pods.path(sandbox.uid) / "logs")) if (pods.path(sandbox.uid) / "logs").exists() else 0
    name = f"ask-{number}"
    await pods.run(sandbox.uid, PYTHON, "-c", ASK, *places, sandbox=sandbox, name=name)
    return pods.output(sandbox.uid, name).splitlines()


def backend(*sandboxes: Sandbox, port: int = 8080, **more: Any) -> dict[str, Any]:
    return {"to": [[each.address, port] for each in sandboxes], **more}


async def heard(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = await reader.read()
    writer.close()
    return data.decode()


async def test_cluster_ips(pods: Pods) -> None:
    a, b = await serve(pods, "a"), await serve(pods, "b")
    client = await pods.create("client")
    await pods.runtime.set_frontends(
        {
            "tcp 10.43.0.7 80": backend(a, b),
            "tcp 10.43.0.8 80": backend(a, b, sticky=60),
            "tcp 10.43.0.9 80": backend(),
            "udp 10.43.0.7 53": backend(b, port=5300),
        },
        everything=True,
    )
    begin = time.monotonic()
    answers = await ask(pods, client, *["tcp,10.43.0.7,80"] * 30, "tcp,10.43.0.9,80", "tcp,10.43.0.7,81")
    assert time.monotonic() - begin < 4  # refusals come at once
    assert {answer.split()[0] for answer in answers[:30]} == {"a", "b"}
    assert {answer.split()[1] for answer in answers[:30]} == {client.address}  # pods are seen as themselves
    assert answers[30:] == ["ConnectionRefusedError"] * 2
    assert len({answer.split()[0] for answer in await ask(pods, client, *["tcp,10.43.0.8,80"] * 10)}) == 1
    assert await ask(pods, client, "udp,10.43.0.7,53") == ["b"]
    # Who is sent back to itself hears an answer, too.
    assert {answer.split()[0] for answer in await ask(pods, a, *["tcp,10.43.0.7,80"] * 20)} == {"a", "b"}
    # From the platform.
    made = await pods.runtime.dial("10.43.0.7", 80)
    with made:
        assert (await asyncio.get_running_loop().sock_recv(made, 99)).split()[0] in (b"a", b"b")
    with pytest.raises(OSError) as raised:
        await pods.runtime.dial("10.43.0.9", 80)
    assert raised.value.errno == errno.ECONNREFUSED
    # A change of one leaves the others.
    await pods.runtime.set_frontends({"tcp 10.43.0.7 80": backend(b), "tcp 10.43.0.9 80": None})
    assert {answer.split()[0] for answer in await ask(pods, client, *["tcp,10.43.0.7,80"] * 5)} == {"b"}
    assert await ask(pods, client, "udp,10.43.0.7,53", "tcp,10.43.0.9,80") == ["b", "ConnectionRefusedError"]


async def test_node_ports(pods: Pods) -> None:
    a = await serve(pods, "a")
    port, datagrams = free_port(), free_port(socket.SOCK_DGRAM)
    await pods.runtime.set_frontends(
        {
            f"tcp * {port}": backend(a, published=True),
            f"udp * {datagrams}": backend(a, port=5300, published=True),
        },
        everything=True,
    )
    client = await pods.create("client")
    assert (await heard(port)).split()[0] == "a"
    with socket.socket(type=socket.SOCK_DGRAM) as asker:
        asker.setblocking(False)
        asker.connect(("127.0.0.1", datagrams))
        asker.send(b"?")
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(asker, 99), 5) == b"a"
    own = socket.gethostbyname(socket.gethostname())
    places = [f"tcp,{pods.runtime.gateway},{port}", *([f"tcp,{own},{port}"] if not own.startswith("127.") else [])]
    assert {answer.split()[0] for answer in await ask(pods, client, *places)} == {"a"}
    # The helper's successor goes on, also where nobody tells it.
    pid = json.loads((pods.directory / "node" / "netd.json").read_text())[0]
    os.kill(pid, signal.SIGKILL)

    async def served() -> bool:
        try:
            return (await heard(port)).startswith("a")
        except OSError:
            return False

    async with asyncio.timeout(20):
        while not await served():
            await asyncio.sleep(0.05)
    await pods.runtime.set_frontends({f"tcp * {port}": backend(published=True)})
    with pytest.raises(ConnectionRefusedError):
        await heard(port)
