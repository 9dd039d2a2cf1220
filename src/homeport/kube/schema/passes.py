"""Defaulting, pruning and normalising: an object and a schema's nodes to a new object.

None of these changes its argument; what needs no change is shared with the result, and so is the whole object where
nothing at all changed.
"""

from __future__ import annotations

from typing import Any

from homeport.kube import quantity
from homeport.kube.schema.checks import Path, path_text
from homeport.kube.schema.node import Node

_META_FIELDS = frozenset({"apiVersion", "kind", "metadata"})


def fresh(value: Any) -> Any:
    """A copy of a default, so that two objects never share a container that neither of them sent."""
    if isinstance(value, dict):
        return {key: fresh(item) for key, item in value.items()}
    if isinstance(value, list):
        return [fresh(item) for item in value]
    return value


def _is_unset(value: Any, node: Node) -> bool:
    """Whether an empty `value` says "not set": null does, and so does ``""`` where only certain words are allowed."""
    if value is None:
        return not node.nullable
    return value == "" and node.enum is not None and "" not in node.enum


def set_defaults(node: Node, value: Any, typed: bool) -> Any:
    """`value` with the defaults of its schema.

    With `typed` the schema is one of ours, and objects are read as the Go types of Kubernetes read them: null is the
    same as absent (and the empty string in a map of strings), and so is ``""`` where only certain words are allowed.
    """
    if type(value) is dict:
        return _set_object_defaults(node, value, typed)
    if type(value) is list and node.items is not None and (typed or node.items.has_defaults):
        item_node = node.items
        if item_node.leaf:
            return value  # null is for validation to refuse: a list has no field that could be absent
        changed: list[Any] | None = None
        for index, item in enumerate(value):
            new = set_defaults(item_node, item, typed)
            if new is not item:
                if changed is None:
                    changed = value.copy()
                changed[index] = new
        return value if changed is None else changed
    return value


def _set_object_defaults(node: Node, value: dict[str, Any], typed: bool) -> dict[str, Any]:
    changed: dict[str, Any] | None = None
    properties = node.properties
    defaults = node.defaults
    additional = node.additional
    if not properties and additional is not None and additional.leaf and None not in value.values():
        return value  # a map of scalars: labels, data, resources
    for key, item in value.items():
        part = properties.get(key, additional)
        if part is None:
            continue
        kind = type(item)
        if kind is str and (item or not typed or part.enum is None):
            continue  # nearly every value goes this way
        if kind is dict or kind is list:
            if typed or part.has_defaults:
                new = (_set_object_defaults if kind is dict else set_defaults)(part, item, typed)
                if new is not item:
                    if changed is None:
                        changed = value.copy()
                    changed[key] = new
        elif (item is None or (typed and item == "")) and _is_unset(item, part):
            if key in properties:
                if not typed and key not in defaults:
                    continue
                if changed is None:
                    changed = value.copy()
                del changed[key]
            elif typed and item is None and part.type == "string":
                if changed is None:
                    changed = value.copy()
                changed[key] = ""
    result = value if changed is None else changed
    for key, default in defaults.items():
        if key not in result:
            if changed is None:
                result = changed = value.copy()
            part = properties[key]
            result[key] = set_defaults(part, fresh(default), typed) if part.has_defaults else fresh(default)
    return result


def prune(node: Node, value: Any, path: Path, unknown: list[str]) -> Any:
    """`value` without the fields that its schema does not know; their paths go to `unknown`."""
    if type(value) is dict:
        return _prune_object(node, value, path, unknown)
    if type(value) is list:
        item_node = node.items
        if item_node is None or item_node.leaf:
            return value
        changed: list[Any] | None = None
        for index, item in enumerate(value):
            new = prune(item_node, item, (path, index), unknown)
            if new is not item:
                if changed is None:
                    changed = value.copy()
                changed[index] = new
        return value if changed is None else changed
    return value


def _prune_object(node: Node, value: dict[str, Any], path: Path, unknown: list[str]) -> dict[str, Any]:
    properties = node.properties
    additional = node.additional
    keep = node.preserve
    if (keep and not properties and additional is None) or (node.type not in ("object", "") and not properties):
        return value  # anything goes, or it isn't an object: validation says so
    changed: dict[str, Any] | None = None
    for key, item in value.items():
        part = properties.get(key, additional)
        if part is None:
            if keep or (node.embedded and key in _META_FIELDS):
                continue
            unknown.append(path_text((path, key)))
            if changed is None:
                changed = value.copy()
            del changed[key]
        elif (type(item) is dict or type(item) is list) and not part.leaf:
            new = prune(part, item, (path, key), unknown)
            if new is not item:
                if changed is None:
                    changed = value.copy()
                changed[key] = new
    return value if changed is None else changed


def normalise(node: Node, value: Any) -> Any:
    """`value` with quantities as canonical strings and whole numbers as integers (``2.0`` as ``2``)."""
    kind = type(value)
    if kind is dict:
        properties = node.number_children
        additional = node.additional if node.additional is not None and node.additional.has_numbers else None
        if not properties and additional is None:
            return value
        changed: dict[str, Any] | None = None
        for key, item in value.items():
            part = properties.get(key)
            if part is None:
                if additional is None or key in node.properties:
                    continue
                part = additional
            if type(item) is int and not part.quantity:
                continue  # most numbers are as they should be
            new = normalise(part, item)
            if new is not item:
                if changed is None:
                    changed = value.copy()
                changed[key] = new
        return value if changed is None else changed
    if kind is list:
        item_node = node.items
        if item_node is None or not item_node.has_numbers:
            return value
        copy: list[Any] | None = None
        for index, item in enumerate(value):
            new = normalise(item_node, item)
            if new is not item:
                if copy is None:
                    copy = value.copy()
                copy[index] = new
        return value if copy is None else copy
    if node.quantity:
        return _canonical(value)
    if kind is float and node.takes_integers and value.is_integer():
        return int(value)
    return value


def _canonical(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return value
    try:
        text = quantity.canonical(value)
    except ValueError:
        return value  # validation has the words for it
    return value if text == value else text
