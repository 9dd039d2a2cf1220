"""``eventfiles.homeport.dev``: scalars of TensorBoard's event files on a pod's volume. Nothing is stored here.

``GET .../eventfiles/POD?container=C&directory=D&after=POSITION`` answers with the newest value of each scalar that has
come since the position of an earlier answer.
"""

from __future__ import annotations

import msgspec

from homeport.apiserver.context import Api
from homeport.apiserver.encoding import encode, negotiate, object_response
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.virtual import Virtual, check
from homeport.kube.errors import BadRequest, NotFound, ServiceUnavailable
from homeport.kube.wire import Request, Response, User
from homeport.store.protocol import Key

VIRTUAL = (
    Virtual(
        "homeport.dev",
        "v1",
        "eventfiles",
        "eventfile",
        "EventFiles",
        True,
        ("get",),
        struct="homeport.kube.core.types.ended:EventFiles",
    ),
)


async def answer(api: Api, virtual: Virtual, request: Request, info: RequestInfo, user: User) -> Response:
    """Raises NotFound, MethodNotAllowed, NotAcceptable, BadRequest or ServiceUnavailable."""
    check(virtual, info)
    form = negotiate(request.headers.get("accept"))
    if form.convert:
        raise BadRequest(f"{virtual.kind} is not shown as {form.convert}")
    if api.node is None:
        raise ServiceUnavailable("no node reads event files for this server")
    stored = api.store.get(Key("/pods", info.namespace, info.name))
    if stored is None:
        raise NotFound.of("", "pods", info.name)
    query = dict(reversed(request.query))
    for name in ("container", "directory"):
        if not query.get(name):
            raise BadRequest(f"{name}: Required value: of the pod whose event files are to be read")
    pod = msgspec.json.decode(stored.value)
    found = await api.node.event_files(pod, query["container"], query["directory"], query.get("after", ""))
    metadata = {"name": info.name, "namespace": info.namespace}
    told = {"kind": virtual.kind, "apiVersion": virtual.api_version, "metadata": metadata, **found}
    return object_response(encode(told), form)
