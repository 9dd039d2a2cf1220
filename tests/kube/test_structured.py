"""Field sets of new objects are put together from what is remembered of maps and lists of the same form. Here they are
held against a walk that remembers nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.kube import fieldset, structured
from homeport.kube.merge_schema import Node
from homeport.kube.structured import ElementError, element_of, everything

KEYED: dict[str, Any] = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "string"}, "more": {}}},
}
PORTS: dict[str, Any] = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["port", "protocol"],
    "items": {
        "type": "object",
        "properties": {"port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic"},
        "env": KEYED,
        "ports": PORTS,
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "list": {"type": "array", "items": {"type": "string"}},
        "nested": {"type": "object", "properties": {"env": KEYED, "open": {}}},
    },
}
NODE = Node(SCHEMA, {})
NAMES = st.sampled_from(["a", "b", "name", "value", "x" * 300])
SCALARS = st.sampled_from(["a", "b", "", 1, 1.0, True, None])
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2), max_leaves=4
)
ENV = st.lists(
    st.fixed_dictionaries({}, optional={"name": NAMES, "value": NAMES, "more": ANYTHING}), max_size=4
)  # Values are as the schema says: nobody manages the fields of what is not valid.
PORT = st.fixed_dictionaries({"port": st.sampled_from([1, 2, 1.0, True])}, optional={"protocol": NAMES, "name": NAMES})
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "text": NAMES,
        "labels": st.dictionaries(NAMES, NAMES, max_size=3),
        "whole": ANYTHING,
        "env": ENV,
        "ports": st.lists(PORT, max_size=3),
        "set": st.lists(SCALARS, max_size=3),
        "list": st.lists(SCALARS, max_size=2),
        "nested": st.fixed_dictionaries({}, optional={"env": ENV, "open": ANYTHING}),
        "unknown": ANYTHING,
    },
)


def plain(value: Any, node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {".": {}}
    if isinstance(value, dict) and value and not node.atomic_map:
        for name in sorted(value):
            found[f"f:{name}"] = plain(value[name], node.child(name))
    elif isinstance(value, list) and value and not node.atomic_list:
        try:
            elements = [element_of(item, node) for item in value]
        except ElementError:
            return {}
        for element in sorted(elements):
            once = elements.count(element) == 1
            found[element] = plain(value[elements.index(element)], node.element) if once else {}
    return found if len(found) > 1 else {}


@settings(max_examples=100, deadline=None)
@given(OBJECTS)
def test_what_is_remembered_changes_no_field_set(obj):
    expected = plain(obj, NODE)
    for _ in range(2):
        found = everything(obj, NODE)
        assert repr(found) == repr(expected)  # in order, too
    assert fieldset.ordered(found) == found


def test_memories_are_bounded():
    node = Node(SCHEMA, {})
    for number in range(3 * structured._MOST_PLANS):
        everything({"labels": {f"label-{number}": "x"}, "env": [{"name": f"name-{number}"}]}, node)
        everything({"env": [{"name": f"name-{number}"}, {"name": "other"}]}, node)
    everything({"labels": {"x" * 1000: "x"}, "env": [{"name": "y" * 1000}]}, node)
    for _ in range(2):  # remembered at the second look, if at all
        everything({"env": [{"name": "y" * 1000}, {"name": "other"}]}, node)
        everything({"env": [{"name": f"n{number}"} for number in range(1000)]}, node)
    assert len(node.child("labels").plans) <= structured._MOST_PLANS
    assert all(len(name) < 1000 for names in node.child("labels").plans for name in names)
    assert len(node.child("env").elements) <= structured._MOST_ELEMENTS
    assert all(len(key) < 1000 for key in node.child("env").elements)
    lists = node.child("env").lists
    assert 0 < len(lists) <= structured._MOST_LISTS
    assert all(len(known) <= structured._LONGEST_LIST and "y" * 1000 not in known for known in lists)


def test_lists_with_the_same_texts_are_told_apart():
    """By which of them are keys, and where each element ends."""
    node = Node(SCHEMA, {})
    env = [
        [{"name": "a", "value": "x"}, {"name": "b"}],
        [{"name": "a"}, {"name": "b", "value": "x"}],
        [{"name": "b", "value": "x"}, {"name": "a"}],
        [{"name": "a", "value": "x"}, {"name": "a"}],
        [{"name": "a"}, {"name": "b"}],
    ]
    expected = [plain({"env": items}, NODE) for items in env]
    for _ in range(3):
        assert [everything({"env": items}, node) for items in env] == expected
    assert len(node.child("env").lists) == len(env)
