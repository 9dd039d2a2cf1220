"""Bytes of a connection to requests. Knows no sockets and no clock.

What the peer can do wrong ends in a refusal, a message that has its answer already and is the connection's last:

================================================  ======
not HTTP, bad escapes, no Host, unknown version   400
request line and headers too large                431
body too large                                    413
HTTP/1.0 and HTTP/0.9                             505
================================================  ======

A request that asks for an upgrade is the connection's last one as HTTP, too. What follows it is handed on as it is and
never parsed as a request, so that nothing can be smuggled behind an upgrade.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import httptools
import msgspec

from homeport.apiserver.answers import status_response
from homeport.apiserver.transport.target import BadTarget, parse_target
from homeport.kube.wire import SEPARATOR, Request, Response

_header_names: dict[bytes, str] = {}
_MAX_HEADER_NAMES = 256
"""Clients send the same few header names with every request: each is decoded once."""
_MOST_FRAMING = 16
"""Bytes around each byte of a chunked body: the smallest chunk of one has five, and nobody sends such."""
_MOST_USUAL = 1 << 13
"""Bytes of headers that a connection remembers."""
_TARGET = rb"(?:(/[!-\"$&->@-~]*)|(/[!-\"$-~]*)) HTTP/1\.1\r\n"
_GET = re.compile(rb"(GET) " + _TARGET)
_CHANGE = re.compile(rb"(POST|PUT|PATCH|DELETE) " + _TARGET)
"""The request lines that :meth:`Parser.feed` recognises without a parser. In the target is what the parser takes for
granted: any printable character but those that begin a fragment. The second group is a target without escapes and
query, which is the path as it is."""
_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]+)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_MOST_DIGITS = 8
_METHODS = {name.encode("ascii"): name for name in ("GET", "POST", "PUT", "PATCH", "DELETE")}


class Limits(msgspec.Struct, frozen=True):
    """What one connection may use. Sizes in bytes, times in seconds."""

    header_bytes: int = 1 << 16
    body_bytes: int = 3 << 20
    """As kube-apiserver: 3 MiB."""
    header_seconds: float = 10.0
    """From the first byte of a request to the end of its headers."""
    body_seconds: float = 30.0
    """Between two pieces of a body."""
    whole_body_seconds: float = 60.0
    """From the end of a request's headers to the end of its body: as long as a request may take at kube-apiserver."""
    unfinished_bytes: int = 128 << 20
    """Of all connections' bodies together that have begun and not ended. The oldest give way."""
    unread_seconds: float = 60.0
    """In which a peer reads nothing of an answer that waits for it. A stream may wait longer."""
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


class Message(msgspec.Struct):
    """A request in its turn, or the refusal of one."""

    request: Request | None
    response: Response | None = None
    """The answer, where it is known."""
    keep_alive: bool = True
    memory: dict[str, Any] = msgspec.field(default_factory=dict)
    """For whoever answers: shared by the ``GET`` requests of a connection that have the same headers."""
    rest: bytes | None = None
    """What has come behind a request that asks to switch protocols; None for all others."""


class _Framed(NamedTuple):
    """Headers of a request whose body has a length, as bytes and as the parser read them."""

    before: bytes
    """Up to the length."""
    after: bytes
    """From there to the empty line."""
    headers: Mapping[str, str]


