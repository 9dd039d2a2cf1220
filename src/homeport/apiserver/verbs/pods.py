"""Subresources that only pods have: ``binding`` and ``log``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from homeport.apiserver.admission import CREATE, attributes_of
from homeport.apiserver.answers import not_allowed
from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import decode_body, encode, object_response
from homeport.apiserver.node import log_options
from homeport.apiserver.object_meta import validate_common
from homeport.apiserver.options import check_options
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.streaming import reader, websocket
from homeport.apiserver.verbs.connect import switch_to_websocket
from homeport.apiserver.verbs.get import find
from homeport.apiserver.verbs.update import head, write
from homeport.apiserver.versions import object_of
from homeport.apiserver.virtual import Virtual
from homeport.apiserver.writing import modified
from homeport.kube import field, names
from homeport.kube.core.rules import checked
from homeport.kube.errors import (
    BadRequest,
    Conflict,
    FieldError,
    Invalid,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
)
from homeport.kube.meta import Object, find_condition, metadata, spec, status, timestamp
from homeport.kube.wire import Duplex, Request, Response
from homeport.store.protocol import Conflicting

SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
"""What a POST that creates nothing answers."""


POD_UID = "podUID"
"""Of a log's query: which pod of that name is meant. It may be gone, if it was a job's (:mod:`.ended_pods`); servers of
other makers don't know it."""
BINDINGS = Virtual("", "v1", "bindings", "binding", "Binding", True)
"""``POST .../bindings``: as ``pods/binding``, with the pod's name in the body only."""


def binding_info(info: RequestInfo, request: Request) -> RequestInfo:
    """What a request to create a Binding asks of the pod that it names. Raises MethodNotAllowed, BadRequest or
    UnsupportedMediaType."""
    if info.verb != "create" or not info.namespace or info.name:
        raise not_allowed()
    body = decode_body(request.headers.get("content-type"), request.body).object
    found = body.get("metadata")
    name = found.get("name") if isinstance(found, dict) else None
    if not isinstance(name, str) or not name:
        raise BadRequest("name is required")
    return info._replace(resource="pods", name=name, subresource="binding")


async def binding(api: Api, call: Call) -> Response:
    """``POST``: the scheduler gives a pod to a node.

    As upstream (``registry/core/pod/storage``, ``BindingREST``), only what the binding says is judged: the rest of the
    pod is as it was stored, and nobody becomes the manager of what changes.
    """
    if call.info.verb != "create":
        raise MethodNotAllowed("pods/binding takes POST only")
    check_options(call, "CreateOptions")
    body = decode_body(call.request.headers.get("content-type"), call.request.body).object
    name = call.info.name
    _check_binding(name, body)
    check_names(call, body, "Binding")
    body = {"apiVersion": "v1", "kind": "Binding", **body, "metadata": {"name": name, **metadata(body)}}
    attributes = attributes_of(call, CREATE, body)
    await api.admission.admit(attributes)
    admitted = attributes.object or body
    _check_binding(name, admitted)
    record = head(api, call)
    bound = _bound(object_of(call.served, record), admitted, timestamp(api.now()))
    try:
        # Nothing waits between reading the pod and writing it.
        await write(api, call, record, bound)
    except Conflicting as error:
        raise modified(call, name) from error
    return object_response(encode(SUCCESS), call.form, 201)


def check_names(call: Call, body: Object, kind: str) -> None:
    """Raises BadRequest for a body that is about another object than the path."""
    sent = body.get("metadata") or {}
    if not isinstance(sent, dict):
        raise BadRequest(f"{kind}: metadata has to be an object")
    if sent.get("name") not in (None, "", call.info.name):
        raise BadRequest(f"name in URL does not match name in {kind} object")
    if sent.get("namespace") not in (None, "", call.namespace):
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")


