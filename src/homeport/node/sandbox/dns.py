"""The cluster's DNS as pure functions: a query's bytes and what is known, in; an answer's bytes, out (RFC 1035, 6891).

Names of pods and services are answered here; AAAA of a name that has only IPv4 addresses is NOERROR without records, so
that resolvers don't try another search domain; a name of the cluster's domain that doesn't exist is NXDOMAIN at once.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

A, SOA, PTR, AAAA, OPT, ANY = 1, 6, 12, 28, 41, 255
NOERROR, FORMAT_ERROR, SERVER_FAILURE, NAME_ERROR, NOT_IMPLEMENTED = 0, 1, 2, 3, 4
TTL = 5
"""Seconds; what Kubernetes' own DNS says for names that come and go with pods."""
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x400, 0x200, 0x100, 0x80
_OPCODE = 0x7800
_PLAIN_SIZE, _OWN_SIZE = 512, 1232
_INTERNET = 1


class Malformed(ValueError):
    """The bytes are no query."""


class Query(NamedTuple):
    number: int
    flags: int
    name: str
    """In lower case, without the final dot."""
    kind: int
    question: bytes
    """As it came: its case is part of the answer."""
    size: int
    """The longest datagram that the asker takes."""
    has_options: bool


def parse(data: bytes) -> Query:
    """Raises Malformed."""
    try:
        number, flags, questions, answers, authorities, additional = struct.unpack_from(">6H", data)
        if questions != 1 or flags & _RESPONSE:
            raise Malformed("not a query for one name")
        labels, offset = [], 12
        while length := data[offset]:
            if length > 63:
                raise Malformed("a label is too long")
            labels.append(data[offset + 1 : offset + 1 + length])
            offset += 1 + length
        kind, _class = struct.unpack_from(">HH", data, offset + 1)
        end = offset + 5
        size, has_options = _PLAIN_SIZE, False
        if additional and not answers and not authorities and data[end : end + 1] == b"\0":
            option, offered = struct.unpack_from(">HH", data, end + 1)
            if option == OPT:
                size, has_options = max(_PLAIN_SIZE, min(offered, _OWN_SIZE)), True
    except (struct.error, IndexError):
        raise Malformed("the query is cut short") from None
    name = b".".join(labels).decode("ascii", "replace").lower()
    return Query(number, flags, name, kind, data[12:end], size, has_options)


class Record(NamedTuple):
    kind: int
    data: bytes


def encode_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def respond(
    query: Query,
    code: int,
    answers: Iterable[Record] = (),
    authority: tuple[str, Record] | None = None,
    *,
    size: int | None = None,
) -> bytes:
    """The answer's bytes; just the header with TC set if they don't fit into `size` (the query's own by default)."""
    flags = _RESPONSE | _RECURSION_AVAILABLE | (query.flags & (_RECURSION_DESIRED | _OPCODE)) | code
    if code in (NOERROR, NAME_ERROR):
        flags |= _AUTHORITATIVE
    answers = list(answers)
    body, count = bytearray(query.question), len(answers)
    for record in answers:
        # The name is the question's, by a pointer to it.
        body += struct.pack(">HHHIH", 0xC00C, record.kind, _INTERNET, TTL, len(record.data)) + record.data
    authorities = 0
    if authority is not None:
        owner, record = authority
        body += encode_name(owner)
        body += struct.pack(">HHIH", record.kind, _INTERNET, TTL, len(record.data)) + record.data
        authorities = 1
    options = b"\0" + struct.pack(">HHIH", OPT, _OWN_SIZE, 0, 0) if query.has_options else b""
    if 12 + len(body) + len(options) > (query.size if size is None else size):
        body, count, authorities, flags = bytearray(query.question), 0, 0, flags | _TRUNCATED
    return struct.pack(">6H", query.number, flags, 1, count, authorities, 1 if options else 0) + bytes(body) + options


