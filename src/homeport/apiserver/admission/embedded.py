"""What may be wrong with objects inside of custom resources (upstream: apiextensions-apiserver
``pkg/apiserver/schema/objectmeta/validation.go``). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from homeport.apiserver.object_meta import validate_common
from homeport.kube import field, names
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object
from homeport.kube.schema.compiled import Schema


def validate_embedded(schema: Schema, obj: Object) -> Iterator[FieldError]:
    """Errors of all objects inside of `obj`. What is wrong in one of them is refused however old it is, as upstream."""
    for path, value in schema.embedded(obj):
        yield from _type_errors(path, value)
        metadata = value.get("metadata")
        if isinstance(metadata, dict):
            yield from _metadata_errors(f"{path}.metadata", metadata)


def _type_errors(path: str, value: dict[str, Any]) -> Iterator[FieldError]:
    for name, wrong in (("apiVersion", _version_error), ("kind", _kind_error)):
        if name not in value:
            yield field.required(f"{path}.{name}")
        elif value[name] == "":
            yield field.invalid(f"{path}.{name}", "", "must not be empty")
        elif isinstance(value[name], str):
            words = wrong(value[name])
            if words:
                yield field.invalid(f"{path}.{name}", value[name], words)


def _version_error(version: str) -> str:
    return f"unexpected GroupVersion string: {version}" if version.count("/") > 1 else ""


def _kind_error(kind: str) -> str:
    messages = names.dns1035_label(kind.lower())
    return f"may have mixed case, but should otherwise match: {','.join(messages)}" if messages else ""


def _metadata_errors(path: str, metadata: dict[str, Any]) -> Iterator[FieldError]:
    for name in ("generateName", "name"):
        value = metadata.get(name)
        if isinstance(value, str) and value:
            for message in names.path_segment(value):
                yield field.invalid(f"{path}.{name}", value, message)
    namespace = metadata.get("namespace")
    if isinstance(namespace, str) and namespace:
        for message in names.dns1123_label(namespace):
            yield field.invalid(f"{path}.namespace", namespace, message)
    yield from validate_common(metadata, path)
