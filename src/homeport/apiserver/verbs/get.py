"""``GET`` of one object."""

from __future__ import annotations

from homeport.apiserver.context import Api, Call
from homeport.apiserver.listing import fresh, parse_revision
from homeport.apiserver.rendering import render_object
from homeport.apiserver.resources import Served
from homeport.apiserver.versions import shown_one
from homeport.kube.errors import NotFound
from homeport.kube.wire import Request, Response
from homeport.store.protocol import Key, Record

_ABOUT_TIME = frozenset({"resourceVersion", "timeout"})
"""Parameters that say for what a read may wait, and how long."""


def find(api: Api, call: Call) -> Record:
    """The committed record that the call names. Raises NotFound."""
    record = api.store.get(Key(call.served.key, call.namespace, call.info.name))
    if record is None:
        raise not_found(call)
    return record


def not_found(call: Call) -> NotFound:
    resource = call.served.resource
    return NotFound.of(resource.group, resource.plural, call.info.name)


def get_at_once(api: Api, call: Call) -> Response:
    """As :func:`get`, for calls that have nothing to wait for (see :func:`waits_for_nothing`)."""
    return render_object(api, call, find(api, call))


def waits_for_nothing(served: Served, request: Request) -> bool:
    """Whether objects can be read without a webhook that converts them, without a schema that is still to be worked
    out, without a revision that may be still to come, and whatever time the request has."""
    if served.converter is not None or not served.definition.is_ready:
        return False
    return not request.query or all(key not in _ABOUT_TIME for key, _ in request.query)


async def get(api: Api, call: Call) -> Response:
    await fresh(api.store, parse_revision(call.query.get("resourceVersion", "")) or 0)
    return render_object(api, call, await shown_one(call.served, find(api, call)))
