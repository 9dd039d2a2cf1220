"""Raw rtnetlink: just the messages that a pod's network needs (rtnetlink(7), linux/rtnetlink.h, linux/if_link.h)."""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import IPv4Address, IPv4Network

_RTM_NEWLINK, _RTM_DELLINK, _RTM_SETLINK = 16, 17, 19
_RTM_NEWADDR, _RTM_DELADDR, _RTM_NEWROUTE, _RTM_NEWNEIGH, _RTM_NEWRULE = 20, 21, 24, 28, 32
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_REPLACE, _NLM_F_EXCL, _NLM_F_CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_NLMSG_ERROR = 2
_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_CAP_ACK = 270, 11, 10
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200

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


def _attribute(kind: int, payload: bytes) -> bytes:
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + bytes(-length % 4)


def _u32(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


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
        + _text(_IFLA_IFNAME, peer_name)
        + _attribute(_IFLA_ADDRESS, peer_address)
        + _u32(_IFLA_MTU, mtu)
        + _u32(_IFLA_NET_NS_FD, peer_ns)
    )
    info = _text(_IFLA_INFO_KIND, "veth") + _attribute(_IFLA_INFO_DATA, _attribute(_VETH_INFO_PEER, peer))
    payload = (
        _link(index)
        + _text(_IFLA_IFNAME, name)
        + _attribute(_IFLA_ADDRESS, address)
        + _u32(_IFLA_MTU, mtu)
        + _attribute(_IFLA_LINKINFO, info)
    )
    return Message(f"make the link {name}", _RTM_NEWLINK, payload, _NLM_F_CREATE | _NLM_F_EXCL)


def delete_link(index: int) -> Message:
    return Message("delete the link", _RTM_DELLINK, _link(index))


def link_up(index: int) -> Message:
    return Message("bring the link up", _RTM_NEWLINK, _link(index, _IFF_UP, _IFF_UP))


def forward(index: int) -> Message:
    """Route packets that come in by this link, as the sysctl net.ipv4.conf.<link>.forwarding does."""
    conf = _attribute(_IFLA_INET_CONF, _u32(_IPV4_DEVCONF_FORWARDING, 1))
    spec = _attribute(socket.AF_INET, conf)
    return Message("let the link forward", _RTM_SETLINK, _link(index) + _attribute(_IFLA_AF_SPEC, spec))


def no_link_local(index: int) -> Message:
    """No IPv6 address of the link's own, hence no discovery traffic. Refused where the machine has no IPv6: no harm."""
    mode = _attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_MODE_NONE]))
    spec = _attribute(socket.AF_INET6, mode)
    payload = _link(index) + _attribute(_IFLA_AF_SPEC, spec)
    return Message("silence IPv6 on the link", _RTM_SETLINK, payload, optional=True)


def address(index: int, value: IPv4Address) -> Message:
    payload = struct.pack("=BBBBi", socket.AF_INET, 32, 0, _SCOPE_UNIVERSE, index)
    payload += _attribute(_IFA_LOCAL, value.packed) + _attribute(_IFA_ADDRESS, value.packed)
    return Message(f"give the address {value}", _RTM_NEWADDR, payload, _NLM_F_CREATE | _NLM_F_REPLACE)


def delete_address(index: int, value: IPv4Address) -> Message:
    payload = struct.pack("=BBBBi", socket.AF_INET, 32, 0, _SCOPE_UNIVERSE, index)
    payload += _attribute(_IFA_LOCAL, value.packed) + _attribute(_IFA_ADDRESS, value.packed)
    return Message(f"take the address {value} away", _RTM_DELADDR, payload, optional=True)


def _route(
    length: int, scope: int, kind: int, attributes: bytes, what: str, exclusive: bool, flags: int = 0
) -> Message:
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, length, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, scope, kind, flags)
    mode = _NLM_F_CREATE | (_NLM_F_EXCL if exclusive else _NLM_F_REPLACE)
    return Message(what, _RTM_NEWROUTE, header + attributes, mode)


def host_route(destination: IPv4Address, index: int, source: IPv4Address) -> Message:
    """One pod's address is behind that link. Refused (EEXIST) if the address is in use."""
    attributes = (
        _attribute(_RTA_DST, destination.packed) + _u32(_RTA_OIF, index) + _attribute(_RTA_PREFSRC, source.packed)
    )
    return _route(32, _SCOPE_LINK, _RTN_UNICAST, attributes, f"route to {destination}", exclusive=True)


