"""A link between the machine's own network and the pods', where the user may make one: as root.

By it the machine's programs, and pods on its network, reach pods, cluster IPs and the cluster's name server by their
addresses. It is one end of a pair of links and its routes: nothing of the machine's is changed, and all of it goes with
the pods' network. It is not made where a network of the machine's has the same addresses.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import struct
import zlib
from collections.abc import Sequence

from homeport.node.sandbox import linux, netlink
from homeport.node.sandbox.network import MTU, gateway_of

NAME = "host"
"""Of the pods' end."""
_INDEX = (1 << 16) - 3
_INSIDE, _OUTSIDE = b"\x02\x42\x00\x00\x00\x11", b"\x02\x42\x00\x00\x00\x12"
_FIRST_OUTSIDE = 1 << 24
_TRIES = 16


def address_of(network: ipaddress.IPv4Network) -> ipaddress.IPv4Address:
    """The machine's address in the pods' network."""
    return network.broadcast_address - 1


def name_of(directory: str) -> str:
    """Of the machine's end; `directory` is the node's, which tells its link from another's."""
    return f"homeport{zlib.crc32(directory.encode()) & 0xFFFFFF:06x}"


def remove(directory: str) -> None:
    """Of the node in that directory: at once, where the kernel takes its time with the network that it goes with. No
    error if there is none, or if only the engine's root may. Raises OSError."""
    machine = netlink.Netlink()
    try:
        machine.run(netlink.delete_link_named(name_of(directory)))
    except OSError as error:
        if error.errno not in (errno.ENODEV, errno.EPERM):
            raise
    finally:
        machine.close()


class HostLink:
    """To be made in the machine's network, and set up in the pods'."""

    def __init__(self, directory: str) -> None:
        """`directory` is the node's. Raises OSError."""
        self._name = name_of(directory)
        self._number = zlib.crc32(directory.encode())
        self._routes = _routes()
        self._outside = netlink.Netlink()
        self._namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def set_up(self, networks: Sequence[ipaddress.IPv4Network]) -> None:
        """In the pods' network, whose own is the first of the networks. Harmless when repeated. Raises OSError, also
        for addresses that the machine has another use for."""
        inside = netlink.Netlink()
        try:
            if _exists():
                return  # an earlier helper's
            if not linux.is_machines_root():
                raise OSError(errno.EPERM, "only root may link the machine's network")
            for network in networks:
                if (taken := _overlapping(self._routes, network)) is not None:
                    raise OSError(errno.EADDRINUSE, f"the machine has a route to {taken} already")
            self._make(inside, networks)
        finally:
            inside.close()
            self._outside.close()
            os.close(self._namespace)

    def _make(self, inside: netlink.Netlink, networks: Sequence[ipaddress.IPv4Network]) -> None:
        own, gateway = address_of(networks[0]), gateway_of(networks[0])
        for attempt in range(_TRIES):
            index = _FIRST_OUTSIDE + (self._number + attempt) % _FIRST_OUTSIDE
            pair = netlink.veth(NAME, _INDEX, _INSIDE, self._name, index, _OUTSIDE, self._namespace, MTU)
            try:
                inside.run(pair)
                break
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.EBUSY) or attempt == _TRIES - 1:
                    raise
        try:
            inside.run(
                netlink.no_link_local(_INDEX),
                netlink.forward(_INDEX),
                netlink.link_up(_INDEX),
                netlink.host_route(own, _INDEX, gateway),
                netlink.neighbour(_INDEX, own, _OUTSIDE),
            )
            self._outside.run(
                netlink.no_link_local(index),
                netlink.address(index, own),
                netlink.link_up(index),
                netlink.neighbour(index, gateway, _INSIDE),
                *(netlink.network_route(network, gateway, index, own) for network in networks),
            )
        except OSError:
            inside.run(netlink.delete_link(_INDEX))
            raise


def _exists() -> bool:
    with open("/proc/thread-self/net/dev", encoding="ascii") as file:
        return any(line.split(":")[0].strip() == NAME for line in file)


def _routes() -> list[ipaddress.IPv4Network]:
    """The machine's, but for its default."""
    with open("/proc/self/net/route", encoding="ascii") as file:
        rows = [line.split() for line in file][1:]
    found = [(_address(row[1]), _address(row[7])) for row in rows if len(row) > 7]
    return [ipaddress.IPv4Network((int(target), _length(mask))) for target, mask in found if int(mask)]


def _address(text: str) -> ipaddress.IPv4Address:
    """As /proc/net/route writes it: a number of the machine's byte order."""
    return ipaddress.IPv4Address(struct.pack("=I", int(text, 16)))


def _length(mask: ipaddress.IPv4Address) -> int:
    return int(mask).bit_count()


def _overlapping(
    routes: Sequence[ipaddress.IPv4Network], network: ipaddress.IPv4Network
) -> ipaddress.IPv4Network | None:
    return next((route for route in routes if route.overlaps(network)), None)
