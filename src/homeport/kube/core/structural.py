"""What makes an OpenAPI schema structural, as CustomResourceDefinitions need it.

Upstream: ``pkg/apiserver/schema/validation.go`` of apiextensions-apiserver, and its validation of definitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from homeport.kube import field, regex
from homeport.kube.core.structural_judges import complete, judged
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = ("$ref", "additionalItems", "definitions", "dependencies", "id", "patternProperties")
_NO_FIELD_TYPE = "must not be empty for specified object fields"
_MAX_DEPTH = 100


def validate_structural(schema: Any, path: str) -> Iterator[FieldError]:
    """Errors of a version's ``openAPIV3Schema`` at `path`."""
    if not isinstance(schema, dict):
        return
    if not schema:
        yield field.required(path, "because otherwise all fields are pruned")
        return
    if schema.get("type") not in (None, "", "object"):
        yield field.invalid(f"{path}.type", schema["type"], "must be object at the root")
    if schema.get("additionalProperties") is not None:
        yield field.forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if schema.get("nullable"):
        yield field.forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    yield from _node(schema, path, 0, "must not be empty at the root")
    yield from complete(schema, path)


def _node(schema: Object, path: str, depth: int, without_type: str) -> Iterator[FieldError]:
    if depth > _MAX_DEPTH:
        yield field.invalid(path, "", f"must not be nested deeper than {_MAX_DEPTH} levels")
        return
    free = schema.get("x-kubernetes-preserve-unknown-fields") is True or schema.get("x-kubernetes-int-or-string")
    kind = schema.get("type")
    if not kind:
        if not free and not schema.get("x-kubernetes-embedded-resource"):
            yield field.required(f"{path}.type", without_type)
    elif kind not in _TYPES:
        yield field.not_supported(f"{path}.type", kind, _TYPES)
    yield from _keywords(schema, path)
    yield from _lists(schema, path)
    yield from _metadata(schema, path, root=depth == 0)
    properties, additional = schema.get("properties"), schema.get("additionalProperties")
    if properties and additional not in (None, False):
        yield field.forbidden(
            f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
        )
    for name, part in (properties or {}).items():
        if isinstance(part, dict):
            yield from _node(part, f"{path}.properties[{name}]", depth + 1, _NO_FIELD_TYPE)
    if isinstance(additional, dict):
        yield from _node(additional, f"{path}.additionalProperties", depth + 1, _NO_FIELD_TYPE)
    items = schema.get("items")
    if isinstance(items, list):
        yield field.forbidden(f"{path}.items", "items must be a schema object and not an array")
    elif isinstance(items, dict):
        yield from _node(items, f"{path}.items", depth + 1, "must not be empty for specified array items")
    elif kind == "array":
        yield field.required(f"{path}.items", "must be specified")
    yield from judged(schema, path)


def _metadata(schema: Object, path: str, *, root: bool) -> Iterator[FieldError]:
    """A whole object's ``apiVersion``, ``kind`` and ``metadata`` are implied: a schema may narrow names, no more."""
    if not root and not schema.get("x-kubernetes-embedded-resource"):
        return
    properties = schema.get("properties") or {}
    for name in ("kind", "apiVersion"):
        part = properties.get(name)
        if isinstance(part, dict) and part.get("type") != "string":
            yield field.invalid(f"{path}.properties[{name}].type", part.get("type", ""), "must be string")
    part = properties.get("metadata")
    if not isinstance(part, dict):
        return
    where = f"{path}.properties[metadata]"
    if part.get("type") != "object":
        yield field.invalid(f"{where}.type", part.get("type", ""), "must be object")
    if not root:
        return
    said = {key for key, value in part.items() if value not in (None, "", [], {}, False)} - {"type", "default"}
    if said <= {"properties"} and set(part.get("properties") or ()) <= {"name", "generateName"}:
        return
    words = "must not specify anything other than name and generateName, but metadata is implicitly specified"
    yield field.forbidden(where, words)


def _keywords(schema: Object, path: str) -> Iterator[FieldError]:
    for key in _UNSUPPORTED:
        if schema.get(key):
            yield field.forbidden(f"{path}.{key}", f"{key} is not supported")
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and pattern:
        try:
            regex.compile(pattern)
        except regex.PatternError as error:
            words = f"must be a valid regular expression, but isn't: {error}"
            yield field.invalid(f"{path}.pattern", pattern, words)
    if schema.get("uniqueItems"):
        words = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield field.forbidden(f"{path}.uniqueItems", words)
    if schema.get("additionalProperties") is False:
        yield field.forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield field.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    if schema.get("x-kubernetes-embedded-resource"):
        words = "must be object if x-kubernetes-embedded-resource is true"
        if not schema.get("type"):
            yield field.required(f"{path}.type", words)
        elif schema["type"] != "object":
            yield field.invalid(f"{path}.type", schema["type"], words)
        if schema.get("additionalProperties") is not None:
            words = "must not be used if x-kubernetes-embedded-resource is set"
            yield field.forbidden(f"{path}.additionalProperties", words)
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            words = (
                "must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields"
            )
            yield field.required(f"{path}.properties", words)
    if schema.get("x-kubernetes-int-or-string"):
        for key in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
            if schema.get(key):
                words = "must be false if x-kubernetes-int-or-string is true"
                yield field.invalid(f"{path}.{key}", True, words)
    if schema.get("x-kubernetes-int-or-string") and schema.get("type"):
        words = "must be empty if x-kubernetes-int-or-string is true"
        yield field.forbidden(f"{path}.type", words)


def _lists(schema: Object, path: str) -> Iterator[FieldError]:
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    if kind is None:
        if keys:
            words = "must be map if x-kubernetes-list-map-keys is non-empty"
            yield field.required(f"{path}.x-kubernetes-list-type", words)
        return
    if kind not in ("atomic", "map", "set"):
        yield field.not_supported(f"{path}.x-kubernetes-list-type", kind, ("atomic", "map", "set"))
    if schema.get("type") != "array":
        words = "must be array if x-kubernetes-list-type is specified"
        yield field.invalid(f"{path}.type", schema.get("type", ""), words)
    if kind != "map":
        return
    if not keys:
        words = "must not be empty if x-kubernetes-list-type is map"
        yield field.required(f"{path}.x-kubernetes-list-map-keys", words)
    items = schema.get("items")
    items = items if isinstance(items, dict) else {}
    properties = items.get("properties") or {}
    for key in keys:
        part = properties.get(key)
        if not isinstance(part, dict):
            words = "entries must all be names of item properties"
            yield field.invalid(f"{path}.x-kubernetes-list-map-keys", keys, words)
        elif key not in (items.get("required") or ()) and "default" not in part:
            words = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            )
            yield field.required(f"{path}.items.properties[{key}].default", words)
