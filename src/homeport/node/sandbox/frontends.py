"""Where services can be reached and what is behind it, as the platform tells the network helper.

A front end is written ``PROTOCOL ADDRESS PORT``: ``tcp 10.43.0.7 80``. The address ``*`` stands for every address of
the machine: ``udp * 30053`` is a node port.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

ANY = "0.0.0.0"
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}


class Frontend(NamedTuple):
    protocol: str
    address: str
    """``0.0.0.0`` for every address of the machine."""
    port: int


class Target(NamedTuple):
    address: str
    port: int

    def packed(self) -> bytes:
        """As a value of nftables' maps."""
        return socket.inet_aton(self.address) + struct.pack(">Hxx", self.port)


class Backend(NamedTuple):
    targets: tuple[Target, ...]
    """None: connections are refused."""
    sticky: int = 0
    """Seconds that a client stays with its target; 0: not at all."""
    sources: tuple[ipaddress.IPv4Network, ...] = ()
    """Who may connect from outside; nobody in particular: everybody."""
    published: bool = False
    """Whether the machine's own addresses lead here, so that it can be reached from outside."""
    exact: bool = False
    """Whether of these only the front end's own does."""


def parse_frontend(text: str) -> Frontend:
    """Raises ValueError."""
    protocol, address, port = text.split(" ")
    if protocol not in PROTOCOLS:
        raise ValueError(f"no such protocol: {protocol}")
    if address != "*":
        ipaddress.IPv4Address(address)
    return Frontend(protocol, ANY if address == "*" else address, int(port))


def parse_backend(value: Mapping[str, Any]) -> Backend:
    """Raises ValueError, KeyError or TypeError."""
    targets = tuple(Target(str(ipaddress.IPv4Address(address)), int(port)) for address, port in value["to"])
    sources = tuple(ipaddress.IPv4Network(text, strict=False) for text in value.get("sources", ()))
    flags = bool(value.get("published")), bool(value.get("exact"))
    return Backend(targets, int(value.get("sticky", 0)), sources, *flags)
