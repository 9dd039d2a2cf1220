"""OpenAPI documents in protobuf, by the messages of gnostic (``OpenAPIv2.proto``, ``OpenAPIv3.proto``).

kubectl before 1.29 reads v2 in no other form. Extensions and other free values are YAML there, so JSON will do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from homeport.apiserver.encoding import encode
from homeport.apiserver.openapi import version2
from homeport.kube.protobuf.wire import FIXED64, VARINT, delimited, header, number

_Write = Callable[[int, Any], bytes]


# -- how values of a field are written


def _text(at: int, value: str) -> bytes:
    return delimited(at, value.encode())


def _texts(at: int, values: Iterable[str]) -> bytes:
    return b"".join(_text(at, value) for value in values)


def _flag(at: int, value: bool) -> bytes:
    return header(at, VARINT) + number(value) if value else b""


def _whole(at: int, value: int) -> bytes:
    return header(at, VARINT) + number(value)


def _double(at: int, value: float) -> bytes:
    return header(at, FIXED64) + struct.pack("<d", value)


def _any(at: int, value: Any) -> bytes:
    return delimited(at, _text(2, encode(value).decode()))


def _anys(at: int, values: Iterable[Any]) -> bytes:
    return b"".join(_any(at, value) for value in values)


def _named(at: int, name: str, value: bytes) -> bytes:
    return delimited(at, _text(1, name) + delimited(2, value))


def _within(write: _Write, inner: int) -> _Write:
    """A field whose message has one field, `inner`."""
    return lambda at, value: delimited(at, write(inner, value))


def _each(write: _Write) -> _Write:
    return lambda at, values: b"".join(write(at, value) for value in values)


def _map(content: Callable[[Any], bytes], inner: int = 1) -> _Write:
    """A message with named values in its field `inner`."""
    return lambda at, values: delimited(
        at, b"".join(_named(inner, str(key), content(value)) for key, value in values.items())
    )


class _Message:
    """One message: the keys of its JSON with their fields, and the field of its extensions."""

    def __init__(self, extensions: int, **fields: tuple[int, _Write]) -> None:
        self._extensions = extensions
        self._fields = dict(fields)

    def add(self, key: str, at: int, write: _Write) -> None:
        """A field whose message refers to this one."""
        self._fields[key] = (at, write)

    def __call__(self, value: dict[str, Any]) -> bytes:
        out = []
        for key, inner in value.items():
            if inner is None:
                continue
            field = self._fields.get(key)
            if field is not None:
                out.append(field[1](field[0], inner))
            elif key.startswith("x-"):
                out.append(_named(self._extensions, key, _text(2, encode(inner).decode())))
        return b"".join(out)

    def at(self, at: int, value: dict[str, Any]) -> bytes:
        return delimited(at, self(value))


_BOUNDS: dict[str, _Write] = {
    "multipleOf": _double,
    "maximum": _double,
    "exclusiveMaximum": _flag,
    "minimum": _double,
    "exclusiveMinimum": _flag,
    "maxLength": _whole,
    "minLength": _whole,
    "pattern": _text,
    "maxItems": _whole,
    "minItems": _whole,
    "uniqueItems": _flag,
    "maxProperties": _whole,
    "minProperties": _whole,
    "required": _texts,
    "enum": _anys,
}
"""In the order in which both versions number them."""


def _bounds(first: int) -> dict[str, tuple[int, _Write]]:
    return {key: (first + index, write) for index, (key, write) in enumerate(_BOUNDS.items())}


# -- version 2


def _schema_or_flag(schema: Callable[[int, Any], bytes]) -> _Write:
    return lambda at, value: delimited(at, _whole(2, value) if isinstance(value, bool) else schema(1, value))


_Schema2 = _Message(31, format=(2, _text), title=(3, _text), description=(4, _text), **_bounds(6))
_Schema2.add("$ref", 1, _text)
_Schema2.add("type", 22, _within(_text, 1))
_Schema2.add("items", 23, _within(_Schema2.at, 1))
_Schema2.add("properties", 25, _map(_Schema2))
_Schema2.add("additionalProperties", 21, _schema_or_flag(_Schema2.at))

_Body2 = _Message(6, description=(1, _text), name=(2, _text), required=(4, _flag), schema=(5, _Schema2.at))
_Body2.add("in", 3, _text)
_Query2 = _Message(23, required=(1, _flag), description=(3, _text), name=(4, _text), type=(6, _text))
_Query2.add("in", 2, _text)
_Query2.add("uniqueItems", 20, _flag)
_Path2 = _Message(22, required=(1, _flag), description=(3, _text), name=(4, _text), type=(5, _text))
_Path2.add("in", 2, _text)
_Path2.add("uniqueItems", 19, _flag)


def _parameter2(at: int, value: dict[str, Any]) -> bytes:
    match value["in"]:
        case "body":
            inner = _Body2.at(1, value)
        case "path":
            inner = delimited(2, _Path2.at(4, value))
        case _:
            inner = delimited(2, _Query2.at(3, value))
    return delimited(at, delimited(1, inner))


_Response2 = _Message(5, description=(1, _text), schema=(2, _within(_Schema2.at, 1)))
_Operation2 = _Message(
    13,
    tags=(1, _texts),
    description=(3, _text),
    operationId=(5, _text),
    produces=(6, _texts),
    consumes=(7, _texts),
    parameters=(8, _each(_parameter2)),
    responses=(9, _map(lambda value: _Response2.at(1, value))),
    schemes=(10, _texts),
)
_Item2 = _Message(
    10,
    get=(2, _Operation2.at),
    put=(3, _Operation2.at),
    post=(4, _Operation2.at),
    delete=(5, _Operation2.at),
    patch=(8, _Operation2.at),
    parameters=(9, _each(_parameter2)),
)


class Pieces2(NamedTuple):
    """The share of one group and version in a document of version 2."""

    paths: bytes
    definitions: dict[str, bytes]


def version_2(document: dict[str, Any]) -> Pieces2:
    """What a document of version 3 is in version 2."""
    converted = version2.convert(document)
    paths = b"".join(_named(2, path, _Item2(item)) for path, item in converted["paths"].items())
    return Pieces2(paths, {name: _Schema2(schema) for name, schema in converted["definitions"].items()})


def join_2(pieces: Iterable[Pieces2], version: str) -> bytes:
    """The whole document."""
    paths, definitions = [], {}
    for one in pieces:
        paths.append(one.paths)
        definitions.update(one.definitions)
    info = _text(1, "Kubernetes") + _text(2, version)
    schemas = b"".join(_named(1, name, definitions[name]) for name in sorted(definitions))
    return b"".join(
        (_text(1, "2.0"), delimited(2, info), _text(5, "https"), delimited(8, b"".join(paths)), delimited(9, schemas))
    )


# -- version 3


_Schema3 = _Message(
    36,
    title=(9, _text),
    type=(25, _text),
    description=(34, _text),
    format=(35, _text),
    nullable=(1, _flag),
    **_bounds(10),
)
_Reference3 = _Message(0, description=(3, _text))
_Reference3.add("$ref", 1, _text)


def _schema3(value: dict[str, Any]) -> bytes:
    """A schema or a reference to one."""
    return _Reference3.at(2, value) if "$ref" in value else _Schema3.at(1, value)


def _schema3_at(at: int, value: dict[str, Any]) -> bytes:
    return delimited(at, _schema3(value))


def _default3(at: int, value: Any) -> bytes:
    """A default is a number, a flag or a text here; others have no form."""
    if isinstance(value, bool):
        return delimited(at, _whole(2, value))
    if isinstance(value, (int, float)):
        return delimited(at, _double(1, value))
    return delimited(at, _text(3, value)) if isinstance(value, str) else b""


_Schema3.add("allOf", 26, _each(_schema3_at))
_Schema3.add("oneOf", 27, _each(_schema3_at))
_Schema3.add("anyOf", 28, _each(_schema3_at))
_Schema3.add("not", 29, _Schema3.at)
_Schema3.add("items", 30, _within(_schema3_at, 1))
_Schema3.add("properties", 31, _map(_schema3))
_Schema3.add("additionalProperties", 32, _schema_or_flag(_schema3_at))
_Schema3.add("default", 33, _default3)

_Media3 = _Message(5, schema=(1, _schema3_at))
_Parameter3 = _Message(14, name=(1, _text), description=(3, _text), required=(4, _flag), schema=(10, _schema3_at))
_Parameter3.add("in", 2, _text)
_RequestBody3 = _Message(4, description=(1, _text), content=(2, _map(_Media3)), required=(3, _flag))
_Response3 = _Message(5, description=(1, _text), content=(3, _map(_Media3)))


def _responses3(at: int, value: dict[str, Any]) -> bytes:
    return delimited(at, b"".join(_named(2, code, _Response3.at(1, one)) for code, one in value.items()))


_parameters3 = _each(_within(_Parameter3.at, 1))
_Operation3 = _Message(
    13,
    tags=(1, _texts),
    description=(3, _text),
    operationId=(5, _text),
    parameters=(6, _parameters3),
    requestBody=(7, _within(_RequestBody3.at, 1)),
    responses=(8, _responses3),
)
_Item3 = _Message(
    14,
    get=(4, _Operation3.at),
    put=(5, _Operation3.at),
    post=(6, _Operation3.at),
    delete=(7, _Operation3.at),
    patch=(10, _Operation3.at),
    parameters=(13, _parameters3),
)


def version_3(document: dict[str, Any]) -> bytes:
    """A whole document."""
    info = _text(1, document["info"]["title"]) + _text(6, document["info"]["version"])
    paths = b"".join(_named(1, path, _Item3(item)) for path, item in document["paths"].items())
    schemas = b"".join(_named(1, name, _schema3(one)) for name, one in document["components"]["schemas"].items())
    return b"".join(
        (_text(1, document["openapi"]), delimited(2, info), delimited(4, paths), delimited(5, delimited(1, schemas)))
    )
