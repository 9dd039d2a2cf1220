"""From a request's body to an object of the kind that the path names, without fields that it does not have. Pure.

What cannot be read at all is refused here, before anything else looks at it: a body with 400, the result of a patch
with 422, each in upstream's words (``transformDecodeError`` and the patchers of ``apiserver/pkg/endpoints/handlers``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from homeport.apiserver.admission.owners import without_repeated_owners
from homeport.apiserver.answers import JSON
from homeport.apiserver.context import Call
from homeport.apiserver.duplicates import pairs
from homeport.apiserver.encoding import Body, decode_body, is_flat
from homeport.apiserver.options import check_options
from homeport.kube import field
from homeport.kube.errors import ApiError, BadRequest, Invalid
from homeport.kube.meta import Object
from homeport.kube.schema.decoding import Undecodable, json_name

Refuse: TypeAlias = Callable[[str], ApiError]
"""From what is wrong with an object to the answer."""


def read_object(call: Call) -> Object:
    """The object in the request's body, of the kind that the path names. Raises BadRequest, UnsupportedMediaType, and
    Invalid where the request's options are wrong."""
    _check_options(call)
    return _read(call)


def read_whole(call: Call) -> tuple[Object, bool]:
    """As :func:`read_object`; and whether the object has all defaults and is in normal form already."""
    _check_options(call)
    request = call.request
    if request.headers.get("content-type") == JSON and is_flat(request.body):
        obj = call.served.schema.decode(request.body)
        if obj is not None:
            return without_repeated_owners(call, check_type(call, obj)), True
    return _read(call), False


def _check_options(call: Call) -> None:
    check_options(call, "CreateOptions" if call.info.verb == "create" else "UpdateOptions")


def _read(call: Call) -> Object:
    request = call.request
    try:
        body = decode_body(request.headers.get("content-type"), request.body, find_duplicates=finds_duplicates(call))
    except BadRequest as error:
        raise _unrecognized(call, f"couldn't get version/kind; {error.message}") from error
    obj = check_fields(call, body._replace(object=check_type(call, body.object)))
    return without_repeated_owners(call, obj)


_SHOWN = 30
"""Bytes of a body that an error shows."""


def _unrecognized(call: Call, why: str) -> BadRequest:
    """The answer to a body that does not even say what it is."""
    body = call.request.body
    beginning = body[:_SHOWN].decode(errors="replace") if body[:1] == b"{" else body[:_SHOWN].hex()
    summary = f"{beginning} ..." if len(body) > _SHOWN else beginning or "<empty>"
    return BadRequest(f"the object provided is unrecognized (must be of type {call.served.kind}): {why} ({summary})")


def unreadable(call: Call, why: str) -> BadRequest:
    """The answer to a body that is no object of the kind."""
    kind = call.served.kind
    return BadRequest(f'{kind} in version "{call.served.resource.version}" cannot be handled as a {kind}: {why}')


def finds_duplicates(call: Call) -> bool:
    """Whether the client hears of duplicate keys: all do that do not ask for silence."""
    return call.query.get("fieldValidation") != "Ignore"


def check_type(call: Call, obj: Object) -> Object:
    """`obj` with ``apiVersion`` and ``kind``, which have to agree with the path. Raises BadRequest, or Invalid for a
    custom resource of another kind."""
    served = call.served
    version, kind = obj.get("apiVersion"), obj.get("kind")
    for name, value in (("apiVersion", version), ("kind", kind)):
        if value is not None and not isinstance(value, str):
            where = f"into Go struct field .{name} of type string"
            why = f"json: cannot unmarshal {json_name(value)} {where}"
            raise _unrecognized(call, f"couldn't get version/kind; json parse error: {why}")
    if not served.builtin and not kind:
        raise _unrecognized(call, "Object 'Kind' is missing")
    if version and version != served.api_version:
        raise BadRequest(
            f"the API version in the data ({version}) does not match the expected API version ({served.api_version})"
        )
    if kind and kind != served.kind:
        if not served.builtin:
            errors = [field.invalid("kind", kind, f"must be {served.kind}")]
            raise Invalid.of(served.group, served.kind, _name(obj), errors)
        version, package = served.resource.version, served.group.partition(".")[0] or "core"
        why = f"converting ({version}.{kind}) to ({package}.{served.kind}): unknown conversion"
        raise BadRequest(f'{kind} in version "{version}" cannot be handled as a {served.kind}: {why}')
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = {}
    elif not isinstance(metadata, dict) and not served.builtin:
        raise BadRequest(f"{served.kind}: metadata has to be an object")
    elif version and kind:
        return obj
    return {**obj, "apiVersion": served.api_version, "kind": served.kind, "metadata": metadata}


def _name(obj: Object) -> str:
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def check_fields(call: Call, body: Body, *, refuse: Refuse | None = None, converted: bool = False) -> Object:
    """The object without unknown fields. They are an error, a warning or nothing, by ``fieldValidation``.

    `refuse` makes the error of an object that is none of the kind; `converted` is as in :meth:`Schema.read`.
    """
    mode = call.query.get("fieldValidation") or "Warn"
    schema = call.served.schema
    try:
        if call.served.builtin:
            obj, unknown = schema.read(body.object, converted=converted)
        else:
            obj, unknown = schema.read_custom(body.object)
    except Undecodable as error:
        raise (refuse(str(error)) if refuse is not None else unreadable(call, str(error))) from error
    if mode != "Ignore" and (unknown or body.duplicates):
        texts = _strict_errors(call, body, unknown)
        if mode == "Strict":
            why = f"strict decoding error: {', '.join(_without_lines(texts))}"
            raise refuse(why) if refuse is not None else unreadable(call, why)
        call.warnings += texts
    result: Object = obj
    return result


def _strict_errors(call: Call, body: Body, unknown: list[str]) -> list[str]:
    """What a strict decoder says: of a built-in kind's JSON in its order, else of duplicates first."""
    if call.served.builtin and body.json:
        if not body.duplicates:
            return [f'unknown field "{path}"' for path in unknown]
        return call.served.schema.strict_errors(pairs(body.json))
    return [*body.duplicates, *(f'unknown field "{path}"' for path in sorted(unknown))]


_LINE = "line "


def _without_lines(texts: list[str]) -> list[str]:
    """`texts` with what YAML's own decoder says, which has the lines, as one."""
    lines = [text for text in texts if text.startswith(_LINE)]
    return [unmarshal_errors(lines), *texts[len(lines) :]] if lines else texts


def unmarshal_errors(lines: list[str]) -> str:
    """What Go's YAML decoder makes of its complaints."""
    return "yaml: unmarshal errors:\n  " + "\n  ".join(lines)
