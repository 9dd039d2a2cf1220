"""A watch as a stream of frames: one JSON object a line, joined from the records' own bytes."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec

from homeport.apiserver import tables
from homeport.apiserver.answers import JSON
from homeport.apiserver.encoding import PROTOBUF, Form, encode, not_acceptable, to_protobuf
from homeport.apiserver.listing import ListOptions
from homeport.apiserver.rendering import renderer
from homeport.apiserver.resources import Served
from homeport.apiserver.versions import object_of, shown
from homeport.kube.errors import ApiError
from homeport.kube.meta import Object
from homeport.kube.table import Include
from homeport.store.encode import restamp
from homeport.store.protocol import Event, Record, Store, Watch

BOOKMARK_SECONDS = 60.0
"""Between two bookmarks of a quiet watch, as upstream."""
LAST_BOOKMARK_SECONDS = 2.0
"""Before the end of a watch one more bookmark is sent, so that the client resumes from the newest revision."""
_BATCH = 64
INITIAL_EVENTS_END = "k8s.io/initial-events-end"

LIST_BLUEPRINT = "kubernetes.io/initial-events-list-blueprint"
"""Annotation of that bookmark: an empty list of the kind, which the client fills with what came before."""
_KEPT_BYTES = 1 << 17
"""Frames that are kept of a resource in one form: watches that hear of an event do so at about the same time."""


class Frame(Protocol):
    """How an event is written: its type, its object, and a line end."""

    def __call__(self, type: str, record: Record) -> bytes: ...


class Frames:
    """Writes events for all watches: those of one resource in one form share what is written for one of them."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._shared: WeakValueDictionary[tuple[int, Form, Include], _Shared] = WeakValueDictionary()

    def framer(self, served: Served, form: Form, include: Include) -> Frame:
        """For one watch. Raises NotAcceptable."""
        if form.media == "yaml":
            raise not_acceptable(JSON, PROTOBUF)
        key = (id(served), form, include)  # _Shared holds `served`, so the number stays its own.
        shared = self._shared.get(key)
        if shared is None:
            write = (
                _table_writer(served, form, include, self._now) if form.convert == "Table" else _writer(served, form)
            )
            shared = self._shared[key] = _Shared(served, write)
        return _TableFrames(shared) if form.convert == "Table" else shared


class _Shared:
    """The newest frames of a resource in one form. Lives as long as a watch uses it."""

    __slots__ = ("__weakref__", "_frames", "_served", "_size", "write")

    def __init__(self, served: Served, write: Frame) -> None:
        self._served = served
        self.write = write
        self._frames: dict[tuple[str, int], bytes] = {}
        self._size = 0

    def __call__(self, type: str, record: Record) -> bytes:
        # A revision is one event; what a selector makes of it differs in the type.
        key = (type, record.revision)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = self.write(type, record)
            self._size += len(frame)
            while self._size > _KEPT_BYTES and len(self._frames) > 1:
                self._size -= len(self._frames.pop(next(iter(self._frames))))
        return frame


def _writer(served: Served, form: Form) -> Frame:
    render = renderer(served, form)
    if form.media == "protobuf":
        return lambda type, record: event(form, type, msgspec.json.decode(render(record)))

    def write(type: str, record: Record) -> bytes:
        return b'{"type":"%b","object":%b}\n' % (type.encode(), render(record))

    return write


class _TableWriter(Protocol):
    def __call__(self, type: str, record: Record, *, headers: bool = False) -> bytes: ...


def _table_writer(served: Served, form: Form, include: Include, now: Callable[[], datetime]) -> _TableWriter:
    def write(type: str, record: Record, *, headers: bool = False) -> bytes:
        metadata = {"resourceVersion": str(record.revision)}
        objects = [object_of(served, record)]
        table = tables.table(served, objects, form, include, now(), metadata, headers=headers)
        return encode({"type": type, "object": table}) + b"\n"

    return write


