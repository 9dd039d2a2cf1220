"""SPDY's streams on a connection: the server's side of a session.

The peer opens streams, this side answers them. What a stream's reader has not taken yet is bounded: the session stops
reading from the connection while one stream is full, as other implementations do too.

Flow control by windows is used with peers that show that they know it (by SETTINGS or a WINDOW_UPDATE); the Kubernetes
clients' implementation does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from homeport.apiserver.streaming import spdy
from homeport.apiserver.streaming.pipe import ROOM, Pipe
from homeport.kube.wire import Duplex

_MOST_STREAMS = 2000
_LEAST_ROOM, _ALL_ROOM = 4 << 10, 2 << 20
"""Bytes of one stream that may wait for its reader: it shares what there is for a session with the others, so that a
peer with thousands of streams does not get thousands of times as much."""
_CHUNK = 32 << 10
_CREDIT = spdy.INITIAL_WINDOW // 2
"""Bytes read of a stream after which the peer's window is opened again."""


class Stream:
    """One stream. Closed in each direction by itself."""

    def __init__(self, session: SpdySession, number: int, headers: Mapping[str, str]) -> None:
        self.number = number
        self.headers = headers
        self._session = session
        self._incoming = Pipe(session.room)
        self._remote_closed = False
        self._local_closed = False
        self._window = session.initial_window
        self._opened = asyncio.Event()
        self._unacknowledged = 0

    async def read(self, limit: int = 65536) -> bytes:
        """Empty once the peer has closed its side. Raises ConnectionError after a reset."""
        data = await self._incoming.read(limit)
        self._unacknowledged += len(data)
        if self._session.has_windows and self._unacknowledged >= _CREDIT and not self._remote_closed:
            size, self._unacknowledged = self._unacknowledged, 0
            await self._session.send(spdy.window_update(self.number, size))
        return data

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError once the stream or the connection is closed."""
        view = memoryview(data)
        while view:
            if self._local_closed:
                raise ConnectionResetError("the stream is closed")
            if self._session.has_windows and self._window <= 0:
                self._opened.clear()
                await self._opened.wait()
                continue
            size = min(len(view), _CHUNK)
            if self._session.has_windows:
                size = min(size, self._window)
            self._window -= size
            part, view = view[:size], view[size:]
            await self._session.send(spdy.data_frame(self.number, bytes(part)))

    async def close(self) -> None:
        """Write no more. No error if that has been so."""
        if not self._local_closed:
            self._local_closed = True
            await self._session.send(spdy.data_frame(self.number, b"", fin=True))
            self._forget_if_done()

    async def reset(self, status: int = spdy.CANCEL) -> None:
        """Give up both directions."""
        if not (self._local_closed and self._remote_closed):
            self.lose(ConnectionResetError("the stream was reset"))
            self._session.forget(self.number)
            await self._session.send(spdy.rst_stream(self.number, status))

    def discard(self) -> None:
        """What the peer sends is of no interest."""
        self._incoming.discard()

    # What the session tells.

    async def receive(self, data: bytes, fin: bool) -> None:
        if data:
            await self._incoming.write(data)
        if fin:
            self.close_remote()

    def close_remote(self) -> None:
        self._remote_closed = True
        self._incoming.end()
        self._forget_if_done()

    @property
    def is_remote_closed(self) -> bool:
        return self._remote_closed

    def open_window(self, size: int) -> None:
        self._window += size
        self._opened.set()

    def lose(self, error: ConnectionError | None) -> None:
        """The stream or its connection has gone."""
        self._local_closed = self._remote_closed = True
        self._incoming.end(error)
        self._opened.set()

    def _forget_if_done(self) -> None:
        if self._local_closed and self._remote_closed:
            self._session.forget(self.number)


class SpdySession:
    """`opened` is called with each stream that the peer opens, once it has been answered."""

    def __init__(self, peer: Duplex, opened: Callable[[Stream], None]) -> None:
        self.initial_window = spdy.INITIAL_WINDOW
        self.has_windows = False
        self._peer = peer
        self._opened = opened
        self._parser = spdy.Parser()
        self._headers = spdy.HeaderWriter()
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._is_leaving = False
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Serve the connection until the peer ends it. Raises ConnectionError if it broke, or broke the protocol."""
        try:
            while data := await self._peer.read():
                for frame in self._parser.feed(data):
                    if isinstance(frame, spdy.Data):
                        await self._data(frame)
                    else:
                        await self._control(frame)
        except spdy.ProtocolError as error:
            await self.send(spdy.goaway(self._last, spdy.PROTOCOL_ERROR))
            raise ConnectionAbortedError(f"SPDY: {error}") from error
        finally:
            lost = ConnectionResetError("the connection is closed")
            for stream in list(self._streams.values()):
                # What has arrived whole can still be read.
                stream.lose(None if stream.is_remote_closed else lost)
            self._streams.clear()

    @property
    def room(self) -> int:
        """Bytes of a stream that is opened now."""
        return max(_LEAST_ROOM, min(ROOM, _ALL_ROOM // (len(self._streams) + 1)))

    async def leave(self) -> None:
        """Take no more streams."""
        if not self._is_leaving:
            self._is_leaving = True
            await self.send(spdy.goaway(self._last))

    async def send(self, frame: bytes) -> None:
        # Compressed headers make sense in one order only, and frames must not mix.
        async with self._sending:
            await self._peer.write(frame)

    def forget(self, number: int) -> None:
        self._streams.pop(number, None)

    async def _data(self, frame: spdy.Data) -> None:
        stream = self._streams.get(frame.stream)
        if stream is not None and not stream.is_remote_closed:
            await stream.receive(frame.data, frame.fin)
        elif frame.stream > self._last:
            await self.send(spdy.rst_stream(frame.stream, spdy.INVALID_STREAM))
        # Else it is one that was closed a moment ago: what was under way is dropped.

    async def _control(self, frame: spdy.Control) -> None:
        stream = self._streams.get(frame.stream)
        if frame.kind == spdy.SYN_STREAM:
            await self._open(frame)
        elif frame.kind == spdy.PING:
            if frame.stream % 2:
                await self.send(spdy.ping(frame.stream))
        elif frame.kind == spdy.SETTINGS:
            self.has_windows = True
            if frame.value:
                for known in self._streams.values():
                    known.open_window(frame.value - self.initial_window)
                self.initial_window = frame.value
        elif frame.kind == spdy.WINDOW_UPDATE:
            self.has_windows = True
            if stream is not None:
                stream.open_window(frame.value & 0x7FFFFFFF)
        elif frame.kind == spdy.GOAWAY:
            self._is_leaving = True
        elif stream is not None and frame.kind == spdy.RST_STREAM:
            self.forget(frame.stream)
            stream.lose(ConnectionResetError("the stream was reset"))
        elif stream is not None and frame.kind in (spdy.HEADERS, spdy.SYN_REPLY) and frame.fin:
            stream.close_remote()

    async def _open(self, frame: spdy.Control) -> None:
        if frame.stream % 2 == 0 or frame.stream <= self._last:
            raise spdy.ProtocolError(f"{frame.stream} is no number for a new stream")
        self._last = frame.stream
        if self._is_leaving or len(self._streams) >= _MOST_STREAMS:
            await self.send(spdy.rst_stream(frame.stream, spdy.REFUSED_STREAM))
            return
        stream = Stream(self, frame.stream, frame.headers)
        self._streams[frame.stream] = stream
        async with self._sending:
            await self._peer.write(self._headers.syn_reply(frame.stream, {}))
        if frame.fin:
            stream.close_remote()
        self._opened(stream)
