"""What server-side apply says of a configuration that does not fit the schema (upstream: structured-merge-diff
``typed/validate.go``): an applied field has to be one that somebody can own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from homeport.kube import gotext
from homeport.kube.field import quote
from homeport.kube.schema.node import Node


def errors(node: Node, value: Any, path: str = "") -> Iterator[str]:
    """Each field of `value` that the schema does not have, and each value of a wrong type."""
    if value is None:
        return
    if node.type == "object":
        yield from _map_errors(node, value, path)
    elif node.type == "array":
        yield from _list_errors(node, value, path)
    else:
        words = _scalar_error(node, value)
        if words:
            yield f"{path}: {words}"


def _map_errors(node: Node, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: expected map, got {_shown(value)}"
        return
    for key, item in value.items():
        part = node.properties.get(key, node.additional)
        if part is not None:
            yield from errors(part, item, f"{path}.{key}")
        elif not node.preserve and (node.properties or node.schema.get("additionalProperties") is False):
            yield f"{path}.{key}: field not declared in schema"


def _list_errors(node: Node, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: expected list, got {_shown(value)}"
        return
    if node.items is None:
        return
    for index, item in enumerate(value):
        yield from errors(node.items, item, path + _element(node, item, index))


def _element(node: Node, item: Any, index: int) -> str:
    """An element as a path names it: by its keys, by its value, or by its place."""
    if node.list_type == "map" and isinstance(item, dict):
        keys = [f"{key}={quote(item[key])}" for key in sorted(node.list_keys) if key in item]
        if keys:
            return f"[{','.join(keys)}]"
    if node.list_type == "set" and not isinstance(item, (dict, list)):
        return f"[={quote(item)}]"
    return f"[{index}]"


def _scalar_error(node: Node, value: Any) -> str:
    is_bool = isinstance(value, bool)
    is_number = isinstance(value, (int, float)) and not is_bool
    if node.type in ("integer", "number"):
        return "" if is_number else f"expected numeric (int or float), got {gotext.type_of(value)}"
    if node.type == "string":
        shown = f"&value.valueUnstructured{{Value:{gotext.plain(value)}}}"
        return "" if isinstance(value, str) else f"expected string, got {shown}"
    if node.type == "boolean":
        return "" if is_bool else f"expected boolean, got {_shown(value)}"
    if (node.quantity or node.int_or_string) and isinstance(value, (dict, list)):
        return f"expected any scalar, got {_shown(value)}"
    return ""


def _shown(value: Any) -> str:
    return f"&{{{gotext.plain(value)}}}"
