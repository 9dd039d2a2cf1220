from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from homeport.node.sandbox import packets

POD, HOST = bytes([10, 42, 0, 5]), bytes([192, 0, 2, 9])


def ip(protocol: int, body: bytes, *, fragment: int = 0, options: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, words * 4 + len(body), 1, fragment, 64, protocol, 0)
    return head + POD + HOST + options + body


def segment(flags: int, *, sequence: int = 1000, acknowledged: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">HHIIBBHHH", 4000, 443, sequence, acknowledged, 5 << 4, flags, 100, 0, 0) + payload


def is_right(source: bytes, destination: bytes, protocol: int, body: bytes) -> bool:
    """Whether the checksum over the pseudo header comes out as it must."""
    return packets.checksum(source + destination + struct.pack(">HH", protocol, len(body)) + body) == 0


def parsed(data: bytes) -> packets.Packet:
    packet = packets.parse(data)
    assert packet is not None
    return packet


def test_parse() -> None:
    packet = parsed(ip(packets.UDP, struct.pack(">4H", 4000, 53, 9, 0) + b"x") + b"padding")
    assert (packet.source, packet.destination, packet.ports, packet.body[8:]) == (POD, HOST, (4000, 53), b"x")
    assert parsed(ip(packets.TCP, segment(2), options=bytes(8))).ports == (4000, 443)
    body = segment(packets.SYN)
    for bad in (
        b"",
        ip(packets.TCP, body)[:39],
        ip(packets.TCP, body, fragment=0x2000),
        ip(packets.TCP, body, fragment=5),
        ip(packets.TCP, body[:19]),
        ip(132, body),
        b"\x60" + ip(packets.TCP, body)[1:],
    ):
        assert packets.parse(bad) is None
    assert packets.parse(ip(packets.TCP, body, fragment=0x4000)) is not None


def test_datagram() -> None:
    packet = parsed(packets.udp(HOST, POD, struct.pack(">HH", 53, 4000), b"answer"))
    assert packets.checksum(packet.whole[:20]) == 0
    assert (packet.source, packet.ports, packet.body[8:]) == (HOST, (53, 4000), b"answer")


def test_reset_of_a_first_packet() -> None:
    asked = parsed(ip(packets.TCP, segment(packets.SYN)))
    answer = parsed(packets.reset(asked))
    assert is_right(HOST, POD, packets.TCP, answer.body)
    _, _, sequence, acknowledged, _, flags = struct.unpack_from(">HHIIBB", answer.body)
    assert (answer.ports, sequence, acknowledged, flags) == ((443, 4000), 0, 1001, packets.RST | packets.ACK)


def test_reset_of_a_later_packet() -> None:
    asked = parsed(ip(packets.TCP, segment(packets.ACK, acknowledged=77, payload=b"data")))
    _, _, sequence, _, _, flags = struct.unpack_from(">HHIIBB", parsed(packets.reset(asked)).body)
    assert (sequence, flags) == (77, packets.RST)


def test_checksum_that_was_left_out() -> None:
    packet = parsed(ip(packets.TCP, segment(packets.SYN)))
    assert is_right(POD, HOST, packets.TCP, parsed(packets.with_checksum(packet)).body)


def test_unreachable_quotes_what_it_answers() -> None:
    asked = parsed(ip(packets.UDP, struct.pack(">4H", 4000, 53, 1008, 0) + bytes(1000)))
    answer = parsed(packets.unreachable(asked, packets.PORT_UNREACHABLE))
    assert (answer.source, answer.destination, answer.protocol) == (HOST, POD, packets.ICMP)
    assert packets.checksum(answer.body) == 0
    assert answer.body[:2] == bytes([packets.UNREACHABLE, packets.PORT_UNREACHABLE])
    assert asked.whole.startswith(answer.body[8:])
    assert len(answer.whole) <= 576


def test_echo() -> None:
    assert packets.checksum(packets.echo(b"\0\1\0\2abc")) == 0
    answer = parsed(packets.echo_reply(HOST, POD, b"\0\1\0\2abc"))
    assert (answer.body[0], answer.body[4:]) == (packets.ECHO_REPLY, b"\0\1\0\2abc")


@given(st.binary(max_size=80))
def test_no_bytes_do_harm(data: bytes) -> None:
    for candidate in (data, b"\x45" + data, ip(packets.TCP, data), ip(packets.UDP, data)):
        packet = packets.parse(candidate)
        if packet is not None and packet.protocol == packets.TCP:
            packets.reset(packet)
            packets.with_checksum(packet)
        elif packet is not None:
            packets.unreachable(packet, 0)
