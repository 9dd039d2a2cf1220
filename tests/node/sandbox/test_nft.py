"""nftables by netlink, against the kernel: root's and that of an ordinary user's namespace."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import subprocess
from collections.abc import Callable

import namespaces
import pytest

from homeport.node.sandbox import balancer, expr, network, nft
from homeport.node.sandbox.frontends import ANY, Backend, Frontend, Target

HERE, THERE, NETWORK = "10.9.0.1", "10.8.0.5", "10.8.0.0/16"
KEY = nft.IP_ADDRESS + nft.PROTOCOL + nft.PORT
TARGET = nft.IP_ADDRESS + nft.PORT


def frontend(address: str, port: int) -> bytes:
    return KEY.pack(socket.inet_aton(address), bytes([expr.TCP]), struct.pack(">H", port))


def connected(address: str, port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex((address, port)) == 0


def prepare() -> nft.Nft:
    for arguments in (("addr", "add", HERE, "dev", "lo"), ("route", "add", NETWORK, "dev", "lo")):
        subprocess.run(["ip", *arguments], check=True)
    return nft.Nft()


def a_map_of_destinations() -> None:
    kernel = prepare()
    batch = nft.Batch()
    batch.renew("test")
    batch.set("to", KEY, value=TARGET)
    batch.base_chain("out", nft.NAT, nft.OUTPUT, -100)
    read = expr.ip_destination(0) + expr.protocol(1) + expr.destination_port(2)
    batch.rule("out", read, expr.lookup("to", 0, into=4), expr.destination_nat(4, 5))
    kernel.run(batch)
    with socket.create_server((HERE, 8080)):
        change = nft.Batch()
        change.use("test")
        change.elements("to", {frontend(THERE, 80): TARGET.pack(socket.inet_aton(HERE), struct.pack(">H", 8080))})
        kernel.run(change)
        assert connected(THERE, 80)
        change = nft.Batch()
        change.use("test")
        change.drop_elements("to", [frontend(THERE, 80)])
        change.elements("to", {frontend(THERE, 81): TARGET.pack(socket.inet_aton(HERE), struct.pack(">H", 8080))})
        kernel.run(change)
        assert connected(THERE, 81)


def refusals_are_heard_of_at_once() -> None:
    kernel = prepare()
    batch = nft.Batch()
    batch.renew("test")
    batch.set("closed", nft.IP_ADDRESS, interval=True)
    batch.ranges("closed", [(socket.inet_aton("10.8.0.0"), socket.inet_aton("10.9.0.0"))])
    batch.base_chain("out", nft.FILTER, nft.OUTPUT, -110)
    batch.rule(
        "out",
        expr.protocol(),
        expr.equal(b"\x06"),
        expr.ip_destination(),
        expr.lookup("closed"),
        expr.reset(),
    )
    kernel.run(batch)
    with socket.socket() as client:
        client.settimeout(0.8)  # before the kernel's second try
        assert client.connect_ex((THERE, 80)) == errno.ECONNREFUSED


def all_of_a_batch_or_nothing() -> None:
    kernel = nft.Nft()
    batch = nft.Batch()
    batch.renew("test")
    batch.set("numbers", nft.NUMBER)
    kernel.run(batch)
    wrong = nft.Batch()
    wrong.use("test")
    wrong.elements("numbers", [struct.pack("=I", 1)])
    wrong.drop_elements("numbers", [struct.pack("=I", 2)])
    with pytest.raises(OSError, match="to remove from the set numbers") as raised:
        kernel.run(wrong)
    assert raised.value.errno == errno.ENOENT
    right = nft.Batch()
    right.use("test")
    right.elements("numbers", [struct.pack("=I", number) for number in range(20_000)])
    right.drop_elements("numbers", [struct.pack("=I", 19_999)])
    right.drop_table("test")
    right.drop_table("test")
    kernel.run(right)


def services_survive_somebody_elses_changes() -> None:
    pods, services = ipaddress.IPv4Network("10.42.0.0/16"), ipaddress.IPv4Network("10.43.0.0/16")
    network.set_up_node(pods, services)
    kernel = balancer.KernelBalancer(network.gateway_of(pods), services, network.api_address_of(services))
    kernel.set_addresses(())
    backend = Backend((Target("10.42.0.1", 8080),))
    one, two = Frontend("tcp", "10.43.0.7", 80), Frontend("tcp", ANY, 30080)
    kernel.change({one: backend, two: backend})
    emptied = nft.Batch()
    emptied.renew(balancer.TABLE)
    nft.Nft().run(emptied)
    kernel.change({one: Backend((*backend.targets, Target("10.42.0.1", 8081)))})
    with socket.create_server(("10.42.0.1", 8080)), socket.create_server(("10.42.0.1", 8081)):
        assert connected("10.43.0.7", 80)
        assert connected("10.42.0.1", 30080)


@pytest.mark.parametrize("as_user", [False, True], ids=["root", "user"])
@pytest.mark.parametrize(
    "part",
    [
        a_map_of_destinations,
        refusals_are_heard_of_at_once,
        all_of_a_batch_or_nothing,
        services_survive_somebody_elses_changes,
    ],
)
def test_nftables(part: Callable[[], None], as_user: bool) -> None:
    namespaces.run(part, as_user=as_user)
