"""HTTP/1.1 on the event loop: bytes to :class:`~homeport.kube.wire.Request`, and answers back to bytes.

One asyncio protocol on top of the ``httptools`` parser. What the peer can do wrong ends in an answer with a ``Status``,
then the connection closes:

================================================  ======
not HTTP, bad escapes, no Host, unknown version   400
request line and headers too large                431
body too large                                    413
headers or body that do not arrive in time        408
HTTP/1.0 and HTTP/0.9                             505
================================================  ======

Requests of one connection are answered in order; pipelined ones wait in a bounded queue. A streamed answer is written
with backpressure, and its iterator is closed as soon as the peer goes away.

A request that asks for an upgrade is the connection's last one as HTTP. What follows it goes to the protocol that the
answer switches to (:attr:`~homeport.kube.wire.Response.upgrade`), or nowhere: it is never parsed as a request, so that
nothing can be smuggled behind an upgrade.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import httptools

from homeport.apiserver.answers import status_line, status_response
from homeport.apiserver.bodies import attach
from homeport.apiserver.duplex import Tunnel
from homeport.apiserver.identity import impersonation
from homeport.apiserver.target import BadTarget, parse_target
from homeport.kube.wire import Request, Response, Upgrade

if TYPE_CHECKING:
    from homeport.apiserver.http import HttpServer

log = logging.getLogger(__name__)

_header_names: dict[bytes, str] = {}
_MAX_HEADER_NAMES = 256
"""Clients send the same few header names with every request: each is decoded once."""
_MOST_FRAMING = 16
"""Bytes around each byte of a chunked body: the smallest chunk of one has five, and nobody sends such."""
_SMALL = 1 << 16
"""Bodies up to this size travel in one write with their head: one TLS record, one system call."""


_REMEMBERED = 64
"""The length of headers' values that are remembered as they go on the wire: most answers have the same few."""


def _header(name: str, value: str) -> bytes:
    """One header and its line end."""
    if "\r" in value or "\n" in value:
        value = value.replace("\r", " ").replace("\n", " ")
    return f"{name}: {value}\r\n".encode("utf-8", "replace")


