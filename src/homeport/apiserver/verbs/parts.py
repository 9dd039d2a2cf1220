"""Subresources that change one part of an object: a pod's ephemeral containers or resources, the decision on a request
for a certificate.

The body is the whole object; what it says of other parts does not count.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from homeport.apiserver.admission import read_object
from homeport.apiserver.context import Api, Call
from homeport.apiserver.verbs.get import get
from homeport.apiserver.verbs.patch import change_of, check_version, patched
from homeport.apiserver.verbs.update import Make, change
from homeport.apiserver.writing import modified
from homeport.kube.core import parts
from homeport.kube.errors import BadRequest, MethodNotAllowed
from homeport.kube.meta import Object, timestamp
from homeport.kube.wire import Response
from homeport.store.protocol import Record

_Take = Callable[[Object, Object, str], Object]
"""From the object that a client wants, the stored one and the time, to the stored one with the part changed."""


def _verb(take: _Take, validate: parts.Validate) -> Callable[[Api, Call], Awaitable[Response]]:
    async def part(api: Api, call: Call) -> Response:
        info = call.info
        if info.verb == "get":
            return await get(api, call)
        if info.verb not in ("update", "patch"):
            raise MethodNotAllowed(
                f"{call.served.resource.qualified}/{info.subresource} can't be used with {call.request.method}"
            )
        wanted = _update(call) if info.verb == "update" else _patch(call)
        now = timestamp(api.now())

        def make(record: Record, old: Object) -> Object:
            return take(wanted(record, old), old, now)

        served = msgspec.structs.replace(call.served, validate=validate)
        return await change(api, msgspec.structs.replace(call, served=served), make, subresource=info.subresource)

    return part


def _update(call: Call) -> Make:
    new = read_object(call)
    name, version = new["metadata"].get("name"), new["metadata"].get("resourceVersion")
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


ephemeral_containers = _verb(parts.take_ephemeral_containers, parts.validate_ephemeral_containers)
resize = _verb(parts.take_resources, parts.validate_resize)
approval = _verb(parts.take_decision, parts.validate_decision)