def event(form: Form, type: str, obj: Object) -> bytes:
    """The frame of an event with an object that is no record's."""
    if form.media == "protobuf":
        from homeport.kube.protobuf.encode import watch_frame

        return watch_frame(type, to_protobuf(obj))
    return encode({"type": type, "object": obj}) + b"\n"


class _TableFrames:
    """Tables of one row. Only a watch's first carries the columns, as upstream: clients keep them."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._first = True

    def __call__(self, type: str, record: Record) -> bytes:
        if self._first:
            self._first = False
            write: Any = self._shared.write
            frame: bytes = write(type, record, headers=True)
            return frame
        return self._shared(type, record)


def bookmark(served: Served, form: Form, revision: int, *, initial_end: bool = False) -> bytes:
    """A frame that says: every event up to `revision` has been sent."""
    metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true", LIST_BLUEPRINT: _blueprint(served, form)}
    kind, version = served.kind, served.resource.api_version
    if form.convert:
        kind, version = form.convert, f"meta.k8s.io/{form.version}"
    obj: dict[str, Any] = {"kind": kind, "apiVersion": version, "metadata": metadata}
    if form.convert == "Table":
        obj |= {"columnDefinitions": None, "rows": []}
    return event(form, "BOOKMARK", obj)


def _blueprint(served: Served, form: Form) -> str:
    kind, version = served.list_kind, served.resource.api_version
    if form.convert:
        kind, version = "PartialObjectMetadataList", f"meta.k8s.io/{form.version}"
    return base64.b64encode(encode({"kind": kind, "apiVersion": version, "metadata": {}, "items": []})).decode()


def failure(error: ApiError, form: Form) -> bytes:
    """The frame that ends a watch which cannot go on."""
    return event(form, "ERROR", error.to_status())


async def failed(error: ApiError, form: Form) -> AsyncIterator[bytes]:
    """The whole of a watch that cannot begin: as upstream, an event and no HTTP error."""
    yield failure(error, form)


class WatchStream:
    """The body of a watch's answer. Several events that are there at once leave in one chunk.

    Ends at its deadline, when the store closes, or when its reader was too slow for the store's buffer; the client
    resumes from the last resourceVersion that it saw.
    """

    def __init__(
        self,
        store: Store,
        watch: Watch,
        served: Served,
        form: Form,
        options: ListOptions,
        frame: Frame,
        *,
        seconds: float,
        initial: Sequence[Record] = (),
        initial_end: int | None = None,
    ) -> None:
        self._store = store
        self._watch = watch
        self._served, self._form = served, form
        self._options = options if options.selects else None
        self._frame = frame
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

    def __aiter__(self) -> WatchStream:
        return self

    async def aclose(self) -> None:
        self._closed = True
        self._watch.close()

    async def __anext__(self) -> bytes:
        while not self._closed:
            try:
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
            await self._watch.wait(until)
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
                return b"".join([self._frame("ADDED", record) for record in await shown(self._served, batch)])
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
            chunk = b"".join(self._frames(events))
            if chunk:
                return chunk
        return b""

    def _ready(self) -> bytes:
        """Frames of what is here already; empty if nothing is. What waits stays with the store, which bounds it."""
        while batch := self._watch.take(_BATCH):
            chunk = b"".join(self._frames(batch))
            if chunk:
                return chunk
        return b""

    def _frames(self, events: Iterable[Event]) -> list[bytes]:
        frame, options = self._frame, self._options
        if options is None:
            return [frame(event.type, event.record) for event in events]
        frames = []
        for event in events:
            before = event.previous is not None and options.matches(event.previous)
            now = event.type != "DELETED" and options.matches(event.record)
            if now:
                frames.append(frame("MODIFIED" if before else "ADDED", event.record))
            elif before:
                record = event.record
                if event.type != "DELETED":
                    # It goes out of this watch's sight: the last state in sight, at the revision of the change.
                    assert event.previous is not None
                    last = event.previous
                    record = Record(last.key, record.revision, restamp(last.value, record.revision), last.labels)
                frames.append(frame("DELETED", record))
        return frames
