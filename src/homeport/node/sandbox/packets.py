"""IPv4 packets as bytes (RFC 791, 768, 792, 9293), as far as the relay reads and writes them itself: pure."""

from __future__ import annotations

import struct
from typing import NamedTuple

ICMP, TCP, UDP = 1, 6, 17
ECHO_REPLY, UNREACHABLE, ECHO = 0, 3, 8
NET_UNREACHABLE, HOST_UNREACHABLE, PORT_UNREACHABLE, PROHIBITED = 0, 1, 3, 13
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
_TTL = 64
_MOST_QUOTED = 548
"""Bytes of a packet that an ICMP error carries (RFC 1812: the error stays below 576 bytes)."""


class Packet(NamedTuple):
    source: bytes
    destination: bytes
    protocol: int
    body: bytes
    """What follows the IP header."""
    whole: bytes

    @property
    def ports(self) -> tuple[int, int]:
        return struct.unpack_from(">HH", self.body)

    @property
    def key(self) -> bytes:
        """Names the flow: addresses and ports. Of TCP and UDP."""
        return self.source + self.destination + self.body[:4]


def parse(data: bytes) -> Packet | None:
    """None for what is no whole IPv4 packet: a fragment, one cut short, another version."""
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    header, (total, fragment) = (data[0] & 15) * 4, struct.unpack_from(">HxxH", data, 2)
    if header < 20 or total > len(data) or fragment & 0x3FFF:
        return None
    body = data[header:total]
    least = {TCP: 20, UDP: 8, ICMP: 8}.get(data[9])
    if least is None or len(body) < least:
        return None
    return Packet(data[12:16], data[16:20], data[9], body, data[:total])


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ip(source: bytes, destination: bytes, protocol: int, body: bytes) -> bytes:
    """With DF set, as every packet of a connection has it: nothing here needs an identity."""
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, _TTL, protocol, 0) + source + destination
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + body


def udp(source: bytes, destination: bytes, ports: bytes, payload: bytes) -> bytes:
    """A datagram; `ports` are the source's and the destination's. Without a checksum, which IPv4 allows."""
    return _ip(source, destination, UDP, ports + struct.pack(">HH", 8 + len(payload), 0) + payload)


def echo_reply(source: bytes, destination: bytes, rest: bytes) -> bytes:
    """`rest` is what follows the checksum: identity, number, payload."""
    return _ip(source, destination, ICMP, _icmp(ECHO_REPLY, 0, rest))


def echo(rest: bytes) -> bytes:
    """An ICMP echo request, without its IP header."""
    return _icmp(ECHO, 0, rest)


def unreachable(packet: Packet, code: int) -> bytes:
    """The answer to a packet that can't reach its destination, in the destination's name."""
    body = _icmp(UNREACHABLE, code, bytes(4) + packet.whole[:_MOST_QUOTED])
    return _ip(packet.destination, packet.source, ICMP, body)


def _icmp(kind: int, code: int, rest: bytes) -> bytes:
    body = struct.pack(">BBH", kind, code, 0) + rest
    return body[:2] + struct.pack(">H", checksum(body)) + body[4:]


def _tcp(source: bytes, destination: bytes, segment: bytes) -> bytes:
    pseudo = source + destination + struct.pack(">HH", TCP, len(segment))
    segment = segment[:16] + b"\0\0" + segment[18:]
    return segment[:16] + struct.pack(">H", checksum(pseudo + segment)) + segment[18:]


def with_checksum(packet: Packet) -> bytes:
    """A TCP packet whose checksum was left to a device that there is not."""
    header = packet.whole[: len(packet.whole) - len(packet.body)]
    return header + _tcp(packet.source, packet.destination, packet.body)


def reset(packet: Packet) -> bytes:
    """The answer of a host that knows no such connection, to a TCP packet."""
    source_port, destination_port, sequence, acknowledged, offset, flags = struct.unpack_from(">HHIIBB", packet.body)
    if flags & ACK:
        numbers = struct.pack(">IIBB", acknowledged, 0, 5 << 4, RST)
    else:
        length = len(packet.body) - (offset >> 4) * 4 + bool(flags & SYN) + bool(flags & FIN)
        numbers = struct.pack(">IIBB", 0, (sequence + length) & 0xFFFFFFFF, 5 << 4, RST | ACK)
    segment = struct.pack(">HH", destination_port, source_port) + numbers + bytes(6)
    return _ip(packet.destination, packet.source, TCP, _tcp(packet.destination, packet.source, segment))


def tcp_flags(packet: Packet) -> int:
    return packet.body[13]
