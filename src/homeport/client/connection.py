"""One HTTP/1.1 connection of the client: an asyncio protocol around httptools' parser.

A connection carries one exchange at a time. The body of an answer is bytes if the server said how long it is, else a
stream with back pressure: the socket is not read while more than `_HIGH_WATER` bytes wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, urlencode

import httptools

from homeport.client.transport import Unreachable
from homeport.kube.wire import Request, Response

_HIGH_WATER = 256 << 10
_NO_BODY = frozenset({204, 304})


class Stale(Exception):
    """The server closed a kept connection before it sent a byte of the answer."""


def encode_request(request: Request, host: str, extra: Iterable[tuple[str, str]]) -> bytes:
    """The request's head and body. Header values come from us, a kubeconfig or a plugin: refuse to split the head."""
    target = quote(request.path, safe="/:@!$&'()*+,;=~")
    if request.query:
        target += "?" + urlencode(request.query)
    headers = [("host", host), *request.headers.items(), *extra]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers.append(("content-length", str(len(request.body))))
    lines = [f"{request.method} {target} HTTP/1.1"]
    for key, value in headers:
        if "\r" in value or "\n" in value:
            raise ValueError(f"header {key}: a line break is not allowed in its value")
        lines.append(f"{key}: {value}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body


class Connection(asyncio.Protocol):
    """`server` is the address for messages. After an exchange `reusable` says whether another one may follow. `on_gone`
    hears of its end."""

    def __init__(self, server: str, on_gone: Callable[[Connection], None] = lambda connection: None) -> None:
        self._server = server
        self._on_gone = on_gone
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._head: asyncio.Future[None] | None = None
        self._tunnel: asyncio.Future[None] | None = None
        self._tunnel_head = b""
        self._arrived: asyncio.Future[None] | None = None
        self._status = 0
        self._headers: dict[str, str] = {}
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False
        self._complete = True
        self._answered = False
        self._keep = False
        self._lost: BaseException | None = None
        self.closed = False
        self.gone = asyncio.Event()
        self.exchanges = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.gone.set()
        self._on_gone(self)
        if not self._complete:
            until_close = self._answered and not self._framed
            if exc is None and until_close and self._status:
                self._complete = True  # a body that ends with the connection
            else:
                self._fail(exc or ConnectionResetError("the connection was closed"))
        if self._tunnel is not None and not self._tunnel.done():
            self._tunnel.set_exception(exc or ConnectionResetError("the proxy closed the connection"))
        self._wake()

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._read_tunnel(data)
            return
        if self._complete:  # an answer nobody asked for: never pair it with the next request
            self.close()
            return
        self._answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(ConnectionError("the server switched protocols unasked"))
            self.close()
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"not an HTTP answer: {error}"))
            self.close()

    def eof_received(self) -> bool:
        return False

    # httptools callbacks

    def on_message_begin(self) -> None:
        if self._complete:  # a second answer in the same bytes: nobody asked for it
            self.close()
            return
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._complete:
            return
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._complete or status < 200:
            return  # 100 Continue and the like: the answer proper follows
        self._status = status
        self._resolve_head()

    def on_body(self, body: bytes) -> None:
        if self._complete:
            return
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > _HIGH_WATER and not self._paused and self._transport is not None and self._streaming:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if self._status and not self._complete:
            self._complete = True
            self._keep = bool(self._parser.should_keep_alive())
            self._wake()

    # Use

    @property
    def reusable(self) -> bool:
        return not self.closed and self._complete and self._keep and not self._chunks

    @property
    def _framed(self) -> bool:
        return "content-length" in self._headers or "chunked" in self._headers.get("transfer-encoding", "").lower()

    @property
    def _streaming(self) -> bool:
        return "content-length" not in self._headers

    async def exchange(self, method: str, data: bytes) -> Response:
        """Send and wait for the head of the answer; and for its body too if its length is known."""
        if self.closed or self._transport is None:
            raise Stale
        loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._head = loop.create_future()
        self._status, self._answered, self._complete, self._keep, self._lost = 0, False, False, False, None
        self._chunks.clear()
        self._buffered = 0
        first = self.exchanges == 0
        self.exchanges += 1
        self._transport.write(data)
        try:
            await self._head
            if self._streaming and self._status not in _NO_BODY and method != "HEAD":
                return Response(self._status, self._headers, Body(self))
            if method == "HEAD" or self._status in _NO_BODY:
                self._complete = True
            while not self._complete:
                await self._more()
        except (OSError, EOFError) as error:
            self.close()
            if not first and not self._answered:
                raise Stale from error
            raise Unreachable(f"{self._server}: {_reason(error)}") from error
        except BaseException:  # cancelled half-way: the rest of the answer must not meet the next request
            self.close()
            raise
        body = b"".join(self._chunks) if len(self._chunks) != 1 else self._chunks[0]
        self._chunks.clear()
        return Response(self._status, self._headers, body)

    async def read_chunk(self) -> bytes:
        """The next part of a streamed body; empty at its end. Raises Unreachable if the connection breaks."""
        try:
            while True:
                if self._chunks:
                    chunk = self._chunks.popleft()
                    self._buffered -= len(chunk)
                    return chunk
                if self._paused and self._transport is not None and not self.closed:
                    self._paused = False
                    self._transport.resume_reading()
                if self._complete:
                    return b""
                await self._more()
        except OSError as error:
            raise Unreachable(f"{self._server}: {_reason(error)}") from error

    async def tunnel(self, host: str, port: int, authorization: str = "") -> None:
        """Ask an HTTP proxy to connect through (CONNECT). Raises OSError with the proxy's refusal."""
        assert self._transport is not None
        self._tunnel = asyncio.get_running_loop().create_future()
        head = f"CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\n"
        if authorization:
            head += f"proxy-authorization: {authorization}\r\n"
        self._transport.write(head.encode("latin-1") + b"\r\n")
        try:
            await self._tunnel
        finally:
            self._tunnel = None

    def adopt(self, transport: asyncio.Transport) -> None:
        """Go on over another transport (TLS inside a proxy's tunnel)."""
        self._transport = transport

    @property
    def socket_transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    def close(self) -> None:
        """Begin to close it. It is closed (`gone`) once both sides have said farewell, as TLS has it."""
        if not self.closed:
            self.closed = True
            if self._transport is not None:
                self._transport.close()

    def abort(self) -> None:
        """Close it without a farewell."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # Below

    def _read_tunnel(self, data: bytes) -> None:
        assert self._tunnel is not None
        self._tunnel_head += data
        if b"\r\n\r\n" not in self._tunnel_head or self._tunnel.done():
            return
        line = self._tunnel_head.split(b"\r\n", 1)[0].decode("latin-1")
        status = line.split(" ", 2)[1:2]
        if status and status[0].startswith("2"):
            self._tunnel.set_result(None)
        else:
            self._tunnel.set_exception(ConnectionError(f"the proxy refused: {line}"))

    def _fail(self, error: BaseException) -> None:
        self._lost = error
        if self._head is not None and not self._head.done():
            self._head.set_exception(error)
        self._wake()

    def _resolve_head(self) -> None:
        if self._head is not None and not self._head.done():
            self._head.set_result(None)

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def _more(self) -> None:
        """Wait for more of the body. Raises what broke the connection."""
        if self._lost is not None:
            raise self._lost
        self._arrived = asyncio.get_running_loop().create_future()
        try:
            await self._arrived
        finally:
            self._arrived = None
        if self._lost is not None and not self._chunks:
            raise self._lost


class Body:
    """A streamed body. `ended` is called once, when it is read to its end, broken or given up."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._over = False
        self.ended: Callable[[Connection], None] = _no_matter

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        try:
            chunk = await self._connection.read_chunk()
        except BaseException:
            await self.aclose()
            raise
        if not chunk:
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        if not self._over:
            self._over = True
            if not self._connection.reusable:  # what is left of the answer must not meet the next request
                self._connection.close()
            self.ended(self._connection)


def _no_matter(connection: Connection) -> None:
    return None


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__
