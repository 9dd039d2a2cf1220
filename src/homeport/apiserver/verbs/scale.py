"""The ``scale`` subresource: any kind's number of replicas, seen as an ``autoscaling/v1`` Scale."""

from __future__ import annotations

from typing import Any

from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import decode_body, encode, object_response
from homeport.apiserver.verbs.get import find
from homeport.apiserver.verbs.patch import change_of, check_version
from homeport.apiserver.verbs.update import head, write
from homeport.apiserver.versions import object_of, shown_one
from homeport.kube import field, jsonpath
from homeport.kube.errors import BadRequest, Invalid, MethodNotAllowed
from homeport.kube.meta import Object
from homeport.kube.selector import from_label_selector
from homeport.kube.wire import Response
from homeport.store.protocol import Record

_API_VERSION, _KIND = "autoscaling/v1", "Scale"


async def scale(api: Api, call: Call) -> Response:
    match call.info.verb:
        case "get":
            return object_response(encode(scale_of(call, await shown_one(call.served, find(api, call)))), call.form)
        case "update":
            wanted = decode_body(call.request.headers.get("content-type"), call.request.body).object
            return await _write(api, call, await shown_one(call.served, head(api, call)), wanted)
        case "patch":
            change = change_of(call)
            record = await shown_one(call.served, head(api, call))
            return await _write(api, call, record, change(scale_of(call, record)))
    raise MethodNotAllowed(f"{call.served.resource.qualified}/scale can't be used with {call.request.method}")


def scale_of(call: Call, record: Record) -> Object:
    obj = object_of(call.served, record)
    paths = call.served.scale_paths
    assert paths is not None, "the scale subresource comes with its paths"
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: dict[str, Any] = {"replicas": _number(jsonpath.first(paths[1], obj))}
    selector = jsonpath.first(paths[2], obj) if paths[2] else None
    if isinstance(selector, str):
        status["selector"] = selector
    elif isinstance(selector, dict):
        status["selector"] = str(from_label_selector(selector))
    return {
        "kind": _KIND,
        "apiVersion": _API_VERSION,
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": _number(jsonpath.first(paths[0], obj))},
        "status": status,
    }


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


async def _write(api: Api, call: Call, record: Record, wanted: Object) -> Response:
    if wanted.get("kind", _KIND) != _KIND:
        raise BadRequest(f'the body has to be a {_KIND} of {_API_VERSION}, not "{wanted.get("kind")}"')
    metadata, scaled = wanted.get("metadata") or {}, wanted.get("spec") or {}
    if not isinstance(metadata, dict) or not isinstance(scaled, dict):
        raise BadRequest("metadata and spec of a Scale have to be objects")
    if metadata.get("name", call.info.name) != call.info.name:
        raise BadRequest("the name of the object does not match the name on the URL")
    check_version(call, {"metadata": metadata}, str(record.revision))
    replicas = scaled.get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        error = field.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise Invalid.of("autoscaling", _KIND, call.info.name, [error])
    paths = call.served.scale_paths
    assert paths is not None
    obj = _with(object_of(call.served, record), paths[0].removeprefix(".").split("."), replicas)
    await write(api, call, record, obj)
    newest = await shown_one(call.served, api.store.get(record.key) or record)
    return object_response(encode(scale_of(call, newest)), call.form)


def _with(value: Any, steps: list[str], replicas: int) -> Any:
    """`value` with a number at a path of plain names (all that a CRD may use here)."""
    if not steps:
        return replicas
    below = value.get(steps[0]) if isinstance(value, dict) else None
    return {**(value or {}), steps[0]: _with(below, steps[1:], replicas)}
