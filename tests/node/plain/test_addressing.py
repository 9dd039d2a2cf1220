"""Which addresses stand for which in pods of plain processes."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Mapping

import pytest

from homeport.node.plain.addressing import Address, Addresses, Networks, Place, Refused, parse, unix_path
from homeport.node.sandbox.frontends import Frontend, Target

_NETWORKS = Networks(*map(ipaddress.IPv4Network, ("10.42.0.0/16", "10.43.0.0/16", "127.77.0.0/16")))
_POD = Addresses("10.42.0.5", _NETWORKS)
_HOSTS = Addresses("192.168.1.2", _NETWORKS, is_hosts=True)
_TARGETS = {Frontend("tcp", "10.43.0.9", 80): Target("10.42.0.7", 8080)}


def v4(address: str, port: int) -> Address:
    return Address(socket.AF_INET, ipaddress.IPv4Address(address), port)


def test_what_processes_write_down() -> None:
    packed = struct.pack("=H", socket.AF_INET) + struct.pack(">H", 80) + socket.inet_aton("10.42.0.7") + bytes(8)
    assert parse(packed) == v4("10.42.0.7", 80)
    six = struct.pack("=H", socket.AF_INET6) + struct.pack(">H", 80) + bytes(4)
    assert parse(six + bytes(16) + bytes(4)) == Address(socket.AF_INET6, ipaddress.IPv4Address(0), 80)
    loopback = parse(six + socket.inet_pton(socket.AF_INET6, "::1") + bytes(4))
    assert loopback is not None
    assert loopback.at("127.77.0.5", 80) == ("::ffff:127.77.0.5", 80)
    assert parse(six + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(4)) is None
    for other in (b"", packed[:5], struct.pack("=H", socket.AF_UNIX) + b"/run/x\0"):
        assert parse(other) is None
    assert unix_path(struct.pack("=H", socket.AF_UNIX) + b"/run/x\0y") == b"/run/x"


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        (v4("0.0.0.0", 2222), ("127.77.0.5", 2222)),
        (v4("127.0.0.1", 2222), ("127.77.0.5", 2222)),
        (v4("127.0.0.1", 0), ("127.77.0.5", 0)),
        (v4("10.42.0.5", 2222), ("127.77.0.5", 2222)),
        (v4("0.0.0.0", 0), None),
        (v4("192.168.1.2", 80), None),
    ],
)
def test_where_sockets_are_bound(wanted: Address, place: Place | None) -> None:
    assert _POD.bind(wanted) == place
    assert _HOSTS.bind(wanted) == (place if str(wanted.value).startswith("10.42.") else None)


def connected(pod: Addresses, wanted: Address, published: Mapping[int, int] = {}) -> Place | None:
    return pod.connect(
        wanted,
        socket.SOCK_STREAM,
        published=published,
        dns_port=5300,
        machines_nameservers=frozenset({"9.9.9.9"}),
        choose=_TARGETS.get,
    )


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        (v4("127.0.0.1", 80), ("127.77.0.5", 80)),
        (v4("10.42.0.7", 80), ("127.77.0.7", 80)),
        (v4("127.77.0.7", 80), ("127.77.0.7", 80)),
        (v4("10.43.0.9", 80), ("127.77.0.7", 8080)),
        (v4("10.43.0.1", 443), ("127.77.0.1", 40443)),
        (v4("10.42.0.1", 443), ("127.77.0.1", 40443)),
        (v4("9.9.9.9", 53), ("127.77.0.1", 5300)),
        (v4("9.9.9.9", 80), None),
        (v4("192.168.1.2", 80), None),
    ],
)
def test_where_sockets_are_connected(wanted: Address, place: Place | None) -> None:
    assert connected(_POD, wanted, {443: 40443}) == place


def test_services_without_targets_refuse() -> None:
    with pytest.raises(Refused):
        connected(_POD, v4("10.43.0.9", 81))


def test_pods_on_the_machines_network_have_it_as_it_is() -> None:
    assert connected(_HOSTS, v4("127.0.0.1", 80)) is None
    assert connected(_HOSTS, v4("10.43.0.9", 80)) == ("127.77.0.7", 8080)
    assert (_HOSTS.source(("127.77.0.7", 80)), _POD.source(("127.77.0.7", 80))) == ("", "127.77.0.5")
    assert _POD.source(("9.9.9.9", 53)) == ""


def test_a_name_server_of_the_pods_own() -> None:
    pod = Addresses("10.42.0.5", _NETWORKS, nameserver="8.8.8.8")
    assert connected(pod, v4("9.9.9.9", 53)) == ("8.8.8.8", 53)
