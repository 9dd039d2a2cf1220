"""The passes take short cuts (scalars that need no look, maps of scalars, lists of scalars). Here they are held against
plain walks that take none: every value gets the same result, the same errors, in the same order."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.kube import field, quantity
from homeport.kube.schema import validation
from homeport.kube.schema.checks import Found, Path, path_text
from homeport.kube.schema.compiled import Schema
from homeport.kube.schema.node import Node


def plain_default(node: Node, value: Any, typed: bool) -> Any:
    if isinstance(value, list):
        return [plain_default(node.items, item, typed) for item in value] if node.items else value
    if not isinstance(value, dict):
        return value
    result = {}
    for key, item in value.items():
        part = node.properties.get(key, node.additional)
        if part is None:
            result[key] = item
            continue
        word = typed and item == "" and part.enum is not None and "" not in part.enum
        if (item is None and not part.nullable) or word:
            if key in node.properties and (typed or key in node.defaults):
                continue
            if key not in node.properties and typed and item is None and part.type == "string":
                result[key] = ""
                continue
        result[key] = plain_default(part, item, typed)
    for key, default in node.defaults.items():
        if key not in result:
            result[key] = plain_default(node.properties[key], default, typed)
    return result


def plain_normalise(node: Node, value: Any) -> Any:
    if isinstance(value, dict):
        parts = {key: node.properties.get(key, node.additional) for key in value}
        return {key: item if parts[key] is None else plain_normalise(parts[key], item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain_normalise(node.items, item) for item in value] if node.items else value
    if node.quantity and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            return quantity.canonical(value)
        except ValueError:
            return value
    if isinstance(value, float) and node.takes_integers and value.is_integer():
        return int(value)
    return value


def plain_validate(node: Node, value: Any, path: Path, found: Found) -> None:
    kind = type(value)
    if value is None and node.nullable and not validation._has_type(node, kind, value):
        return
    if not validation._has_type(node, kind, value):
        validation._wrong_type(node, kind, path, found)
        return
    if isinstance(value, dict):
        for key, item in value.items():
            part = node.properties.get(key, node.additional)
            if part is not None:
                plain_validate(part, item, (path, key), found)
        for key in node.required:
            if key not in value:
                found.append(((path, key), field.required(path_text((path, key)))))
    elif isinstance(value, list):
        for index, item in enumerate(value if node.items else ()):
            plain_validate(node.items, item, (path, index), found)
        if node.list_type:
            validation._validate_list(node, value, path, found)
    elif node.quantity:
        validation._validate_quantity(value, path, found)
        return
    for check in node.checks:
        check(value, path, found)
    validation._validate_junctors(node, value, path, found)


NAMES = st.sampled_from(["a", "b", "c"])
LEAVES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "default": "x"},
        {"type": "string", "nullable": True, "default": "x"},
        {"type": "string", "enum": ["x", "y"], "default": "y"},
        {"type": "string", "enum": ["", "x"]},
        {"type": "string", "maxLength": 2},
        {"type": "string", "not": {"enum": ["x"]}},
        {"type": "boolean", "default": True},
        {"type": "boolean"},
        {"type": "integer"},
        {"type": "integer", "format": "int32", "default": 3},
        {"type": "integer", "minimum": 2},
        {"type": "number"},
        {"x-kubernetes-int-or-string": True},
        {"type": "string", "format": "quantity"},
        {"format": "quantity", "x-kubernetes-int-or-string": True},
        {"x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    ]
)


def wider(parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    properties = st.dictionaries(NAMES, parts, min_size=1, max_size=3)
    return st.one_of(
        st.builds(
            lambda fields, required, more: {"type": "object", "properties": fields, "required": required, **more},
            properties,
            st.lists(NAMES, max_size=1),
            st.sampled_from(
                [{}, {"x-kubernetes-preserve-unknown-fields": True}, {"default": {}}, {"maxProperties": 1}]
            ),
        ),
        parts.map(lambda part: {"type": "object", "additionalProperties": part}),
        st.builds(
            lambda part, kind: {"type": "array", "items": part, **kind},
            parts,
            st.sampled_from([{}, {"x-kubernetes-list-type": "set"}, {"maxItems": 1}]),
        ),
    )


SCHEMAS = st.dictionaries(NAMES, st.recursive(LEAVES, wider, max_leaves=6), min_size=1, max_size=3).map(
    lambda fields: {"type": "object", "properties": fields}
)
SCALARS = st.sampled_from([None, "", "x", "long", "1", "1.5Gi", "1000m", True, False, 0, 1, 2, 2.0, 2.5, 2**40])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.dictionaries(NAMES, inner, max_size=3), st.lists(inner, max_size=3)),
    max_leaves=10,
)


@settings(max_examples=40, deadline=None)
@given(SCHEMAS, st.dictionaries(NAMES, VALUES, max_size=3), st.booleans())
def test_short_cuts_change_nothing(schema, value, typed):
    compiled = Schema(schema, part=True, typed=typed)
    root = compiled._root
    before = copy.deepcopy(value)
    defaulted = compiled.default(value)
    assert _same(defaulted, plain_default(root, value, typed))
    normal = compiled.normalise(defaulted)
    assert _same(normal, plain_normalise(root, defaulted))
    expected: Found = []
    plain_validate(root, normal, None, expected)
    assert compiled.validate(normal) == validation.errors_of(expected)
    assert _same(value, before)
    # What needs no change is not copied.
    again = compiled.normalise(compiled.default(normal))
    assert again is normal or not _same(again, normal)


@settings(max_examples=40, deadline=None)
@given(SCHEMAS, st.dictionaries(NAMES, VALUES, max_size=3), st.dictionaries(NAMES, VALUES, max_size=3), st.data())
def test_an_update_is_judged_by_what_it_brings_in(schema, old, change, data):
    root = Schema(schema, part=True)._root
    new = {**old, **change}
    deeper = [name for name in new if isinstance(new[name], dict)]
    if deeper:
        name = data.draw(st.sampled_from(deeper))
        new[name] = {**new[name], **change}
    expected: Found = []
    plain_validate(root, new, None, expected)
    expected = validation.ratchet(root, new, old, expected)
    assert Schema(schema, part=True).validate(new, old) == validation.errors_of(expected)


def _same(one: Any, other: Any) -> bool:
    """Equal, and of the same types throughout: 1 is no 1.0 and no True here."""
    return repr(one) == repr(other)