def _check_binding(name: str, body: Object) -> None:
    target = body.get("target")
    errors: list[FieldError] = []
    node = target.get("name") if isinstance(target, dict) else None
    if not node or not isinstance(node, str):
        errors.append(field.required("target.name"))
    else:
        errors += checked("target.name", node, names.dns1123_subdomain)
    if isinstance(target, dict) and target.get("kind", "Node") not in ("Node", ""):
        errors.append(field.not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not isinstance(body.get("metadata") or {}, dict):
        raise BadRequest("Binding: metadata has to be an object")
    annotations = metadata(body).get("annotations")
    if annotations:
        if not isinstance(annotations, dict) or any(not isinstance(value, str) for value in annotations.values()):
            raise BadRequest("Binding: metadata.annotations has to be a map of strings")
        errors += validate_common({"annotations": annotations})
    if errors:
        raise Invalid.of("", "Binding", name, errors)


def _bound(pod: Object, binding: Object, now: str) -> Object:
    """`pod` on the node that `binding` names. Raises Conflict when it cannot be bound."""
    name = metadata(pod)["name"]
    wanted_uid = metadata(binding).get("uid")
    if wanted_uid and wanted_uid != metadata(pod)["uid"]:
        raise Conflict.precondition("", "pods/binding", name, "UID", wanted_uid, metadata(pod)["uid"])
    if "deletionTimestamp" in metadata(pod):
        raise _conflict(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec(pod).get("nodeName"):
        raise _conflict(name, f'pod {name} is already assigned to node "{spec(pod)["nodeName"]}"')
    if spec(pod).get("schedulingGates"):
        raise _conflict(name, f"pod {name} has non-empty .spec.schedulingGates")
    kept = {key: value for key, value in status(pod).items() if key != "nominatedNodeName"}  # it has its place now
    return {
        **pod,
        "metadata": _annotated(metadata(pod), metadata(binding).get("annotations")),
        "spec": {**spec(pod), "nodeName": binding["target"]["name"]},
        "status": {**kept, "conditions": _scheduled(pod, now)},
    }


def _conflict(name: str, why: str) -> Conflict:
    return Conflict(
        f'Operation cannot be fulfilled on pods/binding "{name}": {why}', details={"name": name, "kind": "pods/binding"}
    )


def _annotated(meta: dict[str, Any], added: dict[str, str] | None) -> dict[str, Any]:
    """A pod's metadata with a binding's annotations, too. Raises Invalid where that makes too many."""
    if not added:
        return meta
    annotated = {**meta, "annotations": {**(meta.get("annotations") or {}), **added}}
    errors = list(validate_common(annotated))
    if errors:
        raise Invalid.of("", "Pod", meta["name"], errors)
    return annotated


def _scheduled(pod: Object, now: str) -> list[Any]:
    """The pod's conditions with PodScheduled true."""
    conditions = status(pod).get("conditions") or []
    before = find_condition(conditions, "PodScheduled")
    if before is not None and before.get("status") == "True":
        return list(conditions)
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    return [c for c in conditions if c.get("type") != "PodScheduled"] + [scheduled]


async def log(api: Api, call: Call) -> Response:
    """``GET``: a container's log as text, whatever the client accepts, or as messages on a WebSocket."""
    if call.info.verb != "get":
        raise MethodNotAllowed("pods/log takes GET only")
    options = log_options(call.query)
    uid = call.query.get(POD_UID, "")
    try:
        pod: Object | None = object_of(call.served, find(api, call))
    except NotFound:
        if not uid:
            raise
        pod = None
    is_there = pod is not None and uid in ("", metadata(pod)["uid"])
    container = call.query.get("container", "")
    if pod is not None and is_there:
        container = _container(pod, container)
        if not spec(pod).get("nodeName"):
            raise BadRequest(
                f'container "{container}" in pod "{call.info.name}" is waiting to start: the pod has not been '
                "assigned to a node"
            )
    if api.node is None:
        raise ServiceUnavailable("no node delivers logs to this server")
    protocol = None
    if websocket.is_request(call.request.headers):
        protocol = websocket.choose(call.request.headers, reader.PROTOCOLS)
        if protocol is None:
            return switch_to_websocket(call, None, _nothing, reader.PROTOCOLS[1:])
    if pod is not None and is_there:
        lines = await api.node.logs(pod, container, options)
    else:
        lines = await api.node.ended_logs((call.namespace, call.info.name, uid), container, options)
    headers = {"content-type": "text/plain", "cache-control": "no-cache, private"}
    lines = _limited(lines, options.limit_bytes) if options.limit_bytes else lines
    if protocol is None:
        return Response(200, headers, lines)

    async def talk(peer: Duplex) -> None:
        await reader.send(peer, lines, encoded=protocol == reader.BASE64_PROTOCOL)

    return switch_to_websocket(call, protocol, talk)


def _container(pod: Object, asked: str) -> str:
    """The container to read. Raises BadRequest when that isn't clear."""
    name = metadata(pod)["name"]
    groups = ("containers", "initContainers", "ephemeralContainers")
    ours = {group: [c["name"] for c in spec(pod).get(group) or ()] for group in groups}
    everything = [container for names in ours.values() for container in names]
    if asked:
        if asked not in everything:
            raise BadRequest(f"container {asked} is not valid for pod {name}")
        return asked
    if len(ours["containers"]) == 1:
        return str(ours["containers"][0])
    default = (metadata(pod).get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if default in everything:
        return str(default)
    choose = f"choose one of: [{' '.join(ours['containers'])}]"
    if ours["initContainers"]:
        choose += f" or one of the init containers: [{' '.join(ours['initContainers'])}]"
    raise BadRequest(f"a container name must be specified for pod {name}, {choose}")


async def _nothing(_peer: Duplex) -> None:
    return


async def _limited(lines: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """`lines` up to `limit` bytes."""
    left = limit
    try:
        async for chunk in lines:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return
    finally:
        close = getattr(lines, "aclose", None)
        if close is not None:
            await close()
