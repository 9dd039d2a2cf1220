"""nftables over netlink, without any program: tables, chains, rules, sets and maps, written in transactions.

How it is used::

    batch = nft.Batch(nft.INET)
    batch.table("mine")                                     # from here on everything goes into this table
    batch.base_chain("in", nft.FILTER, nft.PREROUTING, priority=-110)
    batch.set("addresses", nft.IP_ADDRESS)                  # key types can be joined: nft.IP_ADDRESS + nft.PORT
    batch.elements("addresses", [ip.packed])
    batch.rule("in", nft.ip_source(), nft.lookup("addresses"), nft.DROP)
    nft.Nft().run(batch)                                    # all of it or nothing

A rule is a list of expressions that the kernel evaluates in order until one does not match. Values are read into
registers and looked at there; the functions below number registers from 0 on, four bytes each, of which there are 16.
What is read for a joined key goes into registers that follow one another, each field at a multiple of four bytes
(``Key.pack`` pads the same way). Numbers of packets (addresses, ports) are in network byte order, numbers of the kernel
(interfaces, marks, states) in the machine's.

Everything that this project writes is in tables of its own, one per purpose, so that each can be written anew
(``batch.renew``) without a look at the others. Priorities: services are looked up at -110 (filter, refusals) and -100
(nat); policies belong after that, where packets have their real destination.

Names of constants are those of linux/netfilter/nf_tables.h. A kernel without nftables answers OSError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from homeport.node.sandbox.nfnetlink import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLMSG_ERROR,
    Socket,
    attribute,
    error_of,
    message,
    nested,
    text,
    u32,
    u64,
    words_of,
)

INET, IPV4, IPV6 = 1, 2, 10
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
FILTER, NAT = "filter", "nat"
TCP, UDP, SCTP = 6, 17, 132

_SUBSYSTEM = 10
_NEW_TABLE, _GET_TABLE, _DELETE_TABLE, _NEW_CHAIN = 0, 1, 2, 3
_NEW_RULE, _DELETE_RULE, _NEW_SET, _NEW_ELEMENT, _DELETE_ELEMENT = 6, 8, 9, 12, 14
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SET_INTERVAL, _SET_MAP, _SET_TIMEOUT, _SET_EVAL = 0x4, 0x8, 0x10, 0x20
_VERDICT_TYPE = 0xFFFFFF00
_ELEMENT_INTERVAL_END = 1
_REGISTER = 8
"""``NFT_REG32_00``."""
_MOST_BYTES = 100_000
"""Of one transaction: a socket's buffer takes about twice as much."""
_MOST_ELEMENTS = 40_000
"""Bytes of the elements in one message: an attribute's length is a number of 16 bits."""


class Key:
    """The type of a set's keys or of a map's values: one field, or several that are joined by ``+``."""

    __slots__ = ("fields", "type")

    def __init__(self, kind: int, *fields: int) -> None:
        self.type = kind
        self.fields = fields
        """The length of each in bytes."""

    def __add__(self, other: Key) -> Key:
        return Key(self.type << 6 | other.type, *self.fields, *other.fields)

    @property
    def length(self) -> int:
        if len(self.fields) == 1:
            return self.fields[0]
        return sum(length + (-length % 4) for length in self.fields)

    def pack(self, *values: bytes) -> bytes:
        """A key of the fields' values."""
        if len(values) == 1:
            return values[0]
        return b"".join(value + bytes(-len(value) % 4) for value in values)


IP_ADDRESS = Key(7, 4)
PROTOCOL = Key(12, 1)
PORT = Key(13, 2)
NUMBER = Key(19, 4)
"""Any number of the kernel's (the type of a mark)."""
VERDICT = Key(_VERDICT_TYPE, 0)
"""Only of a map's values: what becomes of the packet."""


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
    return _expression("nat", u32(1, 1), u32(2, IPV4), u32(3, _r(address)), u32(5, _r(port)))


def source_nat(address: int) -> bytes:
    """From the IPv4 address in this register. Of nat chains of postrouting."""
    return _expression("nat", u32(1, 0), u32(2, IPV4), u32(3, _r(address)))


