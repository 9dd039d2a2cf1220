"""What goes out on a connection: whole answers at the end of the event loop's turn, streams piece by piece.

Both with backpressure: who does not read is not written to without end, whatever it asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from homeport.apiserver.transport.bodies import attach
from homeport.apiserver.transport.turn import Turn

_SMALL = 1 << 16
"""Bodies up to this size travel in one write with their head: one TLS record, one system call."""


class _Framed:
    """The last chunk, with its length around it. Many watches are sent the same one after the other."""

    __slots__ = ("chunk", "framed")

    def __init__(self) -> None:
        self.chunk = b""
        self.framed = b""

    def remember(self, chunk: bytes) -> bytes:
        self.chunk = chunk
        self.framed = framed = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        return framed


_last = _Framed()


class Outflow:
    """Writes to one transport. It is the :class:`~homeport.apiserver.transport.bodies.Sink` of streamed bodies."""

    __slots__ = (
        "_bytes",
        "_drained",
        "_lost",
        "_transport",
        "_turn",
        "_waiting",
        "closing",
        "paused",
        "streaming",
    )

    def __init__(self, transport: asyncio.Transport, turn: Turn) -> None:
        self._transport = transport
        self._turn = turn
        self._waiting: list[bytes] = []
        """Whole answers that are written at the end of the turn."""
        self._bytes = 0
        self._drained: asyncio.Future[None] | None = None
        self._lost = False
        self.paused = False
        """Whether more was written than the peer has read for now."""
        self.streaming = False
        """Whether what is written has no known end."""
        self.closing = False
        """Whether the server stops: streams that it cuts off count as complete, clients resume a watch elsewhere."""

    def put(self, head: list[bytes], body: bytes) -> None:
        """Write an answer at the end of the turn; large ones now, so that the transport can say when it is too much.
        `head` is no longer the caller's."""
        if not self._waiting:
            self._turn.write(self)
        if len(body) <= _SMALL:
            head.append(body)
            self._waiting.append(b"".join(head))
        else:
            self._waiting += (b"".join(head), body)
        self._bytes += len(body)
        if self._bytes > _SMALL:
            self.flush()

    def flush(self) -> None:
        """Write what there is now."""
        if not self._waiting or self._lost:
            return
        waiting, self._waiting = self._waiting, []
        size, self._bytes = self._bytes, 0
        if size <= _SMALL:
            self._transport.write(waiting[0] if len(waiting) == 1 else b"".join(waiting))
        else:
            self._transport.writelines(waiting)

    def send(self, data: bytes) -> None:
        """Write `data` now, behind what there is."""
        self.flush()
        self._transport.write(data)

    async def stream(self, head: list[bytes], body: AsyncIterator[bytes], *, chunked: bool, bodiless: bool) -> None:
        """Write an answer piece by piece; `bodiless` ones have none, whatever `body` would give. It is closed in the
        end."""
        send = self._transport.write
        ended = False
        self.streaming = True
        try:
            self.send(b"".join(head))
            if bodiless:
                return
            if chunked:
                attach(body, self)
            async for chunk in body:
                if not chunk:
                    continue
                if chunked:
                    self.write(chunk)
                else:
                    send(chunk)
                if self.paused:
                    await self.drain()
            ended = True
        except asyncio.CancelledError:
            ended = self.closing
            raise
        finally:
            self.streaming = False
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
            if ended and chunked and not self._lost:
                send(b"0\r\n\r\n")

    # As a Sink.

    def ready(self) -> bool:
        return not (self.paused or self._lost)

    def write(self, chunk: bytes) -> None:
        if chunk is _last.chunk:
            self._transport.write(_last.framed)
        elif len(chunk) <= _SMALL:
            self._transport.write(_last.remember(chunk))
        else:
            self._transport.write(b"%x\r\n" % len(chunk))
            self._transport.write(chunk)
            self._transport.write(b"\r\n")

    # What the transport says.

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def lose(self) -> None:
        """The connection has gone."""
        self._lost = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionResetError("the client has gone"))
            self._drained.exception()  # seen: whoever waits gets it, nobody else has to

    async def drain(self) -> None:
        """Return once the peer has read enough of what was written. Raises ConnectionResetError if it has gone."""
        if self._lost:
            raise ConnectionResetError("the client has gone")
        if self.paused:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)  # several may wait, and each may be cancelled
