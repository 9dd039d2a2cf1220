"""How large values of a structural schema can be, at most and at least: what static estimates of costs start from.

Upstream: ``apiserver/pkg/cel/common/schemas.go`` (``MaxElements`` and ``MinSerializedSize`` of its declarations).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.kube.cel.schema import escape, is_embedded, type_of_schema, with_meta
from homeport.kube.schema import JsonSchema

MAX_REQUEST = 3 * 1024 * 1024
"""Bytes of the largest request: no value is larger."""

_FORMATS = {"duration": (32, 3), "date": (12, 12), "date-time": (32, 21)}
"""Most characters and fewest bytes of strings of a format."""


class Sized:
    """What is known of the size of a schema's values. Parts are looked at when they are asked for."""

    __slots__ = ("_fields", "_items", "_names", "most", "schema", "smallest")

    def __init__(self, schema: JsonSchema, *, root: bool = False) -> None:
        either = schema.get("x-kubernetes-int-or-string")
        self.schema = with_meta(schema) if root and not either else schema
        self.most = 0
        """Elements of a list or a map, or characters of a string: the most there can be. 0 for what has none."""
        self.smallest = 1
        """Bytes of the smallest value, as JSON."""
        self._items: Sized | None = None
        self._fields: dict[str, Sized] = {}
        self._names: Mapping[str, str] | None = None
        kind = schema.get("type")
        if either:
            self.most = _characters(schema, MAX_REQUEST - 2)
        elif kind == "array":
            self._array()
        elif kind == "object":
            self._object()
        elif kind == "string":
            self._string()
        elif kind == "boolean":
            self.smallest = 4

    @property
    def items(self) -> Sized | None:
        """Items of a list, values of a map."""
        return self._items

    def field(self, name: str) -> Sized | None:
        """A field of an object, by its name as expressions write it."""
        if self._names is None:
            properties = self.schema.get("properties") or {}
            self._names = {escaped: each for each in properties if (escaped := escape(each))}
        key = self._names.get(name)
        if key is None:
            return None
        if name not in self._fields:
            self._fields[name] = _sized(self.schema["properties"][key])
        return self._fields[name]

    def _array(self) -> None:
        self.smallest = 2
        items = self.schema.get("items")
        if isinstance(items, dict):
            self._items = _sized(items)
            limit = self.schema.get("maxItems")
            self.most = (MAX_REQUEST - 2) // (self._items.smallest + 1) if limit is None else max(0, limit)

    def _object(self) -> None:
        self.smallest = 2
        additional = self.schema.get("additionalProperties")
        if isinstance(additional, dict):
            self._items = _sized(additional)
            limit = self.schema.get("maxProperties")
            self.most = (MAX_REQUEST - 2) // (self._items.smallest + 6) if limit is None else max(0, limit)
            return
        properties = self.schema.get("properties") or {}
        for name in self.schema.get("required") or ():
            part = properties.get(name)
            if not isinstance(part, dict) or part.get("default") is not None:
                continue
            if type_of_schema(part, root=is_embedded(part)) is not None:
                self.smallest += len(name) + _sized(part).smallest + 4

    def _string(self) -> None:
        format_ = self.schema.get("format", "")
        if format_ in _FORMATS:
            self.most, self.smallest = _FORMATS[format_]
            return
        self.smallest = 2
        words = [word for word in self.schema.get("enum") or () if isinstance(word, str)]
        if format_ == "byte":
            limit = self.schema.get("maxLength")
            self.most = MAX_REQUEST - 2 if limit is None else max(0, limit)
        elif words and self.schema.get("maxLength") is None:
            self.most = max(len(word.encode()) for word in words)
        else:
            self.most = _characters(self.schema, MAX_REQUEST - 2)


def _sized(schema: JsonSchema) -> Sized:
    return Sized(schema, root=is_embedded(schema))


def _characters(schema: Mapping[str, Any], most: int) -> int:
    """The longest string, in bytes: ``maxLength`` counts characters, of which one may have four."""
    limit = schema.get("maxLength")
    return most if limit is None else max(0, limit) * 4


def cardinality(schema: JsonSchema, above: int | None) -> int | None:
    """How often a part right below `schema` can be in one object, if that itself is there `above` times. None: as
    often as fits into a request."""
    if above is None:
        return None
    kind = schema.get("type")
    if kind == "array":
        limit = schema.get("maxItems")
    elif kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        limit = schema.get("maxProperties")
    else:
        return above
    return None if limit is None else above * max(0, limit)


def times(sized: Sized, count: int | None) -> int:
    """How often values of a schema can be in one object, with `count` as :func:`cardinality` says."""
    return MAX_REQUEST // (sized.smallest + 1) if count is None else count
