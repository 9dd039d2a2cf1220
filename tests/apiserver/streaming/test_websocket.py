"""WebSocket's wire format: what arrives in any pieces is understood or refused, and nothing else happens."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.apiserver.streaming import websocket
from homeport.apiserver.streaming.websocket import BINARY, CLOSE, CONTINUATION, PING, TEXT, Parser, ProtocolError


def client_frame(opcode: int, data: bytes = b"", *, final: bool = True, mask: bytes = b"\x01\x02\x03\x04") -> bytes:
    size = len(data)
    head = bytes(((0x80 if final else 0) | opcode,))
    if size < 126:
        head += bytes((0x80 | size,))
    elif size < 1 << 16:
        head += struct.pack("!BH", 0x80 | 126, size)
    else:
        head += struct.pack("!BQ", 0x80 | 127, size)
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


def messages(parser: Parser, *chunks: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    whole = b""
    for chunk in chunks:
        for piece in parser.feed(chunk):
            if piece.opcode >= CLOSE:
                found.append((piece.opcode, piece.data))
                continue
            whole = piece.data if piece.first else whole + piece.data
            if piece.last:
                found.append((piece.opcode, whole))
    return found


@given(
    st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), st.lists(st.binary(max_size=300), min_size=1, max_size=3))),
    st.lists(st.integers(1, 50), min_size=1, max_size=20),
    st.booleans(),
)
def test_messages_arrive_however_they_are_cut(
    sent: list[tuple[int, list[bytes]]], cuts: list[int], pinged: bool
) -> None:
    data, expected = b"", []
    for opcode, parts in sent:
        for index, part in enumerate(parts):
            kind = opcode if index == 0 else CONTINUATION
            data += client_frame(kind, part, final=index == len(parts) - 1, mask=os.urandom(4))
            if pinged and index == 0 and len(parts) > 1:
                data += client_frame(PING, b"?")
                expected.append((PING, b"?"))
        expected.append((opcode, b"".join(parts)))
    chunks, turn = [], 0
    while data:
        size = cuts[turn % len(cuts)]
        chunks.append(data[:size])
        data = data[size:]
        turn += 1
    assert messages(Parser(), *chunks) == expected


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_any_bytes_are_understood_or_refused(chunks: list[bytes]) -> None:
    parser = Parser()
    try:
        for chunk in chunks:
            for piece in parser.feed(chunk):
                assert len(piece.data) <= len(chunk) + 125
    except ProtocolError:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x01x",  # not masked
        b"\xc2\x81\x00\x00\x00\x00x",  # a reserved bit
        b"\x83\x80\x00\x00\x00\x00",  # no such opcode
        b"\x8b\x80\x00\x00\x00\x00",
        b"\x09\x80\x00\x00\x00\x00",  # a fragmented ping
        b"\x89\xfe\x00\x7e\x00\x00\x00\x00",  # a long one
        b"\x80\x80\x00\x00\x00\x00",  # a continuation of nothing
        b"\x02\x80\x00\x00\x00\x00\x82\x80\x00\x00\x00\x00",  # a message within another
        b"\x82\xff\x80" + bytes(11),  # a length of 2^63 and more
    ],
)
def test_what_breaks_the_protocol(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(Parser().feed(data))


def test_a_large_message_comes_in_pieces() -> None:
    parser = Parser()
    data = client_frame(BINARY, bytes(1 << 20))
    pieces = [piece for at in range(0, len(data), 4096) for piece in parser.feed(data[at : at + 4096])]
    assert max(len(piece.data) for piece in pieces) <= 4096
    assert sum(len(piece.data) for piece in pieces) == 1 << 20
    assert [piece.first for piece in pieces].count(True) == 1
    assert pieces[-1].last


def test_frames_of_the_server() -> None:
    assert websocket.frame(BINARY, b"abc") == b"\x82\x03abc"
    assert websocket.frame(BINARY, bytes(300))[:4] == b"\x82\x7e\x01\x2c"
    assert websocket.frame(BINARY, bytes(70000))[:10] == b"\x82\x7f" + (70000).to_bytes(8, "big")
    assert websocket.close_frame(1000) == b"\x88\x02\x03\xe8"


HEADERS = {
    "upgrade": "websocket",
    "connection": "keep-alive, Upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


def test_the_handshake() -> None:
    assert websocket.is_request(HEADERS)
    answer = websocket.handshake("GET", HEADERS, "v4.channel.k8s.io")
    # The example of RFC 6455, section 1.3.
    assert answer["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer["sec-websocket-protocol"] == "v4.channel.k8s.io"
    assert "sec-websocket-protocol" not in websocket.handshake("GET", HEADERS, "")
    for bad in (
        {"sec-websocket-version": "8"},
        {"sec-websocket-key": "x"},
        {"sec-websocket-key": "eA=="},
        {"sec-websocket-key": "é"},
    ):
        with pytest.raises(websocket.BadHandshake):
            websocket.handshake("GET", HEADERS | bad, "")
    with pytest.raises(websocket.BadHandshake):
        websocket.handshake("POST", HEADERS, "")


def test_the_choice_of_a_sub_protocol() -> None:
    offer = {"sec-websocket-protocol": "v5.x, v4.x , base64url.bearer.authorization.k8s.io.c2VjcmV0"}
    assert websocket.offered(offer) == ["v5.x", "v4.x"]
    assert websocket.choose(offer, ("v4.x", "v3.x")) == "v4.x"
    assert websocket.choose(offer, ("",)) is None
    assert websocket.choose({}, ("v4.x", "")) == ""
    assert websocket.choose({}, ("v4.x",)) is None
