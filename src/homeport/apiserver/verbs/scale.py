"""The ``scale`` subresource: any kind's number of replicas, seen as an ``autoscaling/v1`` Scale."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from homeport.apiserver import managers, tables
from homeport.apiserver.admission import UPDATE, attributes_of, draft_update, finish_update
from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import YAML, decode_body, media_type
from homeport.apiserver.offload import finished
from homeport.apiserver.options import check_options
from homeport.apiserver.rendering import render_transient
from homeport.apiserver.routes import parse_bool
from homeport.apiserver.verbs import apply
from homeport.apiserver.verbs.get import find
from homeport.apiserver.verbs.patch import APPLY_PATCH, change_of, check_version, is_strategic, unfit
from homeport.apiserver.verbs.update import ATTEMPTS, head, write
from homeport.apiserver.versions import object_of, shown_one
from homeport.apiserver.writing import modified
from homeport.kube import apply as merging
from homeport.kube import field, jsonpath
from homeport.kube.errors import BadRequest, Invalid, MethodNotAllowed
from homeport.kube.meta import Object
from homeport.kube.schema.compiled import Schema
from homeport.kube.schema.decoding import Undecodable
from homeport.kube.schema.struct import components, ref_to, schema_name
from homeport.kube.selector import from_label_selector
from homeport.kube.wire import Response
from homeport.store.protocol import Conflicting, Record

_API_VERSION, _KIND = "autoscaling/v1", "Scale"


@cache
def _schema() -> Schema:
    from homeport.kube.core.types.autoscaling_v1 import Scale  # with the first Scale

    return Schema(ref_to(schema_name(Scale)), components((), (Scale,)))


Change = Callable[[Object, Object], tuple[Object, Object]]
"""From the present Scale and its object to the wanted Scale, and the object with what else changes in it."""


async def scale(api: Api, call: Call) -> Response:
    match call.info.verb:
        case "get":
            return _answer(api, call, scale_of(call, await shown_one(call.served, find(api, call))))
        case "update":
            check_options(call, "UpdateOptions")
            wanted = decode_body(call.request.headers.get("content-type"), call.request.body).object
            return await _write(api, call, _update(call, lambda _: wanted))
        case "patch" if media_type(call.request.headers.get("content-type", "none")) == APPLY_PATCH:
            return await _apply(api, call)
        case "patch":
            return await _write(api, call, _update(call, change_of(call).apply))
    raise MethodNotAllowed(f"{call.served.resource.qualified}/scale can't be used with {call.request.method}")


def _answer(api: Api, call: Call, scale: Object) -> Response:
    return render_transient(api, call, scale, printer=tables.SCALE if call.served.builtin else None)


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
        status["selector"] = _selector_text(selector)
    return {
        "kind": _KIND,
        "apiVersion": _API_VERSION,
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": _number(jsonpath.first(paths[0], obj))},
        "status": status,
    }


def _selector_text(selector: Object) -> str:
    """A label selector, or the plain labels of a replication controller, as a query writes it."""
    plain = all(isinstance(value, str) for value in selector.values())
    return str(from_label_selector({"matchLabels": selector} if plain else selector))


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _update(call: Call, wanted: Callable[[Object], Object]) -> Change:
    """The Scale becomes what `wanted` makes of it."""
    return lambda scale, obj: (_checked(call, wanted(scale)), obj)


async def _apply(api: Api, call: Call) -> Response:
    """The number of replicas is applied to the object as if the rest of the configuration were somebody else's."""
    manager = apply.applier(call)
    force = parse_bool(call.query.get("force"))
    applied = _applied(call)
    root, components = call.served.definition.parts
    path = _path(call)
    config = {
        "apiVersion": call.served.api_version,
        "kind": call.served.kind,
        "metadata": {key: value for key, value in (("name", call.info.name), ("namespace", call.namespace)) if value},
    }
    if "replicas" in applied["spec"]:
        config = _with(config, path, _replicas(call, applied))

    def change(scale: Object, obj: Object) -> tuple[Object, Object]:
        versions = managers.versions_of(api, call)
        merged = merging.apply(obj, config, manager, force, root, components, api.now(), "scale", versions)
        spec = {**scale["spec"], "replicas": _number(jsonpath.first("." + ".".join(path), merged))}
        return {**scale, "metadata": {**scale["metadata"], **applied["metadata"]}, "spec": spec}, merged

    return await apply.with_conversions(api, call, lambda: _write(api, call, change, applied=True))


