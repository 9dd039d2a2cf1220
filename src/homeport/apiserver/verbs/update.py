"""``PUT`` of one object, and the write that every kind of update ends in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from homeport.apiserver import managers
from homeport.apiserver.admission import (
    UPDATE,
    Attributes,
    Draft,
    attributes_of,
    draft_update,
    finish_update,
    read_whole,
)
from homeport.apiserver.authz import check
from homeport.apiserver.context import Api, Call
from homeport.apiserver.deletion import is_finished
from homeport.apiserver.offload import finished, off_loop, takes_long
from homeport.apiserver.rendering import render_transient, render_written
from homeport.apiserver.services.allocation import SERVICES
from homeport.apiserver.sizes import LIMIT
from homeport.apiserver.verbs.conditions import creates_by_put, needs_version, stated_version
from homeport.apiserver.verbs.create import create_object
from homeport.apiserver.verbs.get import not_found
from homeport.apiserver.versions import object_of, shown_one, stored, to_storage
from homeport.apiserver.writing import commit, modified, rehearse, wants_dry_run
from homeport.kube import field
from homeport.kube.errors import AlreadyExists, BadRequest, Conflict, Invalid
from homeport.kube.meta import Object
from homeport.kube.wire import Response
from homeport.store.protocol import Conflicting, Delete, Key, Put, Record

Make = Callable[[Record, Object], Object]
"""From the newest record, and the object in it, to the object as a client wants it. Raises ApiError."""

ATTEMPTS = 6
"""How often to try a change that somebody else is faster with: the first time and, as upstream, five more."""


async def update(api: Api, call: Call) -> Response:
    off = takes_long(call.served, len(call.request.body))
    new, whole = await off_loop(read_whole, call) if off else read_whole(call)
    return await replace(api, call, new, whole=whole)


async def replace(api: Api, call: Call, new: Object, *, subresource: str = "", whole: bool = False) -> Response:
    """Put `new` in the place of the stored object; of some kinds it is created if there is none. `whole` is as in
    :func:`draft_update`. Raises NotFound, Conflict, Invalid, BadRequest, or Forbidden."""
    name = call.info.name
    metadata = new["metadata"]
    if not metadata.get("name"):
        raise BadRequest(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if metadata["name"] != name:
        raise BadRequest(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    namespace = metadata.get("namespace")
    if call.served.namespaced and namespace and namespace != call.namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    if not subresource and creates_by_put(call.served) and api.store.head(_key(call)) is None:
        try:
            return await _create(api, call, new, whole)
        except AlreadyExists:
            pass  # somebody else was faster while a webhook took its time: now this is an update
    version = stated_version(new)
    if not version and needs_version(call.served):
        head(api, call)
        detail = "must be specified for an update"
        errors = [field.invalid("metadata.resourceVersion", 0, detail)]
        raise Invalid.of(call.served.group, call.served.resource.plural, name, errors)

    def put(record: Record, old: Object) -> Object:
        if version and version != str(record.revision):
            raise modified(call, name)
        return new

    return await change(api, call, put, subresource=subresource, whole=whole)


async def _create(api: Api, call: Call, new: Object, whole: bool) -> Response:
    """Create what ``PUT`` found missing. Raises Conflict where it was to replace something, and what creating
    raises."""
    uid = new["metadata"].get("uid")
    if uid:
        resource = call.served.resource
        raise Conflict.precondition(resource.group, resource.plural, call.info.name, "UID", uid, "")
    check(api.authorizer, call.user, call.info._replace(verb="create"))
    metadata = {key: value for key, value in new["metadata"].items() if key != "resourceVersion"}
    return await create_object(api, call, {**new, "metadata": metadata}, whole=whole)


def head(api: Api, call: Call) -> Record:
    """The newest state of the named object, from which a change starts. Raises NotFound."""
    record = api.store.head(_key(call))
    if record is None:
        raise not_found(call)
    return record


def _key(call: Call) -> Key:
    return Key(call.served.key, call.namespace, call.info.name)


async def change(
    api: Api, call: Call, make: Make, *, subresource: str = "", applied: bool = False, whole: bool = False
) -> Response:
    """Read the named object, let `make` change it, admit the result and write it. Parameters are as in
    :func:`draft_update`. Raises NotFound, Conflict, and what `make` and admission raise.

    As a rule nothing waits between reading and writing. Where admission waits for a webhook, or a large definition is
    worked on, and somebody else writes meanwhile, all of it is done once more, as upstream (``GuaranteedUpdate``).
    """
    for _ in range(ATTEMPTS):
        record = head(api, call)
        off = takes_long(call.served, len(record.value), len(call.request.body))
        shown = record if call.served.converter is None else await shown_one(call.served, record)
        drafted = partial(_draft, call, shown, make, subresource, applied, whole)
        old, draft = await off_loop(drafted) if off else drafted()
        attributes = attributes_of(call, UPDATE, draft.object, old)
        await api.admission.mutate(attributes)
        if not applied and not call.served.builtin:
            await managers.prepare(api, call, old, draft.sent)
        finish = partial(finish_update, api, call, draft, attributes, old, subresource=subresource, applied=applied)
        changed = await finished(off, finish) if off or call.served.definition.rules is not None else finish()
        try:
            if changed is not None and call.served.key == SERVICES:
                with api.allocations.assigned(record.key, changed, old) as assigned:
                    return await _admit_and_write(api, call, record, old, assigned, attributes, applied)
            return await _admit_and_write(api, call, record, old, changed, attributes, applied)
        except Conflicting:
            continue
    raise modified(call, call.info.name)


async def _admit_and_write(
    api: Api, call: Call, record: Record, old: Object, changed: Object | None, attributes: Attributes, applied: bool
) -> Response:
    attributes.object = old if changed is None else changed
    await api.admission.validate(attributes)
    return await write(api, call, record, changed, applied=applied)


def _draft(
    call: Call, record: Record, make: Make, subresource: str, applied: bool, whole: bool
) -> tuple[Object, Draft]:
    """The present object, and what `make` makes of it."""
    old = object_of(call.served, record)
    return old, draft_update(call, make(record, old), old, subresource=subresource, applied=applied, whole=whole)


async def write(api: Api, call: Call, record: Record, changed: Object | None, *, applied: bool = False) -> Response:
    """Make an admitted object the state after `record`; None changes nothing. `applied`: by server-side apply. Raises
    Conflicting."""
    if changed is None:
        if record.revision <= api.store.revision:
            return await render_written(api, call, record)
        # The state that the client asks for is not yet on disk; writing it once more says when it is.
        changed = object_of(call.served, await shown_one(call.served, record))
    if wants_dry_run(call):
        rehearse(api, Put(record.key, changed, record.revision))
        return render_transient(api, call, changed)
    kept = to_storage(call.served, changed) if call.served.converter is None else await stored(call.served, changed)
    removing = is_finished(call.served, changed)
    if removing:
        written = await commit(api, Delete(record.key, record.revision, kept))
    else:
        written = await commit(api, Put(record.key, kept, record.revision, LIMIT), trims=not applied)
    return await render_written(api, call, written)
