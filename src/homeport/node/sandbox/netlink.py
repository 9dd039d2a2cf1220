"""Raw rtnetlink: just the messages that a pod's network needs (rtnetlink(7), linux/rtnetlink.h, linux/if_link.h)."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv4Network

from homeport.node.sandbox import nlmessages
from homeport.node.sandbox.nlmessages import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLMSG_ERROR,
    attribute,
    text,
)

_RTM_NEWLINK, _RTM_DELLINK, _RTM_SETLINK = 16, 17, 19
_RTM_NEWADDR, _RTM_DELADDR, _RTM_NEWROUTE, _RTM_NEWNEIGH, _RTM_NEWRULE = 20, 21, 24, 28, 32

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 1, 3, 4, 18, 26, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_INET_CONF, _IPV4_DEVCONF_FORWARDING = 1, 1
_IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE = 8, 1
_IFF_UP = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 7, 15
_FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FR_ACT_TO_TBL = 6, 10, 15, 1
_RULE_PRIORITY = 100
_RT_TABLE_MAIN, _RTPROT_STATIC = 254, 4
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_RTN_UNICAST, _RTN_LOCAL, _RTN_UNREACHABLE = 1, 2, 7
_RTNH_F_ONLINK = 4
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_PERMANENT = 0x80

LOOPBACK = 1
"""The index of ``lo`` in every network namespace."""


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def _link(index: int, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, change)


class Message:
    """One request; `what` names it in errors. With `optional` a refusal is no error."""

    __slots__ = ("flags", "kind", "optional", "payload", "what")

    def __init__(self, what: str, kind: int, payload: bytes, flags: int = 0, *, optional: bool = False) -> None:
        self.what = what
        self.kind = kind
        self.payload = payload
        self.flags = flags
        self.optional = optional


def veth(
    name: str, index: int, address: bytes, peer_name: str, peer_index: int, peer_address: bytes, peer_ns: int, mtu: int
) -> Message:
    """A pair: one end here, the other in the network namespace of the descriptor `peer_ns`. Both are down."""
    peer = (
        _link(peer_index)
        + text(_IFLA_IFNAME, peer_name)
        + attribute(_IFLA_ADDRESS, peer_address)
        + _u32(_IFLA_MTU, mtu)
        + _u32(_IFLA_NET_NS_FD, peer_ns)
    )
    info = text(_IFLA_INFO_KIND, "veth") + attribute(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, peer))
    payload = (
        _link(index)
        + text(_IFLA_IFNAME, name)
        + attribute(_IFLA_ADDRESS, address)
        + _u32(_IFLA_MTU, mtu)
        + attribute(_IFLA_LINKINFO, info)
    )
    return Message(f"make the link {name}", _RTM_NEWLINK, payload, NLM_F_CREATE | NLM_F_EXCL)


def delete_link(index: int) -> Message:
    return Message("delete the link", _RTM_DELLINK, _link(index))


def delete_link_named(name: str) -> Message:
    return Message(f"delete the link {name}", _RTM_DELLINK, _link(0) + text(_IFLA_IFNAME, name))


def link_up(index: int) -> Message:
    return Message("bring the link up", _RTM_NEWLINK, _link(index, _IFF_UP, _IFF_UP))


def forward(index: int) -> Message:
    """Route packets that come in by this link, as the sysctl net.ipv4.conf.<link>.forwarding does."""
    conf = attribute(_IFLA_INET_CONF, _u32(_IPV4_DEVCONF_FORWARDING, 1))
    spec = attribute(socket.AF_INET, conf)
    return Message("let the link forward", _RTM_SETLINK, _link(index) + attribute(_IFLA_AF_SPEC, spec))


def no_link_local(index: int) -> Message:
    """No IPv6 address of the link's own, hence no discovery traffic. Refused where the machine has no IPv6: no harm."""
    mode = attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_MODE_NONE]))
    spec = attribute(socket.AF_INET6, mode)
    payload = _link(index) + attribute(_IFLA_AF_SPEC, spec)
    return Message("silence IPv6 on the link", _RTM_SETLINK, payload, optional=True)


def address(index: int, value: IPv4Address) -> Message:
    payload = struct.pack("=BBBBi", socket.AF_INET, 32, 0, _SCOPE_UNIVERSE, index)
    payload += attribute(_IFA_LOCAL, value.packed) + attribute(_IFA_ADDRESS, value.packed)
    return Message(f"give the address {value}", _RTM_NEWADDR, payload, NLM_F_CREATE | NLM_F_REPLACE)


def delete_address(index: int, value: IPv4Address) -> Message:
    payload = struct.pack("=BBBBi", socket.AF_INET, 32, 0, _SCOPE_UNIVERSE, index)
    payload += attribute(_IFA_LOCAL, value.packed) + attribute(_IFA_ADDRESS, value.packed)
    return Message(f"take the address {value} away", _RTM_DELADDR, payload, optional=True)


def _route(
    length: int, scope: int, kind: int, attributes: bytes, what: str, exclusive: bool, flags: int = 0
) -> Message:
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, length, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, scope, kind, flags)
    mode = NLM_F_CREATE | (NLM_F_EXCL if exclusive else NLM_F_REPLACE)
    return Message(what, _RTM_NEWROUTE, header + attributes, mode)


