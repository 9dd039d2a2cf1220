"""A watch as a stream: initial events, what the store tells, bookmarks, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice

from homeport.apiserver.encoding import Form
from homeport.apiserver.frames import View, bookmark, failure
from homeport.apiserver.listing import ListOptions
from homeport.apiserver.resources import Served
from homeport.apiserver.transport.bodies import Sink
from homeport.apiserver.versions import shown
from homeport.kube.errors import ApiError
from homeport.store.protocol import Event, Record, Store, Watch

BOOKMARK_SECONDS = 60.0
"""Between two bookmarks of a quiet watch, as upstream."""
LAST_BOOKMARK_SECONDS = 2.0
"""Before the end of a watch one more bookmark is sent, so that the client resumes from the newest revision."""
_BATCH = 64


async def failed(error: ApiError, form: Form) -> AsyncIterator[bytes]:
    """The whole of a watch that cannot begin: as upstream, an event and no HTTP error."""
    yield failure(error, form)


class WatchStream:
    """The body of a watch's answer. Several events that are there at once leave in one chunk.

    Whoever iterates may say where chunks go while it waits for the next (`attach`). Then an event wakes nobody: it is
    written where it goes, as long as that takes it.

    Ends at its deadline, when the store closes, or when its reader was too slow for the store's buffer; the client
    resumes from the last resourceVersion that it saw.
    """

    __slots__ = (
        "_bookmarks",
        "_closed",
        "_converts",
        "_deadline",
        "_error",
        "_form",
        "_initial",
        "_initial_end",
        "_last_bookmark",
        "_loop",
        "_next_bookmark",
        "_options",
        "_served",
        "_sink",
        "_store",
        "_view",
        "_watch",
    )

    def __init__(
        self,
        store: Store,
        watch: Watch,
        served: Served,
        form: Form,
        options: ListOptions,
        view: View,
        *,
        seconds: float,
        initial: Sequence[Record] = (),
        initial_end: int | None = None,
    ) -> None:
        self._store = store
        self._watch = watch
        self._served, self._form = served, form
        self._options = options if options.selects else None
        self._view = view
        self._initial: Iterator[Record] | None = iter(initial)
        self._initial_end = initial_end
        """The revision of the bookmark that ends the initial events; None for none."""
        self._converts = served.converter is not None
        self._bookmarks = options.bookmarks
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._deadline = now + seconds
        self._next_bookmark = now + BOOKMARK_SECONDS
        self._last_bookmark = self._deadline - min(LAST_BOOKMARK_SECONDS, seconds / 2)
        self._closed = False
        self._sink: Sink | None = None
        self._error: Exception | None = None
        """What went wrong while nobody was there to be told."""

    def attach(self, sink: Sink) -> None:
        """Write to `sink` what comes while the next chunk is waited for, as long as it is ready."""
        if not self._converts:  # Webhooks are asked first.
            self._sink = sink

    def __aiter__(self) -> WatchStream:
        return self

    async def aclose(self) -> None:
        self._closed = True
        self._watch.close()

    async def __anext__(self) -> bytes:
        while not self._closed:
            try:
                if self._error is not None:
                    raise self._error
                if self._initial is not None:
                    chunk = await self._begin(self._initial)
                    if chunk:
                        return chunk
                chunk = await self._converted() if self._converts else self._ready()
                if chunk:
                    return chunk
            except ApiError as error:
                self._closed = True
                self._watch.close()
                return failure(error, self._form)
            now = self._loop.time()
            if now >= self._deadline or self._watch.ended:
                break
            until = self._deadline
            if self._bookmarks:
                if now >= self._last_bookmark:
                    self._last_bookmark = self._next_bookmark = self._deadline + 1
                    return self._bookmark()
                if now >= self._next_bookmark:
                    self._next_bookmark = now + BOOKMARK_SECONDS
                    return self._bookmark()
                until = min(self._deadline, self._last_bookmark, self._next_bookmark)
            await self._watch.wait(until, self._deliver if self._sink is not None else None)
        self._watch.close()
        raise StopAsyncIteration

    def _bookmark(self) -> bytes:
        # Nothing was left to take just now, and no event was lost: all up to here have been sent.
        return bookmark(self._served, self._form, self._store.revision)

    async def _begin(self, initial: Iterator[Record]) -> bytes:
        """Frames of the next initial objects, then the bookmark that ends them. Raises ApiError."""
        options = self._options
        while batch := list(islice(initial, _BATCH)):
            await asyncio.sleep(0)  # A reader that is as fast as this writer must not keep others waiting.
            if options is not None:
                # Label selectors need no conversion; field selectors speak of the request's version.
                looked_at = await shown(self._served, batch) if options.fields is not None else batch
                batch = [record for record in looked_at if options.matches(record)]
            if batch:
                return b"".join([self._view.frame("ADDED", record) for record in await shown(self._served, batch)])
        self._initial = None
        if self._initial_end is None:
            return b""
        return bookmark(self._served, self._form, self._initial_end, initial_end=True)

    async def _converted(self) -> bytes:
        """As `_ready`, for a resource whose versions a webhook converts. Raises ApiError."""
        while batch := self._watch.take(_BATCH):
            before = [event.previous for event in batch if event.previous is not None] if self._options else []
            records = await shown(self._served, [event.record for event in batch])
            previous = iter(await shown(self._served, before))
            events = []
            for event, record in zip(batch, records, strict=True):
                last = next(previous) if self._options and event.previous is not None else event.previous
                events.append(Event(event.type, record, last))
            chunk = self._view.join(events)
            if chunk:
                return chunk
        return b""

    def _ready(self) -> bytes:
        """Frames of what is here already; empty if nothing is. What waits stays with the store, which bounds it."""
        while batch := self._watch.take(_BATCH):
            chunk = self._view.chunk(batch)
            if chunk:
                return chunk
        return b""

    def _deliver(self) -> bool:
        """Write some of what is here to the sink; False if that has to wait, or failed."""
        sink = self._sink
        assert sink is not None
        try:
            if not sink.ready():
                return False
            batch = self._watch.take(_BATCH)
            chunk = self._view.chunk(batch) if batch else b""
            if chunk:
                sink.write(chunk)
        except Exception as error:
            # Whoever iterates is the one to be told: this is called in the middle of other watches' deliveries.
            self._error = error
            return False
        return True