_remembered = lru_cache(maxsize=1024)(_header)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may use. Sizes in bytes, times in seconds."""

    header_bytes: int = 1 << 16
    body_bytes: int = 3 << 20
    """As kube-apiserver: 3 MiB."""
    header_seconds: float = 10.0
    """From the first byte of a request to the end of its headers."""
    body_seconds: float = 30.0
    """Between two pieces of a body."""
    idle_seconds: float = 300.0
    """Between two requests; 0 keeps idle connections for ever."""
    handshake_seconds: float = 10.0
    queued: int = 16
    """Pipelined requests that wait before reading from the socket pauses."""
    linger_seconds: float = 1.0
    """How long the rest of a refused request is read and dropped, so that the peer gets to see the refusal."""
    tunnel_idle_seconds: float = 4 * 3600.0
    """Of a connection that has switched protocols: without a byte in either direction. As the kubelet's
    ``streamingConnectionIdleTimeout``."""


@dataclass(slots=True)
class _Message:
    """A parsed request, or the refusal of one, in its turn."""

    request: Request | None
    refusal: Response | None = None
    keep_alive: bool = True
    tunnel: Tunnel | None = None
    """Where what follows the request goes, if it may switch protocols."""


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self._parser: Any = httptools.HttpRequestParser(self)
        self._certificate: bytes | None = None
        self._source = ""
        # The message being read.
        self._in_message = False
        self._in_body = False
        self._head_size = 0
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_size = 0
        self._received = 0
        """Since the headers ended: the body, what chunks it, and trailers."""
        # Messages waiting for their answers.
        self._queue: deque[_Message] = deque()
        self._queued_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._continue_due = False
        # What the transport and the clock say.
        self._paused_reading = False
        self._drained: asyncio.Future[None] | None = None
        self._writing_paused = False
        self._refused = False
        self._closing = False
        self._streaming = False
        self._lost = False
        self._tunnel: Tunnel | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # -- transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        secured = transport.get_extra_info("ssl_object")
        if secured is not None:
            self._certificate = secured.getpeercert(True)
        peer = transport.get_extra_info("peername")
        # A unix socket's peer has no address.
        self._source = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        self._server.connections.add(self)
        # A peer that connects and says nothing counts as one that is slow with its headers.
        self._arm(self._limits.header_seconds)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._server.forget(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionResetError("the client has gone"))
            self._drained.exception()  # seen: whoever waits gets it, nobody else has to
        if self._tunnel is not None:
            self._tunnel.lose()
        if self._task is not None:
            self._task.cancel()
        self._queue.clear()
        self._parser = None

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.feed(data)
            return
        if self._parser is None or self._refused:
            return  # the rest of a refused request
        if not self._in_message:
            self._deadline = self._loop.time() + self._limits.header_seconds
        elif self._in_body:
            self._deadline = self._loop.time() + self._limits.body_seconds
            self._received += len(data)
        self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._expect_upgrade(data[upgrade.args[0] :])
        except (httptools.HttpParserError, UnicodeDecodeError) as error:
            if not self._refused:
                self._refuse(400, f"the request is not valid HTTP/1.1: {error}")
        else:
            if self._in_body or not self._in_message:
                self._head_size = 0
                framing = self._received - self._body_size
                if framing > self._limits.header_bytes + _MOST_FRAMING * self._body_size and self._in_message:
                    limit = self._limits.header_bytes
                    self._refuse(431, f"the body's chunk extensions and trailers are larger than {limit} bytes")
            elif self._head_size > self._limits.header_bytes and not self._refused:
                self._refuse(431, f"the request line and headers are larger than {self._limits.header_bytes} bytes")

    def eof_received(self) -> bool | None:
        if self._tunnel is None:
            return None  # closes the transport once what is buffered is written
        self._tunnel.feed_eof()
        # TLS has no half-closed connections.
        return self._transport.get_extra_info("ssl_object") is None

    def _expect_upgrade(self, rest: bytes) -> None:
        """The request that was queued last asks for an upgrade; `rest` is what has arrived behind it."""
        if self._refused or not self._queue:
            return
        message = self._queue[-1]
        message.keep_alive = False
        message.tunnel = self._tunnel = Tunnel(self._transport, self.drain)
        self._tunnel.feed(rest)

    # -- parser callbacks

    def on_message_begin(self) -> None:
        self._in_message = True
        self._in_body = False
        self._url = b""
        self._headers = {}
        self._body = []
        self._body_size = 0
        self._received = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # trailers carry nothing for us
        key = _header_names.get(name)
        if key is None:
            key = name.decode("ascii").lower()
            if len(_header_names) < _MAX_HEADER_NAMES:
                _header_names[name] = key
        text = value.decode("latin-1")
        headers = self._headers
        if key in headers:
            if key in ("host", "authorization", "content-length"):
                raise httptools.HttpParserError(f"two {key} headers")
            # Those about users are lists whose items may have commas: see identity.impersonation.
            joint = impersonation.SEPARATOR if key.startswith(("impersonate-", "x-remote-")) else ", "
            text = f"{headers[key]}{joint}{text}"
        headers[key] = text

    def on_headers_complete(self) -> None:
        self._in_body = True
        if self._refused:
            return
        headers = self._headers
        if self._head_size > self._limits.header_bytes and self._size_of_head() > self._limits.header_bytes:
            self._refuse(431, f"the request line and headers are larger than {self._limits.header_bytes} bytes")
        elif self._parser.get_http_version() != "1.1":
            self._refuse(505, "this server speaks HTTP/1.1 only")
        elif "host" not in headers:
            self._refuse(400, "the request has no Host header")
        elif int(headers.get("content-length") or 0) > self._limits.body_bytes:
            self._refuse_body()
        elif self._parser.should_upgrade() and (
            headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        ):
            # No protocol that is spoken here begins with a body, and the parser would take one for what follows it.
            self._refuse(400, "a request that asks for an upgrade can't have a body")
        elif headers.get("expect", "").lower() == "100-continue":
            if self._task is None:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            else:
                self._continue_due = True

    def _size_of_head(self) -> int:
        """Counted one by one: what was read so far may have (part of) a body behind the headers."""
        return sum(len(name) + len(value) for name, value in self._headers.items()) + len(self._url)

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._body_size += len(body)
        if self._body_size > self._limits.body_bytes:
            self._refuse_body()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._in_message = self._in_body = False
        self._head_size = 0
        if self._refused:
            return
        self._continue_due = False
        try:
            path, query = parse_target(self._url)
        except BadTarget as error:
            self._refuse(400, str(error))
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = self._parser.get_method().decode("ascii")
        request = Request(method, path, query, self._headers, body, None, self._certificate, self._source)
        self._enqueue(_Message(request, None, bool(self._parser.should_keep_alive())), len(body))
        self._body = []

    # -- refusing

    def _refuse_body(self) -> None:
        self._refuse(413, f"Request entity too large: limit is {self._limits.body_bytes}")

    def _refuse(self, code: int, message: str) -> None:
        """Answer the message being read with an error, after those before it; nothing after it is read."""
        self._refused = True
        self._in_message = self._in_body = False
        self._body = []
        self._enqueue(_Message(None, status_response(code, message), False), 0)

    # -- answering

    def _enqueue(self, message: _Message, size: int) -> None:
        self._queue.append(message)
        self._queued_bytes += size
        if self._task is None:
            self._task = self._loop.create_task(self._answer_all())
        elif not self._paused_reading and (
            len(self._queue) >= self._limits.queued or self._queued_bytes > self._limits.body_bytes
        ):
            self._paused_reading = True
            self._transport.pause_reading()

    async def _answer_all(self) -> None:
        keep_alive = True
        try:
            while self._queue and keep_alive:
                message = self._queue.popleft()
                if message.request is not None:
                    self._queued_bytes -= len(message.request.body)
                keep_alive = await self._answer(message)
                if self._paused_reading and len(self._queue) < self._limits.queued // 2:
                    self._paused_reading = False
                    self._transport.resume_reading()
        except asyncio.CancelledError:
            if not self._closing:
                raise  # the client has gone
            keep_alive = False
        except ConnectionError:
            keep_alive = False
        except Exception:
            # The handler turns its own errors into answers: this is a fault in writing one.
            log.exception("an answer could not be written")
            keep_alive = False
            self._transport.abort()
        finally:
            self._task = None
        if self._lost:
            return
        if self._continue_due and keep_alive:
            self._continue_due = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._closing or not keep_alive:
            self._finish()
        elif not self._in_message:
            self._arm(self._limits.idle_seconds)

    def _finish(self) -> None:
        """Close once everything is written; linger if the peer may still be sending what we refused."""
        if self._refused and not self._closing:
            self._queue.clear()
            if self._paused_reading:
                self._paused_reading = False
                self._transport.resume_reading()
            with suppress(NotImplementedError, OSError):
                if self._transport.can_write_eof():
                    self._transport.write_eof()
            self._arm(self._limits.linger_seconds)
        else:
            self._transport.close()

    async def _answer(self, message: _Message) -> bool:
        """Write one answer; True if the connection can serve another request."""
        request = message.request
        response = message.refusal
        if request is not None:
            response = await self._server.handler(request)
        assert response is not None
        if response.upgrade is not None:
            if message.tunnel is not None:
                await self._switch_protocols(response, response.upgrade, message.tunnel)
                return False
            response = status_response(400, "the request does not ask for an upgrade that its connection allows")
        elif message.tunnel is not None:
            # What follows is not HTTP, and no other protocol either.
            self._refused = True
            message.tunnel.discard()
        keep_alive = message.keep_alive and not self._closing
        body = response.body
        bodiless = response.status in (204, 304) or response.status < 200
        head = self._head(response)
        if not keep_alive:
            head.append(b"connection: close\r\n")
        without_body = bodiless or (request is not None and request.method == "HEAD")
        if isinstance(body, bytes):
            if not bodiless:
                head.append(b"content-length: %d\r\n" % len(body))
            head.append(b"\r\n")
            if without_body:
                self._transport.write(b"".join(head))
            elif len(body) <= _SMALL:
                head.append(body)
                self._transport.write(b"".join(head))
            else:
                self._transport.write(b"".join(head))
                self._transport.write(body)
            if self._writing_paused:
                await self.drain()
        else:
            await self._stream(response, body, head, without_body)
        return keep_alive

    def _head(self, response: Response) -> list[bytes]:
        """The status line and the headers that every answer has."""
        head = [status_line(response.status), b"date: ", self._server.date(), b"\r\n"]
        for name, value in (*response.headers.items(), *response.repeated):
            head.append(_remembered(name, value) if len(value) <= _REMEMBERED else _header(name, value))
        return head

    async def _switch_protocols(self, response: Response, upgrade: Upgrade, tunnel: Tunnel) -> None:
        """Leave HTTP until the new protocol's conversation has ended."""
        self._transport.write(b"".join((*self._head(response), b"\r\n")))
        self._streaming = True
        try:
            await upgrade(tunnel)
        finally:
            self._streaming = False

    async def _stream(
        self, response: Response, body: AsyncIterator[bytes], head: list[bytes], without_body: bool
    ) -> None:
        sized = "content-length" in response.headers
        if not sized:
            head.append(b"transfer-encoding: chunked\r\n")
        head.append(b"\r\n")
        write = self._transport.write
        ended = False
        self._streaming = True
        try:
            write(b"".join(head))
            if without_body:
                return
            if not sized:
                attach(body, self)
            async for chunk in body:
                if not chunk:
                    continue
                if sized:
                    write(chunk)
                else:
                    self.write(chunk)
                if self._writing_paused:
                    await self.drain()
            ended = True
        except asyncio.CancelledError:
            ended = self._closing  # the server stops: end the stream as complete, clients resume a watch elsewhere
            raise
        finally:
            self._streaming = False
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
            if ended and not sized and not self._lost:
                write(b"0\r\n\r\n")

    # As the Sink of a streamed body.

    def ready(self) -> bool:
        return not (self._writing_paused or self._lost)

    def write(self, chunk: bytes) -> None:
        if len(chunk) <= _SMALL:
            self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        else:
            self._transport.write(b"%x\r\n" % len(chunk))
            self._transport.write(chunk)
            self._transport.write(b"\r\n")

    async def drain(self) -> None:
        """Return once the peer has read enough of what was written. Raises ConnectionResetError if it has gone."""
        if self._lost:
            raise ConnectionResetError("the client has gone")
        if self._writing_paused:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)  # several may wait, and each may be cancelled

    # -- time

    def _arm(self, seconds: float) -> None:
        """Close the connection in `seconds` unless something moves the deadline. One timer, moved lazily."""
        if self._lost:
            return
        if not seconds:
            self._deadline = 0.0
            return
        self._deadline = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= self._deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._lost or not self._deadline:
            return
        if self._deadline > self._loop.time():
            self._timer = self._loop.call_at(self._deadline, self._expire)
        elif self._tunnel is not None and self._tunnel.idle_seconds >= self._limits.tunnel_idle_seconds:
            self._transport.abort()
        elif self._task is not None:
            self._arm(self._limits.idle_seconds)  # an answer is on its way: it takes the time it takes
        elif self._in_message and not self._refused:
            self._refuse(408, "the request did not arrive in time")
        else:
            self._transport.close()

    # -- shutdown

    def shut_down(self) -> None:
        """Answer what was received, end streams, close."""
        self._closing = True
        if self._task is None:
            self._transport.close()
        elif self._streaming:
            self._task.cancel()

    def abort(self) -> None:
        self._transport.abort()
