"""The machine's own programs, and pods on its network, among pods: as root."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from pathlib import Path
from typing import Any

import pytest

from homeport.node.process import ProcessRuntime
from homeport.node.sandbox import hostlink

PODS, SERVICES = "10.177.0.0/16", "10.178.0.0/16"
"""Of no other test, since the machine has one table of routes."""
PYTHON = "/usr/bin/python3"
SERVER = """
import socket
server = socket.create_server(("", 2222))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", 2222))
print("up", flush=True)
while True:
    connection, (address, _) = server.accept()
    connection.send(address.encode())
    connection.close()
"""
CLIENT = """
import socket
with socket.create_connection(("server.default.svc.cluster.local", 2222), 10) as connection:
    print(connection.recv(99).decode())
"""


@pytest.fixture
async def linked(pods: Any) -> Any:
    if os.geteuid() != 0:
        pytest.skip("only root may link the machine's network")
    await pods.runtime.stop(end_pods=True)
    pods.runtime = ProcessRuntime(
        pods.directory / "node", pod_cidr=PODS, service_cidr=SERVICES, hidden=[pods.directory]
    )
    await pods.runtime.start()
    return pods


async def test_machine_and_pods_on_its_network_reach_pods(linked: Any, tmp_path: Path) -> None:
    server = await linked.create("server")
    await server.start(linked.container("server", PYTHON, "-c", SERVER))
    await linked.until(lambda: "up" in linked.output("server"))
    own = str(hostlink.address_of(ipaddress.IPv4Network(PODS)))

    reader, writer = await asyncio.open_connection(server.address, 2222)
    assert (await reader.read()).decode() == own
    writer.close()
    await writer.wait_closed()

    await linked.runtime.set_policies({"pods": {server.address: [0, 0]}, "lists": [[]]})
    await linked.runtime.set_records({"server.default.svc.cluster.local": (server.address,)})
    sandbox = await linked.create("h", host_network=True, nameservers=(linked.runtime.gateway,))
    state = await linked.run("h", PYTHON, "-c", CLIENT, sandbox=sandbox)
    assert (state.exit_code, linked.output("h")) == (0, own), linked.output("h", stream="stderr")

    hostlink.remove(str(tmp_path))  # another node's, which has none
    await linked.until(lambda: "0000B10A" in Path("/proc/net/route").read_text())
    await linked.runtime.stop(end_pods=True)
    await linked.until(lambda: "0000B10A" not in Path("/proc/net/route").read_text())


async def test_no_link_where_the_machine_uses_the_addresses(linked: Any, tmp_path: Path) -> None:
    other = ProcessRuntime(tmp_path / "node", pod_cidr=PODS, service_cidr="10.179.0.0/16")
    try:
        await other.start()
        log = (tmp_path / "node" / "zygote.log").read_text()
        assert f"the machine has a route to {PODS} already" in log
    finally:
        await other.stop(end_pods=True)
