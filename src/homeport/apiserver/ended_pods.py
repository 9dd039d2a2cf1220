"""``endedpods.homeport.dev``: jobs' pods that are gone and whose logs the node still has. Nothing is stored here.

Their logs are read as pods' logs are, with the uid beside the name: ``GET .../pods/NAME/log?podUID=UID``.
"""

from __future__ import annotations

from homeport.apiserver.context import Api
from homeport.apiserver.encoding import Form, encode, negotiate, object_response
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.tables import include_object
from homeport.apiserver.virtual import Virtual, check, selected
from homeport.kube import meta
from homeport.kube.errors import BadRequest, ServiceUnavailable
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE, NAME, Printer
from homeport.kube.wire import Request, Response, User

VIRTUAL = (
    Virtual(
        "homeport.dev",
        "v1",
        "endedpods",
        "endedpod",
        "EndedPod",
        True,
        ("list",),
        struct="homeport.kube.core.types.ended:EndedPod",
    ),
)


def _restarts(pod: Object) -> int:
    return sum(one.get("restartCount") or 0 for one in meta.status(pod).get("containerStatuses") or ())


_PRINTER = Printer(
    (
        NAME,
        Column("Status", "string", ".status.phase"),
        Column("Restarts", "integer", compute=_restarts),
        AGE,
        Column("UID", "string", ".metadata.uid"),
    )
)


async def answer(api: Api, virtual: Virtual, request: Request, info: RequestInfo, user: User) -> Response:
    """Raises NotFound, MethodNotAllowed, NotAcceptable, BadRequest or ServiceUnavailable."""
    check(virtual, info)
    form = negotiate(request.headers.get("accept"))
    query = dict(reversed(request.query))
    include = include_object(query.get("includeObject", ""))
    if api.node is None:
        raise ServiceUnavailable("no node keeps logs for this server")
    kept = await api.node.ended(info.namespace)
    found = selected([{"kind": virtual.kind, "apiVersion": virtual.api_version, **pod} for pod in kept], query)
    if form.convert == "Table":
        return object_response(encode(_PRINTER.table(found, api.now(), metadata={}, include=include)), form)
    if form.convert:
        raise BadRequest(f"{virtual.kind} is not shown as {form.convert}")
    listed = {"kind": f"{virtual.kind}List", "apiVersion": virtual.api_version, "metadata": {}, "items": found}
    return object_response(encode(listed), Form(form.media))
