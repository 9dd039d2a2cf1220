"""Field sets: the algebra is that of plain sets of paths."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.kube import fieldset
from homeport.kube.fieldset import FieldSet

_elements = st.sampled_from(["f:a", "f:b", "f:c", 'k:{"name":"x"}', 'k:{"name":"y"}', 'v:"z"', "v:1"])
_paths = st.frozensets(st.lists(_elements, min_size=1, max_size=4).map(tuple), max_size=8)


def build(paths: frozenset[tuple[str, ...]]) -> FieldSet:
    """A set from its members."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        node = root
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}

    def tidy(node: dict[str, Any]) -> dict[str, Any]:
        children = {element: tidy(child) for element, child in node.items() if element != "."}
        return ({".": {}} if "." in node and children else {}) | children

    return tidy(root)


def members(root: FieldSet) -> frozenset[tuple[str, ...]]:
    found = set()

    def walk(node: FieldSet, path: tuple[str, ...]) -> None:
        for element, child in node.items():
            if element != ".":
                if fieldset.is_member(child):
                    found.add((*path, element))
                walk(child, (*path, element))

    walk(root, ())
    return frozenset(found)


@given(_paths, _paths)
def test_algebra(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> None:
    a, b = build(left), build(right)
    before = (repr(a), repr(b))
    assert members(a) == left
    assert members(fieldset.union(a, b)) == left | right
    assert members(fieldset.difference(a, b)) == left - right
    assert members(fieldset.intersection(a, b)) == left & right
    assert fieldset.contains(a, b) == (right <= left)
    assert (repr(a), repr(b)) == before, "arguments stay as they are"
    # No node is left over that stands for nothing.
    for result in (fieldset.union(a, b), fieldset.difference(a, b), fieldset.intersection(a, b)):
        assert result == build(members(result))


@given(_paths)
def test_identity_where_nothing_changes(paths: frozenset[tuple[str, ...]]) -> None:
    root = build(paths)
    assert fieldset.union(root, build(paths)) is root
    assert fieldset.union(root, {}) is root
    assert fieldset.difference(root, {}) is root
    assert fieldset.difference(root, {"f:other": {}}) is root
    assert fieldset.difference(root, root) == {}


@given(_paths)
def test_storing_and_reading(paths: frozenset[tuple[str, ...]]) -> None:
    root = build(paths)
    assert fieldset.decode(root) == root
    assert fieldset.ordered(root) == root
    assert len(list(fieldset.paths(root))) == len(paths)


def test_paths_as_text() -> None:
    root = build(
        frozenset(
            [
                ("f:spec", "f:replicas"),
                ("f:spec", "f:containers", 'k:{"name":"a"}', "f:image"),
                ("f:spec", "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}'),
                ("f:metadata", "f:finalizers", 'v:"x/y"'),
                ("f:metadata", "f:labels", "f:a.b/c"),
            ]
        )
    )
    assert list(fieldset.paths(root)) == [
        '.metadata.finalizers[="x/y"]',
        ".metadata.labels.a.b/c",
        '.spec.containers[name="a"].image',
        '.spec.ports[containerPort=80,protocol="TCP"]',
        ".spec.replicas",
    ]


def test_entries_are_stored_in_order() -> None:
    root = {"v:1": {}, 'k:{"a":1}': {}, "f:b": {"f:x": {}, ".": {}}, "f:a": {}}
    assert list(fieldset.ordered(root)) == ["f:a", "f:b", 'k:{"a":1}', "v:1"]
    assert list(fieldset.ordered(root)["f:b"]) == [".", "f:x"]


def test_keys_are_spelled_one_way() -> None:
    sent = {'k:{ "protocol": "TCP", "containerPort": 80 }': {}, 'v: "a"': {}, "x:unknown": {}, "i:0": {}}
    assert fieldset.decode(sent) == {'k:{"containerPort":80,"protocol":"TCP"}': {}, 'v:"a"': {}, "i:0": {}}
    assert fieldset.keys({"protocol": "TCP", "containerPort": 80}) == 'k:{"containerPort":80,"protocol":"TCP"}'
    assert fieldset.key("name", "a") == 'k:{"name":"a"}'
    assert fieldset.key("port", 80.0) == 'k:{"port":80}'
    assert (fieldset.value(True), fieldset.value(1), fieldset.value("1")) == ("v:true", "v:1", 'v:"1"')


@pytest.mark.parametrize("fields", [[], "x", {"f:a": 1}, {"k:{": {}}, {"v:": {}}])
def test_malformed(fields: Any) -> None:
    with pytest.raises(ValueError, match="fieldsV1"):
        fieldset.decode(fields)