def mark(value: int) -> bytes:
    """Give the packet this mark, by which rules of routing know it."""
    return number(value) + _expression("meta", u32(2, 3), u32(3, _r(0)))


def transparent_proxy(port: int) -> bytes:
    """Hand the packet to the transparent socket that has its connection, else to the one that listens on that port.
    Does not match where there is neither. Of filter chains of prerouting; the packet has to be routed to this host."""
    return constant(struct.pack(">H", port)) + _expression("tproxy", u32(1, IPV4), u32(3, _r(0)))


class Batch:
    """Changes that are made together. Methods add to it; nothing happens before :meth:`Nft.run`."""

    def __init__(self, family: int = IPV4) -> None:
        self._family = family
        self._table = b""
        self.requests: list[tuple[int, int, bytes, str]] = []

    def __bool__(self) -> bool:
        return bool(self.requests)

    @property
    def family(self) -> int:
        return self._family

    def _add(self, kind: int, what: str, payload: bytes, flags: int = 0) -> None:
        self.requests.append((kind, flags, payload, what))

    def table(self, name: str) -> None:
        """Everything after this is in that table, which is made if it is not there."""
        self.use(name)
        self._add(_NEW_TABLE, f"make the table {name}", self._table, NLM_F_CREATE)

    def use(self, name: str) -> None:
        """As `table`, of one that is there."""
        self._table = text(1, name)

    def renew(self, name: str) -> None:
        """As `table`, and whatever was in it goes."""
        self.table(name)
        self._add(_DELETE_TABLE, f"empty the table {name}", self._table)
        self._add(_NEW_TABLE, f"make the table {name}", self._table, NLM_F_CREATE)

    def drop_table(self, name: str) -> None:
        """No error if it is not there."""
        self.table(name)
        self._add(_DELETE_TABLE, f"delete the table {name}", self._table)

    def chain(self, name: str) -> None:
        """One that others jump to; no error if it is there."""
        self._add(_NEW_CHAIN, f"make the chain {name}", self._table + text(3, name), NLM_F_CREATE)

    def base_chain(self, name: str, kind: str, hook: int, priority: int, *, policy: Verdict = ACCEPT) -> None:
        """One that the kernel evaluates at a hook; `policy` holds for packets that no rule decides about."""
        where = nested(4, u32(1, hook), u32(2, priority))
        verdict = u32(5, 0 if policy == DROP else 1)
        payload = self._table + text(3, name) + where + verdict + text(7, kind)
        self._add(_NEW_CHAIN, f"make the chain {name}", payload, NLM_F_CREATE)

    def flush(self, chain: str) -> None:
        """Delete all rules of the chain."""
        self._add(_DELETE_RULE, f"empty the chain {chain}", self._table + text(2, chain))

    def rule(self, chain: str, *expressions: bytes) -> None:
        """Behind the rules that are there."""
        payload = self._table + text(2, chain) + nested(4, *expressions)
        self._add(_NEW_RULE, f"add a rule to the chain {chain}", payload, NLM_F_CREATE | NLM_F_APPEND)

    def set(
        self, name: str, key: Key, *, value: Key | None = None, interval: bool = False, dynamic: bool = False
    ) -> None:
        """A set, or with `value` a map. `interval`: of ranges (:func:`ranges` makes the elements). `dynamic`: rules add
        to it, and elements have a time to live."""
        flags = (
            (_SET_MAP if value is not None else 0)
            | (_SET_INTERVAL if interval else 0)
            | (_SET_TIMEOUT | _SET_EVAL if dynamic else 0)
        )
        # Any number serves as the set's identity within the batch.
        parts = [text(2, name), u32(3, flags), u32(4, key.type), u32(5, key.length), u32(10, len(self.requests) + 1)]
        if value is not None:
            parts += [u32(6, value.type), *([u32(7, value.length)] if value is not VERDICT else [])]
        self._add(_NEW_SET, f"make the set {name}", self._table + b"".join(parts), NLM_F_CREATE)

    def elements(self, name: str, keys: Iterable[bytes] | Mapping[bytes, bytes | Verdict]) -> None:
        """Add to a set, or to a map with the values."""
        items = keys.items() if isinstance(keys, Mapping) else ((key, None) for key in keys)
        self._elements(_NEW_ELEMENT, f"add to the set {name}", name, [_element(*item) for item in items], NLM_F_CREATE)

    def ranges(self, name: str, networks: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Add ranges to a set with `interval`: from the first key on, up to but without the second (None: no end). They
        must not overlap."""
        parts = []
        for first, end in networks:
            parts.append(_element(first, None))
            if end is not None:
                parts.append(nested(1, nested(1, attribute(1, end)), u32(3, _ELEMENT_INTERVAL_END)))
        self._elements(_NEW_ELEMENT, f"add to the set {name}", name, parts, NLM_F_CREATE)

    def drop_elements(self, name: str, keys: Iterable[bytes]) -> None:
        """They have to be there."""
        self._elements(_DELETE_ELEMENT, f"remove from the set {name}", name, [_element(key, None) for key in keys])

    def _elements(self, kind: int, what: str, name: str, parts: Sequence[bytes], flags: int = 0) -> None:
        start = 0
        while start < len(parts):
            end, size = start, 0
            while end < len(parts) and size < _MOST_ELEMENTS:
                size += len(parts[end])
                end += 1
            self._add(kind, what, self._table + text(2, name) + nested(3, *parts[start:end]), flags)
            start = end


def _element(key: bytes, value: bytes | Verdict | None) -> bytes:
    parts = [nested(1, attribute(1, key))]
    if isinstance(value, Verdict):
        parts.append(nested(2, value.data))
    elif value is not None:
        parts.append(nested(2, attribute(1, value)))
    return nested(1, *parts)


class Nft:
    """A connection to the kernel's nftables in the network namespace that the caller is in when it makes one."""

    def __init__(self) -> None:
        self._socket = Socket()

    def close(self) -> None:
        self._socket.close()

    def run(self, batch: Batch) -> None:
        """Make the changes: all of them, or none. Raises OSError for the first that was refused. A very large batch is
        made in several steps, of which the first may have been made when a later one is refused."""
        pieces: list[list[tuple[int, int, bytes, str]]] = [[]]
        size = 0
        for request in batch.requests:
            size += len(request[2]) + 20
            if size > _MOST_BYTES and pieces[-1]:
                pieces.append([])
                size = len(request[2]) + 20
            pieces[-1].append(request)
        for piece in pieces:
            if piece:
                self._run(batch.family, piece)

    def has_table(self, name: str, family: int = IPV4) -> bool:
        self._socket.sequence += 1
        self._socket.send(message(_SUBSYSTEM << 8 | _GET_TABLE, 0, family, text(1, name), self._socket.sequence))
        return any(kind != NLMSG_ERROR for kind, number, _ in self._socket.answers() if number == self._socket.sequence)

    def _run(self, family: int, requests: list[tuple[int, int, bytes, str]]) -> None:
        first = self._socket.sequence + 1
        self._socket.sequence += len(requests) + 2
        data = bytearray(message(_BATCH_BEGIN, 0, 0, b"", first, _SUBSYSTEM))
        for number, (kind, flags, payload, _what) in enumerate(requests, first + 1):
            acknowledge = NLM_F_ACK if number == first + len(requests) else 0
            data += message(_SUBSYSTEM << 8 | kind, flags | acknowledge, family, payload, number)
        data += message(_BATCH_END, 0, 0, b"", first + len(requests) + 1, _SUBSYSTEM)
        self._socket.send(bytes(data))
        failure: OSError | None = None
        for kind, number, body in self._socket.answers():
            if kind != NLMSG_ERROR or number < first or not error_of(body) or failure is not None:
                continue
            place = number - first - 1
            what = requests[place][3] if 0 <= place < len(requests) else "change nftables"
            failure = OSError(error_of(body), f"{words_of(body)} (to {what})")
        if failure is not None:
            raise failure
