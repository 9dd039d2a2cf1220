"""``GET`` of one object."""

from __future__ import annotations

from homeport.apiserver.context import Api, Call
from homeport.apiserver.listing import fresh, parse_revision
from homeport.apiserver.rendering import render_object
from homeport.apiserver.versions import shown_one
from homeport.kube.errors import NotFound
from homeport.kube.wire import Response
from homeport.store.protocol import Key, Record


def find(api: Api, call: Call) -> Record:
    """The committed record that the call names. Raises NotFound."""
    record = api.store.get(Key(call.served.key, call.namespace, call.info.name))
    if record is None:
        raise not_found(call)
    return record


def not_found(call: Call) -> NotFound:
    resource = call.served.resource
    return NotFound.of(resource.group, resource.plural, call.info.name)


async def get(api: Api, call: Call) -> Response:
    await fresh(api.store, parse_revision(call.query.get("resourceVersion", "")) or 0)
    return render_object(api, call, await shown_one(call.served, find(api, call)))
