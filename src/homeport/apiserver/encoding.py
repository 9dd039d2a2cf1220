"""Content negotiation: which form an answer takes, and a request body to an object."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

from homeport.apiserver.answers import JSON
from homeport.apiserver.duplicates import duplicates
from homeport.kube.errors import BadRequest, NotAcceptable, UnsupportedMediaType
from homeport.kube.meta import Object
from homeport.kube.wire import NOT_JSON, Response

YAML = "application/yaml"
_YAML = frozenset({YAML, "text/yaml", "application/x-yaml"})
PROTOBUF = "application/vnd.kubernetes.protobuf"
MAX_DEPTH = 200
"""Nesting that a body may have. Real objects stay below 40; recursive code has Python's stack to live with."""

_JSON_HEADERS = {"content-type": JSON}


class Form(msgspec.Struct, frozen=True):
    """The form of an answer that a client asked for."""

    media: Literal["json", "yaml", "protobuf"] = "json"
    convert: Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"] = ""
    version: str = "v1"
    """Of ``meta.k8s.io``: ``v1`` or ``v1beta1``."""

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPES[self.media]


_CONTENT_TYPES = {"json": JSON, "yaml": YAML, "protobuf": PROTOBUF}
PLAIN = Form()


@lru_cache(maxsize=256)
def negotiate(accept: str | None) -> Form:
    """The first form of an ``Accept`` header that this server has. Raises NotAcceptable.

    Clients list what they like best first; quality factors are not used by any Kubernetes client. Objects are kept as
    JSON, so protobuf is the answer only where a client takes nothing else.
    """
    if not accept:
        return PLAIN
    last = None
    for part in accept.split(","):
        form = _form(part)
        if form is not None and form.media != "protobuf":
            return form
        last = last or form
    if last is not None:
        return last
    raise not_acceptable(JSON, YAML, PROTOBUF)


def negotiate_object(accept: str | None) -> Form:
    """As :func:`negotiate`, where there is nothing but the object itself: reviews, and the initial events of a watch.
    Upstream has no tables and no metadata of them. Raises NotAcceptable."""
    others = [part for part in (accept or "").split(",") if "as=" not in part.replace(" ", "")]
    if not others:
        raise not_acceptable(JSON, YAML, PROTOBUF)
    return negotiate(",".join(others))


def not_acceptable(*accepted: str) -> NotAcceptable:
    """The error for a client that takes none of the forms that there are."""
    return NotAcceptable(f"only the following media types are accepted: {', '.join(accepted)}")


def _form(part: str) -> Form | None:
    media, *parameters = (piece.strip() for piece in part.split(";"))
    values = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
    kind = media.lower()
    if kind in ("*/*", "application/*", "*", JSON, ""):
        convert = values.get("as", "")
        if convert not in ("", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
            return None
        if convert and (values.get("g") != "meta.k8s.io" or values.get("v") not in ("v1", "v1beta1")):
            return None
        return Form("json", convert, values.get("v", "v1"))  # type: ignore[arg-type]
    if kind in _YAML:
        return None if "as" in values else Form("yaml")
    if kind == PROTOBUF:
        convert = values.get("as", "")
        if convert == "Table":  # its cells are any JSON at all
            return None
        form = _form(";".join([JSON, *parameters]))
        return None if form is None else Form("protobuf", form.convert, form.version)
    return None


def encode(value: Any) -> bytes:
    """JSON, one encoder for all answers."""
    return _ENCODER.encode(value)


_ENCODER = msgspec.json.Encoder()


def object_response(body: bytes, form: Form = PLAIN, status: int = 200) -> Response:
    """An answer with one object whose JSON is `body`."""
    if form.media == "json":
        return Response(status, dict(_JSON_HEADERS), body)
    if form.media == "protobuf":
        return Response(status, {"content-type": PROTOBUF}, to_protobuf(msgspec.json.decode(body)))
    from homeport.kube import yamltext  # PyYAML takes 0.1 s to load; few clients ask for it

    return Response(status, {"content-type": YAML}, yamltext.dump(msgspec.json.decode(body)))


def acceptable(form: Form, api_version: str, kind: str) -> None:
    """Raises NotAcceptable where objects of a kind can't be written in `form`: better before a write than after."""
    if form.media == "protobuf":
        from homeport.kube.protobuf.encode import knows  # its tables are loaded when a client speaks protobuf

        if not knows(f"meta.k8s.io/{form.version}" if form.convert else api_version, form.convert or kind):
            raise not_acceptable(JSON, YAML)


def to_protobuf(obj: Object) -> bytes:
    """`obj` in protobuf. Raises NotAcceptable for kinds that have no such form."""
    from homeport.kube.protobuf.encode import encode, knows  # as above

    if not knows(obj.get("apiVersion", "v1"), obj["kind"]):
        raise not_acceptable(JSON, YAML)
    return encode({"apiVersion": "v1", **obj})


class Body(NamedTuple):
    """A decoded request body."""

    object: Object
    duplicates: list[str]
    """What there is to say of keys that a mapping has twice; looked for only on request."""
    json: bytes = b""
    """The body as it came, if it is JSON: what is wrong with it is told in its order."""


def media_type(content_type: str | None) -> str:
    """The media type without its parameters, in lower case; JSON when there is none (some clients send none)."""
    return (content_type or JSON).partition(";")[0].strip().lower() or JSON


def decode_body(content_type: str | None, body: bytes, *, find_duplicates: bool = False) -> Body:
    """The object in a request body. Raises BadRequest or UnsupportedMediaType."""
    media = media_type(content_type)
    if media in _YAML:
        from homeport.kube import yamltext  # PyYAML takes 0.1 s to load

        value, found = yamltext.load(body)
    elif media in (JSON, "*/*"):
        value, found = decode_json(body, find_duplicates=find_duplicates)
    elif media == PROTOBUF:
        from homeport.kube.protobuf.decode import decode  # as above

        value, found = decode(body), []
    else:
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            f"{JSON}, {YAML}, {PROTOBUF}"
        )
    if not isinstance(value, dict):
        raise BadRequest(f"the request body has to be an object, not {_json_type(value)}")
    if media == PROTOBUF or media in _YAML or not is_flat(body):
        check_depth(value)
    return Body(value, found, body if media in (JSON, "*/*") else b"")


def is_flat(body: bytes) -> bool:
    """Whether JSON cannot be nested too deep: it has a bracket for every level, and most bodies have fewer than there
    may be levels."""
    return body.count(b"{") + body.count(b"[") <= MAX_DEPTH


def decode_json(body: bytes, *, find_duplicates: bool = False) -> tuple[Any, list[str]]:
    """A JSON document, and what there is to say of duplicate keys (nothing without `find_duplicates`). Raises
    BadRequest."""
    if not body or body.isspace():
        raise BadRequest("the request has no body; an object was expected")
    try:
        value = msgspec.json.decode(body)
    except NOT_JSON as error:
        raise BadRequest(f"json parse error: {error}") from error
    return value, duplicates(body, value) if find_duplicates else []


def check_depth(value: Any) -> None:
    """Raises BadRequest for a document that is nested deeper than MAX_DEPTH."""
    level = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for item in level:
            inner = item.values() if isinstance(item, dict) else item
            deeper.extend(child for child in inner if isinstance(child, (dict, list)))
        if not deeper:
            return
        level = deeper
    raise BadRequest(f"the object provided is nested deeper than {MAX_DEPTH} levels")


def _json_type(value: Any) -> str:
    return {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}.get(
        type(value), "null"
    )
