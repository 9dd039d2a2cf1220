"""What Go makes of a required field that a client left out: its zero value.

A client written in Go always sends required fields, if only as ``""``; one that writes JSON by hand may leave them out
of a status, and Kubernetes' own kinds take that. Readers may count on the fields all the same.
"""

from __future__ import annotations

from typing import Any

from homeport.kube.schema.node import Node

_ZEROS = {"string": "", "integer": 0, "number": 0, "boolean": False}


def with_zeros(node: Node, value: Any) -> Any:
    """`value` with zero values for absent required scalars, down to its leaves; the argument where none is absent."""
    if isinstance(value, list):
        if node.items is None:
            return value
        items = [with_zeros(node.items, item) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if not isinstance(value, dict):
        return value
    changed = {}
    for key, item in value.items():
        part = node.properties.get(key, node.additional)
        if part is not None:
            new = with_zeros(part, item)
            if new is not item:
                changed[key] = new
    for key in node.required:
        kind = node.properties[key].type if key in node.properties else ""
        if key not in value and kind in _ZEROS:
            changed[key] = _ZEROS[kind]
    return {**value, **changed} if changed else value
