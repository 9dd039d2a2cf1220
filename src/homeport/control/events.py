"""Events: what ``kubectl describe`` tells a user about an object.

Recording never waits and never fails. Equal events are counted in one Event object, also after a restart. Names count
up with time, so that events of the same second are listed in the order in which they happened. An object that causes
too many has its further ones held back.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from homeport.client.client import Client
from homeport.clock import utc_now
from homeport.kube import core
from homeport.kube.errors import AlreadyExists, ApiError, HomeportError, NotFound
from homeport.kube.meta import Object, metadata, name, namespace, timestamp, uid

_log = logging.getLogger(__name__)
_KNOWN = 4096
_BURST = 25.0
_REFILL = 1 / 300
"""client-go's limits for one object: 25 at once, then one in five minutes."""
_LONGEST = 1024
"""Bytes of a message that the API takes."""
_PARALLEL = 16
_SEVERAL = 4
"""So many objects of a namespace are looked for one by one; for more, all its events are read once."""
_PAUSE = 0.05
"""Seconds between what happens and the first request that tells of it: what is told of goes first, such as a pod's
start, and what happens again at once is counted in the same request."""


class _Content(NamedTuple):
    """What makes two events equal."""

    about: str
    """The object's uid."""
    type: str
    reason: str
    message: str
    component: str
    field_path: str


class _Entry(msgspec.Struct):
    event: Object
    count: int
    may_exist: bool
    """Whether the object is older than this recorder, so that an earlier one may have told of it."""
    written: int = 0
    """`count` as last written; 0 if this process has not yet written it."""


class _Bucket(msgspec.Struct):
    tokens: float
    at: float