def default_route(gateway: IPv4Address, index: int) -> Message:
    attributes = _attribute(_RTA_GATEWAY, gateway.packed) + _u32(_RTA_OIF, index)
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
    attributes = _attribute(_RTA_DST, network.network_address.packed) + _attribute(_RTA_GATEWAY, gateway.packed)
    attributes += _u32(_RTA_OIF, index) + _attribute(_RTA_PREFSRC, source.packed)
    what = f"route to {network}"
    return _route(
        network.prefixlen, _SCOPE_UNIVERSE, _RTN_UNICAST, attributes, what, exclusive=True, flags=_RTNH_F_ONLINK
    )


def local_route(table: int) -> Message:
    """Packets that are routed by this table are the host's own, whatever their destination is."""
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, _RTPROT_STATIC, _SCOPE_HOST, _RTN_LOCAL, 0)
    attributes = _u32(_RTA_OIF, LOOPBACK) + _u32(_RTA_TABLE, table)
    return Message("make a local route", _RTM_NEWROUTE, header + attributes, _NLM_F_CREATE | _NLM_F_REPLACE)


def marked_rule(mark: int, table: int) -> Message:
    """Packets with that mark are routed by that table. Refused (EEXIST) if there is such a rule."""
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, _FR_ACT_TO_TBL, 0)
    attributes = _u32(_FRA_FWMARK, mark) + _u32(_FRA_TABLE, table) + _u32(_FRA_PRIORITY, _RULE_PRIORITY)
    return Message("make a rule of routing", _RTM_NEWRULE, header + attributes, _NLM_F_CREATE | _NLM_F_EXCL)


def unreachable(network: IPv4Address, length: int) -> Message:
    """An address of the network that no pod has is refused at once, rather than after a timeout."""
    attributes = _attribute(_RTA_DST, network.packed)
    return _route(length, _SCOPE_UNIVERSE, _RTN_UNREACHABLE, attributes, f"close {network}/{length}", exclusive=False)


def rewritten_route(network: IPv4Address, length: int, index: int, source: IPv4Address) -> Message:
    """To a network whose packets get another destination before they leave; until then they come from `source`."""
    attributes = _attribute(_RTA_DST, network.packed) + _u32(_RTA_OIF, index) + _attribute(_RTA_PREFSRC, source.packed)
    return _route(length, _SCOPE_LINK, _RTN_UNICAST, attributes, f"route to {network}/{length}", exclusive=False)


def neighbour(index: int, value: IPv4Address, link_address: bytes) -> Message:
    """A permanent entry: no address resolution, and it doesn't count against the machine's neighbour table."""
    payload = struct.pack("=BxHiHBB", socket.AF_INET, 0, index, _NUD_PERMANENT, 0, 0)
    payload += _attribute(_NDA_DST, value.packed) + _attribute(_NDA_LLADDR, link_address)
    return Message(f"name the neighbour {value}", _RTM_NEWNEIGH, payload, _NLM_F_CREATE | _NLM_F_REPLACE)


class Netlink:
    """A route socket of the network namespace that the caller is in when it makes one; it stays there."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
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
            flags = _NLM_F_REQUEST | message.flags | (_NLM_F_ACK if is_last else 0)
            batch += struct.pack("=IHHII", 16 + len(message.payload), message.kind, flags, self._sequence, 0)
            batch += message.payload
        self._socket.send(batch)
        failure: OSError | None = None
        answered = first - 1
        while answered != self._sequence:
            data = self._socket.recv(65536)
            offset = 0
            while offset < len(data):
                length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data, offset)
                if kind == _NLMSG_ERROR and sequence >= first:
                    answered = sequence
                    (code,) = struct.unpack_from("=i", data, offset + 16)
                    message = messages[sequence - first]
                    if code and not message.optional and failure is None:
                        text = _explanation(data[offset : offset + length], flags)
                        failure = OSError(-code, f"{text or os.strerror(-code)} (to {message.what})")
                offset += length + (-length % 4)
        if failure is not None:
            raise failure


def _explanation(data: bytes, flags: int) -> str:
    """The kernel's own words in an extended acknowledgement, if there are any."""
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    # The header, the error code and the header of the refused request (its payload is capped).
    offset = 16 + 4 + 16
    if not flags & _NLM_F_CAPPED:
        (length,) = struct.unpack_from("=I", data, 20)
        offset = 20 + length + (-length % 4)
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        if kind == 1:
            return data[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace")
        offset += length + (-length % 4)
    return ""
