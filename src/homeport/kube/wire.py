"""A request and its answer as values, shared by the API server, the HTTP transport and the in-process transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class User:
    """Who makes a request (``authentication.k8s.io`` UserInfo)."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. ``path`` is percent-decoded, ``query`` decoded pairs in order, ``headers`` lower-case names."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    user: User | None = None
    """Set by an in-process caller, which needs no credentials; None for a request from the network."""
    certificate: bytes | None = None
    """The client's TLS certificate (DER), already verified against the platform's CA; None without one."""


@dataclass(slots=True)
class Response:
    """One HTTP answer. ``body`` is bytes (sent with Content-Length) or a stream of chunks, flushed one by one.

    Whoever gets a streamed body must exhaust it or call its ``aclose``.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
