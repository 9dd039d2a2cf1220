"""Streamed bodies of answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol


class Sink(Protocol):
    """Where a streamed body goes, for a body that can write there itself."""

    def ready(self) -> bool:
        """Whether the reader keeps up: once it does not, chunks have to wait for whoever iterates."""

    def write(self, chunk: bytes) -> None:
        """Send a chunk that is not empty."""


def attach(body: object, sink: Sink) -> None:
    """Give `body` the sink, if it can use one: a body with an ``attach`` writes there itself what comes while the
    iteration waits for its next chunk. A chunk goes either to the sink or to whoever iterates, in turn."""
    found = getattr(body, "attach", None)
    if found is not None:
        found(sink)


class Told(AsyncIterator[bytes]):
    """A body whose end is told, once, however it comes."""

    def __init__(self, body: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        self._body = body
        self._ended: Callable[[], None] | None = ended

    def attach(self, sink: Sink) -> None:
        attach(self._body, sink)

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._body)
        except BaseException:
            self._end()
            raise

    async def aclose(self) -> None:
        close = getattr(self._body, "aclose", None)
        try:
            if close is not None:
                await close()
        finally:
            self._end()

    def _end(self) -> None:
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended()
