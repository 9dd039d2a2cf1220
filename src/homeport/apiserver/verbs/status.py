"""The ``status`` subresource: reads give the whole object, writes change its status and nothing else."""

from __future__ import annotations

from homeport.apiserver.admission import read_object
from homeport.apiserver.context import Api, Call
from homeport.apiserver.verbs.get import get
from homeport.apiserver.verbs.patch import patch
from homeport.apiserver.verbs.update import replace
from homeport.kube.errors import MethodNotAllowed
from homeport.kube.wire import Response


async def status(api: Api, call: Call) -> Response:
    match call.info.verb:
        case "get":
            return await get(api, call)
        case "update":
            return await replace(api, call, read_object(call), subresource="status")
        case "patch":
            return await patch(api, call, subresource="status")
    raise MethodNotAllowed(f"{call.served.resource.qualified}/status can't be used with {call.request.method}")


async def finalize(api: Api, call: Call) -> Response:
    """``namespaces/finalize``: ``PUT`` by the namespace controller, which takes away ``spec.finalizers``."""
    if call.info.verb != "update":
        raise MethodNotAllowed("namespaces/finalize takes PUT only")
    return await replace(api, call, read_object(call), subresource="finalize")
