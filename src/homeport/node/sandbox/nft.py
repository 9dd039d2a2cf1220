"""nftables over netlink, without any program: tables, chains, rules, sets and maps, written in transactions.

How it is used::

    batch = nft.Batch(nft.INET)
    batch.table("mine")                                     # from here on everything goes into this table
    batch.base_chain("in", nft.FILTER, nft.PREROUTING, priority=-110)
    batch.set("addresses", nft.IP_ADDRESS)                  # key types can be joined: nft.IP_ADDRESS + nft.PORT
    batch.elements("addresses", [ip.packed])
    batch.rule("in", expr.ip_source(), expr.lookup("addresses"), expr.DROP)
    nft.Nft().run(batch)                                    # all of it or nothing

The expressions that rules consist of are in :mod:`~homeport.node.sandbox.expr`.

Everything that this project writes is in tables of its own, one per purpose, so that each can be written anew
(``batch.renew``) without a look at the others. Priorities: services are looked up at -110 (filter, refusals) and -100
(nat); policies belong after that, where packets have their real destination.

Names of constants are those of linux/netfilter/nf_tables.h. A kernel without nftables answers OSError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from homeport.node.sandbox.expr import ACCEPT, DROP, Verdict
from homeport.node.sandbox.nfnetlink import Socket, message, nested, u32
from homeport.node.sandbox.nlmessages import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLMSG_ERROR,
    attribute,
    error_of,
    text,
    words_of,
)

INET, IPV4, IPV6 = 1, 2, 10
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
FILTER, NAT = "filter", "nat"

_SUBSYSTEM = 10
_NEW_TABLE, _GET_TABLE, _DELETE_TABLE, _NEW_CHAIN = 0, 1, 2, 3
_NEW_RULE, _DELETE_RULE, _NEW_SET, _NEW_ELEMENT, _DELETE_ELEMENT = 6, 8, 9, 12, 14
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SET_INTERVAL, _SET_MAP, _SET_TIMEOUT, _SET_EVAL = 0x4, 0x8, 0x10, 0x20
_VERDICT_TYPE = 0xFFFFFF00
_ELEMENT_INTERVAL_END = 1
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
