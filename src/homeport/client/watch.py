"""A watch: the stream of changes to a collection, one JSON document a line."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, NamedTuple, TypeAlias

from homeport.client.transport import discard
from homeport.kube.errors import ApiError, InternalError
from homeport.kube.meta import Object
from homeport.kube.wire import NOT_JSON

EventType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


class WatchEvent(NamedTuple):
    """One change. A BOOKMARK carries nothing but a resourceVersion to resume from."""

    type: EventType
    object: Object


class Lines:
    """Cuts a byte stream into lines, whatever the chunks."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        if chunk.count(b"\n") == 1 and chunk.endswith(b"\n"):  # the usual case: a chunk is a line
            self._rest.append(chunk)
            line = b"".join(self._rest) if len(self._rest) > 1 else chunk
            self._rest.clear()
            return [] if line.isspace() else [line]
        first, *lines = chunk.split(b"\n")
        self._rest.append(first)
        if not lines:
            return []
        lines.insert(0, b"".join(self._rest))
        self._rest.clear()
        last = lines.pop()
        if last:
            self._rest.append(last)
        return [line for line in lines if line and not line.isspace()]

    def end(self) -> bytes:
        """What is left without a final newline."""
        return b"".join(self._rest)


class Watch:
    """``async with client.watch(...) as events: async for event in events: ...``

    Entering sends the request and raises the server's refusal. Iteration ends when the server ends the stream; an ERROR
    event is raised as the ApiError that it carries (Expired: list anew), a broken connection as Unreachable.
    """

    def __init__(
        self,
        open: Callable[[], Awaitable[AsyncIterator[bytes]]],
        decode: Callable[[bytes], tuple[str, Object]],
    ) -> None:
        self._open = open
        self._decode = decode
        self._body: AsyncIterator[bytes] | None = None
        self._lines = Lines()
        self._ready: deque[bytes] = deque()

    async def __aenter__(self) -> Watch:
        self._body = await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._body is not None:
            await discard(self._body)

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> WatchEvent:
        if self._body is None:
            raise RuntimeError("a watch is entered with 'async with' before it is read")
        while not self._ready:
            self._ready.extend(self._lines.feed(await self._body.__anext__()))
        line = self._ready.popleft()
        try:
            type, obj = self._decode(line)
        except NOT_JSON as error:
            raise InternalError(f"the server sent a watch event that can't be read: {error}") from error
        if type == "ERROR":
            raise ApiError.from_status(obj)
        return WatchEvent(type, obj)  # type: ignore[arg-type]
