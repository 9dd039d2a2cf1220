"""Which addresses stand for which, for pods that share the machine's network. Pure.

A pod's address is one that nobody has; behind it there is one of 127.0.0.0/8, which the API's rules allow for no pod.
What it binds to any address or to its loopback is bound to its own; what it connects to on its loopback is looked for
there. Cluster IPs lead to a target, name servers to the cluster's.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from homeport.node.sandbox.frontends import Frontend, Target

Place = tuple[str, int]
_ANY, _LOOPBACK = ipaddress.IPv4Address(0), ipaddress.IPv4Address("127.0.0.1")
_LOCAL = ipaddress.IPv4Network("127.0.0.0/8")
_MAPPED = bytes(10) + b"\xff\xff"
_DNS = 53
RESOLVERS = frozenset(
    {b"/run/systemd/resolve/io.systemd.Resolve", b"/var/run/nscd/socket", b"/run/nscd/socket"},
)
"""Sockets of the machine's own resolvers, which know nothing of the cluster: programs that find nobody there ask a name
server."""


class Address(NamedTuple):
    """Of an IPv4 socket, or of an IPv6 one: ``::`` and ``::1`` are written as IPv4's."""

    family: int
    value: ipaddress.IPv4Address
    port: int

    def at(self, address: str, port: int) -> tuple[str, int]:
        """Another one for the same socket, as :mod:`socket` wants it."""
        return (address, port) if self.family == socket.AF_INET else (f"::ffff:{address}", port)


def parse(data: bytes) -> Address | None:
    """What a process has written down as an address; None for what concerns nobody here."""
    if len(data) < 8:
        return None
    family, port = struct.unpack_from("=H", data)[0], struct.unpack_from(">H", data, 2)[0]
    if family == socket.AF_INET:
        return Address(family, ipaddress.IPv4Address(data[4:8]), port)
    if family == socket.AF_INET6 and len(data) >= 24:
        packed = data[8:24]
        if packed[:12] == _MAPPED:
            return Address(family, ipaddress.IPv4Address(packed[12:]), port)
        known = {bytes(16): _ANY, bytes(15) + b"\x01": _LOOPBACK}.get(packed)
        return Address(family, known, port) if known is not None else None
    return None


def unix_path(data: bytes) -> bytes:
    """The path of a unix socket; empty for all other addresses."""
    if len(data) > 2 and struct.unpack_from("=H", data)[0] == socket.AF_UNIX:
        return data[2:].split(b"\0", 1)[0]
    return b""


class Networks(NamedTuple):
    """Of a node."""

    pods: ipaddress.IPv4Network
    """Of the addresses that pods have."""
    services: ipaddress.IPv4Network
    """Of cluster IPs."""
    real: ipaddress.IPv4Network
    """Of the addresses of the machine's loopback behind those of pods."""

    def behind(self, address: str) -> str:
        """The address of the machine that stands for a pod's; all others stand for themselves."""
        value = ipaddress.IPv4Address(address)
        if value not in self.pods:
            return address
        if self.is_shared:
            return str(self.real.network_address)
        return str(self.real.network_address + (int(value) - int(self.pods.network_address)))

    @property
    def is_shared(self) -> bool:
        """Whether all pods have one address of the machine's."""
        return self.real.num_addresses == 1

    @property
    def gateway(self) -> str:
        """The node's own address, of those of pods."""
        return str(self.pods.network_address + 1)


class Refused(Exception):
    """Nobody is there."""


class Addresses:
    """One pod's; `own` is its address."""

    def __init__(self, own: str, networks: Networks, *, nameserver: str = "", is_hosts: bool = False) -> None:
        """`nameserver` is another than the cluster's; `is_hosts`: the pod has the machine's own network, as it is."""
        self._networks = networks
        self._own = networks.behind(own)
        self._gateway = networks.behind(networks.gateway)
        self._nameserver = nameserver
        self._is_hosts = is_hosts

    def bind(self, wanted: Address) -> Place | None:
        """Where the socket is to be bound; None: as it says. Any port of any address is free to be had: whoever
        listens there is heard at the pod's address, too."""
        if wanted.value in self._networks.pods:
            return self._networks.behind(str(wanted.value)), wanted.port
        if self._is_hosts or wanted.value not in (_ANY, _LOOPBACK) or (wanted.value == _ANY and not wanted.port):
            return None
        return self._own, wanted.port

    def connect(
        self,
        wanted: Address,
        kind: int,
        *,
        published: Mapping[int, int],
        dns_port: int,
        machines_nameservers: frozenset[str],
        choose: Callable[[Frontend], Target | None],
    ) -> Place | None:
        """Where the socket is to be connected; None: as it says. `published` are the ports of the node that pods reach
        by others, `choose` picks a target. Raises Refused."""
        address, port = self._networks.behind(str(wanted.value)), wanted.port
        if port == _DNS and (address in machines_nameservers or address in (self._gateway, "127.0.0.53")):
            return (self._nameserver, _DNS) if self._nameserver else (self._gateway, dns_port)
        if wanted.value in self._networks.services:
            target = choose(Frontend("udp" if kind == socket.SOCK_DGRAM else "tcp", str(wanted.value), port))
            if target is not None:
                return self._networks.behind(target.address), target.port
            if wanted.value == self._networks.services.network_address + 1 and port in published:
                return self._gateway, published[port]
            raise Refused
        if address == self._gateway and port in published:
            return self._gateway, published[port]
        if wanted.value in (_ANY, _LOOPBACK) and not self._is_hosts:
            return self._own, port
        return (address, port) if ipaddress.IPv4Address(address) in self._networks.real else None

    def source(self, place: Place) -> str:
        """The address to connect from, so that others see who it is; empty: whatever the kernel takes."""
        if self._is_hosts or ipaddress.IPv4Address(place[0]) not in _LOCAL:
            return ""
        return self._own
