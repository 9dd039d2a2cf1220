"""An HTTPS client for webhooks: one JSON document there, one back.

Connections are kept for the next call. An answer may not be larger than `MAX_ANSWER`, and all of a call has to be over
within its time. Redirects are not followed, so that no webhook can send the server elsewhere.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import httptools
import msgspec

from homeport import __version__
from homeport.apiserver.webhooks.endpoint import Endpoint
from homeport.kube.errors import ApiError, ServiceUnavailable

MAX_ANSWER = 8 << 20
"""Bytes: a patch of the largest object, in base64, with room to spare."""
_MAX_HEAD = 64 << 10
_CHUNK = 64 << 10
_KEPT_SECONDS = 60.0
_KEPT_PER_ENDPOINT = 16
_ENDPOINTS = 64
"""Endpoints whose connections and certificates are remembered."""
_AT_ONCE = 64
"""Calls to one endpoint at the same time; more wait, which counts as their time."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
OpenService = Callable[[str, str, int, ssl.SSLContext, str], Awaitable[Streams]]
"""Opens a TLS connection to a service: its namespace, name and port, and the name that its certificate has to be for.
Raises ApiError, OSError or ssl.SSLError."""


class CallError(Exception):
    """A webhook that did not give an answer to use; the text says why, in Go's words where clients know them."""

    def __init__(self, why: str, code: int = ServiceUnavailable.code) -> None:
        super().__init__(why)
        self.code = code
        """The HTTP status of the answer; that of a service that is not there if there was none."""


class WebhookClient:
    """Calls webhooks by URL, and by service through `open_service`."""

    def __init__(self, open_service: OpenService) -> None:
        self._open_service = open_service
        self._known: OrderedDict[Endpoint, _Known] = OrderedDict()

    async def post(self, endpoint: Endpoint, body: bytes, timeout: float) -> bytes:
        """The body of the answer to `body`. Raises CallError, after `timeout` seconds at the latest."""
        url = endpoint.url(timeout)
        try:
            async with asyncio.timeout(timeout):
                known = self._of(endpoint)
                async with known.places:
                    status, answer = await self._exchange(endpoint, known, _request(endpoint, timeout, body))
        except TimeoutError:
            raise CallError(f'Post "{url}": context deadline exceeded') from None
        except ssl.SSLCertVerificationError as error:
            raise CallError(f'Post "{url}": tls: failed to verify certificate: {_x509(error)}') from error
        except ssl.SSLError as error:
            raise CallError(f'Post "{url}": remote error: tls: {error.reason or error}') from error
        except ApiError as error:
            raise CallError(f'Post "{url}": {error.message}') from error
        except OSError as error:
            raise CallError(f'Post "{url}": {_os_words(endpoint, error)}') from error
        except _BadAnswer as error:
            raise CallError(f'Post "{url}": {error}') from error
        if not 200 <= status < 300:
            text = answer[:200].decode("utf-8", "replace").strip()
            if status == 404:
                raise CallError("the server could not find the requested resource", status)
            raise CallError(f'the server rejected our request: {status} ("{text}")', status)
        return answer

    async def close(self) -> None:
        """Close all kept connections."""
        for known in self._known.values():
            known.close()
        self._known.clear()

    def _of(self, endpoint: Endpoint) -> _Known:
        known = self._known.get(endpoint)
        if known is None:
            known = self._known[endpoint] = _Known(_context(endpoint))
            while len(self._known) > _ENDPOINTS:
                self._known.popitem(last=False)[1].close()
        self._known.move_to_end(endpoint)
        return known

    async def _exchange(self, endpoint: Endpoint, known: _Known, request: bytes) -> tuple[int, bytes]:
        while (connection := known.take()) is not None:
            try:
                return await _on(connection, known, request)
            except (OSError, _BadAnswer):
                # A kept connection may have died meanwhile: what counts is a fresh one.
                if connection.answered:
                    raise
        return await _on(await self._connect(endpoint, known), known, request)

    async def _connect(self, endpoint: Endpoint, known: _Known) -> _Connection:
        if endpoint.service is not None:
            namespace, name = endpoint.service
            streams = await self._open_service(namespace, name, endpoint.port, known.context, endpoint.host)
        else:
            streams = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=known.context, server_hostname=endpoint.host
            )
        return _Connection(*streams)


# -- connections


