"""The one apply step: carries out a plan against the API server.

Order: creations, applications and the status together; only when they are on record, deletions. So a count that a
status keeps is never lost together with the child it counted.

A name that somebody else's object has is never taken over: the parent gets a Warning event and the child is made once
the other object has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import msgspec

from homeport.client.client import Client
from homeport.control.cache import ObjectKey, controller_uid, key_of
from homeport.control.diff import Deletion, Plan, Settled, Write
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube.errors import AlreadyExists, ApiError, Conflict, HomeportError, Invalid, NotFound, TooManyRequests
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, controller_of, is_deleting, metadata, name, namespace, resource_version, uid

_Call: TypeAlias = Callable[[], Awaitable[None]]


class OwnWrites(msgspec.Struct):
    """What one sync wrote, and by what the caches will show it: no further sync of this parent before they do."""

    revisions: dict[Resource, int] = msgspec.field(default_factory=dict)
    deletions: set[tuple[Resource, ObjectKey, str]] = msgspec.field(default_factory=set)
    blocked: dict[tuple[Resource, ObjectKey], str] = msgspec.field(default_factory=dict)
    """Names that somebody else's object has, and what to tell the user (empty: it goes by itself). Not waited for;
    their deletion is a reason to sync."""

    def note(self, resource: Resource, obj: Object) -> None:
        version = resource_version(obj)
        if version.isdigit():
            self.revisions[resource] = max(self.revisions.get(resource, 0), int(version))

    def unseen(self, informers: Informers, wake: Callable[[], None]) -> bool:
        """Whether a cache lags behind these writes. Then `wake` is called once it might have caught up; the events of
        children being deleted wake their parent anyway."""
        for resource, revision in list(self.revisions.items()):
            informer = informers.get(resource)
            if informer.revision < revision:
                informer.when(revision, wake)
                return True
            del self.revisions[resource]
        for entry in list(self.deletions):
            resource, key, deleted = entry
            cached = informers.get(resource).cache.get(*key)
            if cached is not None and uid(cached) == deleted and not is_deleting(cached):
                return True
            self.deletions.discard(entry)
        return False


class Applier:
    """`manager` is the field manager; `limit` bounds the requests in flight."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        manager: str,
        limit: asyncio.Semaphore,
        settled: Settled,
    ) -> None:
        self._client = client
        self._informers = informers
        self._recorder = recorder
        self._manager = manager
        self._limit = limit
        self._settled = settled

    async def carry_out(self, parent_resource: Resource, parent: Object, plan: Plan, writes: OwnWrites) -> None:
        """Do all of `plan`. What can be done is done before the first error is raised."""
        calls: list[_Call] = [partial(self._create, parent, write, writes) for write in plan.creates]
        calls += [partial(self._apply, write, writes) for write in plan.applies]
        if plan.status is not None:
            calls.append(partial(self._write_status, parent_resource, parent, plan.status, writes))
        await self._all(calls)
        await self._all([partial(self._delete, deletion, writes) for deletion in plan.deletes])

    async def delete_parent(self, resource: Resource, parent: Object, writes: OwnWrites) -> None:
        await self._delete(Deletion(resource, parent), writes)

    async def _all(self, calls: list[_Call]) -> None:
        if len(calls) == 1:
            await self._limited(calls[0])
            return
        results = await asyncio.gather(*map(self._limited, calls), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _limited(self, call: _Call) -> None:
        async with self._limit:
            await call()

    async def _create(self, parent: Object, write: Write, writes: OwnWrites) -> None:
        known = self._informers.get(write.resource).cache.get(*key_of(write.object))
        if known is not None and controller_uid(known) != uid(parent):
            self._taken(parent, write.resource, known, writes)
            return
        try:
            made = await self._client.create(write.resource, write.object, field_manager=self._manager)
        except AlreadyExists:
            await self._look_at_namesake(parent, write, writes)
        except ApiError as error:
            message = f"can't create {write.resource.kind} {name(write.object)!r}: {error}"
            if error.code < 500 and not isinstance(error, NotFound | TooManyRequests):  # those two pass by themselves
                self._recorder.record(parent, "Warning", f"FailedCreate{write.resource.kind}", message)
            raise HomeportError(message) from error
        else:
            writes.note(write.resource, made)

    async def _look_at_namesake(self, parent: Object, write: Write, writes: OwnWrites) -> None:
        """The name exists although the cache does not show it: it is ours, or somebody else's."""
        resource, wanted = write.resource, write.object
        try:
            live = await self._client.get(resource, name(wanted), namespace(wanted))
        except NotFound as error:
            raise HomeportError(f"{resource.kind} {name(wanted)!r} is just being deleted") from error
        if controller_uid(live) == uid(parent):
            writes.note(resource, live)
        else:
            self._taken(parent, resource, live, writes)

    def _taken(self, parent: Object, resource: Resource, live: Object, writes: OwnWrites) -> None:
        """Somebody else's object has the name. One of a former parent of the same name goes by itself."""
        owner = controller_of(live)
        former = owner is not None and (owner.get("kind"), owner.get("name")) == (parent["kind"], name(parent))
        message = ""
        if not former and not is_deleting(live):
            whose = f"belongs to {owner['kind']} {owner['name']!r}" if owner else "belongs to nobody"
            message = (
                f"{resource.kind} {name(live)!r} exists and {whose}, so it is left alone; "
                f"delete it or give this {parent['kind']} another name"
            )
        writes.blocked[resource, key_of(live)] = message

    async def _apply(self, write: Write, writes: OwnWrites) -> None:
        resource, observed = write.resource, write.observed
        assert observed is not None
        entries = metadata(observed).get("managedFields") or ()
        if any(entry.get("manager") == self._manager and entry.get("operation") == "Update" for entry in entries):
            await self._own_by_apply(resource, observed)
        wanted = {**write.object, "metadata": {**write.object["metadata"], "uid": uid(observed)}}
        try:
            applied = await self._client.apply(resource, wanted, field_manager=self._manager)
        except (NotFound, Conflict) as error:  # replaced or deleted since: its events bring the parent back
            raise HomeportError(f"{resource.kind} {name(observed)!r} changed meanwhile: {error}") from error
        writes.note(resource, applied)
        self._settled.add(applied, write.object)

    async def _own_by_apply(self, resource: Resource, observed: Object) -> None:
        """Turn the ownership that creating a child gave us into that of an applier: else server-side apply would never
        remove a field, because our former self still owns it (kubectl and client-go do the same on upgrade)."""
        live = await self._client.get(resource, name(observed), namespace(observed))
        entries: list[dict[str, Any]] = list(metadata(live).get("managedFields") or ())
        ours = [e for e in entries if e.get("manager") == self._manager and not e.get("subresource")]
        if uid(live) != uid(observed) or not any(entry.get("operation") == "Update" for entry in ours):
            return
        union: dict[str, Any] = {}
        for entry in ours:
            union = _union(union, entry.get("fieldsV1") or {})
        merged = {**ours[0], "operation": "Apply", "fieldsV1": union}
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version(live)},
            {"op": "replace", "path": "/metadata/managedFields", "value": [merged, *_others(entries, ours)]},
        ]
        try:
            await self._client.patch(
                resource, name(live), namespace(live), patch, type="json", field_manager=self._manager
            )
        except (Conflict, Invalid, NotFound) as error:
            raise HomeportError(f"{resource.kind} {name(live)!r} changed meanwhile: {error}") from error

    async def _write_status(self, resource: Resource, parent: Object, patch: Object, writes: OwnWrites) -> None:
        body = {"metadata": {"uid": uid(parent)}, "status": patch}  # the uid: never write onto a namesake
        try:
            written = await self._client.patch(
                resource,
                name(parent),
                namespace(parent),
                body,
                subresource="status",
                field_manager=self._manager,
            )
        except NotFound:
            return
        writes.note(resource, written)

    async def _delete(self, deletion: Deletion, writes: OwnWrites) -> None:
        resource, obj = deletion.resource, deletion.object
        with contextlib.suppress(NotFound):  # the cache will show it
            await self._client.delete(resource, name(obj), namespace(obj), propagation="Background", uid=uid(obj))
        writes.deletions.add((resource, key_of(obj), uid(obj)))


def _others(entries: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in entries if not any(entry is own for own in ours)]


def _union(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        merged[key] = _union(merged[key], value) if key in merged else value
    return merged
