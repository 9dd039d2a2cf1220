"""Schemas inside of ``allOf``, ``anyOf``, ``oneOf`` and ``not``: they judge values, and say nothing of what values are.

Upstream: ``pkg/apiserver/schema/validation.go`` and ``complete.go`` of apiextensions-apiserver.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from homeport.kube import field
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_SEVERAL = ("allOf", "anyOf", "oneOf")
_EMPTY, _FALSE, _UNDEFINED = "must be empty", "must be false", "must be undefined"
_FORBIDDEN = {
    "type": _EMPTY,
    "additionalProperties": _UNDEFINED,
    "default": _UNDEFINED,
    "title": _EMPTY,
    "description": _EMPTY,
    "nullable": _FALSE,
    "x-kubernetes-preserve-unknown-fields": _FALSE,
    "x-kubernetes-embedded-resource": _FALSE,
    "x-kubernetes-int-or-string": _FALSE,
    "x-kubernetes-list-map-keys": _EMPTY,
    "x-kubernetes-list-type": _UNDEFINED,
    "x-kubernetes-map-type": _UNDEFINED,
    "x-kubernetes-validations": _EMPTY,
}
"""What says what a value is, and belongs outside."""
_EITHER = [{"type": "integer"}, {"type": "string"}]
"""How a schema says that it means ``x-kubernetes-int-or-string``: the only types that may be named inside."""


def _parts(schema: Object, path: str) -> Iterator[tuple[Any, str, str]]:
    """The schemas right inside of `schema`, with their paths and how they judge."""
    for junctor in _SEVERAL:
        for index, part in enumerate(schema.get(junctor) or ()):
            yield part, f"{path}.{junctor}[{index}]", junctor
    if schema.get("not") is not None:
        yield schema["not"], f"{path}.not", "not"


def judged(schema: Object, path: str) -> Iterator[FieldError]:
    """Errors of what is inside of a schema at `path`."""
    every = schema.get("allOf") or [None]
    first = every[0] if isinstance(every[0], dict) else {}
    for part, where, junctor in _parts(schema, path):
        if junctor == "anyOf" and schema["anyOf"] == _EITHER:
            continue
        yield from _judge(part, where, either=part is first and junctor == "allOf", depth=0)


_MAX_DEPTH = 100


def _judge(schema: Any, path: str, *, either: bool = False, depth: int) -> Iterator[FieldError]:
    """Errors of one schema; with `either` it may be that of an integer or a string."""
    if not isinstance(schema, dict):
        return
    if depth > _MAX_DEPTH:
        yield field.invalid(path, "", f"must not be nested deeper than {_MAX_DEPTH} levels")
        return
    for part, where, junctor in _parts(schema, path):
        if not (either and junctor == "anyOf" and schema["anyOf"] == _EITHER):
            yield from _judge(part, where, depth=depth + 1)
    yield from _judge(schema.get("items"), f"{path}.items", depth=depth + 1)
    properties = schema.get("properties") or {}
    for name, part in properties.items():
        yield from _judge(part, f"{path}.properties[{name}]", depth=depth + 1)
    for key, words in _FORBIDDEN.items():
        if schema.get(key) not in (None, "", [], False):
            yield field.forbidden(f"{path}.{key}", f"{words} to be structural")
    if "metadata" in properties:
        yield field.forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


def complete(schema: Object, path: str) -> Iterator[FieldError]:
    """What is judged at the root of a schema, but not said to be there."""
    for part, where, _ in _parts(schema, path):
        yield from _complete(part, where, schema, path)


def _complete(judge: Any, path: str, schema: Any, outside: str) -> Iterator[FieldError]:
    if not isinstance(judge, dict):
        return
    if not isinstance(schema, dict):
        yield field.required(outside, f"because it is defined in {path}")
        return
    for part, where, _ in _parts(judge, path):
        yield from _complete(part, where, schema, outside)
    yield from _complete(judge.get("items"), f"{path}.items", schema.get("items"), f"{outside}.items")
    known = schema.get("properties") or {}
    for name, part in (judge.get("properties") or {}).items():
        inside = f"properties[{name}]"
        yield from _complete(part, f"{path}.{inside}", known.get(name), f"{outside}.{inside}")
