"""How a client reaches an API server: one method that carries a request there and an answer back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from homeport.kube.errors import HomeportError
from homeport.kube.wire import Request, Response


class Unreachable(HomeportError):
    """No answer from the server: refused, reset, timed out or not trusted. The text says which server and why."""


class Transport(Protocol):
    """Carries requests. An implementation may retry what is safe to send twice, nothing else."""

    @property
    def remote(self) -> bool:
        """True if bytes of an answer cost more than decoding them: then the client asks for short forms of objects."""

    async def send(self, request: Request) -> Response:
        """Return as soon as the status and headers are known; a streamed body follows at its own pace.

        Raises Unreachable. An answer with an error status is returned, not raised.
        """

    async def close(self) -> None:
        """Release connections. Running requests and streams end with Unreachable."""


async def collect(body: bytes | AsyncIterator[bytes]) -> bytes:
    """The whole body, whether it came at once or streamed."""
    if isinstance(body, bytes):
        return body
    return b"".join([chunk async for chunk in body])


async def discard(body: bytes | AsyncIterator[bytes]) -> None:
    """Stop reading a body and let its source clean up."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
