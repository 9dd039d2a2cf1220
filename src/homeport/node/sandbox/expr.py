"""What rules of nftables consist of: expressions, as the kernel takes them (:mod:`homeport.node.sandbox.nft`).

The kernel evaluates a rule's expressions in order until one does not match. Values are read into registers and looked
at there; the functions below number registers from 0 on, four bytes each, of which there are 16. What is read for a
joined key goes into registers that follow one another, each field at a multiple of four bytes (``nft.Key.pack`` pads
the same way). Numbers of packets (addresses, ports) are in network byte order, numbers of the kernel (interfaces,
marks, states) in the machine's.
"""

from __future__ import annotations

import socket
import struct

from homeport.node.sandbox.nfnetlink import nested, u32, u64
from homeport.node.sandbox.nlmessages import attribute, text

TCP, UDP, SCTP = 6, 17, 132

_REGISTER = 8
"""``NFT_REG32_00``."""


# Verdicts. As an expression, the end of a rule; in a map, a value.


class Verdict(bytes):
    """An expression; `data` is the same as the value of a map."""

    data: bytes

    def __new__(cls, code: int, chain: str = "") -> Verdict:
        parts = [u32(1, code), *([text(2, chain)] if chain else [])]
        data = nested(2, *parts)
        made = super().__new__(cls, _expression("immediate", u32(1, 0), nested(2, data)))
        made.data = data
        return made


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *parts))


DROP, ACCEPT = Verdict(0), Verdict(1)
RETURN = Verdict(-5)


def jump(chain: str) -> Verdict:
    return Verdict(-3, chain)


def goto(chain: str) -> Verdict:
    return Verdict(-4, chain)


def reject(code: int = 3) -> bytes:
    """Answer with ICMP "destination unreachable"; the default code is "port unreachable", which clients see as
    "connection refused". Of filter chains of the hooks from prerouting to output.

    A TCP client on this machine may miss it, as its socket is still busy with sending, and then hears of it only a
    second later: give it :func:`reset`.
    """
    return _expression("reject", u32(1, 0), attribute(2, bytes([code])))


def reset() -> bytes:
    """Refuse a TCP connection. The rule has to look at the protocol before."""
    return _expression("reject", u32(1, 1), attribute(2, b"\0"))


# Reading into registers.


def _r(register: int) -> int:
    return _REGISTER + register


def payload(base: int, offset: int, length: int, register: int = 0) -> bytes:
    """Bytes of the packet: `base` 1 is the network header, 2 the transport header."""
    return _expression("payload", u32(1, _r(register)), u32(2, base), u32(3, offset), u32(4, length))


def ip_source(register: int = 0) -> bytes:
    return payload(1, 12, 4, register)


def ip_destination(register: int = 0) -> bytes:
    return payload(1, 16, 4, register)


def source_port(register: int = 0) -> bytes:
    return payload(2, 0, 2, register)


def destination_port(register: int = 0) -> bytes:
    return payload(2, 2, 2, register)


def _meta(key: int, register: int) -> bytes:
    return _expression("meta", u32(1, _r(register)), u32(2, key))


def protocol(register: int = 0) -> bytes:
    """TCP, UDP or another, one byte."""
    return _meta(16, register)


def family(register: int = 0) -> bytes:
    """AF_INET or AF_INET6, one byte: in tables of the family INET."""
    return _meta(15, register)


def input_interface(register: int = 0) -> bytes:
    """Its index, a number of the kernel's."""
    return _meta(4, register)


def input_name_begins(prefix: str) -> bytes:
    """Whether the packet came in by a link whose name begins so."""
    return _meta(6, 0) + equal(prefix.encode())


def route_back(register: int = 0) -> bytes:
    """The index of the link by which the packet came in if its source is routed by that link; 0 if it is not."""
    return _expression("fib", u32(1, _r(register)), u32(2, 1), u32(3, 0x1 | 0x8))


CT_INVALID, CT_ESTABLISHED, CT_RELATED, CT_NEW = 1, 2, 4, 8
CT_SOURCE_NAT, CT_DESTINATION_NAT = 0x10, 0x20


def ct_state(register: int = 0) -> bytes:
    """The bits CT_INVALID to CT_NEW, a number of the kernel's."""
    return _expression("ct", u32(2, 0), u32(1, _r(register)))


