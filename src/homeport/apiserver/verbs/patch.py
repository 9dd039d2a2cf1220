"""``PATCH``: JSON patch, merge patch, strategic merge patch, and server-side apply (in its own module)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from homeport.apiserver.admission import check_fields, check_type, finds_duplicates
from homeport.apiserver.context import Api, Call
from homeport.apiserver.duplicates import Pairs, pairs
from homeport.apiserver.encoding import Body, check_depth, decode_json, media_type
from homeport.apiserver.options import check_options
from homeport.apiserver.resources import Served
from homeport.apiserver.verbs import apply
from homeport.apiserver.verbs.conditions import stated_version
from homeport.apiserver.verbs.update import change
from homeport.apiserver.writing import modified
from homeport.kube import field, gotext
from homeport.kube.errors import BadRequest, Invalid, UnsupportedMediaType
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


class Patch(NamedTuple):
    """What a request's body does to an object."""

    apply: Change
    complaints: list[str]
    """What a strict decoder has to say of the body itself."""


def change_of(call: Call) -> Patch:
    """The patch in the request's body. Raises BadRequest, Invalid or UnsupportedMediaType."""
    media = media_type(call.request.headers.get("content-type", "none"))
    if media not in accepted(call.served) or media == APPLY_PATCH:
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            + ", ".join(accepted(call.served))
        )
    check_options(call, "PatchOptions")
    body = call.request.body
    patch, found = decode_json(body, find_duplicates=finds_duplicates(call))
    check_depth([patch])
    if media == JSON_PATCH:
        complaints = _complaints(pairs(body)) if found or _has_more(patch) else []
        return Patch(lambda obj: _no_deeper(json_patch(obj, patch)), complaints)
    if media == MERGE_PATCH:
        return Patch(lambda obj: merge_patch(obj, patch), found)
    root, components = call.served.definition.parts
    return Patch(lambda obj: strategic_merge_patch(obj, patch, root, components), found)


_OPERATION = frozenset({"op", "path", "from", "value"})


def _has_more(patch: Any) -> bool:
    """Whether an operation has members that there are not."""
    return isinstance(patch, list) and any(isinstance(item, dict) and item.keys() - _OPERATION for item in patch)


def _complaints(operations: Any) -> list[str]:
    """What is wrong with the members of a JSON patch's operations."""
    found: dict[str, None] = {}
    for index, operation in enumerate(operations if isinstance(operations, list) else ()):
        seen: set[str] = set()
        for key, _ in operation if isinstance(operation, Pairs) else ():
            if key not in _OPERATION:
                found[f'json patch unknown field "[{index}].{key}"'] = None
            elif key in seen:
                found[f'json patch duplicate field "[{index}].{key}"'] = None
            seen.add(key)
    return list(found)


def _no_deeper(new: Object) -> Object:
    """`new`, unless its operations have put it together deeper than a body may be. Raises BadRequest."""
    check_depth(new)
    return new


async def patch(api: Api, call: Call, *, subresource: str = "") -> Response:
    """Change the newest state."""
    if media_type(call.request.headers.get("content-type", "none")) == APPLY_PATCH:
        return await apply.apply(api, call, subresource=subresource)
    sent = change_of(call)

    def make(record: Record, old: Object) -> Object:
        new = patched(call, sent, old)
        check_version(call, new, str(record.revision))
        return new

    return await change(api, call, make, subresource=subresource)


def patched(call: Call, sent: Patch, old: Object) -> Object:
    """What the patch makes of `old`, checked as a body would be. Raises Invalid, where it is no object of the kind, and
    BadRequest."""
    new = sent.apply(old)
    body = Body(_typed(call, new), sent.complaints)
    new = check_fields(call, body, refuse=lambda why: unfit(call, new, why), converted=is_strategic(call))
    name = new["metadata"].get("name")
    if name != call.info.name:
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({call.info.name})")
    return new


def _typed(call: Call, new: Object) -> Object:
    """The result of a patch as an object of the kind. Raises Invalid. (What a strategic merge patch says of the type
    is as good as not said: the merged map is read as what the path names.)"""
    if is_strategic(call):
        new = {key: value for key, value in new.items() if key not in ("apiVersion", "kind")}
    try:
        return check_type(call, new)
    except BadRequest as error:
        raise unfit(call, new, error.message) from error


def is_strategic(call: Call) -> bool:
    return media_type(call.request.headers.get("content-type")) == STRATEGIC_MERGE_PATCH


def unfit(call: Call, new: Object, why: str) -> Invalid:
    """The error for a patch whose result, `new`, is no object of the kind."""
    shown = gotext.plain(decode_json(call.request.body)[0]) if is_strategic(call) else quote(new)
    return Invalid.of("", "", "", [field.invalid("patch", shown, why)])


def check_version(call: Call, new: Object, current: str) -> None:
    """A patch that says a resourceVersion applies to that one only. Raises Conflict."""
    version = stated_version(new)
    if version and version != current:
        raise modified(call, call.info.name)