def refuse(data: bytes, code: int) -> bytes | None:
    """An answer to bytes that are no query; None if there is not even a number to answer to."""
    if len(data) < 4 or data[2] & 0x80:
        return None
    return data[:2] + struct.pack(">H", _RESPONSE | code) + bytes(8)


class Zone:
    """What the cluster's DNS knows."""

    def __init__(self, domain: str, network: ipaddress.IPv4Network) -> None:
        self._domain = domain
        self._records: dict[str, list[Record]] = {}
        self._raw: dict[str, tuple[str, ...]] = {}
        self._parents: dict[str, int] = {}
        self._reverse: dict[str, list[str]] = {}
        octets = network.prefixlen // 8
        reverse = ".".join(reversed(str(network.network_address).split(".")[:octets]))
        self._reverse_domain = f"{reverse}.in-addr.arpa" if reverse else "in-addr.arpa"
        # "hostmaster", serial and times as any resolver accepts; the last is how long "no such name" may be kept.
        self._soa = Record(
            SOA,
            encode_name(f"ns.dns.{domain}")
            + encode_name(f"hostmaster.{domain}")
            + struct.pack(">5I", 1, 7200, 1800, 86400, TTL),
        )

    @property
    def records(self) -> Mapping[str, tuple[str, ...]]:
        return self._raw

    def set(self, name: str, addresses: Iterable[str]) -> None:
        """Raises ValueError for what is no IP address."""
        name = name.lower().rstrip(".")
        addresses = tuple(addresses)
        parsed = [ipaddress.ip_address(address) for address in addresses]
        self.remove(name)
        self._raw[name] = addresses
        self._records[name] = [Record(A if ip.version == 4 else AAAA, ip.packed) for ip in parsed]
        for ip in parsed:
            self._reverse.setdefault(ip.reverse_pointer, []).append(name)
        for parent in _parents(name):
            self._parents[parent] = self._parents.get(parent, 0) + 1

    def remove(self, name: str) -> None:
        """No error if it is not there."""
        name = name.lower().rstrip(".")
        addresses = self._raw.pop(name, None)
        if addresses is None:
            return
        del self._records[name]
        for address in addresses:
            pointer = ipaddress.ip_address(address).reverse_pointer
            names = self._reverse[pointer]
            names.remove(name)
            if not names:
                del self._reverse[pointer]
        for parent in _parents(name):
            self._parents[parent] -= 1
            if not self._parents[parent]:
                del self._parents[parent]

    def clear(self) -> None:
        for name in list(self._raw):
            self.remove(name)

    def answer(self, query: Query, *, size: int | None = None) -> bytes | None:
        """The answer's bytes; None if the name is somebody else's to answer."""
        if query.flags & _OPCODE:
            return respond(query, NOT_IMPLEMENTED, size=size)
        found = self._records.get(query.name)
        if found is not None:
            matching = [record for record in found if query.kind in (record.kind, ANY)]
            if len(matching) > 1:
                # Askers take the first: let it be another one each time.
                turn = query.number % len(matching)
                matching = matching[turn:] + matching[:turn]
            return respond(query, NOERROR, matching, None if matching else self._authority, size=size)
        names = self._reverse.get(query.name)
        if names is not None:
            pointers = [Record(PTR, encode_name(name)) for name in names] if query.kind in (PTR, ANY) else []
            return respond(query, NOERROR, pointers, size=size)
        if query.name in self._parents or query.name == self._domain:
            return respond(query, NOERROR, (), self._authority, size=size)
        for domain in (self._domain, self._reverse_domain):
            if query.name == domain or query.name.endswith(f".{domain}"):
                return respond(query, NAME_ERROR, (), self._authority, size=size)
        return None

    @property
    def _authority(self) -> tuple[str, Record]:
        return self._domain, self._soa


def _parents(name: str) -> list[str]:
    """The names above that have at least two labels: those above are not the cluster's to speak of."""
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(1, len(labels) - 1)]


def nameservers(text: str) -> list[str]:
    """The servers of resolv.conf(5) text, IPv4 and IPv6."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            found.append(words[1])
    return found
