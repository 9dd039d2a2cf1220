"""``proxy`` of pods, services and nodes: any method, any path behind it."""

from __future__ import annotations

from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import encode, object_response
from homeport.apiserver.streaming import dial, proxy
from homeport.apiserver.verbs.connect import admit
from homeport.kube.errors import NotFound
from homeport.kube.meta import Object, spec
from homeport.kube.wire import Response


async def forward(api: Api, call: Call) -> Response:
    """Pass a request on to a pod or service. Raises BadRequest, NotFound or ServiceUnavailable."""
    resource = call.info.resource
    if resource == "nodes":
        return await node(api, call)
    kind = resource.removesuffix("s")
    target = dial.parse_target(call.info.name, kind)
    found = dial.find_object(api, resource, call.namespace, target.name)
    prefix, path = _split(call)
    await admit(api, call, f"{call.served.kind}ProxyOptions", {"path": path.removeprefix("/")})
    if resource == "pods":
        addresses = [dial.pod_address(found, target.port, target.scheme)]
    else:
        addresses = dial.service_addresses(api, found, target.port)
    return await proxy.forward(api, call.request, proxy.Backend(addresses, target.scheme or "http", prefix, path))


def _split(call: Call) -> tuple[str, str]:
    """The request's path up to ``proxy``, and what follows as it was sent."""
    path = call.request.path
    parts = path.split("/")
    wanted = 7 if call.info.namespace else 5
    seen = 0
    for index, part in enumerate(parts):
        seen += bool(part)
        if seen == wanted:
            prefix = "/" + "/".join(part for part in parts[: index + 1] if part)
            rest = parts[index + 1 :]
            return prefix, "/" + "/".join(rest) if rest else ""
    return path, ""


async def node(api: Api, call: Call) -> Response:
    """The parts of the kubelet's own server that others read: ``/healthz``, ``/pods`` and ``/stats/summary``."""
    name = dial.parse_target(call.info.name, "node").name
    dial.find_object(api, "nodes", "", name)
    if call.info.rest == "healthz" and call.info.verb == "get":
        return Response(200, {"content-type": "text/plain; charset=utf-8"}, b"ok")
    if call.info.rest == "pods" and call.info.verb == "get":
        records, _ = api.store.scan("/pods")
        pods = [dial.decode(record) for record in records]
        items: list[Object] = [pod for pod in pods if spec(pod).get("nodeName") == name]
        return object_response(encode({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
    if call.info.rest == "stats/summary" and call.info.verb == "get" and api.node is not None:
        stats = await api.node.summary()
        return object_response(encode({"node": stats["node"], "pods": stats["pods"]}))
    raise NotFound("the server could not find the requested resource")
