"""A judge is content only where the walks are, and gives what they give. Its silence means nothing."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.apiserver.resources import Registry
from homeport.kube import core
from homeport.kube.schema import compiled, decoding
from homeport.kube.schema.compiled import Schema
from homeport.kube.schema.judge import Judge

EITHER = [{"type": "integer"}, {"type": "string"}]
NAMES = st.sampled_from(["a", "b", "c"])
LEAVES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "default": "x"},
        {"type": "string", "nullable": True, "default": "x"},
        {"type": "string", "enum": ["x", "y"], "default": "y"},
        {"type": "string", "enum": ["", "x"], "nullable": True},
        {"type": "string", "maxLength": 2, "minLength": 1},
        {"type": "string", "pattern": "^x", "default": "xy"},
        {"type": "string", "format": "date-time", "nullable": True},
        {"type": "string", "format": "whatever"},
        {"type": "string", "not": {"enum": ["x"]}},
        {"type": "boolean", "default": True},
        {"type": "integer"},
        {"type": "integer", "format": "int32", "default": 3},
        {"type": "integer", "format": "int64", "minimum": 1, "exclusiveMinimum": True},
        {"type": "integer", "minimum": 2, "maximum": 2.5},
        {"type": "integer", "enum": [1, 2]},
        {"type": "number"},
        {"type": "number", "maximum": 2, "default": 1},
        {"x-kubernetes-int-or-string": True},
        {
            "format": "int-or-string",
            "oneOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
        },
        {"type": "string", "format": "quantity"},
        {"format": "quantity", "x-kubernetes-int-or-string": True, "default": "1000m"},
        {"format": "quantity", "oneOf": [{"type": "string"}, {"type": "number"}]},
        {"x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        {"type": "object"},
        {"type": "array"},
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
                [
                    {},
                    {},
                    {"x-kubernetes-preserve-unknown-fields": True},
                    {"default": {}},
                    {"maxProperties": 1},
                    {"nullable": True},
                    {"additionalProperties": {"type": "string"}},
                    {"x-kubernetes-embedded-resource": True},
                ]
            ),
        ),
        st.builds(
            lambda part, more: {"type": "object", "additionalProperties": part, **more},
            parts,
            st.sampled_from([{}, {"minProperties": 1}, {"x-kubernetes-preserve-unknown-fields": True}]),
        ),
        st.builds(
            lambda part, kind: {"type": "array", "items": part, **kind},
            parts,
            st.sampled_from(
                [
                    {},
                    {"x-kubernetes-list-type": "set"},
                    {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]},
                    {"maxItems": 1},
                    {"nullable": True},
                ]
            ),
        ),
    )


SCHEMAS = st.dictionaries(NAMES, st.recursive(LEAVES, wider, max_leaves=6), min_size=1, max_size=3).map(
    lambda fields: {"type": "object", "properties": fields}
)
SCALARS = st.sampled_from(
    [None, "", "x", "xy", "long", "1", "1.5Gi", "1000m", "2024-01-01T00:00:00Z", True, 0, 1, 2, 2.0, 2.5, 2**40, 2**70]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.dictionaries(NAMES, inner, max_size=3), st.lists(inner, max_size=3)),
    max_leaves=10,
)


def fitting(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema is likely to be content with: random ones hardly ever are."""
    if "properties" in schema:
        fields = {name: fitting(part) for name, part in schema["properties"].items()}
        required = set(schema.get("required", ())) & fields.keys()
        return st.fixed_dictionaries(
            {name: fields[name] for name in required},
            optional={name: fields[name] for name in fields if name not in required},
        )
    if isinstance(schema.get("additionalProperties"), dict):
        return st.dictionaries(NAMES, fitting(schema["additionalProperties"]), max_size=2)
    match schema.get("type"):
        case "array":
            return st.lists(fitting(schema["items"]) if "items" in schema else VALUES, max_size=2)
        case "object":
            return st.dictionaries(NAMES, VALUES, max_size=2)
    return SCALARS


