"""``PATCH``: JSON patch, merge patch, strategic merge patch, and server-side apply (in its own module)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeport.apiserver.admission import check_fields, check_type
from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import Body, check_depth, decode_json, media_type
from homeport.apiserver.options import check_options
from homeport.apiserver.resources import Served
from homeport.apiserver.verbs import apply
from homeport.apiserver.verbs.update import change
from homeport.apiserver.writing import modified
from homeport.kube import field
from homeport.kube.errors import ApiError, BadRequest, Invalid, UnsupportedMediaType
from homeport.kube.field import quote
from homeport.kube.meta import Object
from homeport.kube.patch import json_patch, merge_patch, strategic_merge_patch
from homeport.kube.wire import Response
from homeport.store.protocol import Record

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

Change = Callable[[Object], Object]


def accepted(served: Served) -> tuple[str, ...]:
    """The patch types that a resource takes; strategic merge patch needs to know the Go types, upstream."""
    if served.builtin:
        return (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH)
    return (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)


def change_of(call: Call) -> Change:
    """What the request's body does to an object. Raises BadRequest, Invalid or UnsupportedMediaType."""
    media = media_type(call.request.headers.get("content-type", "none"))
    if media not in accepted(call.served) or media == APPLY_PATCH:
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            + ", ".join(accepted(call.served))
        )
    check_options(call, "PatchOptions")
    patch, _ = decode_json(call.request.body)
    check_depth([patch])
    if media == JSON_PATCH:
        return lambda obj: _no_deeper(json_patch(obj, patch))
    if media == MERGE_PATCH:
        return lambda obj: merge_patch(obj, patch)
    root, components = call.served.definition.parts
    return lambda obj: strategic_merge_patch(obj, patch, root, components)


def _no_deeper(new: Object) -> Object:
    """`new`, unless its operations have put it together deeper than a body may be. Raises BadRequest."""
    check_depth(new)
    return new


async def patch(api: Api, call: Call, *, subresource: str = "") -> Response:
    """Change the newest state."""
    if media_type(call.request.headers.get("content-type", "none")) == APPLY_PATCH:
        return await apply.apply(api, call, subresource=subresource)
    apply_to = change_of(call)

    def make(record: Record, old: Object) -> Object:
        new = patched(call, apply_to(old))
        check_version(call, new, str(record.revision))
        return new

    return await change(api, call, make, subresource=subresource)


def patched(call: Call, new: Object) -> Object:
    """The result of a patch, checked as a body would be. Raises Invalid, where it is no object of the kind, and
    BadRequest."""
    converted = media_type(call.request.headers.get("content-type")) == STRATEGIC_MERGE_PATCH

    def refuse(why: str) -> ApiError:
        shown = go_text(decode_json(call.request.body)[0]) if converted else quote(new)
        return Invalid.of("", "", "", [field.invalid("patch", shown, why)])

    body = Body(check_type(call, new), [])
    new = check_fields(call, body, refuse=refuse, converted=converted)
    name = new["metadata"].get("name")
    if name != call.info.name:
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({call.info.name})")
    return new


def check_version(call: Call, new: Object, current: str) -> None:
    """A patch that says a resourceVersion applies to that one only. Raises Conflict."""
    version = new["metadata"].get("resourceVersion")
    if version and version != current:
        raise modified(call, call.info.name)


def go_text(value: Any) -> str:
    """A JSON value as Go prints one (``%+v``): ``map[spec:map[replicas:3]]``."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{go_text(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_text, value))}]"
    return "<nil>" if value is None else value if isinstance(value, str) else quote(value)
