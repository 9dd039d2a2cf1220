"""Events: what ``kubectl describe`` tells a user about an object.

Recording never waits and never fails. Equal events are counted in one Event object, whose name follows from its
content, so that it is found again after a restart. An object that causes too many has its further ones held back.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from homeport.client.client import Client
from homeport.control.clock import utc_now
from homeport.kube import core
from homeport.kube.errors import AlreadyExists, ApiError, HomeportError, NotFound
from homeport.kube.meta import Object, name, namespace, timestamp, uid

_log = logging.getLogger(__name__)
_KNOWN = 4096
_BURST = 25.0
_REFILL = 1 / 300
"""client-go's limits for one object: 25 at once, then one in five minutes."""
_LONGEST = 1024
"""Bytes of a message that the API takes."""
_PARALLEL = 16


@dataclass(slots=True)
class _Entry:
    event: Object
    count: int
    written: int = 0
    """`count` as last written; 0 if this process has not yet written it."""
    key: str = ""


@dataclass(slots=True)
class _Bucket:
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
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._dirty: dict[str, _Entry] = {}
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
        digest = hashlib.sha256("\0".join((uid(obj), type, reason, message, component, field_path)).encode())
        event_name = f"{name(obj)[:236]}.{digest.hexdigest()[:16]}"
        key = f"{namespace(obj)}/{event_name}"
        entry = self._entries.get(key)
        moment = timestamp(self._now())
        if entry is None:
            event = self._event(obj, event_name, type, reason, message, component, field_path, moment)
            entry = self._entries[key] = _Entry(event, 1, key=key)
            if len(self._entries) > _KNOWN:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(key)
            entry.count += 1
            entry.event["lastTimestamp"] = moment
        if self._may_write(uid(obj)):
            self._dirty[key] = entry
            self._idle.clear()
            self._wake.set()

    async def run(self) -> None:
        """Write events until cancelled."""
        limit = asyncio.Semaphore(_PARALLEL)
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._dirty = self._dirty, {}
            async with asyncio.TaskGroup() as group:
                for entry in batch.values():
                    await limit.acquire()
                    group.create_task(self._write(entry)).add_done_callback(lambda _: limit.release())
            if not self._dirty:
                self._idle.set()

    async def flush(self) -> None:
        """Wait until everything recorded so far is written."""
        await self._idle.wait()

    def _event(
        self,
        obj: Object,
        event_name: str,
        type: str,
        reason: str,
        message: str,
        component: str,
        field_path: str,
        moment: str,
    ) -> Object:
        involved = {
            "apiVersion": obj.get("apiVersion") or "",
            "kind": obj.get("kind") or "",
            "name": name(obj),
            "uid": uid(obj),
            "resourceVersion": obj["metadata"].get("resourceVersion") or "",
        }
        if namespace(obj):
            involved["namespace"] = namespace(obj)
        if field_path:
            involved["fieldPath"] = field_path
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": event_name, "namespace": namespace(obj) or "default"},
            "involvedObject": involved,
            "type": type,
            "reason": reason,
            "message": message,
            "source": {"component": component},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
            "reportingComponent": component,
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
            if entry.written:
                await self._count_up(entry)
            else:
                await self._create(entry)
        except ApiError as error:  # a namespace that is going away, or an event that this server does not take
            _log.debug("event %s: %s", entry.key, error)
        except HomeportError as error:
            _log.warning("event %s: %s", entry.key, error)
        except Exception:
            _log.exception("event %s", entry.key)

    async def _create(self, entry: _Entry) -> None:
        count = entry.count
        try:
            await self._client.create(core.EVENT.resource, {**entry.event, "count": count})
        except AlreadyExists:
            meta = entry.event["metadata"]
            known = await self._client.get(core.EVENT.resource, meta["name"], meta["namespace"])
            entry.count += int(known.get("count") or 1)
            await self._count_up(entry)
            return
        entry.written = count

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


def _cut(message: str) -> str:
    return message.encode()[: _LONGEST - 3].decode(errors="ignore") + "..."
