"""What Go makes of a required field that a client left out: its zero value.

A client written in Go always sends required fields, if only as ``""``; one that writes JSON by hand may leave them out
of a status, and Kubernetes' own kinds take that. Readers may count on the fields all the same.
"""

from __future__ import annotations

from typing import Any

from homeport.kube.schema.node import Node

_ZEROS: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False}

_POINTERS = frozenset({"io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"})
"""Types of required fields that are pointers in Go: what is left out is not there, rather than empty."""


def with_zeros(node: Node, value: Any, *, whole: bool = False) -> Any:
    """`value` with zero values for absent required scalars, down to its leaves; the argument where none is absent. With
    `whole` absent objects and lists are there, too, which is what Go's code sees but not what it writes."""
    if isinstance(value, list):
        if node.items is None:
            return value
        items = [with_zeros(node.items, item, whole=whole) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if not isinstance(value, dict):
        return value
    changed = {}
    for key, item in value.items():
        part = node.properties.get(key, node.additional)
        if part is not None:
            new = with_zeros(part, item, whole=whole)
            if new is not item:
                changed[key] = new
    for key in node.required:
        part = node.properties.get(key)
        if key in value or part is None:
            continue
        if part.type in _ZEROS:
            changed[key] = _ZEROS[part.type]
        elif whole and part.name not in _POINTERS:
            changed[key] = _zero(part)
    return {**value, **changed} if changed else value


def _zero(node: Node) -> Any:
    if node.type == "array":
        return []
    if node.quantity:
        return "0"
    return 0 if node.int_or_string else with_zeros(node, {}, whole=True)
