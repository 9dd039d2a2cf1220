"""Subresources that change one part of an object: a pod's ephemeral containers or resources, the decision on a request
for a certificate.

The body is the whole object; what it says of other parts does not count.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from homeport.apiserver.admission import read_object
from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import media_type
from homeport.apiserver.verbs import apply
from homeport.apiserver.verbs.conditions import stated_version
from homeport.apiserver.verbs.get import get
from homeport.apiserver.verbs.patch import APPLY_PATCH, change_of, check_version, patched
from homeport.apiserver.verbs.update import Make, change
from homeport.apiserver.writing import modified
from homeport.kube.core import parts
from homeport.kube.errors import BadRequest, MethodNotAllowed
from homeport.kube.meta import Object, timestamp
from homeport.kube.wire import Response
from homeport.store.protocol import Record

_Take = Callable[[Object, Object, str], Object]
"""From the object that a client wants, the stored one and the time, to the stored one with the part changed."""


def _verb(
    take: _Take, validate: parts.Validate, only: Callable[[Object], Object] | None = None
) -> Callable[[Api, Call], Awaitable[Response]]:
    """`only` takes the part from a configuration; without it none can be applied."""

    async def part(api: Api, call: Call) -> Response:
        info = call.info
        if info.verb == "get":
            return await get(api, call)
        if info.verb not in ("update", "patch"):
            raise MethodNotAllowed(
                f"{call.served.resource.qualified}/{info.subresource} can't be used with {call.request.method}"
            )
        now = timestamp(api.now())
        judged = msgspec.structs.replace(call, served=msgspec.structs.replace(call.served, validate=validate))
        media = media_type(call.request.headers.get("content-type", "none"))
        if only is not None and info.verb == "patch" and media == APPLY_PATCH:
            applied = apply.Part(only, lambda new, old: take(new, old, now))
            return await apply.apply(api, judged, subresource=info.subresource, part=applied)
        wanted = _update(call) if info.verb == "update" else _patch(call)

        def make(record: Record, old: Object) -> Object:
            return take(wanted(record, old), old, now)

        return await change(api, judged, make, subresource=info.subresource)

    return part


def _update(call: Call) -> Make:
    new = read_object(call)
    name, version = new["metadata"].get("name"), stated_version(new)
    if name != call.info.name:
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({call.info.name})")

    def make(record: Record, old: Object) -> Object:
        if version and version != str(record.revision):
            raise modified(call, call.info.name)
        return new

    return make


def _patch(call: Call) -> Make:
    sent = change_of(call)

    def make(record: Record, old: Object) -> Object:
        new = patched(call, sent, old)
        check_version(call, new, str(record.revision))
        return new

    return make


ephemeral_containers = _verb(
    parts.take_ephemeral_containers, parts.validate_ephemeral_containers, parts.only_ephemeral_containers
)
resize = _verb(parts.take_resources, parts.validate_resize, parts.only_resources)
approval = _verb(parts.take_decision, parts.validate_decision)
