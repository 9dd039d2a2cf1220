"""Structural schemas as types of expressions. Upstream: ``apiserver/pkg/cel/common/schemas.go`` and ``escaping.go``.

Types are made where an expression looks: a large schema has thousands of fields, and rules speak of few.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from homeport.kube.cel.library import temporal
from homeport.kube.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    Field,
    KeyedList,
    ObjectType,
    Type,
    list_of,
    map_of,
)
from homeport.kube.cel.values import EvaluationError
from homeport.kube.schema import JsonSchema

Convert = Callable[[Any], Any]

_RESERVED = frozenset(
    {
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
        "let", "loop", "package", "namespace", "return", "var", "void", "while",
    }
)  # fmt: skip
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_ESCAPED = re.compile(r"__|[-./]")
_NAME = re.compile(r"[A-Za-z_./-][A-Za-z0-9_./-]*", re.ASCII)
_META: JsonSchema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 253},
        "generateName": {"type": "string", "maxLength": 252},
    },
}
_STRING: JsonSchema = {"type": "string"}


def escape(name: str) -> str | None:
    """A field's name as expressions write it; None for one that they can't."""
    if name in _RESERVED:
        return f"__{name}__"
    if _NAME.fullmatch(name) is None:
        return None
    return _ESCAPED.sub(lambda match: _ESCAPES[match.group()], name)


def type_of_schema(schema: JsonSchema, *, root: bool = False) -> Type | None:
    """The type of a schema's values; None for those that expressions may not look into. With `root` the schema is that
    of a whole object (or of an embedded one), whose kind and name are always known."""
    if schema.get("x-kubernetes-int-or-string"):
        return DYN
    if root:
        schema = with_meta(schema)
    kind = schema.get("type")
    if kind == "array":
        return _list_type(schema)
    if kind == "object":
        return _object_type(schema)
    if kind == "string":
        return _STRINGS.get(schema.get("format", ""), STRING)
    return _SCALARS.get(kind or "")


_STRINGS = {"byte": BYTES, "duration": DURATION, "date": TIMESTAMP, "date-time": TIMESTAMP}
_SCALARS = {"boolean": BOOL, "number": DOUBLE, "integer": INT}


def with_meta(schema: JsonSchema) -> JsonSchema:
    """A whole object's schema with what is always known of an object."""
    properties = {**(schema.get("properties") or {}), "apiVersion": _STRING, "kind": _STRING, "metadata": _META}
    return {**schema, "properties": properties}


def is_embedded(schema: JsonSchema) -> bool:
    return bool(schema.get("x-kubernetes-embedded-resource"))


def _list_type(schema: JsonSchema) -> Type | None:
    items = schema.get("items")
    if not isinstance(items, dict):
        return None
    item = type_of_schema(items, root=is_embedded(items))
    if item is None:
        return None
    match schema.get("x-kubernetes-list-type"):
        case "set":
            return KeyedList("list", (item,))
        case "map":
            return KeyedList("list", (item,), tuple(schema.get("x-kubernetes-list-map-keys") or ()))
    return list_of(item)


def _object_type(schema: JsonSchema) -> Type | None:
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        value = type_of_schema(additional, root=is_embedded(additional))
        return None if value is None else map_of(STRING, value)
    return ObjectType("object", fields=_Fields(schema.get("properties") or {}))


class _Fields(Mapping[str, Field]):
    """The fields of an object, by their escaped names. Each is made when it is asked for."""

    def __init__(self, properties: Mapping[str, JsonSchema]) -> None:
        self._schemas = {escaped: (name, part) for name, part in properties.items() if (escaped := escape(name))}
        self._made: dict[str, Field] = {}

    def __getitem__(self, name: str) -> Field:
        made = self._made.get(name)
        if made is None:
            if name not in self._schemas and name in _RESERVED:
                name = f"__{name}__"  # cel-go allows reserved words behind a dot, and so does Kubernetes by now
            key, schema = self._schemas[name]
            type_ = type_of_schema(schema, root=is_embedded(schema))
            if type_ is None:
                raise KeyError(name)
            made = self._made[name] = Field(type_, key, converter(type_, schema))
        return made

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._schemas if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


# -- values


def converter(type_: Type, schema: JsonSchema) -> Convert | None:
    """What makes an expression's value of JSON; None where it is used as it is."""
    if type_.name == "list":
        items = schema["items"]
        inner = converter(type_.args[0], items)
        return None if inner is None else _each_item(inner)
    if type_.name == "map":
        inner = converter(type_.args[1], schema["additionalProperties"])
        return None if inner is None else _each_value(inner)
    if type_ is TIMESTAMP and schema.get("format") == "date":
        return _date
    return _CONVERT.get(type_)


def _each_item(convert: Convert) -> Convert:
    return lambda value: [None if item is None else convert(item) for item in value]


def _each_value(convert: Convert) -> Convert:
    return lambda value: {key: None if item is None else convert(item) for key, item in value.items()}


def _date(text: str) -> Any:
    return temporal.parse_timestamp(f"{text}T00:00:00Z")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvaluationError("invalid base64") from error


_CONVERT: Mapping[Type, Convert] = {
    DOUBLE: float,
    BYTES: _bytes,
    TIMESTAMP: temporal.parse_timestamp,
    DURATION: temporal.parse_duration,
}
