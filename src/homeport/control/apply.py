"""The one apply step: carries out a plan against the API server.

Order: creations, applications and the status together; only when they are on record, deletions. So a count that a
status keeps is never lost together with the child it counted.

A name that somebody else's object has is never taken over: the parent gets a Warning event and the child is made once
the other object has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

from homeport.client.client import Client
from homeport.control.cache import controller_uid, key_of
from homeport.control.claiming import Claimer
from homeport.control.controller import Controller, Deed, Failure
from homeport.control.diff import Change, Deletion, Plan, Settled, Write
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.naming import another
from homeport.control.writes import OwnWrites
from homeport.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Ending,
    HomeportError,
    Invalid,
    NotFound,
    Superseded,
    TooManyRequests,
)
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, controller_of, is_deleting, metadata, name, namespace, resource_version, uid

_Call: TypeAlias = Callable[[], Awaitable[None]]
_REFUSALS = 1024
"""So many that were told of are remembered."""


class Applier:
    """`limit` bounds the requests in flight. The field manager has the controller's name."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        controller: Controller,
        limit: asyncio.Semaphore,
        settled: Settled,
    ) -> None:
        self._client = client
        self._informers = informers
        self._recorder = recorder
        self._manager = controller.name
        self._declared = {child.resource: child for child in controller.children}
        self._words = {related.resource.kind: related.tell for related in controller.related}
        self._words |= {child.resource.kind: child.tell for child in controller.children}
        self._claimer = Claimer(client, controller.name)
        self._limit = limit
        self._settled = settled
        self._refusals: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        """What was said of children that can't be made: by their parents' uids, their kinds and names."""

    async def carry_out(self, parent_resource: Resource, parent: Object, plan: Plan, writes: OwnWrites) -> None:
        """Do all of `plan`. What can be done is done before the first error is raised: only what is to be created may
        need the objects without an owner."""
        failed: list[Exception] = []
        await self._collect([partial(self._make_other, parent, write, writes) for write in plan.others], failed)
        gradual: list[Write] = []
        calls: list[_Call] = []
        for write in () if failed else plan.creates:
            if self._declared[write.resource].gradual:
                gradual.append(write)
            else:
                calls.append(partial(self._create, parent, write, writes))
        calls += [partial(self._apply, parent, write, writes) for write in plan.applies]
        calls += [partial(self._change, parent, change, writes) for change in plan.patches]
        unrecorded: list[Exception] = []
        record: list[_Call] = []
        if plan.status is not None:
            record.append(partial(self._write_status, parent_resource, parent, plan.status, writes))
        await asyncio.gather(
            self._collect(record, unrecorded),
            self._collect(calls, failed),
            self._gradually(parent, gradual, writes, failed),
        )
        if unrecorded:
            raise unrecorded[0]
        # Also when a child was refused: those that go may be what a quota waits for. First the finalizers: a child
        # deleted without them is not taken for one that went by itself.
        await self._collect([partial(self._finalize, child, writes) for child in plan.finalized], failed)
        await self._collect([partial(self._delete_child, parent, each, writes) for each in plan.deletes], failed)
        if failed:
            raise next((error for error in failed if not isinstance(error, Ending)), failed[0])

    async def delete_parent(self, resource: Resource, parent: Object, writes: OwnWrites) -> None:
        await self._delete(Deletion(resource, parent), writes)

    async def _collect(self, calls: Sequence[_Call], failed: list[Exception]) -> None:
        """Do all of `calls`, and put the errors into `failed`."""
        for result in await asyncio.gather(*map(self._limited, calls), return_exceptions=True):
            if isinstance(result, Exception):
                failed.append(result)
            elif isinstance(result, BaseException):
                raise result

    async def _gradually(
        self, parent: Object, creates: Sequence[Write], writes: OwnWrites, failed: list[Exception]
    ) -> None:
        """One, then two, then four, ...; none after one that failed."""
        done, size = 0, 1
        errors: list[Exception] = []
        while done < len(creates) and not errors:
            batch = creates[done : done + size]
            await self._collect([partial(self._create, parent, write, writes) for write in batch], errors)
            done, size = done + len(batch), size * 2
        failed += errors

    async def _limited(self, call: _Call) -> None:
        async with self._limit:
            await call()

    async def _create(self, parent: Object, write: Write, writes: OwnWrites) -> None:
        known = self._informers.get(write.resource).cache.get(*key_of(write.object))
        if known is not None and controller_uid(known) != uid(parent):
            prefix = self._prefix(write)
            if prefix:
                await self._create(parent, _renamed(write, prefix), writes)
            else:
                self._taken(parent, write.resource, known, writes)
            return
        complete = self._declared[write.resource].complete
        wanted = write.object if complete is None else await asyncio.to_thread(complete, write.object)
        try:
            made = await self._client.create(write.resource, wanted, field_manager=self._manager)
        except AlreadyExists:
            await self._look_at_namesake(parent, write, writes)
        except ApiError as error:
            raise self._refused(parent, write, error, writes) from error
        else:
            self._refusals.pop((uid(parent), write.resource.kind, name(made)), None)
            writes.note(write.resource, made)
            self._tell("create", parent, made)

    def _prefix(self, write: Write) -> str:
        """With what another name for the child would begin; empty if it can't have one."""
        fixed = self._declared[write.resource].fixed_names
        return "" if fixed else metadata(write.object).get("generateName") or ""

    def _refused(self, parent: Object, write: Write, error: ApiError, writes: OwnWrites) -> HomeportError:
        kind = write.resource.kind
        message = f"can't create {kind} {name(write.object)!r}: {error}"
        if _is_ending(error):
            return Ending(message)
        writes.failures.append(Failure("create", kind, name(write.object), error.reason, error.message))
        if self._words[kind] is not None:
            self._tell("create", parent, write.object, error.message)
        elif error.code < 500 and not isinstance(error, NotFound | TooManyRequests):  # those two pass by themselves
            refused = uid(parent), kind, name(write.object)
            if self._refusals.get(refused) != message:  # tried again and again: told of once
                self._recorder.record(parent, "Warning", f"FailedCreate{kind}", message)
            self._refusals[refused] = message
            self._refusals.move_to_end(refused)
            if len(self._refusals) > _REFUSALS:
                self._refusals.popitem(last=False)
        return HomeportError(message)

    def _tell(self, verb: Literal["create", "apply", "delete"], parent: Object, child: Object, error: str = "") -> None:
        tell = self._words.get(child["kind"])
        note = tell(Deed(verb, parent, child, error)) if tell is not None else None
        if note is not None:
            self._recorder.record(parent, note.type, note.reason, note.message, component=self._manager)

    async def _make_other(self, parent: Object, write: Write, writes: OwnWrites) -> None:
        try:
            made = await self._client.create(write.resource, write.object, field_manager=self._manager)
        except AlreadyExists:
            return  # which the cache will show
        except ApiError as error:
            raise self._refused(parent, write, error, writes) from error
        writes.note(write.resource, made)
        self._tell("create", parent, made)

    async def _change(self, parent: Object, change: Change, writes: OwnWrites) -> None:
        obj, resource = change.object, change.resource
        exact = {"uid": uid(obj)}
        if obj is not parent:
            exact["resourceVersion"] = resource_version(obj)
        body = {**change.patch, "metadata": {**(change.patch.get("metadata") or {}), **exact}}
        try:
            written = await self._client.patch(
                resource,
                name(obj),
                namespace(obj),
                body,
                subresource=change.subresource,
                field_manager=self._manager,
            )
        except (Conflict, NotFound) as error:  # its events bring the parent back
            raise Superseded(f"{resource.kind} {name(obj)!r} changed meanwhile") from error
        except ApiError as error:
            writes.failures.append(Failure("patch", resource.kind, name(obj), error.reason, error.message))
            raise HomeportError(f"can't change {resource.kind} {name(obj)!r}: {error}") from error
        writes.note(resource, written)

    async def _look_at_namesake(self, parent: Object, write: Write, writes: OwnWrites) -> None:
        """The name exists although the cache does not show it: it is ours, or somebody else's."""
        resource, wanted = write.resource, write.object
        try:
            live = await self._client.get(resource, name(wanted), namespace(wanted))
        except NotFound as error:
            raise Superseded(f"{resource.kind} {name(wanted)!r} is just being deleted") from error
        if controller_uid(live) == uid(parent):
            writes.note(resource, live)
            self._tell("create", parent, live)
        elif self._prefix(write):
            await self._create(parent, _renamed(write, self._prefix(write)), writes)
        else:
            self._taken(parent, resource, live, writes)

    def _taken(self, parent: Object, resource: Resource, live: Object, writes: OwnWrites) -> None:
        """Somebody else's object has the name. One of a former parent of the same name goes by itself."""
        owner = controller_of(live)
        former = owner is not None and (owner.get("kind"), owner.get("name")) == (parent["kind"], name(parent))
        message = ""
        if self._declared[resource].tell is not None:
            self._tell("create", parent, {**live, "kind": resource.kind}, _exists(resource, live))
        elif not former and not is_deleting(live):
            whose = f"belongs to {owner['kind']} {owner['name']!r}" if owner else "belongs to nobody"
            message = (
                f"{resource.kind} {name(live)!r} exists and {whose}, so it is left alone; "
                f"delete it or give this {parent['kind']} another name"
            )
        writes.blocked[resource, key_of(live)] = message
        failure = Failure("create", resource.kind, name(live), AlreadyExists.reason, _exists(resource, live))
        writes.failures.append(failure)

    async def _apply(self, parent: Object, write: Write, writes: OwnWrites) -> None:
        resource, observed = write.resource, write.observed
        assert observed is not None
        entries = metadata(observed).get("managedFields") or ()
        if any(entry.get("manager") == self._manager and entry.get("operation") == "Update" for entry in entries):
            await self._own_by_apply(resource, observed)
        wanted = {**write.object, "metadata": {**write.object["metadata"], "uid": uid(observed)}}
        try:
            applied = await self._client.apply(resource, wanted, field_manager=self._manager)
        except (NotFound, Conflict) as error:  # replaced or deleted since: its events bring the parent back
            raise Superseded(f"{resource.kind} {name(observed)!r} changed meanwhile: {error}") from error
        except ApiError as error:
            if self._words[resource.kind] is None:
                raise
            self._tell("apply", parent, write.object, error.message)
            raise HomeportError(f"can't apply {resource.kind} {name(observed)!r}: {error}") from error
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
            raise Superseded(f"{resource.kind} {name(live)!r} changed meanwhile: {error}") from error

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
        writes.recorded = True
        writes.note(resource, written)

    async def _delete_child(self, parent: Object, deletion: Deletion, writes: OwnWrites) -> None:
        kind, child = deletion.resource.kind, deletion.object
        try:
            await self._delete(deletion, writes)
        except ApiError as error:
            writes.failures.append(Failure("delete", kind, name(child), error.reason, error.message))
            self._tell("delete", parent, child, error.message)
            raise HomeportError(f"can't delete {kind} {name(child)!r}: {error}") from error
        self._tell("delete", parent, child)

    async def _finalize(self, deletion: Deletion, writes: OwnWrites) -> None:
        child = self._declared[deletion.resource]
        await self._claimer.strip(child, deletion.object, writes)

    async def _delete(self, deletion: Deletion, writes: OwnWrites) -> None:
        resource, obj = deletion.resource, deletion.object
        way: Literal["Foreground", "Background"] = "Foreground" if deletion.foreground else "Background"
        with contextlib.suppress(NotFound):  # the cache will show it
            await self._client.delete(resource, name(obj), namespace(obj), propagation=way, uid=uid(obj))
        writes.deletions.add((resource, key_of(obj), uid(obj)))


def _renamed(write: Write, prefix: str) -> Write:
    """The child under another name: somebody else's object has the one that was drawn."""
    meta = metadata(write.object)
    return Write(write.resource, {**write.object, "metadata": {**meta, "name": another(prefix, meta["name"])}})


def _exists(resource: Resource, obj: Object) -> str:
    return AlreadyExists.of(resource.group, resource.plural, name(obj)).message


def _is_ending(error: ApiError) -> bool:
    """Whether the namespace goes away."""
    causes = error.details.get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


def _others(entries: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in entries if not any(entry is own for own in ours)]


def _union(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        merged[key] = _union(merged[key], value) if key in merged else value
    return merged
