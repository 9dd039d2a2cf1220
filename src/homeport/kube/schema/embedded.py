"""Whole objects inside of custom resources (``x-kubernetes-embedded-resource``; upstream: apiextensions-apiserver
``pkg/apiserver/schema/objectmeta``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from homeport.kube import field
from homeport.kube.schema import decoding
from homeport.kube.schema.checks import MapKey, Path, path_text
from homeport.kube.schema.decoding import Undecodable
from homeport.kube.schema.node import Node


def find(root: Node, obj: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects inside of `obj`, which is not among them, each with its path."""
    for path, _, value in _inside(root, obj, None):
        yield path_text(path), value


def read(root: Node, obj: Any) -> Any:
    """`obj` with the metadata of the objects in it as Go's decoder reads it: null is the same as nothing. Unknown
    fields stay. Raises Undecodable for values of wrong types."""
    for path, node, value in list(_inside(root, obj, None)):
        for name in ("apiVersion", "kind"):
            if not isinstance(value.get(name, ""), str):
                raise _malformed((path, name), value[name], "must be a string")
        metadata = value.get("metadata")
        if metadata is None:
            continue
        try:
            decoded, _ = decoding.read(node.properties["metadata"], metadata)
        except Undecodable as error:
            raise _malformed((path, "metadata"), metadata, str(error)) from error
        if None in decoded.values():
            kept = {key: item for key, item in metadata.items() if item is not None}
            obj = _replaced(obj, _steps((path, "metadata")), kept)
    return obj


def _inside(node: Node, value: Any, path: Path) -> Iterator[tuple[Path, Node, dict[str, Any]]]:
    if isinstance(value, dict):
        for key, item in value.items():
            part = node.properties.get(key, node.additional)
            if part is not None and part.has_embedded:
                yield from _here(part, item, (path, key if key in node.properties else MapKey(key)))
    elif isinstance(value, list) and node.items is not None and node.items.has_embedded:
        for index, item in enumerate(value):
            yield from _here(node.items, item, (path, index))


def _here(node: Node, value: Any, path: Path) -> Iterator[tuple[Path, Node, dict[str, Any]]]:
    if node.embedded and isinstance(value, dict):
        yield path, node, value
    yield from _inside(node, value, path)


def _malformed(path: Path, value: Any, why: str) -> Undecodable:
    return Undecodable(str(field.invalid(path_text(path), value, why)))


def _steps(path: Path) -> list[Any]:
    steps: list[Any] = []
    while path is not None:
        path, key = path
        steps.append(key)
    return steps[::-1]


def _replaced(value: Any, steps: list[Any], new: Any) -> Any:
    if not steps:
        return new
    result = value.copy()
    result[steps[0]] = _replaced(value[steps[0]], steps[1:], new)
    return result
