"""DNS messages as bytes, and back (RFC 1035, 2181, 6891): pure. What is answered is :mod:`zone`'s business."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, DNAME, OPT, ANY = 1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 41, 255
NOERROR, FORMAT_ERROR, SERVER_FAILURE, NAME_ERROR, NOT_IMPLEMENTED, REFUSED, BAD_VERSION = 0, 1, 2, 3, 4, 5, 16
INTERNET = 1
TTL = 5
"""Seconds; what Kubernetes' own DNS says for names that come and go with pods."""
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x400, 0x200, 0x100, 0x80
OPCODE = 0x7800
_DNSSEC_OK = 0x8000
_PLAIN_SIZE, _OWN_SIZE = 512, 1232
_POINTER, _POINTER_LIMIT = 0xC000, 0x4000
_NAME_AT = {NS: 0, CNAME: 0, PTR: 0, DNAME: 0, MX: 2, SRV: 6}
"""Kinds whose data ends in a name, which may be shortened to a pointer, and where in the data it begins."""


class Malformed(ValueError):
    """The bytes are no query, or no answer."""


class Query(NamedTuple):
    number: int
    flags: int
    name: str
    """In lower case, without the final dot."""
    kind: int
    cls: int
    question: bytes
    """As it came: its case is part of the answer."""
    size: int
    """The longest datagram that the asker takes."""
    has_options: bool
    version: int = 0
    """Of EDNS."""
    dnssec_ok: bool = False


class Record(NamedTuple):
    kind: int
    data: bytes
    owner: str = ""
    """Empty: the name that was asked for."""
    ttl: int = TTL


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
        kind, cls = struct.unpack_from(">HH", data, offset + 1)
        end = offset + 5
        size, has_options, version, dnssec_ok = _PLAIN_SIZE, False, 0, False
        if additional and not answers and not authorities and data[end : end + 1] == b"\0":
            option, offered, extended = struct.unpack_from(">HHI", data, end + 1)
            if option == OPT:
                size, has_options = max(_PLAIN_SIZE, min(offered, _OWN_SIZE)), True
                version, dnssec_ok = extended >> 16 & 0xFF, bool(extended & _DNSSEC_OK)
    except (struct.error, IndexError):
        raise Malformed("the query is cut short") from None
    name = b".".join(labels).decode("ascii", "replace").lower()
    return Query(number, flags, name, kind, cls, data[12:end], size, has_options, version, dnssec_ok)


def encode_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def ask(number: int, name: str, kind: int, *, options: bool) -> bytes:
    """A query of our own."""
    extra = b"\0" + struct.pack(">HHIH", OPT, _OWN_SIZE, 0, 0) if options else b""
    header = struct.pack(">6H", number, _RECURSION_DESIRED, 1, 0, 0, 1 if options else 0)
    return header + encode_name(name) + struct.pack(">HH", kind, INTERNET) + extra


class _Message:
    """The bytes of an answer in the making; names that were written are pointed to."""

    def __init__(self, query: Query, limit: int) -> None:
        self.body = bytearray(12) + query.question
        self.limit = limit
        self._names = {query.name: 12, "": 12}

    def add(self, record: Record) -> bool:
        """False, and nothing is added, if there is no room."""
        start = len(self.body)
        known = self._names.get(record.owner)
        self.body += encode_name(record.owner) if known is None else struct.pack(">H", _POINTER | known)
        self.body += struct.pack(">HHIH", record.kind, INTERNET, record.ttl, len(record.data)) + record.data
        if len(self.body) > self.limit:
            del self.body[start:]
            return False
        if known is None and start < _POINTER_LIMIT:
            self._names[record.owner] = start
        return True


def respond(
    query: Query,
    code: int,
    answers: Iterable[Record] = (),
    authority: Iterable[Record] = (),
    additional: Iterable[Record] = (),
    *,
    size: int | None = None,
    authoritative: bool = True,
) -> bytes:
    """The answer's bytes, at most `size` (the query's own by default): with as many of the answers as there is room
    for, and TC set if that is not all of them. (Some resolvers never ask again by TCP: part is better than nothing.)"""
    flags = _RESPONSE | _RECURSION_AVAILABLE | (query.flags & (_RECURSION_DESIRED | OPCODE)) | (code & 15)
    if authoritative and code in (NOERROR, NAME_ERROR):
        flags |= _AUTHORITATIVE
    options = b""
    if query.has_options:
        extended = (code >> 4) << 24 | (_DNSSEC_OK if query.dnssec_ok else 0)
        options = b"\0" + struct.pack(">HHIH", OPT, _OWN_SIZE, extended, 0)
    message = _Message(query, (query.size if size is None else size) - len(options))
    counts = [0, 0, 0]
    for section, records in enumerate((answers, authority, additional)):
        for record in records:
            if not message.add(record):
                if section < 2:
                    flags |= _TRUNCATED
                break
            counts[section] += 1
        if flags & _TRUNCATED:
            break
    counts[2] += 1 if options else 0
    message.body[:12] = struct.pack(">6H", query.number, flags, 1, *counts)
    return bytes(message.body) + options


