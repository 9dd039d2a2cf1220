"""One HTTP/2 request on one connection (RFC 9113): what health checks need of a client, and no more.

Flow control needs no thought: what is read of an answer is far below the window that every client has at first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from homeport.node.handlers import hpack
from homeport.node.handlers.http1 import Malformed

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _CONTINUATION = 0, 1, 3, 4, 6, 7, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 0x20
_STREAM = 1
_LONGEST_FRAME = 16384
_LONGEST_BLOCK = 1 << 16
_MOST_BODY = 32 << 10
"""Bytes of an answer: half of what a server may send without being told that there is room for more."""

_SETTINGS_SENT = b"".join(
    number.to_bytes(2, "big") + value.to_bytes(4, "big")
    for number, value in (
        (1, 0),  # HEADER_TABLE_SIZE: no dynamic table
        (2, 0),  # ENABLE_PUSH
    )
)


class Answer(NamedTuple):
    headers: dict[str, str]
    body: bytes
    trailers: dict[str, str]
    """Also those of an answer that has no body: then they are its headers."""


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


async def exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    headers: Sequence[tuple[str, str]],
    body: bytes | None = None,
) -> Answer:
    """Send a request and read the whole answer. Raises Malformed or OSError."""
    try:
        return await _exchange(reader, writer, headers, body)
    except asyncio.IncompleteReadError:
        raise Malformed("the server closed the connection before it had answered") from None
    except hpack.HeaderError as error:
        raise Malformed(str(error)) from None


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    headers: Sequence[tuple[str, str]],
    body: bytes | None,
) -> Answer:
    flags = _END_HEADERS | (_END_STREAM if body is None else 0)
    writer.write(
        _PREFACE + _frame(_SETTINGS, 0, 0, _SETTINGS_SENT) + _frame(_HEADERS, flags, _STREAM, hpack.encode(headers))
    )
    if body is not None:
        writer.write(_frame(_DATA, _END_STREAM, _STREAM, body))
    await writer.drain()
    blocks: list[dict[str, str]] = []
    data, block, ends = bytearray(), bytearray(), False
    while True:
        kind, flags, stream, payload = await _read(reader)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY and int.from_bytes(payload[:4], "big") < _STREAM:
            raise Malformed("the server takes no requests")
        if stream != _STREAM:
            continue
        if kind == _RST:
            raise Malformed(f"the server reset the stream, error {int.from_bytes(payload[:4], 'big')}")
        if kind == _DATA:
            data += _unpadded(flags, payload)
            ends = bool(flags & _END_STREAM)
            if len(data) > _MOST_BODY:
                raise Malformed(f"the answer is longer than {_MOST_BODY} bytes")
        elif kind in (_HEADERS, _CONTINUATION):
            if kind == _HEADERS:
                ends = bool(flags & _END_STREAM)
                payload = _unpadded(flags, payload)[5 if flags & _PRIORITY else 0 :]
            block += payload
            if len(block) > _LONGEST_BLOCK:
                raise Malformed("the answer's headers are too long")
            if not flags & _END_HEADERS:
                continue
            blocks.append(dict(hpack.decode(bytes(block))))
            block.clear()
        if ends:
            first = next((found for found in blocks if not found.get(":status", "").startswith("1")), {})
            return Answer(first, bytes(data), blocks[-1] if blocks else {})


async def _read(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3], "big")
    if length > _LONGEST_FRAME:
        # Or it is no HTTP/2 at all: "HTTP/1.1 400 Bad Request" has this look.
        raise Malformed("the server does not speak HTTP/2")
    stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
    return head[3], head[4], stream, await reader.readexactly(length)


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Malformed("a frame's padding is longer than the frame")
    return payload[1 : len(payload) - payload[0]]
