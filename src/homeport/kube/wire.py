"""A request and its answer as values, shared by the API server, the HTTP transport and the in-process transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

import msgspec

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no JSON: for their syntax, for text that is no UTF-8, for too deep a nest."""


SEPARATOR = "\n"
"""Stands between the values of an ``Impersonate-*`` or ``X-Remote-*`` header that came several times: no value can have
it, whereas a comma may be part of a group's name. Those of other headers are joined by commas."""


class User(msgspec.Struct, frozen=True):
    """Who makes a request (``authentication.k8s.io`` UserInfo)."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)


class Request(msgspec.Struct, frozen=True):
    """One HTTP request. ``path`` is percent-decoded, ``query`` decoded pairs in order, ``headers`` lower-case names."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}
    body: bytes = b""
    user: User | None = None
    """Set by an in-process caller, which needs no credentials; None for a request from the network."""
    certificate: bytes | None = None
    """The client's TLS certificate (DER), already verified against the platform's CA; None without one."""
    source: str = ""
    """The client's IP address; empty for a caller inside the process."""


class Duplex(Protocol):
    """A byte stream in both directions: what a connection is once it has left HTTP behind."""

    async def read(self, limit: int = 65536) -> bytes:
        """What has arrived, at most `limit` bytes; empty once the other side sends no more. One reader at a time.

        Raises ConnectionError if the connection broke.
        """

    async def write(self, data: bytes) -> None:
        """Send; waits while the other side does not read. Raises ConnectionError if it has gone."""

    def write_eof(self) -> None:
        """Send no more, where the transport can say that (TLS can't: there it does nothing)."""


Upgrade: TypeAlias = Callable[[Duplex], Awaitable[None]]
"""Uses a connection after it has switched protocols. The connection is closed when it returns, and it is cancelled when
the peer goes away or the server stops."""


class Response(msgspec.Struct):
    """One HTTP answer. ``body`` is bytes (sent with Content-Length) or a stream of chunks, flushed one by one.

    Whoever gets a streamed body must exhaust it or call its ``aclose``.
    """

    status: int
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""
    repeated: tuple[tuple[str, str], ...] = ()
    """Headers that may come several times and can't be joined, such as ``set-cookie``."""
    upgrade: Upgrade | None = None
    """What speaks after the head (status 101), for a request that asked to switch protocols. There is no body then."""


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