def ct_status(register: int = 0) -> bytes:
    """The bits CT_SOURCE_NAT and CT_DESTINATION_NAT among others."""
    return _expression("ct", u32(2, 2), u32(1, _r(register)))


def random_number(below: int, register: int = 0) -> bytes:
    """A number of the kernel's from 0 on."""
    return _expression("numgen", u32(1, _r(register)), u32(2, below), u32(3, 1), u32(4, 0))


def number(value: int, register: int = 0) -> bytes:
    """A number of the kernel's into a register."""
    return constant(struct.pack("=I", value), register)


def constant(value: bytes, register: int = 0) -> bytes:
    return _expression("immediate", u32(1, _r(register)), nested(2, attribute(1, value)))


# Looking at registers.


def equal(value: bytes, register: int = 0) -> bytes:
    return _compare(0, value, register)


def unequal(value: bytes, register: int = 0) -> bytes:
    return _compare(1, value, register)


def _compare(operation: int, value: bytes, register: int) -> bytes:
    return _expression("cmp", u32(1, _r(register)), u32(2, operation), nested(3, attribute(1, value)))


def within(first: bytes, last: bytes, register: int = 0) -> bytes:
    """Whether a number in network byte order is one of those, both ends included."""
    ends = (nested(3, attribute(1, first)), nested(4, attribute(1, last)))
    return _expression("range", u32(1, _r(register)), u32(2, 0), *ends)


def masked(mask: bytes, register: int = 0) -> bytes:
    """Keep only the bits of `mask`."""
    return _expression(
        "bitwise",
        u32(1, _r(register)),
        u32(2, _r(register)),
        u32(3, len(mask)),
        nested(4, attribute(1, mask)),
        nested(5, attribute(1, bytes(len(mask)))),
    )


def has_bits(bits: int, register: int = 0) -> bytes:
    """Any of the bits of a number of the kernel's."""
    return masked(struct.pack("=I", bits), register) + unequal(bytes(4), register)


def lookup(name: str, register: int = 0, *, into: int | None = None, inverted: bool = False) -> bytes:
    """Whether the key in the registers from `register` on is in the set. Of a map, its value goes `into` registers."""
    parts = [text(1, name), u32(2, _r(register))]
    if into is not None:
        parts.append(u32(3, _r(into)))
    if inverted:
        parts.append(u32(5, 1))
    return _expression("lookup", *parts)


def dispatch(name: str, register: int = 0) -> bytes:
    """Look the key up in a map of verdicts, and follow the verdict."""
    return _expression("lookup", text(1, name), u32(2, _r(register)), u32(3, 0))


def remember(name: str, register: int, value: int | None, milliseconds: int) -> bytes:
    """Add the key to the set, or to the map with the value in the registers from `value` on, for that long; anew if it
    is there."""
    parts = [text(1, name), u32(3, 1), u32(4, _r(register))]
    if value is not None:
        parts.append(u32(5, _r(value)))
    return _expression("dynset", *parts, u64(6, milliseconds))


def forget(name: str, register: int, value: int | None) -> bytes:
    """Remove the key from the set or map, if it is there: what :func:`remember` finds keeps its value. Of a map, the
    registers from `value` on have to hold any value."""
    parts = [text(1, name), u32(3, 2), u32(4, _r(register))]
    if value is not None:
        parts.append(u32(5, _r(value)))
    return _expression("dynset", *parts)


# Acting.


def destination_nat(address: int, port: int) -> bytes:
    """To the IPv4 address and the port in these registers. Of nat chains of prerouting and output."""
    return _expression("nat", u32(1, 1), u32(2, socket.AF_INET), u32(3, _r(address)), u32(5, _r(port)))


def source_nat(address: int) -> bytes:
    """From the IPv4 address in this register. Of nat chains of postrouting."""
    return _expression("nat", u32(1, 0), u32(2, socket.AF_INET), u32(3, _r(address)))


def mark(value: int) -> bytes:
    """Give the packet this mark, by which rules of routing know it."""
    return number(value) + _expression("meta", u32(2, 3), u32(3, _r(0)))


def transparent_proxy(port: int) -> bytes:
    """Hand the packet to the transparent socket that has its connection, else to the one that listens on that port.
    Does not match where there is neither. Of filter chains of prerouting; the packet has to be routed to this host."""
    return constant(struct.pack(">H", port)) + _expression("tproxy", u32(1, socket.AF_INET), u32(3, _r(0)))
