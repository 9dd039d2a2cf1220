"""``metrics.k8s.io``: what nodes and pods use now, for ``kubectl top`` and autoscalers. Nothing is stored: the node
measures when somebody asks. Texts and columns are those of metrics-server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from homeport.apiserver.context import Api
from homeport.apiserver.encoding import Form, encode, negotiate, object_response
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.tables import include_object
from homeport.apiserver.virtual import Virtual, check, selected
from homeport.kube import meta
from homeport.kube.errors import BadRequest, NotFound, ServiceUnavailable
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import NAME, Printer
from homeport.kube.wire import Request, Response, User
from homeport.store.protocol import Key

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
_STRUCTS = "homeport.kube.core.types.metrics"
VIRTUAL = (
    Virtual(GROUP, VERSION, "nodes", "", "NodeMetrics", False, ("get", "list"), struct=f"{_STRUCTS}:NodeMetrics"),
    Virtual(GROUP, VERSION, "pods", "", "PodMetrics", True, ("get", "list"), struct=f"{_STRUCTS}:PodMetrics"),
)


def _usage(name: str) -> Any:
    """A column's value: of a pod, the sum of its containers'."""

    def cell(obj: Object) -> str:
        parts = [obj["usage"]] if "usage" in obj else [container["usage"] for container in obj["containers"]]
        unit = parts[0][name].lstrip("0123456789") if parts else ""
        return f"{sum(int(part[name].removesuffix(unit)) for part in parts)}{unit}"

    return cell


_PRINTER = Printer(
    (
        NAME,
        Column("cpu", "string", compute=_usage("cpu"), format="quantity"),
        Column("memory", "string", compute=_usage("memory"), format="quantity"),
        Column("Window", "string", ".window", format="duration"),
    )
)


async def answer(api: Api, virtual: Virtual, request: Request, info: RequestInfo, user: User) -> Response:
    """Raises NotFound, MethodNotAllowed, NotAcceptable, BadRequest or ServiceUnavailable."""
    check(virtual, info)
    form = negotiate(request.headers.get("accept"))
    query = dict(reversed(request.query))
    include = include_object(query.get("includeObject", ""))
    if api.node is None:
        raise ServiceUnavailable("no node measures for this server")
    found = await _all(api, virtual, info)
    if info.name:
        if not found:
            name = f"{info.namespace}/{info.name}" if info.namespace else info.name
            raise NotFound.of(GROUP, virtual.plural, name)
    else:
        found = selected(found, query)
    metadata: Object = {}
    if form.convert == "Table":
        shown = _PRINTER.table(found, api.now(), metadata=metadata, include=include)
        return object_response(encode(shown), form)
    if form.convert:
        raise BadRequest(f"{virtual.kind} is not shown as {form.convert}")
    if info.name:
        return object_response(encode(found[0]), form)
    listed = {"kind": f"{virtual.kind}List", "apiVersion": virtual.api_version, "metadata": metadata, "items": found}
    return object_response(encode(listed), Form(form.media))


async def _all(api: Api, virtual: Virtual, info: RequestInfo) -> Sequence[Object]:
    assert api.node is not None, "it was looked at before"
    summary = await api.node.summary()
    window = f"{summary['windowSeconds']:.3f}s"
    if virtual.plural == "nodes":
        own = summary["node"]["nodeName"]
        stored = api.store.get(Key("/nodes", "", own))
        if stored is None or (info.name and info.name != own):
            return ()
        return (
            _object(
                virtual, msgspec.json.decode(stored.value), summary["node"], window, usage=_amounts(summary["node"])
            ),
        )
    found = []
    for pod in sorted(summary["pods"], key=lambda pod: (pod["podRef"]["namespace"], pod["podRef"]["name"])):
        place, name = pod["podRef"]["namespace"], pod["podRef"]["name"]
        if (info.namespace and info.namespace != place) or (info.name and info.name != name) or not pod["containers"]:
            continue
        stored = api.store.get(Key("/pods", place, name))
        if stored is None:
            continue
        containers = [{"name": one["name"], "usage": _amounts(one)} for one in pod["containers"]]
        found.append(_object(virtual, msgspec.json.decode(stored.value), pod, window, containers=containers))
    return found


def _object(virtual: Virtual, of: Object, stats: Object, window: str, **fields: Any) -> Object:
    time = stats["cpu"]["time"]
    metadata: Object = {"name": meta.name(of), "creationTimestamp": time}
    if meta.namespace(of):
        metadata["namespace"] = meta.namespace(of)
    if meta.labels(of):
        metadata["labels"] = dict(meta.labels(of))
    return {
        "kind": virtual.kind,
        "apiVersion": virtual.api_version,
        "metadata": metadata,
        "timestamp": time,
        "window": window,
        **fields,
    }


def _amounts(stats: Object) -> dict[str, str]:
    return {
        "cpu": f"{stats['cpu']['usageNanoCores']}n",
        "memory": f"{stats['memory']['workingSetBytes'] >> 10}Ki",
    }