def _applied(call: Call) -> Object:
    """The Scale of an apply patch. Raises BadRequest."""
    content_type = YAML if call.request.body.lstrip()[:1] != b"{" else None
    wanted = decode_body(content_type, call.request.body).object
    if not wanted.get("apiVersion") or not wanted.get("kind"):
        raise BadRequest("apiVersion and kind have to be set in the body of an apply patch")
    wanted = _checked(call, wanted)
    if wanted["metadata"].get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    return {**wanted, "spec": wanted.get("spec") or {}}


def _path(call: Call) -> list[str]:
    paths = call.served.scale_paths
    assert paths is not None, "the scale subresource comes with its paths"
    return paths[0].removeprefix(".").split(".")


async def _write(api: Api, call: Call, change: Change, *, applied: bool = False) -> Response:
    """Write what `change` makes, and the number of replicas that admission makes of it. Raises Conflict, Invalid,
    BadRequest, and what admission raises."""
    steps = _path(call)
    for _ in range(ATTEMPTS):
        record = head(api, call)
        shown = await shown_one(call.served, record)
        old, before = scale_of(call, shown), object_of(call.served, shown)
        wanted, changed = change(old, before)
        check_version(call, wanted, str(record.revision))
        attributes = attributes_of(call, UPDATE, wanted, old)
        await api.admission.admit(attributes)
        replicas = _replicas(call, attributes.object or wanted)
        draft = draft_update(call, _with(changed, steps, replicas), before, applied=applied)
        await managers.prepare(api, call, before, draft.sent)
        try:
            new = await finished(False, finish_update, api, call, draft, None, before, applied=applied, through="scale")
            await write(api, call, record, new)
        except Conflicting:
            continue
        newest = await shown_one(call.served, api.store.get(record.key) or record)
        return _answer(api, call, scale_of(call, newest))
    raise modified(call, call.info.name)


def _checked(call: Call, wanted: Object) -> Object:
    """`wanted` as a whole Scale. Raises BadRequest, and Invalid for the result of a patch."""
    if wanted.get("kind", _KIND) != _KIND:
        raise BadRequest(f'the body has to be a {_KIND} of {_API_VERSION}, not "{wanted.get("kind")}"')
    patches = call.info.verb == "patch" and media_type(call.request.headers.get("content-type")) != APPLY_PATCH
    try:
        wanted, _ = _schema().read(wanted, converted=patches and is_strategic(call))
    except Undecodable as error:
        if patches:
            raise unfit(call, wanted, str(error)) from error
        raise BadRequest(f'{_KIND} in version "v1" cannot be handled as a {_KIND}: {error}') from error
    metadata, scaled = wanted.get("metadata") or {}, wanted.get("spec") or {}
    if metadata.get("name", call.info.name) != call.info.name:
        raise BadRequest("the name of the object does not match the name on the URL")
    return {"kind": _KIND, "apiVersion": _API_VERSION, **wanted, "metadata": metadata, "spec": scaled}


def _replicas(call: Call, wanted: Object) -> int:
    replicas = (wanted.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        error = field.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise Invalid.of("autoscaling", _KIND, call.info.name, [error])
    return replicas


def _with(value: Any, steps: list[str], replicas: int) -> Any:
    """`value` with a number at a path of plain names (all that a CRD may use here)."""
    if not steps:
        return replicas
    below = value.get(steps[0]) if isinstance(value, dict) else None
    return {**(value or {}), steps[0]: _with(below, steps[1:], replicas)}