class EventRecorder:
    """`component` is the source that users see (``tfjob-controller``); `run` writes what `record` noted."""

    def __init__(
        self,
        client: Client,
        component: str,
        *,
        instance: str = "",
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._client = client
        self._component = component
        self._instance = instance or socket.gethostname()
        self._now = now
        self._since = timestamp(now())
        self._last = 0
        self._entries: OrderedDict[_Content, _Entry] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._dirty: dict[_Content, _Entry] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def record(
        self,
        obj: Object,
        type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        *,
        component: str = "",
        field_path: str = "",
    ) -> None:
        """Note that something happened to `obj`. `field_path` names a part (``spec.containers{main}``)."""
        component = component or self._component
        message = message if len(message.encode()) <= _LONGEST else _cut(message)
        key = _Content(uid(obj), type, reason, message, component, field_path)
        now = self._now()
        entry = self._entries.get(key)
        if entry is None:
            event = self._event(obj, self._name(obj, now), key, timestamp(now))
            entry = self._entries[key] = _Entry(event, 1, (metadata(obj).get("creationTimestamp") or "") <= self._since)
            if len(self._entries) > _KNOWN:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(key)
            entry.count += 1
            entry.event["lastTimestamp"] = timestamp(now)
        if self._may_write(uid(obj)):
            self._dirty[key] = entry
            self._idle.clear()
            self._wake.set()

    async def run(self) -> None:
        """Write events until cancelled."""
        limit = asyncio.Semaphore(_PARALLEL)
        while True:
            await self._wake.wait()
            await asyncio.sleep(_PAUSE)
            self._wake.clear()
            batch, self._dirty = self._dirty, {}
            await self._find_together(batch.values())
            async with asyncio.TaskGroup() as group:
                for entry in batch.values():
                    await limit.acquire()
                    group.create_task(self._write(entry)).add_done_callback(lambda _: limit.release())
            if not self._dirty:
                self._idle.set()

    async def flush(self) -> None:
        """Wait until everything recorded so far is written."""
        await self._idle.wait()

    def _name(self, obj: Object, now: datetime) -> str:
        """client-go's form, the object's name and nanoseconds; no two of a recorder are the same."""
        self._last = max(self._last + 1, int(now.timestamp() * 1e6) * 1000)
        return f"{name(obj)[:236]}.{self._last:016x}"

    def _event(self, obj: Object, event_name: str, content: _Content, moment: str) -> Object:
        involved = {
            "apiVersion": obj.get("apiVersion") or "",
            "kind": obj.get("kind") or "",
            "name": name(obj),
            "uid": uid(obj),
            "resourceVersion": obj["metadata"].get("resourceVersion") or "",
        }
        if namespace(obj):
            involved["namespace"] = namespace(obj)
        if content.field_path:
            involved["fieldPath"] = content.field_path
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": event_name, "namespace": namespace(obj) or "default"},
            "involvedObject": involved,
            "type": content.type,
            "reason": content.reason,
            "message": content.message,
            "source": {"component": content.component},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
            "reportingComponent": content.component,
            "reportingInstance": self._instance,
        }

    def _may_write(self, about: str) -> bool:
        at = asyncio.get_running_loop().time()
        bucket = self._buckets.get(about)
        if bucket is None:
            bucket = self._buckets[about] = _Bucket(_BURST, at)
            if len(self._buckets) > _KNOWN:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(about)
            bucket.tokens = min(_BURST, bucket.tokens + (at - bucket.at) * _REFILL)
            bucket.at = at
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    async def _write(self, entry: _Entry) -> None:
        try:
            if entry.may_exist:
                await self._find(entry)
            if entry.written:
                await self._count_up(entry)
            else:
                await self._create(entry)
        except ApiError as error:  # a namespace that is going away, or an event that this server does not take
            _log.debug("event %s: %s", entry.event["metadata"]["name"], error)
        except HomeportError as error:
            _log.warning("event %s: %s", entry.event["metadata"]["name"], error)
        except Exception:
            _log.exception("event %s", entry.event["metadata"]["name"])

    async def _find(self, entry: _Entry) -> None:
        """Go on with the Event object in which an earlier recorder counted the same."""
        about, place = entry.event["involvedObject"], entry.event["metadata"]["namespace"]
        listing = await self._client.list(core.EVENT.resource, place, fields=f"involvedObject.uid={about['uid']}")
        _go_on([entry], listing.items)

    async def _find_together(self, entries: Iterable[_Entry]) -> None:
        """As `_find`, where many may have been told of before: after a restart, all that goes on as it did."""
        by_namespace: dict[str, list[_Entry]] = {}
        for entry in entries:
            if entry.may_exist:
                by_namespace.setdefault(entry.event["metadata"]["namespace"], []).append(entry)
        for place, found in by_namespace.items():
            if len(found) > _SEVERAL:
                try:
                    listing = await self._client.list(core.EVENT.resource, place)
                except HomeportError as error:
                    _log.debug("the events of %s: %s", place, error)  # each looks for its own, and says what is wrong
                except Exception:
                    _log.exception("the events of %s", place)
                else:
                    _go_on(found, listing.items)

    async def _create(self, entry: _Entry) -> None:
        while True:
            count = entry.count
            try:
                await self._client.create(core.EVENT.resource, {**entry.event, "count": count})
            except AlreadyExists:  # another recorder's, of the same moment
                entry.event["metadata"]["name"] = self._name(
                    {"metadata": {"name": entry.event["involvedObject"]["name"]}}, self._now()
                )
                continue
            entry.written = count
            return

    async def _count_up(self, entry: _Entry) -> None:
        meta, count = entry.event["metadata"], entry.count
        body = {"count": count, "lastTimestamp": entry.event["lastTimestamp"]}
        try:
            await self._client.patch(core.EVENT.resource, meta["name"], meta["namespace"], body)
        except NotFound:  # its time to live ran out: counting starts over
            fresh = entry.count - entry.written
            entry.event["firstTimestamp"] = entry.event["lastTimestamp"]
            entry.count = max(fresh, 1)
            await self._create(entry)
            return
        entry.written = count


def _go_on(entries: Iterable[_Entry], events: Iterable[Object]) -> None:
    """Count on in those of `events` that tell the same as `entries`."""
    wanted = {_content(entry.event): entry for entry in entries}
    for entry in wanted.values():
        entry.may_exist = False
    for known in events:
        same = wanted.pop(_content(known), None)
        if same is not None:
            same.event["metadata"]["name"] = name(known)
            same.count += (written := int(known.get("count") or 1))
            same.written = written


def _cut(message: str) -> str:
    return message.encode()[: _LONGEST - 3].decode(errors="ignore") + "..."


def _content(event: Object) -> _Content:
    about = event["involvedObject"]
    return _Content(
        about.get("uid") or "",
        event.get("type") or "",
        event.get("reason") or "",
        event.get("message") or "",
        (event.get("source") or {}).get("component") or "",
        about.get("fieldPath") or "",
    )
