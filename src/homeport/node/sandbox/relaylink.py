"""How pods' packets to the outside reach the relay, which is a process and no router.

The node's network has a pair of links whose one end is the default route; the relay sees at the other end what leaves:
the first packet of each TCP connection, datagrams and echoes. What it puts in there comes back as if from outside. So
everything passes the hook where policies are, as on a real way out. Only the rest of TCP goes another way: the kernel
hands it to a socket of the relay (a transparent proxy), so that it is the kernel's TCP that talks to the pod's.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

from homeport.node.sandbox import expr, netlink, nft

MTU = 65520
_TABLE = "homeport-egress"
_OUT_INDEX, _RELAY_INDEX = (1 << 16) - 1, (1 << 16) - 2
"""Below those of pods' links."""
_OUT, _RELAY = "out", "relay"
_OUT_ADDRESS, _RELAY_ADDRESS = b"\x02\x42\x00\x00\x00\x01", b"\x02\x42\x00\x00\x00\x02"
_NOBODY = b"\x02\x42\x00\x00\x00\x03"
"""Whom packets are sent to at the relay's end: not to the kernel there, which would look at them too."""
_NEXT_HOP = ipaddress.IPv4Address("169.254.1.1")
_ROUTES = 0x686D
"""The number of the routing table for what the kernel hands to the relay's socket."""
_MARK = 0x686D0001
_PRIORITY = -50
"""After services' addresses have become those of pods."""
_IP_TRANSPARENT = 19
_ETH_P_IP = 0x0800
_SIOCETHTOOL, _ETHTOOL_STXCSUM, _ETHTOOL_SGSO = 0x8946, 0x17, 0x24
_NOWHERE = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")
"""What no pod can mean to reach outside: this host, loopback, multicast, broadcast and reserved addresses."""
_SYN_ACK, _SYN = b"\x12", b"\x02"


class Ends(NamedTuple):
    """What the relay works with; all of it is of the node's network."""

    packets: socket.socket
    listener: socket.socket


PEER = (_RELAY, _ETH_P_IP, 0, 0, _OUT_ADDRESS)
"""Where the relay sends packets to, so that they come in by the default route's link."""


def set_up(own: Iterable[ipaddress.IPv4Network]) -> Ends:
    """In the node's network namespace; harmless when repeated. What goes to addresses of `own` is not for outside.
    Raises OSError where the kernel lacks something."""
    _make_links()
    packets = listener = None
    try:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        packets.bind((_RELAY, _ETH_P_IP))
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
        listener.bind(("0.0.0.0", 0))
        listener.listen(4096)
        _write_rules(own, listener.getsockname()[1])
    except BaseException:
        for made in (packets, listener):
            if made is not None:
                made.close()
        raise
    return Ends(packets, listener)


def _make_links() -> None:
    connection = netlink.Netlink()
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pair = netlink.veth(_OUT, _OUT_INDEX, _OUT_ADDRESS, _RELAY, _RELAY_INDEX, _RELAY_ADDRESS, own, MTU)
        with _already_there():
            connection.run(pair)
        connection.run(
            netlink.no_link_local(_OUT_INDEX),
            netlink.no_link_local(_RELAY_INDEX),
            netlink.forward(_OUT_INDEX),
            netlink.link_up(_RELAY_INDEX),
            netlink.link_up(_OUT_INDEX),
            netlink.neighbour(_OUT_INDEX, _NEXT_HOP, _NOBODY),
            netlink.default_route(_NEXT_HOP, _OUT_INDEX),
            netlink.local_route(_ROUTES),
        )
        with _already_there():
            connection.run(netlink.marked_rule(_MARK, _ROUTES))
    finally:
        os.close(own)
        connection.close()
    # What pods leave to their device (checksums, cutting a large buffer into datagrams) is done before the relay looks.
    for command in (_ETHTOOL_STXCSUM, _ETHTOOL_SGSO):
        with _Ignored(errno.EOPNOTSUPP):  # only programs that hand the kernel many datagrams at once notice
            _switch_off(command)
    # Packets that the relay puts in come from pods' addresses: the kernel must not ask whether these are there.
    for name in ("all", _OUT):
        _set(f"/proc/sys/net/ipv4/conf/{name}/rp_filter", "0")


def _already_there() -> contextlib.AbstractContextManager[object]:
    return _Ignored(errno.EEXIST)


class _Ignored(contextlib.AbstractContextManager[None]):
    def __init__(self, number: int) -> None:
        self._number = number

    def __exit__(self, _kind: object, error: object, _traceback: object) -> bool:
        return isinstance(error, OSError) and error.errno == self._number


def _switch_off(command: int) -> None:
    value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
    request = struct.pack("16sP16x", _OUT.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle.fileno(), _SIOCETHTOOL, request)


def _set(path: str, value: str) -> None:
    """Read first: it is mostly so already, and may be read-only where it is."""
    with open(path, encoding="ascii") as file:
        if file.read().strip() == value:
            return
    with open(path, "w", encoding="ascii") as file:
        file.write(value)


def _write_rules(own: Iterable[ipaddress.IPv4Network], port: int) -> None:
    batch = nft.Batch(nft.IPV4)
    batch.renew(_TABLE)
    batch.base_chain("prerouting", nft.FILTER, nft.PREROUTING, _PRIORITY)
    for network in own:
        batch.rule("prerouting", *_within(network), expr.ACCEPT)
    for text in _NOWHERE:
        batch.rule("prerouting", *_within(ipaddress.IPv4Network(text)), expr.DROP)
    tcp = expr.protocol() + expr.equal(bytes([expr.TCP]))
    taken = (expr.mark(_MARK), expr.transparent_proxy(port), expr.ACCEPT)
    # What the relay has let in, and then everything of connections that exist. A first packet goes to the relay.
    batch.rule("prerouting", expr.input_interface(), expr.equal(struct.pack("=I", _OUT_INDEX)), tcp, *taken)
    flags = expr.payload(2, 13, 1) + expr.masked(_SYN_ACK) + expr.unequal(_SYN)
    batch.rule("prerouting", tcp, flags, *taken)
    connection = nft.Nft()
    try:
        connection.run(batch)
    finally:
        connection.close()


def _within(network: ipaddress.IPv4Network) -> tuple[bytes, ...]:
    return (
        expr.ip_destination(),
        expr.masked(network.netmask.packed),
        expr.equal(network.network_address.packed),
    )


def is_outside(address: bytes) -> bool:
    """Whether the relay may connect to it: never to the machine's own loopback, where its private services are."""
    value = ipaddress.IPv4Address(address)
    return not (value.is_loopback or value.is_unspecified or value.is_multicast or value.packed[0] in (0, 127, 255))
