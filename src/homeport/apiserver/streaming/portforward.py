"""Connections to a pod's ports through one connection of the client's (upstream: ``cri/streaming/portforward``).

SPDY carries any number of them, each as a pair of streams; a WebSocket of ``v4.channel.k8s.io``, or of no sub-protocol,
one for each port in the query, as a pair of channels.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from homeport.apiserver.streaming import spdy
from homeport.apiserver.streaming.channels import Channels, MessageStream, WebSocket
from homeport.apiserver.streaming.dial import reason
from homeport.apiserver.streaming.pipe import Pipe
from homeport.apiserver.streaming.session import SpdySession, Stream
from homeport.kube.errors import ApiError, BadRequest
from homeport.kube.wire import Duplex

log = logging.getLogger(__name__)
SPDY_PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
WEBSOCKET_PROTOCOLS = (TUNNEL_PROTOCOL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")
_PAIR_SECONDS = 30.0
"""How long a stream may wait for the other one of its pair."""
_MOST_WAITING = 200
"""Streams of one client that may wait for their other halves. What is given up by its client waits, too: nobody is told
of that."""
_MOST_PORTS = 100
_GRACE_SECONDS = 1.0
"""Between the last port's end and the connection's."""
_FINISH_SECONDS = 2.0

Connect = Callable[[int], Awaitable[socket.socket]]
"""A connection to a port of the pod. Raises OSError or ApiError."""


def ports(query: Sequence[tuple[str, str]]) -> list[int]:
    """The ports that a WebSocket client asks for. Raises BadRequest."""
    texts = [text for key, value in query if key == "ports" for text in value.split(",")]
    if not texts:
        raise BadRequest('query parameter "ports" is required')
    found = []
    for text in texts:
        if not text:
            raise BadRequest('query parameter "ports" cannot be empty')
        if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536):
            raise BadRequest(f'unable to parse "{text}" as a port')
        if int(text) < 1:
            raise BadRequest(f'port "{text}" must be > 0')
        found.append(int(text))
    if len(found) > _MOST_PORTS:
        raise BadRequest(f"at most {_MOST_PORTS} ports can be forwarded through one connection")
    return found


class SpdyForwarder:
    """The pairs of streams of one client. `pod` names it in messages."""

    def __init__(self, peer: Duplex, pod: str, connect: Connect) -> None:
        self._session = SpdySession(peer, self._opened)
        self._pod = pod
        self._connect = connect
        self._waiting: dict[str, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the client goes."""
        try:
            await self._session.run()
        except ConnectionError as error:
            log.debug("a client of a port of pod %s has gone: %s", self._pod, error)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _launch(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _opened(self, stream: Stream) -> None:
        kind, port = stream.headers.get("streamtype"), stream.headers.get("port", "")
        if kind not in ("error", "data") or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            self._launch(stream.reset())
            return
        # A client of before Kubernetes 1.2 sends no id: its data stream is the one after its error stream.
        number = stream.headers.get("requestid") or str(stream.number - (2 if kind == "data" else 0))
        other = self._waiting.pop(number, None)
        if other is None and len(self._waiting) >= _MOST_WAITING:
            self._launch(stream.reset(spdy.REFUSED_STREAM))
        elif other is None:
            self._waiting[number] = stream
            self._launch(self._expire(number, stream))
        elif other.headers.get("streamtype") == kind:
            self._launch(stream.reset())
            self._waiting[number] = other
        else:
            error, data = (stream, other) if kind == "error" else (other, stream)
            self._launch(self._forward(int(port), error, data))

    async def _expire(self, number: str, stream: Stream) -> None:
        await asyncio.sleep(_PAIR_SECONDS)
        if self._waiting.get(number) is stream:
            del self._waiting[number]
            await stream.reset()

    async def _forward(self, port: int, error: Stream, data: Stream) -> None:
        error.discard()
        try:
            problem = await forward(self._connect, port, data.read, data.write, data.close)
            if problem:
                await error.write(f"error forwarding port {port} to pod {self._pod}: {problem}".encode())
                await data.reset()
            await error.close()
        except ConnectionError:
            # One of the two was reset, or the client has gone.
            await asyncio.gather(data.reset(), error.reset(), return_exceptions=True)


async def forward(
    connect: Connect,
    port: int,
    read: Callable[[], Awaitable[bytes]],
    write: Callable[[bytes], Awaitable[None]],
    close: Callable[[], Awaitable[None]],
) -> str:
    """Carry one connection, each direction to its own end. What went wrong on the pod's side, empty for nothing. Raises
    ConnectionError if it was the client's."""
    try:
        connected = await connect(port)
    except OSError as error:
        where = f"failed to connect to localhost:{port} inside the pod"
        return f"{where}: dial tcp 127.0.0.1:{port}: connect: {reason(error)}"
    except ApiError as error:
        return error.message
    reader, writer = await asyncio.open_connection(sock=connected)
    problem = ""

    async def up() -> None:
        while data := await read():
            try:
                writer.write(data)
                await writer.drain()
            except OSError:
                return  # the pod's side reads no more; what it has written still goes through
        with suppress(OSError):  # the pod has closed meanwhile: it waits for nothing more
            writer.write_eof()

    async def down() -> None:
        nonlocal problem
        while True:
            try:
                data = await reader.read(65536)
            except OSError as error:
                problem = f"read tcp 127.0.0.1:{port}: {reason(error)}"
                return
            if not data:
                break
            await write(data)
        await close()

    upward, downward = asyncio.create_task(up()), asyncio.create_task(down())
    try:
        # The pod's side decides: once it has ended, what the client still sends reaches nobody.
        await asyncio.wait((upward, downward), return_when=asyncio.FIRST_COMPLETED)
        if upward.done():
            upward.result()
        await downward
        return problem
    finally:
        for task in (upward, downward):
            task.cancel()
        await asyncio.gather(upward, downward, return_exceptions=True)
        writer.transport.abort()


async def forward_websocket(peer: Duplex, wanted: Sequence[int], pod: str, connect: Connect, *, encoded: bool) -> None:
    """Serve a WebSocket with two channels for each port: its data, and what went wrong."""
    websocket = WebSocket(peer)
    channels = Channels(websocket, encoded=encoded)
    pipes = [Pipe() for _ in wanted]

    async def receive() -> None:
        try:
            async for channel, data in channels.messages():
                if channel % 2 == 0 and channel // 2 < len(pipes):
                    await pipes[channel // 2].write(data)
        finally:
            for pipe in pipes:
                pipe.end()

    async def nothing() -> None:
        """A channel has no end of its own."""

    async def one(index: int, port: int) -> None:
        async def write(data: bytes) -> None:
            await channels.send(2 * index, data)

        problem = await forward(connect, port, pipes[index].read, write, nothing)
        pipes[index].discard()
        if problem:
            await channels.send(2 * index + 1, f"error forwarding port {port} to pod {pod}: {problem}".encode())

    receiving = asyncio.create_task(receive())
    forwarding: list[asyncio.Task[None]] = []
    try:
        for index, port in enumerate(wanted):
            for channel in (2 * index, 2 * index + 1):
                await channels.send(channel, struct.pack("<H", port))
        forwarding = [asyncio.create_task(one(index, port)) for index, port in enumerate(wanted)]
        everything = asyncio.gather(*forwarding)
        await asyncio.wait((receiving, everything), return_when=asyncio.FIRST_COMPLETED)
        if everything.done():
            everything.result()
            # Clients stop reading at the close, and one that was given the last data in the same moment would lose it:
            # upstream waits as long for the client's side to end by itself.
            await asyncio.wait((receiving,), timeout=_GRACE_SECONDS)
            await websocket.close()
            await asyncio.wait((receiving,), timeout=_FINISH_SECONDS)
    except ConnectionError as error:
        log.debug("a client of a port of pod %s has gone: %s", pod, error)
    finally:
        for task in (receiving, *forwarding):
            task.cancel()
        await asyncio.gather(receiving, *forwarding, return_exceptions=True)


async def forward_tunnel(peer: Duplex, pod: str, connect: Connect) -> None:
    """Serve a WebSocket whose messages carry SPDY."""
    websocket = WebSocket(peer)
    await SpdyForwarder(MessageStream(websocket), pod, connect).run()
