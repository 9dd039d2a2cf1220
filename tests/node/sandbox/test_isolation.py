"""Network policies as the kernel enforces them between pods, and on the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import outside
import pytest

PYTHON = "/usr/bin/python3"
SERVER = """
import socket, threading
def turn(datagrams):
    while True:
        data, asker = datagrams.recvfrom(100)
        datagrams.sendto(data[::-1], asker)
for port in (80, 81):
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", port))
    threading.Thread(target=turn, args=(datagrams,)).start()
    listener = socket.create_server(("", port))
    threading.Thread(target=lambda listener=listener: [listener.accept() for _ in iter(int, 1)]).start()
print("up", flush=True)
"""
ASK = """
import socket, sys
for word in sys.argv[1:]:
    kind, host, port = word.split(",")
    try:
        if kind == "tcp":
            socket.create_connection((host, int(port)), 0.7).close()
        else:
            asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            asking.settimeout(0.7)
            asking.connect((host, int(port)))
            asking.send(b"x")
            asking.recv(9)
    except OSError:
        print("no", end=" ")
    else:
        print("yes", end=" ")
print()
"""


class World:
    """Three pods that serve on ports 80 and 81, by TCP and UDP."""

    def __init__(self, pods: Any) -> None:
        self.pods = pods
        self.address: dict[str, str] = {}
        self._sandboxes: dict[str, Any] = {}

    async def begin(self) -> None:
        for name in "abc":
            sandbox = self._sandboxes[name] = await self.pods.create(name)
            self.address[name] = sandbox.address
            await sandbox.start(self.pods.container(name, PYTHON, "-c", SERVER))
        for name in "abc":
            await self.pods.until(lambda name=name: "up" in self.pods.output(name))

    async def asks(self, name: str, *words: str) -> str:
        """What a pod finds: a word for each question."""
        self._count = getattr(self, "_count", 0) + 1
        container = f"ask-{self._count}"
        arguments = [f"{kind},{self.address.get(host, host)},{port}" for kind, host, port in map(str.split, words)]
        sandbox = self._sandboxes[name]
        await sandbox.start(self.pods.container(name, PYTHON, "-c", ASK, *arguments, name=container))
        await self.pods.exit_of(sandbox)
        return self.pods.output(name, container).strip()


def number(address: str) -> int:
    return int.from_bytes(bytes(map(int, address.split("."))), "big")


@pytest.fixture
async def world(pods: Any) -> World:
    made = World(pods)
    await made.begin()
    return made


@pytest.fixture
def beyond() -> Iterator[outside.Outside]:
    with outside.servers() as found:
        if found is None:
            pytest.skip("this machine has no address but its loopback's")
        yield found


async def test_ingress(world: World) -> None:
    b = number(world.address["b"])
    only_b = [[[[b, b]], [["TCP", 80, 80], ["UDP", 81, 90]]]]
    await world.pods.runtime.set_policies({"pods": {world.address["a"]: [0, None]}, "lists": [only_b]})
    questions = ("tcp a 80", "tcp a 81", "udp a 80", "udp a 81")
    of_b, of_c = await asyncio.gather(world.asks("b", *questions), world.asks("c", *questions, "tcp b 80"))
    assert (of_b, of_c) == ("yes no no yes", "no no no no yes")
    assert await world.asks("a", "tcp b 80", "udp c 81", "tcp a 81") == "yes yes yes"
    (await world.pods.runtime.dial(world.address["a"], 81)).close()

    await world.pods.runtime.set_policies({"pods": {}, "lists": []})
    assert await world.asks("c", *questions) == "yes yes yes yes"


async def test_egress(world: World, beyond: outside.Outside) -> None:
    b, c = sorted(number(world.address[name]) for name in "bc")
    block = number(beyond.address)
    rules = [
        [],
        [[[[b - 1, b - 1], [b, b], [c + 5, c + 9]], None]],
        [[[[block, block]], [["TCP", 1, 65535]]], [[], None]],
    ]
    host, tcp, udp, _ = beyond.arguments
    for chosen, expected in (
        (None, "yes yes yes yes"),
        (0, "no no no no"),
        (1, "yes no no no"),
        (2, "no no yes no"),
    ):
        await world.pods.runtime.set_policies({"pods": {world.address["a"]: [None, chosen]}, "lists": rules})
        found = await world.asks("a", "tcp b 80", "udp c 80", f"tcp {host} {tcp}", f"udp {host} {udp}")
        assert found == expected, chosen
    assert await world.asks("c", "tcp a 80", f"udp {host} {udp}") == "yes yes"


async def test_rules_are_replaced_and_outlive_the_helper(world: World) -> None:
    everybody: list[Any] = [[None, None]]
    for rules, expected in (([], "no"), (everybody, "yes"), ([], "no")):
        await world.pods.runtime.set_policies({"pods": {world.address["a"]: [0, None]}, "lists": [rules]})
        assert await world.asks("b", "tcp a 80") == expected
    await world.pods.runtime.stop(end_pods=False)
    await world.pods.runtime.start()
    await world.pods.runtime.adopt()
    world.pods.runtime._net._policies = None
    await world.pods.runtime.set_policies({"pods": {world.address["a"]: [0, None]}, "lists": [everybody]})
    (await world.pods.runtime.dial(world.address["a"], 80)).close()


async def test_many_rules(world: World) -> None:
    """More than one transaction holds."""
    lists = [[[[[n * 1000 + k, n * 1000 + k] for k in range(0, 900, 2)], [["TCP", 80, 80]]]] for n in range(40)]
    lists.append([])
    pods = {f"10.42.9.{n + 1}": [n, n] for n in range(40)}
    await world.pods.runtime.set_policies({"pods": {**pods, world.address["a"]: [40, None]}, "lists": lists})
    assert await world.asks("b", "tcp a 80", "tcp c 80") == "no yes"