def host_route(destination: IPv4Address, index: int, source: IPv4Address) -> Message:
    """One pod's address is behind that link. Refused (EEXIST) if the address is in use."""
    attributes = (
        attribute(_RTA_DST, destination.packed) + _u32(_RTA_OIF, index) + attribute(_RTA_PREFSRC, source.packed)
    )
    return _route(32, _SCOPE_LINK, _RTN_UNICAST, attributes, f"route to {destination}", exclusive=True)


def default_route(gateway: IPv4Address, index: int) -> Message:
    attributes = attribute(_RTA_GATEWAY, gateway.packed) + _u32(_RTA_OIF, index)
    return _route(
        0,
        _SCOPE_UNIVERSE,
        _RTN_UNICAST,
        attributes,
        f"route through {gateway}",
        exclusive=False,
        flags=_RTNH_F_ONLINK,
    )


def network_route(network: IPv4Network, gateway: IPv4Address, index: int, source: IPv4Address) -> Message:
    """A network is behind that gateway. Refused (EEXIST) if there is such a route."""
    attributes = attribute(_RTA_DST, network.network_address.packed) + attribute(_RTA_GATEWAY, gateway.packed)
    attributes += _u32(_RTA_OIF, index) + attribute(_RTA_PREFSRC, source.packed)
    what = f"route to {network}"
    return _route(
        network.prefixlen, _SCOPE_UNIVERSE, _RTN_UNICAST, attributes, what, exclusive=True, flags=_RTNH_F_ONLINK
    )


def local_route(table: int) -> Message:
    """Packets that are routed by this table are the host's own, whatever their destination is."""
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, _RTPROT_STATIC, _SCOPE_HOST, _RTN_LOCAL, 0)
    attributes = _u32(_RTA_OIF, LOOPBACK) + _u32(_RTA_TABLE, table)
    return Message("make a local route", _RTM_NEWROUTE, header + attributes, NLM_F_CREATE | NLM_F_REPLACE)


def marked_rule(mark: int, table: int) -> Message:
    """Packets with that mark are routed by that table. Refused (EEXIST) if there is such a rule."""
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, _FR_ACT_TO_TBL, 0)
    attributes = _u32(_FRA_FWMARK, mark) + _u32(_FRA_TABLE, table) + _u32(_FRA_PRIORITY, _RULE_PRIORITY)
    return Message("make a rule of routing", _RTM_NEWRULE, header + attributes, NLM_F_CREATE | NLM_F_EXCL)


def unreachable(network: IPv4Address, length: int) -> Message:
    """An address of the network that no pod has is refused at once, rather than after a timeout."""
    attributes = attribute(_RTA_DST, network.packed)
    return _route(length, _SCOPE_UNIVERSE, _RTN_UNREACHABLE, attributes, f"close {network}/{length}", exclusive=False)


def rewritten_route(network: IPv4Address, length: int, index: int, source: IPv4Address) -> Message:
    """To a network whose packets get another destination before they leave; until then they come from `source`."""
    attributes = attribute(_RTA_DST, network.packed) + _u32(_RTA_OIF, index) + attribute(_RTA_PREFSRC, source.packed)
    return _route(length, _SCOPE_LINK, _RTN_UNICAST, attributes, f"route to {network}/{length}", exclusive=False)


def neighbour(index: int, value: IPv4Address, link_address: bytes) -> Message:
    """A permanent entry: no address resolution, and it doesn't count against the machine's neighbour table."""
    payload = struct.pack("=BxHiHBB", socket.AF_INET, 0, index, _NUD_PERMANENT, 0, 0)
    payload += attribute(_NDA_DST, value.packed) + attribute(_NDA_LLADDR, link_address)
    return Message(f"name the neighbour {value}", _RTM_NEWNEIGH, payload, NLM_F_CREATE | NLM_F_REPLACE)


class Netlink:
    """A route socket of the network namespace that the caller is in when it makes one; it stays there."""

    def __init__(self) -> None:
        self._socket = nlmessages.connect(socket.NETLINK_ROUTE)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def run(self, *messages: Message) -> None:
        """Carry out the requests in order, in one system call. Raises OSError for the first that was refused."""
        first = self._sequence + 1
        batch = bytearray()
        for message in messages:
            self._sequence += 1
            # Refusals are told in any case, and before the answer to the last.
            is_last = self._sequence == first + len(messages) - 1
            flags = message.flags | (NLM_F_ACK if is_last else 0)
            batch += nlmessages.request(message.kind, flags, self._sequence, message.payload)
        self._socket.send(batch)
        failure: OSError | None = None
        answered = first - 1
        while answered != self._sequence:
            for kind, sequence, body in nlmessages.messages(self._socket.recv(65536)):
                if kind == NLMSG_ERROR and sequence >= first:
                    answered = sequence
                    code, message = nlmessages.error_of(body), messages[sequence - first]
                    if code and not message.optional and failure is None:
                        failure = OSError(code, f"{nlmessages.words_of(body)} (to {message.what})")
        if failure is not None:
            raise failure
