"""How watches write events: one JSON object a line, joined from the records' own bytes, once for all who hear of it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec

from homeport.apiserver import tables
from homeport.apiserver.answers import JSON
from homeport.apiserver.encoding import PROTOBUF, Form, encode, not_acceptable, to_protobuf
from homeport.apiserver.listing import ListOptions
from homeport.apiserver.rendering import renderer
from homeport.apiserver.resources import Served
from homeport.apiserver.versions import object_of
from homeport.kube.errors import ApiError
from homeport.kube.meta import Object
from homeport.kube.selector import Selector
from homeport.kube.table import Include
from homeport.store.encode import restamp
from homeport.store.protocol import Event, Record

INITIAL_EVENTS_END = "k8s.io/initial-events-end"

LIST_BLUEPRINT = "kubernetes.io/initial-events-list-blueprint"
"""Annotation of that bookmark: an empty list of the kind, which the client fills with what came before."""
_KEPT_BYTES = 1 << 17
"""Frames that are kept of a resource in one form: watches that hear of an event do so at about the same time."""
_KEPT_CHUNKS = 1 << 19
"""Bytes of chunks that are kept for all watches together."""
_OVERHEAD = 256
"""Bytes of Python objects that a chunk costs beside its own."""


class Frame(Protocol):
    """How an event is written: its type, its object, and a line end."""

    def __call__(self, type: str, record: Record) -> bytes: ...


class Frames:
    """Writes events for all watches: those of one resource in one form share the frames that are written for one of
    them, and those that select the same the chunks that these are joined to."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._shared: WeakValueDictionary[tuple[int, Form, Include], _Shared] = WeakValueDictionary()
        self._views: WeakValueDictionary[tuple[_Shared, Selector, str, str], View] = WeakValueDictionary()
        self._chunks = _Chunks()

    def view(self, served: Served, form: Form, include: Include, options: ListOptions, namespace: str) -> View:
        """For a watch of a resource in `namespace`, or in all if that is empty. Raises NotAcceptable."""
        if form.media == "yaml":
            raise not_acceptable(JSON, PROTOBUF)
        address = (id(served), form, include)  # _Shared holds `served`, so the number stays its own.
        shared = self._shared.get(address)
        if shared is None:
            write = (
                _table_writer(served, form, include, self._now) if form.convert == "Table" else _writer(served, form)
            )
            shared = self._shared[address] = _Shared(served, write)
        if form.convert == "Table":
            return View(_TableFrames(shared), options)  # Its first frame is another than its later ones.
        key = (shared, options.labels, str(options.chosen), namespace)
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = View(shared, options, self._chunks)
        return view


class View:
    """What watches that ask for the same make of events."""

    def __init__(self, frame: Frame, options: ListOptions, chunks: _Chunks | None = None) -> None:
        self.frame = frame
        self._options = options if options.selects else None
        self._chunks = chunks

    def chunk(self, events: Sequence[Event]) -> bytes:
        """The frames of events that follow each other in the store, as far as they are selected. Raises ApiError."""
        if self._chunks is None:
            return self.join(events)
        # Of one resource in one place: between two events there are as many others for all who see them.
        chunks, first, last = self._chunks, events[0].record.revision, events[-1].record.revision
        newest = chunks.newest
        if newest[1] == first and newest[2] == last and newest[0] is self:
            return chunks.chunk
        key = (self, first, last)
        chunk = chunks.get(key)
        if chunk is None:
            chunk = self.join(events)
            chunks.put(key, chunk)
        chunks.newest, chunks.chunk = key, chunk
        return chunk

    def join(self, events: Iterable[Event]) -> bytes:
        """As `chunk`, of any events."""
        frame, options = self.frame, self._options
        if options is None:
            return b"".join([frame(event.type, event.record) for event in events])
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
        return b"".join(frames)


class _Chunks:
    """The newest chunks: a thousand watches that ask for the same hear of an event one after the other."""

    def __init__(self) -> None:
        self._chunks: dict[tuple[View, int, int], bytes] = {}
        self._size = 0
        self.newest: tuple[View | None, int, int] = (None, -1, -1)
        """What was asked for last: the next one nearly always asks for the same."""
        self.chunk = b""
        """The answer to that."""

    def get(self, key: tuple[View, int, int]) -> bytes | None:
        return self._chunks.get(key)

    def put(self, key: tuple[View, int, int], chunk: bytes) -> None:
        self._chunks[key] = chunk
        self._size += len(chunk) + _OVERHEAD
        while self._size > _KEPT_CHUNKS and len(self._chunks) > 1:
            self._size -= len(self._chunks.pop(next(iter(self._chunks)))) + _OVERHEAD


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
    kind, version = served.kind, served.api_version
    if form.convert:
        kind, version = form.convert, f"meta.k8s.io/{form.version}"
    obj: dict[str, Any] = {"kind": kind, "apiVersion": version, "metadata": metadata}
    if form.convert == "Table":
        obj |= {"columnDefinitions": None, "rows": []}
    return event(form, "BOOKMARK", obj)


def _blueprint(served: Served, form: Form) -> str:
    kind, version = served.list_kind, served.api_version
    if form.convert:
        kind, version = "PartialObjectMetadataList", f"meta.k8s.io/{form.version}"
    return base64.b64encode(encode({"kind": kind, "apiVersion": version, "metadata": {}, "items": []})).decode()


def failure(error: ApiError, form: Form) -> bytes:
    """The frame that ends a watch which cannot go on."""
    return event(form, "ERROR", error.to_status())
