"""WebSocket (RFC 6455), the server's side of its wire format. Pure: bytes in, pieces of messages out.

A message may be larger than what anybody wants to keep in memory, so its bytes are handed on as they come. Text is not
checked for being UTF-8: clients send a command's input as text, whatever it is.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from homeport.apiserver.authn import TOKEN_PROTOCOL

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL, PROTOCOL_ERROR = 1000, 1002
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST_CONTROL = 125
_MOST_HEAD = 14


class ProtocolError(Exception):
    """The peer broke the protocol; the connection can't go on."""


class Piece(NamedTuple):
    """A part of a message. A control message (close, ping, pong) always comes whole."""

    opcode: int
    """TEXT or BINARY for every part of a message of that kind."""
    data: bytes
    first: bool
    last: bool


class BadHandshake(Exception):
    """The request does not ask for a WebSocket as it should; the text says why."""


def is_request(headers: Mapping[str, str]) -> bool:
    """Whether a request asks for a WebSocket."""
    return headers.get("upgrade", "").lower() == "websocket" and "upgrade" in _tokens(headers.get("connection", ""))


def _tokens(value: str) -> list[str]:
    return [token.strip().lower() for token in value.split(",")]


def offered(headers: Mapping[str, str]) -> list[str]:
    """The sub-protocols that a client offers, in its order; without the one by which browsers send a bearer token."""
    names = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    return [name for name in names if name and not name.startswith(TOKEN_PROTOCOL)]


def choose(headers: Mapping[str, str], supported: Sequence[str]) -> str | None:
    """The first sub-protocol that both sides know. Empty if the client offers none and that is supported; None if
    nothing fits."""
    return next((name for name in offered(headers) or [""] if name in supported), None)


def handshake(method: str, headers: Mapping[str, str], protocol: str) -> dict[str, str]:
    """The headers that answer a request for a WebSocket, with status 101. Raises BadHandshake."""
    if method != "GET":
        raise BadHandshake("a WebSocket is asked for by GET")
    if headers.get("sec-websocket-version") != "13":
        raise BadHandshake("Sec-WebSocket-Version has to be 13")
    key = headers.get("sec-websocket-key", "")
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise BadHandshake("Sec-WebSocket-Key has to be 16 bytes in base64")
    except ValueError:  # base64's own error is one, and so is that for other letters than ASCII's
        raise BadHandshake("Sec-WebSocket-Key has to be 16 bytes in base64") from None
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    answer = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": base64.b64encode(digest).decode(),
    }
    return answer | ({"sec-websocket-protocol": protocol} if protocol else {})


def frame(opcode: int, data: bytes) -> bytes:
    """A whole message as the server sends it: unmasked."""
    size = len(data)
    if size < 126:
        return bytes((0x80 | opcode, size)) + data
    if size < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + data
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + data


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode()[: _MOST_CONTROL - 2])


class Parser:
    """What a client sends, piece by piece. Keeps no more than a frame's head and one control message."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._control = bytearray()
        self._message = CONTINUATION
        """The kind of the data message that goes on; CONTINUATION for none."""
        self._is_first = False
        # The frame whose payload is being read.
        self._opcode = -1
        self._final = False
        self._left = 0
        self._mask = b""

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces that `data` brings. Raises ProtocolError."""
        view = memoryview(data)
        while True:
            if self._opcode < 0:
                view = self._read_head(view)
                if self._opcode < 0:
                    return
            if self._left and not view:
                return
            taken = view[: self._left]
            view = view[len(taken) :]
            self._left -= len(taken)
            plain = _unmask(taken, self._mask)
            turn = len(taken) % 4
            self._mask = self._mask[turn:] + self._mask[:turn]
            piece = self._piece(plain)
            if not self._left:
                self._opcode = -1
            if piece is not None:
                yield piece

    def _piece(self, plain: bytes) -> Piece | None:
        done = not self._left
        if self._opcode >= CLOSE:
            self._control += plain
            if not done:
                return None
            whole = Piece(self._opcode, bytes(self._control), True, True)
            self._control.clear()
            return whole
        last = done and self._final
        piece = Piece(self._message, plain, self._is_first, last)
        if not plain and not last:
            return None
        self._is_first = False
        if last:
            self._message = CONTINUATION
        return piece

    def _read_head(self, view: memoryview) -> memoryview:
        """Take a frame's head, as far as it is there; what is left."""
        room = _MOST_HEAD - len(self._head)
        before = len(self._head)
        self._head += view[:room]
        head = self._head
        if len(head) < 2:
            return view[:0]
        size = head[1] & 0x7F
        extra = {126: 2, 127: 8}.get(size, 0)
        needed = 2 + extra + 4
        self._check(head[0], head[1], size)
        if len(head) < needed:
            return view[:0]
        if extra:
            size = int.from_bytes(head[2 : 2 + extra], "big")
            if size >> 63:
                raise ProtocolError("a frame's length has its first bit set")
        self._opcode, self._final = head[0] & 0x0F, bool(head[0] & 0x80)
        self._left, self._mask = size, bytes(head[2 + extra : needed])
        if self._opcode in (TEXT, BINARY):
            self._message, self._is_first = self._opcode, True
        self._head = bytearray()
        return view[needed - before :]

    def _check(self, first: int, second: int, size: int) -> None:
        opcode = first & 0x0F
        if first & 0x70:
            raise ProtocolError("a frame uses an extension that was not agreed on")
        if not second & 0x80:
            raise ProtocolError("a client's frame is not masked")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise ProtocolError(f"there is no opcode {opcode}")
            if not first & 0x80 or size > _MOST_CONTROL:
                raise ProtocolError("a control frame is fragmented or too long")
        elif opcode > BINARY:
            raise ProtocolError(f"there is no opcode {opcode}")
        elif (opcode == CONTINUATION) == (self._message == CONTINUATION):
            raise ProtocolError("a message is continued that has not begun, or begins within another")


def _unmask(data: memoryview, mask: bytes) -> bytes:
    size = len(data)
    if not size:
        return b""
    # As one big number: a hundred times faster than byte by byte.
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
