"""Keys that a JSON mapping has twice. Decoders keep the last of them and say nothing, so they are looked for apart."""

from __future__ import annotations

import json
from typing import Any

import msgspec


class Pairs(list[tuple[str, Any]]):
    """A JSON mapping as its pairs, so that a key may come twice."""


def duplicates(body: bytes, value: Any) -> list[str]:
    """What there is to say of duplicate keys in the JSON `body`, whose value is `value`, in the document's order."""
    found: list[str] = []
    if may_repeat(body, value):
        _walk(pairs(body), "", found)
    return found


def may_repeat(body: bytes, value: Any) -> bool:
    """Whether a mapping may have a key twice. Nearly no body has, and one look says so: each key that was dropped took
    a colon with it. (None is added in between, unless one is written in another way.)"""
    return b"\\u003" in body or body.count(b":") != msgspec.json.encode(value).count(b":")


def pairs(body: bytes) -> Any:
    """The JSON document with its mappings as pairs; None if it is too deep."""
    try:
        return json.loads(body, object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        return None  # the strict decoder accepted it, so only its depth can be at fault: that is said elsewhere


def _walk(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, Pairs):
        seen: set[str] = set()
        for key, inner in value:
            inner_path = f"{path}.{key}" if path else key
            if key in seen:
                found.append(f'duplicate field "{inner_path}"')
            seen.add(key)
            _walk(inner, inner_path, found)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _walk(inner, f"{path}[{index}]", found)