def schema_and_value(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return schemas.flatmap(
        lambda schema: st.tuples(st.just(schema), fitting(schema) | st.dictionaries(NAMES, VALUES, max_size=3))
    )


def check(schema: Schema, judge: Judge, value: Any, typed: bool) -> None:
    before = copy.deepcopy(value)
    if judge.reads(value):
        read, unknown = decoding.read(schema._root, value) if typed else schema.prune(value)
        assert not unknown
        assert same(read, value)
    expected = schema.normalise(schema.default(value))
    body = msgspec.json.encode(value)
    decoded = judge.decoded(body)
    if decoded is not None:
        assert judge.reads(value)
        assert same(decoded, expected)
    if body.endswith(b"}") and len(value):
        key, item = next(iter(value.items()))
        assert judge.decoded(b'%b,"%b":%b}' % (body[:-1], key.encode(), msgspec.json.encode(item))) is None
    completed = judge.completed(value)
    if completed is not None:
        assert same(completed, expected)
        assert (completed is value) == same(expected, value)
    for obj in (value, expected):
        if judge.accepts(obj):
            assert schema.validate(obj) == []
            assert same(schema.normalise(obj), obj) or schema._root.has_numbers
    assert same(value, before)


@settings(max_examples=50, deadline=None)
@given(schema_and_value(SCHEMAS), st.booleans())
def test_what_a_judge_says_the_walks_say_too(drawn: tuple[Any, Any], typed: bool) -> None:
    schema, value = drawn
    walks = Schema(schema, part=True, typed=typed)
    try:
        judge = Judge(walks._root, typed)
    except ValueError:
        return
    check(walks, judge, value, typed)


@settings(max_examples=20, deadline=None)
@given(schema_and_value(SCHEMAS))
def test_shared_results_have_no_shared_parts(drawn: tuple[Any, Any]) -> None:
    schema, value = drawn
    walks = Schema(schema, part=True, typed=True)
    try:
        judge = Judge(walks._root, True)
    except ValueError:
        return
    one, other = judge.completed(value), judge.completed(value)
    if one is not None and one is not value:
        before = copy.deepcopy(other)
        for part in one.values():
            if isinstance(part, dict):
                part["spoilt"] = True
        assert other == before
        assert judge.completed(value) == before


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types throughout, whatever the order of fields: 1 is no 1.0 and no True here."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


@pytest.fixture(scope="module")
def pods() -> tuple[Schema, Judge]:
    served = Registry(core.KINDS).find("", "v1", "pods")
    assert served is not None
    return served.schema, Judge(served.schema._root, True)


POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "one", "labels": {"a": "b"}, "creationTimestamp": "2024-01-01T00:00:00Z"},
    "spec": {
        "containers": [
            {
                "name": "main",
                "image": "image",
                "env": [{"name": "A", "value": "x"}],
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}},
                "livenessProbe": {"httpGet": {"port": "web"}},
            }
        ],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1024Mi"}}],
    },
}


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    pod = copy.deepcopy(POD)
    at: Any = pod
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return pod


CONTAINER = ("spec", "containers", 0)


@pytest.mark.parametrize(
    ("path", "value", "content"),
    [
        (("kind",), "Pod", True),
        ((*CONTAINER, "imag"), "x", False),
        ((*CONTAINER, "ports", 0, "containerPort"), "80", False),
        ((*CONTAINER, "ports", 0, "containerPort"), 80.0, False),
        ((*CONTAINER, "env", 0, "value"), None, False),
        ((*CONTAINER, "imagePullPolicy"), "", False),
        ((*CONTAINER, "imagePullPolicy"), "Sometimes", False),
        ((*CONTAINER, "resources", "limits", "cpu"), "one", False),
        ((*CONTAINER, "resources", "limits", "cpu"), True, False),
        (("metadata", "creationTimestamp"), "yesterday", False),
        (("metadata", "creationTimestamp"), None, False),
        (("metadata", "labels"), {"a": 1}, False),
        (("metadata", "generation"), 2**63, False),
    ],
)
def test_a_pod(pods: tuple[Schema, Judge], path: tuple[Any, ...], value: Any, content: bool) -> None:
    schema, judge = pods
    pod = changed(path, value)
    check(schema, judge, pod, True)
    assert judge.accepts(pod) == content


def test_a_schema_gets_a_judge_once_it_is_much_used() -> None:
    schema = Schema({"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}, part=True)
    for _ in range(compiled._JUDGED_AFTER):
        assert schema._judge is None
        assert schema.validate({"a": "x"}) == []
    assert schema._judge is not None
    assert schema.complete({}) == {"a": "x"}
    assert schema.read({"a": "x"}) == ({"a": "x"}, [])
    assert schema.read({"a": "x", "b": 1}) == ({"a": "x"}, ["b"])
    assert [error.path for error in schema.validate({"a": 1})] == ["a"]


def test_no_judge_of_what_is_endless() -> None:
    served = Registry(core.KINDS).find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    assert served is not None
    with pytest.raises(ValueError, match="nothing that a type could say"):
        Judge(served.schema._root, True)
