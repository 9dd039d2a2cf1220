"""A WebSocket as Kubernetes uses it: each message begins with the number of its channel (upstream: ``wsstream``).

``v4.base64.channel.k8s.io`` and the older ``base64.channel.k8s.io`` are the same in characters that every terminal in a
browser can send: a digit for the channel and base64 for the rest.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import struct
from collections.abc import AsyncIterator

from homeport.apiserver.streaming import websocket
from homeport.kube.wire import Duplex

CLOSE_CHANNEL = 255
"""Of v5: the message's second byte is the channel that the client closes."""
_CHUNK = 32 << 10


class WebSocket:
    """Messages on a connection that has become a WebSocket."""

    def __init__(self, peer: Duplex) -> None:
        self._peer = peer
        self._parser = websocket.Parser()
        self._sending = asyncio.Lock()
        self._closed = False
        """Whether this side has said that it closes."""

    async def pieces(self) -> AsyncIterator[websocket.Piece]:
        """What comes, in pieces of messages, until the peer closes. Pings are answered. Raises ConnectionError if the
        connection broke, or broke the protocol."""
        while data := await self._peer.read():
            try:
                for piece in self._parser.feed(data):
                    if piece.opcode == websocket.PING:
                        await self._send(websocket.PONG, piece.data)
                    elif piece.opcode == websocket.CLOSE:
                        await self.close(_code(piece.data))
                        return
                    elif piece.opcode != websocket.PONG:
                        yield piece
            except websocket.ProtocolError as error:
                await self.close(websocket.PROTOCOL_ERROR, str(error))
                raise ConnectionAbortedError(f"WebSocket: {error}") from error

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """One message. Raises ConnectionError."""
        await self._send(websocket.TEXT if text else websocket.BINARY, data)

    async def _send(self, opcode: int, data: bytes) -> None:
        async with self._sending:
            if self._closed:
                raise ConnectionResetError("the WebSocket is closed")
            await self._peer.write(websocket.frame(opcode, data))

    async def close(self, code: int = websocket.NORMAL, reason: str = "") -> None:
        """Say that this side closes. No error if that has been said."""
        async with self._sending:
            if not self._closed:
                self._closed = True
                await self._peer.write(websocket.close_frame(code, reason))


def _code(data: bytes) -> int:
    """What to answer to a close."""
    code = struct.unpack_from("!H", data)[0] if len(data) >= 2 else websocket.NORMAL
    return code if 1000 <= code < 5000 and code not in (1004, 1005, 1006, 1015) else websocket.PROTOCOL_ERROR


class Channels:
    """Channels on a WebSocket."""

    def __init__(self, socket: WebSocket, *, encoded: bool) -> None:
        self._socket = socket
        self._encoded = encoded

    async def send(self, channel: int, data: bytes) -> None:
        """Raises ConnectionError."""
        for begin in range(0, len(data) or 1, _CHUNK):
            part = data[begin : begin + _CHUNK]
            if self._encoded:
                await self._socket.send(b"%d" % channel + base64.b64encode(part), text=True)
            else:
                await self._socket.send(bytes((channel,)) + part)

    async def messages(self) -> AsyncIterator[tuple[int, bytes]]:
        """What comes, by channel, in pieces whose borders mean nothing; empty messages are left out. Raises
        ConnectionError."""
        channel, rest = -1, b""
        async for piece in self._socket.pieces():
            data = piece.data
            if piece.first:
                channel, rest = -1, b""
            if channel < 0:
                if not data:
                    continue
                channel = (data[0] - ord("0")) & 0xFF if self._encoded else data[0]
                data = data[1:]
            if self._encoded:
                data = rest + data
                size = len(data) if piece.last else len(data) // 4 * 4
                data, rest = data[:size], data[size:]
                try:
                    data = base64.b64decode(data, validate=True)
                except binascii.Error:
                    continue  # as upstream: what can't be read is dropped
            if data:
                yield channel, data


class MessageStream:
    """A WebSocket's binary messages as one byte stream (:class:`~homeport.kube.wire.Duplex`), as in
    ``SPDY/3.1+portforward.k8s.io``."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._pieces = socket.pieces()

    async def read(self, limit: int = 65536) -> bytes:
        async for piece in self._pieces:
            if piece.data:
                return piece.data
        return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send(data)

    def write_eof(self) -> None:
        """A WebSocket closes in both directions at once."""