def refuse(data: bytes, code: int) -> bytes | None:
    """An answer to bytes that are no query; None if there is not even a number to answer to."""
    if len(data) < 4 or data[2] & 0x80:
        return None
    return data[:2] + struct.pack(">H", _RESPONSE | code) + bytes(8)


# Others' answers.


def _name(data: bytes, offset: int) -> tuple[str, int]:
    """The name at `offset`, and where it ends. Raises Malformed."""
    labels: list[str] = []
    end, jumps = -1, 0
    while length := data[offset]:
        if length >= 0xC0:
            if end < 0:
                end = offset + 2
            offset = (length & 0x3F) << 8 | data[offset + 1]
            jumps += 1
            if jumps > 64:
                raise Malformed("the pointers of a name go round")
            continue
        if length > 63:
            raise Malformed("a label is too long")
        labels.append(data[offset + 1 : offset + 1 + length].decode("ascii", "replace"))
        offset += 1 + length
        if len(labels) > 128:
            raise Malformed("a name is too long")
    return ".".join(labels), offset + 1 if end < 0 else end


class _Place(NamedTuple):
    section: int
    """0: answers, 1: authority, 2: additional."""
    owner: str
    kind: int
    ttl: int
    ttl_at: int
    data_at: int
    length: int


def _records(data: bytes) -> Iterator[_Place]:
    _, _, questions, *counts = struct.unpack_from(">6H", data)
    offset = 12
    for _ in range(questions):
        offset = _name(data, offset)[1] + 4
    for section, count in enumerate(counts):
        for _ in range(count):
            owner, offset = _name(data, offset)
            kind, _cls, ttl, length = struct.unpack_from(">HHIH", data, offset)
            if offset + 10 + length > len(data):
                raise Malformed("the answer is cut short")
            yield _Place(section, owner, kind, ttl, offset + 4, offset + 10, length)
            offset += 10 + length


class Answer(NamedTuple):
    """What somebody else's answer says."""

    code: int
    is_truncated: bool
    records: tuple[Record, ...]
    """Of the answer section; names in them are whole."""


def read(data: bytes) -> Answer:
    """Raises Malformed."""
    try:
        (flags,) = struct.unpack_from(">H", data, 2)
        found = []
        for place in _records(data):
            if place.section:
                break
            value = data[place.data_at : place.data_at + place.length]
            if (at := _NAME_AT.get(place.kind)) is not None:
                value = value[:at] + encode_name(_name(data, place.data_at + at)[0])
            found.append(Record(place.kind, value, place.owner.lower(), place.ttl))
    except (struct.error, IndexError):
        raise Malformed("the answer is cut short") from None
    return Answer(flags & 15, bool(flags & _TRUNCATED), tuple(found))


class Lifetime(NamedTuple):
    """How long an answer may be kept, and where in it that is written."""

    seconds: int
    places: tuple[tuple[int, int], ...]
    """Offset of a time to live, and its value."""


def lifetime(data: bytes) -> Lifetime | None:
    """None for an answer that is not to be kept: a failure, one cut short, one that says nothing of time."""
    try:
        (flags,) = struct.unpack_from(">H", data, 2)
        if flags & 15 not in (NOERROR, NAME_ERROR) or flags & _TRUNCATED:
            return None
        places = [place for place in _records(data) if place.kind != OPT]
        times = [place.ttl for place in places]
        # "No such name" is kept for as long as the start of authority says at its end (RFC 2308).
        times += [
            int.from_bytes(data[place.data_at + place.length - 4 : place.data_at + place.length], "big")
            for place in places
            if place.kind == SOA and place.length >= 20
        ]
    except (struct.error, IndexError, Malformed):
        return None
    return Lifetime(min(times), tuple((place.ttl_at, place.ttl) for place in places)) if times else None
