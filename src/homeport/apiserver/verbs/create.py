"""``POST`` to a collection."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Any

from homeport.apiserver.admission import (
    CREATE,
    Attributes,
    attributes_of,
    draft_create,
    finish_create,
    read_whole,
)
from homeport.apiserver.context import Api, Call
from homeport.apiserver.offload import finished, off_loop, takes_long
from homeport.apiserver.rendering import render_shown, render_transient, render_written
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


def create(api: Api, call: Call) -> Coroutine[Any, Any, Response]:
    if takes_long(call.served, len(call.request.body)):
        return _create_large(api, call)
    new, whole = read_whole(call)
    return create_object(api, call, new, whole=whole)


async def _create_large(api: Api, call: Call) -> Response:
    new, whole = await off_loop(read_whole, call)
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
    admitted = attributes.object
    finish = partial(finish_create, api, call, draft, attributes, applied=applied)
    for _ in range(1 if name else _ATTEMPTS):
        attributes.object, attributes.name = admitted, name
        if off or call.served.definition.rules is not None:
            attributes.waited = True
            obj = await finished(off, finish)
        else:
            obj = finish()
        if call.served.key == SERVICES:
            with api.allocations.assigned(key_of(call, obj), obj, None) as assigned:
                response = await _store(api, call, assigned, attributes, applied)
        else:
            response = await _store(api, call, obj, attributes, applied)
        if response is not None:
            return response
        attributes.waited = True
    resource = call.served.resource
    raise AlreadyExists.of(resource.group, resource.plural, obj["metadata"]["name"])


async def _store(api: Api, call: Call, obj: Object, attributes: Attributes, applied: bool) -> Response | None:
    """Have the new object admitted and write it; None if its name is taken."""
    attributes.object, attributes.name = obj, obj["metadata"]["name"]
    await api.admission.validate(attributes)
    key = key_of(call, obj)
    if wants_dry_run(call):
        if api.store.head(key) is not None:
            return None
        rehearse(api, Put(key, obj, 0))
        return render_transient(api, call, obj, 201)
    try:
        kept = to_storage(call.served, obj) if call.served.converter is None else await stored(call.served, obj)
        record = await commit(api, Put(key, kept, 0, LIMIT), trims=not applied)
    except Conflicting:
        return None
    if call.served.converter is None:
        return render_shown(api, call, record, 201)
    return await render_written(api, call, record, 201)
