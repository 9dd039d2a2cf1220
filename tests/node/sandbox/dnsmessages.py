"""DNS messages that tests write and read, independently of the code under test."""

from __future__ import annotations

import ipaddress
import struct

from homeport.node.sandbox import dns


def question(name: str, kind: int = dns.A, *, number: int = 7, size: int | None = None, flags: int = 0x100) -> bytes:
    extra = b"" if size is None else b"\0" + struct.pack(">HHIH", dns.OPT, size, 0, 0)
    header = struct.pack(">6H", number, flags, 1, 0, 0, 1 if extra else 0)
    return header + dns.encode_name(name) + struct.pack(">HH", kind, 1) + extra


def name_at(data: bytes, offset: int) -> tuple[str, int]:
    labels, end = [], 0
    while length := data[offset]:
        if length >= 0xC0:
            end = end or offset + 2
            offset = (length - 0xC0) * 256 + data[offset + 1]
            continue
        labels.append(data[offset + 1 : offset + 1 + length].decode())
        offset += 1 + length
    return ".".join(labels), end or offset + 1


class Reply:
    """An answer read back: what a resolver makes of it."""

    def __init__(self, data: bytes | None) -> None:
        assert data is not None
        self.size = len(data)
        self.number, flags, questions, *counts = struct.unpack_from(">6H", data)
        self.code = flags & 15
        self.is_truncated = bool(flags & 0x200)
        self.is_authoritative = bool(flags & 0x400)
        assert flags & 0x8000
        assert questions == 1
        _, offset = name_at(data, 12)
        self.question = data[12 : offset + 4]
        offset += 4
        self.sections: list[list[tuple[str, int, int, bytes]]] = []
        for count in counts:
            self.sections.append([])
            for _ in range(count):
                owner, offset = name_at(data, offset)
                kind, _class, ttl, length = struct.unpack_from(">HHIH", data, offset)
                offset += 10
                self.sections[-1].append((owner, kind, ttl, data[offset : offset + length]))
                offset += length
        assert offset == len(data)
        self.answers, self.authority, self.additional = self.sections

    @property
    def addresses(self) -> list[str]:
        return [str(ipaddress.ip_address(data)) for _, kind, _, data in self.answers if kind in (dns.A, dns.AAAA)]

    @property
    def kinds(self) -> list[int]:
        return [kind for section in self.sections for _, kind, _, _ in section]
