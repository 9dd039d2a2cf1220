"""What a schema says of values: defaults have to hold it, and selectable fields to be scalars in it.

Upstream: ``apiserver/schema/defaulting/validation.go`` and ``apiextensions/validation`` of apiextensions-apiserver.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from homeport.kube import field
from homeport.kube.errors import FieldError
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.compiled import Schema

_MAX_SELECTABLE = 8
_SCALARS = ("string", "boolean", "integer")


def validate_defaults(schema: JsonSchema, path: str) -> Iterator[FieldError]:
    """Errors of the defaults in a structural schema at `path`."""
    default = schema.get("default")
    if default is not None:
        yield from _default(schema, default, f"{path}.default")
    for name, part in (schema.get("properties") or {}).items():
        if isinstance(part, dict):
            yield from validate_defaults(part, f"{path}.properties[{name}]")
    for key in ("additionalProperties", "items"):
        part = schema.get(key)
        if isinstance(part, dict):
            yield from validate_defaults(part, f"{path}.{key}")


def _default(schema: JsonSchema, default: Any, path: str) -> Iterator[FieldError]:
    compiled = Schema(schema, {}, part=True, typed=False)
    pruned, unknown = compiled.prune(default)
    if unknown:
        yield field.invalid(path, default, "must not have unknown fields")
    for error in compiled.validate(compiled.default(pruned)):
        yield FieldError(f"{path}.{error.path}" if error.path else path, error.reason, error.message)


def validate_selectable(fields: Sequence[Any], schema: JsonSchema, path: str) -> Iterator[FieldError]:
    """Errors of a version's ``selectableFields`` at `path`."""
    known: set[str] = set()
    for index, selectable in enumerate(fields):
        where = f"{path}[{index}].jsonPath"
        text = selectable.get("jsonPath") or ""
        if not text:
            yield field.required(where)
            continue
        found = _field(text, schema)
        if isinstance(found, str):
            yield field.invalid(where, text, f"is an invalid path: {found}")
            continue
        if text.split(".")[1] == "metadata":
            yield field.invalid(where, text, "must not point to fields in metadata")
        if found.get("type") not in _SCALARS:
            words = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats "
                "are allowed."
            )
            yield field.invalid(where, text, words)
        if text in known:
            yield field.duplicate(where, text)
        known.add(text)
    if len(known) > _MAX_SELECTABLE:
        yield field.too_many(path, len(known), _MAX_SELECTABLE)


def _field(text: str, schema: JsonSchema) -> JsonSchema | str:
    """The schema of the field at a path of plain names, or what is wrong with the path."""
    if not text.startswith("."):
        return f"expected [ or . but got: {text.split('.')[0]}"
    if "[" in text:
        return "array notation is not allowed"
    for name in text[1:].split("."):
        properties, additional = schema.get("properties"), schema.get("additionalProperties")
        part = properties.get(name) if properties else additional
        if not name or not isinstance(part, dict):
            return "does not refer to a valid field"
        schema = part
    return schema