class Parser:
    """Reads one connection. `certificate` and `source` are the peer's, for its requests."""

    def __init__(self, limits: Limits, certificate: bytes | None, source: str) -> None:
        self._limits = limits
        self._certificate, self._source = certificate, source
        self._http: Any = httptools.HttpRequestParser(self)
        self.in_message = False
        """Whether a message has begun and not ended."""
        self.in_body = False
        """Whether its headers have."""
        self.ended = False
        """Whether nothing more is read: a message was refused, or what follows is not HTTP."""
        self.refused = False
        self.continue_wanted = False
        """Whether the peer waits for ``100 Continue`` before it sends the body of the message that has begun."""
        self._complete: list[Message] = []
        self._head_size = 0
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_size = 0
        self._received = 0
        """Since the headers ended: the body, what chunks it, and trailers."""
        self._usual: tuple[bytes, dict[str, str], dict[str, Any]] | None = None
        """What followed the request line of the last ``GET`` that came in one piece, the headers that this was, and the
        memory of such messages."""
        self._framed: _Framed | None = None
        """The same of the last request with a body that came in one piece."""

    @property
    def body_size(self) -> int:
        """Bytes of the body that has begun and not ended."""
        return self._body_size

    def close(self) -> None:
        """Read no more, and let go of the parser, which refers to this."""
        self.ended = True
        self._http = None

    def feed(self, data: bytes) -> Sequence[Message]:
        """The messages that are complete with `data`, in order."""
        if self.ended:
            return ()
        if not self.in_message:
            again = self._as_before(data)
            if again is not None:
                return (again,)
        elif self.in_body:
            self._received += len(data)
        fresh = not self.in_message
        self._head_size += len(data)
        complete: list[Message] = []
        self._complete = complete
        try:
            self._http.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except (httptools.HttpParserError, UnicodeDecodeError) as error:
            if not self.ended:
                self._refuse(400, f"the request is not valid HTTP/1.1: {error}")
        else:
            self._check_sizes()
            if fresh and len(complete) == 1 and not self.in_message:
                self._remember(data, complete[0])
        return complete

    def refuse(self, code: int, text: str) -> Message:
        """Give up on the message that has begun; nothing after it is read. Its answer, an error."""
        self.ended = self.refused = True
        self.in_message = self.in_body = self.continue_wanted = False
        self._body = []
        return Message(None, status_response(code, text), False)

    def _refuse(self, code: int, text: str) -> None:
        self._complete.append(self.refuse(code, text))

    def _refuse_body(self) -> None:
        self._refuse(413, f"Request entity too large: limit is {self._limits.body_bytes}")

    def _refuse_head(self) -> None:
        self._refuse(431, f"the request line and headers are larger than {self._limits.header_bytes} bytes")

    def _check_sizes(self) -> None:
        """Refuse a message that has not ended and is too large already. What is complete was checked before."""
        limit = self._limits.header_bytes
        if self.in_body or not self.in_message:
            self._head_size = 0
            if self.in_message and self._received - self._body_size > limit + _MOST_FRAMING * self._body_size:
                self._refuse(431, f"the body's chunk extensions and trailers are larger than {limit} bytes")
        elif self._head_size > limit and not self.ended:
            self._refuse_head()

    def _upgrade(self, rest: bytes) -> None:
        """The message that came last asks for an upgrade; `rest` is what has arrived behind it."""
        if self.ended or not self._complete:
            return
        self.ended = True
        message = self._complete[-1]
        message.keep_alive, message.rest = False, rest

    # -- what came before

    def _remember(self, data: bytes, message: Message) -> None:
        """If `data` is a request as clients send them, know the next one by its bytes. It differs in its target, and in
        its body and the length of that: as long as the target is a plain one, the parser would make the same of the
        rest."""
        request = message.request
        if request is None or not message.keep_alive:
            return
        if request.body:
            self._remember_framed(data, request)
            return
        line, end, rest = data.partition(b"\r\n")
        if len(rest) <= _MOST_USUAL and _GET.fullmatch(line + end):
            self._usual = (rest, self._headers, message.memory)

    def _remember_framed(self, data: bytes, request: Request) -> None:
        line = _CHANGE.match(data)
        end = data.find(b"\r\n\r\n") + 4
        if line is None or end - line.end() > _MOST_USUAL or "expect" in request.headers:
            return
        length = _LENGTH.search(data, line.end(), end)
        if length is not None and len(data) - end == int(length[1]):
            start, stop = length.span(1)
            self._framed = _Framed(data[line.end() : start], data[stop:end], request.headers)

    def _as_before(self, data: bytes) -> Message | None:
        """The request in `data`, if all that the parser would have to find out is as it was before."""
        usual = self._usual
        if usual is not None and data.endswith(usual[0]) and len(data) <= self._limits.header_bytes:
            rest, headers, memory = usual
            line = _GET.fullmatch(data, 0, len(data) - len(rest))
            if line is not None:
                return self._known(line, headers, b"", memory)
        return self._framed_as_before(data, self._framed) if self._framed is not None else None

    def _framed_as_before(self, data: bytes, framed: _Framed) -> Message | None:
        line = _CHANGE.match(data)
        if line is None or not data.startswith(framed.before, line.end()):
            return None
        start = line.end() + len(framed.before)
        stop = data.find(framed.after, start, start + _MOST_DIGITS + len(framed.after))
        end = stop + len(framed.after)
        length = data[start:stop]
        if stop < 0 or not length.isdigit() or end > self._limits.header_bytes:
            return None
        size = int(length)
        if size != len(data) - end or not 0 < size <= self._limits.body_bytes:
            return None
        headers = framed.headers
        if headers["content-length"] != length.decode("ascii"):
            headers = {**headers, "content-length": length.decode("ascii")}
        return self._known(line, headers, data[end:], {})

    def _known(
        self, line: re.Match[bytes], headers: Mapping[str, str], body: bytes, memory: dict[str, Any]
    ) -> Message | None:
        """The request with that request line."""
        method, plain, target = line.groups()
        query: tuple[tuple[str, str], ...] = ()
        if plain is not None:
            path = plain.decode("ascii")
        else:
            try:
                path, query = parse_target(target)
            except BadTarget:
                return None  # whoever parses it says what is wrong
        request = Request(_METHODS[method], path, query, headers, body, None, self._certificate, self._source)
        return Message(request, None, True, memory)

    # -- the parser's callbacks

    def on_message_begin(self) -> None:
        if self.ended:
            return
        self.in_message = True
        self.in_body = False
        self._url = b""
        self._headers = {}
        self._body = []
        self._body_size = 0
        self._received = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_body:
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
            # Those about users are lists whose items may have commas.
            joint = SEPARATOR if key.startswith(("impersonate-", "x-remote-")) else ", "
            text = f"{headers[key]}{joint}{text}"
        headers[key] = text

    def on_headers_complete(self) -> None:
        self.in_body = True
        if self.ended:
            return
        headers = self._headers
        limits = self._limits
        if self._head_size > limits.header_bytes and self._size_of_head() > limits.header_bytes:
            self._refuse_head()
        elif self._http.get_http_version() != "1.1":
            self._refuse(505, "this server speaks HTTP/1.1 only")
        elif "host" not in headers:
            self._refuse(400, "the request has no Host header")
        elif int(headers.get("content-length") or 0) > limits.body_bytes:
            self._refuse_body()
        elif self._http.should_upgrade() and (
            headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        ):
            # No protocol that is spoken here begins with a body, and the parser would take one for what follows it.
            self._refuse(400, "a request that asks for an upgrade can't have a body")
        elif headers.get("expect", "").lower() == "100-continue":
            self.continue_wanted = True

    def _size_of_head(self) -> int:
        """Counted one by one: what was read so far may have (part of) a body behind the headers."""
        return sum(len(name) + len(value) for name, value in self._headers.items()) + len(self._url)

    def on_body(self, body: bytes) -> None:
        if self.ended:
            return
        self._body_size += len(body)
        if self._body_size > self._limits.body_bytes:
            self._refuse_body()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.in_message = self.in_body = False
        self._head_size = 0
        if self.ended:
            return
        self.continue_wanted = False
        try:
            path, query = parse_target(self._url)
        except BadTarget as error:
            self._refuse(400, str(error))
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = self._http.get_method().decode("ascii")
        request = Request(method, path, query, self._headers, body, None, self._certificate, self._source)
        self._complete.append(Message(request, None, bool(self._http.should_keep_alive())))
        self._body = []