class _BadAnswer(Exception):
    """Not an HTTP answer, or too large a one."""


class _Connection(msgspec.Struct, eq=False):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    since: float = 0.0
    """When it was put aside."""
    answered: bool = False
    """Whether a byte of the present answer has come."""


class _Known(msgspec.Struct, eq=False):
    """What is remembered about an endpoint."""

    context: ssl.SSLContext
    idle: list[_Connection] = msgspec.field(default_factory=list)
    places: asyncio.Semaphore = msgspec.field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    closed: bool = False

    def take(self) -> _Connection | None:
        """A kept connection that may still work."""
        oldest = asyncio.get_running_loop().time() - _KEPT_SECONDS
        while self.idle:
            connection = self.idle.pop()
            if connection.since > oldest and not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.writer.close()
        return None

    def keep(self, connection: _Connection) -> None:
        if self.closed or len(self.idle) >= _KEPT_PER_ENDPOINT:
            connection.writer.close()
            return
        connection.since = asyncio.get_running_loop().time()
        self.idle.append(connection)

    def close(self) -> None:
        self.closed = True
        for connection in self.idle:
            connection.writer.close()
        self.idle.clear()


class _Answer:
    """Collects an answer from httptools."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.complete = False
        self.in_body = False
        self.framed = False
        self.keeps = False
        self.size = 0
        self._parts: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.lower()
        self.framed |= key == b"content-length" or (key == b"transfer-encoding" and b"chunked" in value.lower())

    def on_headers_complete(self) -> None:
        # After 100 Continue and the like the answer proper follows.
        self.in_body = self.parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        self.size += len(body)
        if self.size <= MAX_ANSWER:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        self.complete = self.in_body
        self.keeps = bool(self.parser.should_keep_alive())  # the parser knows it here and not later

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)


async def _on(connection: _Connection, known: _Known, request: bytes) -> tuple[int, bytes]:
    """One exchange; afterwards the connection is kept or closed."""
    connection.answered = False
    kept = False
    try:
        connection.writer.write(request)
        await connection.writer.drain()
        answer = _Answer()
        await _receive(connection, answer)
        kept = answer.complete and answer.keeps
        return answer.parser.get_status_code(), answer.body
    finally:
        if kept:
            known.keep(connection)
        else:
            connection.writer.close()


async def _receive(connection: _Connection, answer: _Answer) -> None:
    head = 0
    while not answer.complete:
        data = await connection.reader.read(_CHUNK)
        if not data:
            if answer.in_body and not answer.framed:
                return  # a body that ends with the connection
            raise _BadAnswer("EOF" if not connection.answered else "unexpected EOF")
        connection.answered = True
        try:
            answer.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise _BadAnswer(f"malformed HTTP response: {error}") from error
        if answer.size > MAX_ANSWER:
            raise _BadAnswer(f"the answer is larger than {MAX_ANSWER >> 20} MiB")
        if not answer.in_body:
            head += len(data)
            if head > _MAX_HEAD:
                raise _BadAnswer(f"the head of the answer is larger than {_MAX_HEAD >> 10} KiB")


def _request(endpoint: Endpoint, timeout: float, body: bytes) -> bytes:
    target = endpoint.url(timeout).removeprefix(f"https://{endpoint.authority}")
    head = (
        f"POST {target} HTTP/1.1\r\nhost: {endpoint.authority}\r\nuser-agent: homeport/{__version__}\r\n"
        f"content-type: application/json\r\naccept: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1", "replace") + body


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if endpoint.ca_pem.strip():
        context.load_verify_locations(cadata=endpoint.ca_pem)
    else:
        context.load_default_certs()
    return context


# -- words


def _x509(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with a certificate, as Go says it."""
    text = (error.verify_message or str(error)).rstrip(".")
    if "Hostname mismatch" in text or "IP address mismatch" in text:
        return f"x509: {text}"
    if "expired" in text or "not yet valid" in text:
        return "x509: certificate has expired or is not yet valid"
    if "issuer" in text or "self-signed" in text or "self signed" in text:
        return "x509: certificate signed by unknown authority"
    return f"x509: {text}"


def _os_words(endpoint: Endpoint, error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {endpoint.host}:{endpoint.port}: connect: connection refused"
    if type(error).__name__ == "gaierror":
        return f"dial tcp: lookup {endpoint.host}: no such host"
    return (error.strerror or str(error) or type(error).__name__).lower()
