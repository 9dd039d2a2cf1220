"""Kubernetes' JSONPath."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.kube.jsonpath import compile, first

OBJECT: dict[str, Any] = {
    "kind": "Pod",
    "metadata": {"name": "web", "annotations": {"example.com/note": "hi", "a b": "space"}, "labels": {}},
    "spec": {
        "containers": [
            {"name": "a", "image": "i1", "ports": [{"port": 1}, {"port": 2}], "ready": True},
            {"name": "b", "image": "i2", "ports": [{"port": 3}], "ready": False},
            {"name": "c", "image": "i3"},
        ]
    },
    "status": {
        "conditions": [
            {"type": "Initialized", "status": "True", "weight": 1},
            {"type": "Ready", "status": "False", "weight": 2.5, "reason": None},
        ],
        "count": 0,
    },
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".metadata.name", ["web"]),
        ("{.metadata.name}", ["web"]),
        ("{ .metadata.name }", ["web"]),
        ("$.metadata.name", ["web"]),
        ("{$.metadata.name}", ["web"]),
        ("['metadata']['name']", ["web"]),
        ('["metadata"].name', ["web"]),
        (".metadata['name']", ["web"]),
        (r".metadata.annotations.example\.com/note", ["hi"]),
        (r"{.metadata.annotations['example\.com/note']}", ["hi"]),
        (".metadata.annotations['example.com/note']", ["hi"]),
        (".metadata.annotations['a b']", ["space"]),
        (".status.count", [0]),
        (".metadata.missing", []),
        (".metadata.name.deeper", []),
        (".metadata.labels", [{}]),
        (".spec.containers[0].name", ["a"]),
        (".spec.containers.[0].name", ["a"]),
        (".spec.containers[-1].name", ["c"]),
        (".spec.containers[3].name", []),
        (".spec.containers[-4].name", []),
        (".spec.containers[*].name", ["a", "b", "c"]),
        (".spec.containers[:2].name", ["a", "b"]),
        (".spec.containers[1:].name", ["b", "c"]),
        (".spec.containers[-2:].name", ["b", "c"]),
        (".spec.containers[::2].name", ["a", "c"]),
        (".spec.containers[0:3:2].name", ["a", "c"]),
        (".spec.containers[0,2].name", ["a", "c"]),
        (".spec.containers[*].ports[*].port", [1, 2, 3]),
        (".spec.containers[0]['name','image']", ["a", "i1"]),
        (".metadata.annotations.*", ["hi", "space"]),
        ("..port", [1, 2, 3]),
        ("..ports[0].port", [1, 3]),
        (".spec..name", ["a", "b", "c"]),
        (".spec.containers.name", []),
        ('.status.conditions[?(@.type=="Ready")].status', ["False"]),
        (".status.conditions[?(@.type=='Ready')].status", ["False"]),
        ('.status.conditions[?( @.type == "Ready" )].status', ["False"]),
        ('.status.conditions[?(@.type!="Ready")].type', ["Initialized"]),
        (".status.conditions[?(@.weight>1)].type", ["Ready"]),
        (".status.conditions[?(@.weight>=1)].type", ["Initialized", "Ready"]),
        (".status.conditions[?(@.weight<2.5)].type", ["Initialized"]),
        (".status.conditions[?(@.weight<=-1)].type", []),
        ('.status.conditions[?(@.weight=="1")].type', []),
        (".status.conditions[?(@.reason)].type", ["Ready"]),
        (".spec.containers[?(@.ready==true)].name", ["a"]),
        (".spec.containers[?(@.ports[0].port==3)].name", ["b"]),
        ('.spec.containers[?("b"==@.name)].image', ["i2"]),
        ('.metadata.annotations[?(@=="hi")]', []),
        ("{.}", [OBJECT]),
        ("$", [OBJECT]),
    ],
)
def test_paths(path: str, found: list[Any]) -> None:
    before = copy.deepcopy(OBJECT)
    assert compile(path)(OBJECT) == found
    assert before == OBJECT


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "expected '.' or '['"),
        ("metadata.name", "expected '.' or '['"),
        ("{.metadata.name", "unclosed action"),
        (".metadata.", "expected a field name"),
        (".metadata..", "expected a field name"),
        (".a[", "expected an index, a slice, a quoted name or '*'"),
        (".a[]", "expected an index, a slice, a quoted name or '*'"),
        (".a[x]", "expected an index, a slice, a quoted name or '*'"),
        (".a[1", "expected ']'"),
        (".a[1:2:0]", "step must be > 0"),
        (".a[1:2:3:4]", "invalid array index"),
        (".a[--1]", "invalid array index"),
        (".a['b]", "expected an index, a slice, a quoted name or '*'"),
        (".a[?(@.b==)]", "expected '@', a string, a number, true or false"),
        (".a[?(@.b=='c)]", "unterminated quoted string"),
        (".a[?(@.b]", "expected ')'"),
        (".a b", "unexpected ' '"),
        ("{.a}{.b}", "unexpected '}'"),
    ],
)
def test_malformed(path: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        compile(path)
    assert problem in str(caught.value)
    assert repr(path) in str(caught.value)


def test_compiled_once() -> None:
    assert compile(".metadata.name") is compile(".metadata.name")


def test_first() -> None:
    assert first(".metadata.name", OBJECT) == "web"
    assert first(".metadata.missing", OBJECT, "default") == "default"


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from("abc"), children, max_size=3),
    max_leaves=10,
)
_steps = st.sampled_from(
    [".a", ".b", "..c", ".*", "[*]", "[0]", "[-1]", "[1:]", "[?(@.a)]", "[?(@.b==1)]", "['a','c']"]
)


@given(st.lists(_steps, min_size=1, max_size=4).map("".join), _values)
def test_any_path_on_any_object(path: str, obj: Any) -> None:
    assert isinstance(compile(path)(obj), list)
