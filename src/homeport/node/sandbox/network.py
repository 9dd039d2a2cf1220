"""The node's network and a pod's part of it.

The node has a network namespace of its own, in which nothing but pods, the DNS server and sockets for the platform
live; the machine's own network is untouched. Each pod is one veth pair, routed, not bridged: the pod has its address
with a /32 prefix and a default route to the gateway; the node's end has a route to that one address. So there is no
limit of 1,023 ports as on a bridge, no flooding, and with permanent neighbour entries no address resolution at all.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket

from homeport.node.sandbox import linux, netlink

MTU = 65520
"""Nothing here ever crosses a wire, and larger packets cost less per byte."""

_FIRST_INDEX = 1 << 16


def helper_socket(directory: str) -> str:
    """Where the network helper of the node in `directory` listens."""
    return os.path.join(directory, "netd.sock")


def gateway_of(network: ipaddress.IPv4Network) -> ipaddress.IPv4Address:
    return network.network_address + 1


def _link_address(value: ipaddress.IPv4Address) -> bytes:
    """A locally administered MAC address that spells the IP address, as containers commonly have."""
    return b"\x02\x42" + value.packed


def api_address_of(services: ipaddress.IPv4Network) -> ipaddress.IPv4Address:
    """The cluster IP of the service ``kubernetes``. The node's namespace has it as an address of its own: the API
    server listens there, so pods reach it whatever becomes of the balancing of services."""
    return services.network_address + 1


def set_up_node(network: ipaddress.IPv4Network, services: ipaddress.IPv4Network) -> None:
    """Make the namespace that the caller is in the node's. Harmless when repeated."""
    connection = netlink.Netlink()
    try:
        connection.run(
            netlink.link_up(netlink.LOOPBACK),
            netlink.address(netlink.LOOPBACK, gateway_of(network)),
            netlink.address(netlink.LOOPBACK, api_address_of(services)),
            netlink.unreachable(network.network_address, network.prefixlen),
            netlink.unreachable(services.network_address, services.prefixlen),
        )
    finally:
        connection.close()


def link(
    node: netlink.Netlink,
    pod: netlink.Netlink,
    namespace: int,
    network: ipaddress.IPv4Network,
    value: ipaddress.IPv4Address,
) -> int:
    """Connect a pod's network namespace, which `pod` is in and the descriptor refers to, to the node's. The index of
    the link's end in the node's. Raises OSError."""
    number = index_of(network, value)
    gateway = gateway_of(network)
    here, there = _link_address(value), _link_address(gateway)
    index = netlink.LOOPBACK + 1
    node.run(
        netlink.veth(f"pod{number:x}", number, there, "eth0", index, here, namespace, MTU),
        netlink.no_link_local(number),
        netlink.forward(number),
        netlink.link_up(number),
        netlink.host_route(value, number, gateway),
        netlink.neighbour(number, value, here),
    )
    pod.run(
        netlink.link_up(netlink.LOOPBACK),
        netlink.no_link_local(index),
        netlink.address(index, value),
        netlink.link_up(index),
        netlink.default_route(gateway, index),
        netlink.neighbour(index, gateway, there),
    )
    return number


def index_of(network: ipaddress.IPv4Network, value: ipaddress.IPv4Address) -> int:
    """Of the link to the pod with that address, in the node's namespace."""
    return _FIRST_INDEX + int(value) - int(network.network_address)


def join(node_namespace: int, network: ipaddress.IPv4Network, value: ipaddress.IPv4Address) -> None:
    """Leave for a new network namespace, connected to the node's, with that address. By a pod's supervisor. Raises
    OSError.

    The link goes with the namespace, which goes with the pod's last process: by itself, as the kernel can take the
    links of many at once. To be told to delete one takes it as long as to start the next pod, and keeps that one from
    making its own meanwhile.
    """
    linux.setns(node_namespace, linux.CLONE_NEWNET)
    with contextlib.closing(netlink.Netlink()) as node:
        linux.unshare(linux.CLONE_NEWNET)
        own_namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with contextlib.closing(netlink.Netlink()) as pod:
                try:
                    link(node, pod, own_namespace, network, value)
                except FileExistsError:
                    # That of an earlier pod with the address, whose namespace something still holds.
                    node.run(netlink.delete_link(index_of(network, value)))
                    link(node, pod, own_namespace, network, value)
        finally:
            os.close(own_namespace)


def host_address() -> str:
    """The address by which this machine reaches others, for pods on the host's network; the loopback if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing: it only asks for the route.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
