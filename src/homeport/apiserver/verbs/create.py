"""``POST`` to a collection."""

from __future__ import annotations

from functools import partial

from homeport.apiserver.admission import (
    CREATE,
    Attributes,
    attributes_of,
    draft_create,
    finish_create,
    generated_name,
    read_whole,
)
from homeport.apiserver.context import Api, Call
from homeport.apiserver.offload import finished, off_loop, takes_long
from homeport.apiserver.rendering import render_transient, render_written
from homeport.apiserver.services.allocation import SERVICES
from homeport.apiserver.sizes import LIMIT
from homeport.apiserver.versions import stored, to_storage
from homeport.apiserver.writing import commit, key_of, rehearse, wants_dry_run
from homeport.kube.errors import AlreadyExists
from homeport.kube.meta import Object
from homeport.kube.wire import Response
from homeport.store.protocol import Conflicting, Put

_ATTEMPTS = 8
"""Names to try for a ``generateName`` before giving up, as upstream."""


async def create(api: Api, call: Call) -> Response:
    off = takes_long(call.served, len(call.request.body))
    new, whole = await off_loop(read_whole, call) if off else read_whole(call)
    return await create_object(api, call, new, whole=whole)


async def create_object(api: Api, call: Call, new: Object, *, applied: bool = False, whole: bool = False) -> Response:
    """Admit and write a new object. Raises AlreadyExists, and what admission raises.

    With `applied` the object comes from server-side apply. `whole` is as in :func:`draft_create`.
    """
    off = takes_long(call.served, len(call.request.body))
    drafted = partial(draft_create, api, call, new, whole=whole)
    draft = await off_loop(drafted) if off else drafted()
    name = draft.object["metadata"].get("name") or ""
    attributes = attributes_of(call, CREATE, draft.object, name=name)
    await api.admission.mutate(attributes)
    finish = partial(finish_create, api, call, draft, attributes, applied=applied)
    obj = await finished(off, finish) if off or call.served.definition.rules is not None else finish()
    attempts = 1 if name else _ATTEMPTS
    if call.served.key == SERVICES:
        with api.allocations.assigned(key_of(call, obj), obj, None) as assigned:
            return await _store(api, call, assigned, attributes, attempts, applied)
    return await _store(api, call, obj, attributes, attempts, applied)


async def _store(api: Api, call: Call, obj: Object, attributes: Attributes, attempts: int, applied: bool) -> Response:
    """Have the new object admitted and write it, under another generated name if its name is taken."""
    resource = call.served.resource
    attributes.object, attributes.name = obj, obj["metadata"]["name"]
    await api.admission.validate(attributes)
    for attempt in range(attempts):
        if attempt:
            metadata = obj["metadata"]
            obj = {**obj, "metadata": {**metadata, "name": generated_name(metadata["generateName"])}}
        key = key_of(call, obj)
        if wants_dry_run(call):
            if api.store.head(key) is None:
                rehearse(api, Put(key, obj, 0))
                return render_transient(api, call, obj, 201)
            continue
        try:
            kept = to_storage(call.served, obj) if call.served.converter is None else await stored(call.served, obj)
            record = await commit(api, Put(key, kept, 0, LIMIT), trims=not applied)
        except Conflicting:
            continue
        return await render_written(api, call, record, 201)
    raise AlreadyExists.of(resource.group, resource.plural, obj["metadata"]["name"])
