"""What pods reach of the outside, as the machine's own programs would."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import outside
import pytest

from homeport.node.sandbox import relaylink

PYTHON = "/usr/bin/python3"
PING = """
import socket, struct, sys
sys.path[:0] = []
def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
asking = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
asking.settimeout(10)
for number in (1, 2):
    rest = struct.pack(">HH", 77, number) + b"payload!"
    asking.sendto(struct.pack(">BBH", 8, 0, checksum(b"\\x08\\0\\0\\0" + rest)) + rest, (sys.argv[1], 0))
    answer, (sender, _) = asking.recvfrom(1000)
    print(sender, answer[20], answer[24:] == rest)
"""


@pytest.fixture
def world() -> Iterator[outside.Outside]:
    with outside.servers() as found:
        if found is None:
            pytest.skip("this machine has no address but its loopback's")
        yield found


async def test_connections_and_datagrams(pods: Any, world: outside.Outside) -> None:
    await pods.run("p", PYTHON, "-c", outside.CLIENT, *world.arguments)
    assert pods.output("p").splitlines() == outside.FOUND, pods.output("p", stream="stderr")


async def test_echoes(pods: Any, world: outside.Outside) -> None:
    await pods.run("p", PYTHON, "-c", PING, world.address)
    if os.geteuid() == 0:
        assert pods.output("p").splitlines() == [f"{world.address} 0 True"] * 2, pods.output("p", stream="stderr")


async def test_names_of_the_machine_and_others_are_asked_through_the_node(pods: Any) -> None:
    script = "import socket; print(socket.gethostbyname('nobody.default.svc.cluster.local'))"
    state = await pods.run("p", PYTHON, "-c", script)
    assert state.exit_code == 1
    assert "gaierror" in pods.output("p", stream="stderr")


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


async def test_a_new_helper_goes_on(pods: Any, world: outside.Outside) -> None:
    sandbox = await pods.create("p")
    (pid,) = (number for number in pods.processes if name_of(number) == "homeport-net")
    os.kill(pid, signal.SIGKILL)
    await pods.runtime.set_records({"a.cluster.local": ("10.42.0.9",)})
    await pods.run("p", PYTHON, "-c", outside.CLIENT, *world.arguments, sandbox=sandbox)
    assert pods.output("p").splitlines() == outside.FOUND, pods.output("p", stream="stderr")


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False), ("255.255.255.255", False), ("192.0.2.1", True)],
)
def test_where_the_relay_may_connect_to(address: str, expected: bool) -> None:
    assert relaylink.is_outside(bytes(map(int, address.split(".")))) is expected
