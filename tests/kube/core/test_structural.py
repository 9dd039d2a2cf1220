"""Structural schemas, with upstream's words (``pkg/apiserver/schema`` of apiextensions-apiserver)."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.kube.core.structural import validate_structural

STRING = {"type": "string"}


def said(**schema: Any) -> set[str]:
    return {str(error) for error in validate_structural({"type": "object", **schema}, "s")}


def inner(**schema: Any) -> set[str]:
    """What is said of a schema one level below."""
    return said(properties={"x": schema})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("type", "string", "must be empty"),
        ("additionalProperties", {"type": "string"}, "must be undefined"),
        ("default", "a", "must be undefined"),
        ("title", "a", "must be empty"),
        ("description", "a", "must be empty"),
        ("nullable", True, "must be false"),
        ("x-kubernetes-preserve-unknown-fields", True, "must be false"),
        ("x-kubernetes-embedded-resource", True, "must be false"),
        ("x-kubernetes-int-or-string", True, "must be false"),
        ("x-kubernetes-list-type", "set", "must be undefined"),
        ("x-kubernetes-list-map-keys", ["a"], "must be empty"),
        ("x-kubernetes-map-type", "atomic", "must be undefined"),
        ("x-kubernetes-validations", [{"rule": "true"}], "must be empty"),
    ],
)
def test_what_a_judging_schema_may_not_say(key: str, value: Any, words: str) -> None:
    part = {key: value}
    expected = f"{key}: Forbidden: {words} to be structural"
    assert inner(type="string", anyOf=[{"minLength": 1}, part]) == {f"s.properties[x].anyOf[1].{expected}"}
    assert f"s.properties[x].not.{expected}" in inner(**STRING, **{"not": part})
    deep = {"allOf": [{"oneOf": [{"properties": {"y": {"items": part}}}]}]}
    where = "s.properties[x].allOf[0].oneOf[0].properties[y].items"
    assert inner(type="object", properties={"y": {"type": "array", "items": STRING}}, **deep) == {f"{where}.{expected}"}


def test_an_integer_or_a_string() -> None:
    either = [{"type": "integer"}, {"type": "string"}]
    assert inner(**{"x-kubernetes-int-or-string": True}, anyOf=either) == set()
    assert inner(**{"x-kubernetes-int-or-string": True}, allOf=[{"anyOf": either}, {"maxLength": 3}]) == set()
    assert len(inner(**{"x-kubernetes-int-or-string": True}, allOf=[{"maxLength": 3}, {"anyOf": either}])) == 2
    assert inner(**{"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True}) == {
        "s.properties[x].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if "
        "x-kubernetes-int-or-string is true"
    }


def test_what_is_judged_at_the_root_is_there() -> None:
    judge = {"properties": {"spec": {"properties": {"a": {}, "b": {"items": {"minLength": 1}}}}}}
    spec = {"type": "object", "properties": {"b": {"type": "object"}}}
    where = "s.anyOf[0].properties[spec].properties"
    assert said(anyOf=[judge], properties={"spec": spec}) == {
        f"s.properties[spec].properties[a]: Required value: because it is defined in {where}[a]",
        f"s.properties[spec].properties[b].items: Required value: because it is defined in {where}[b].items",
    }


METADATA = "must not specify anything other than name and generateName, but metadata is implicitly specified"


def test_metadata_of_a_whole_object() -> None:
    assert said(properties={"metadata": {"type": "object"}, "kind": STRING, "apiVersion": STRING}) == set()
    names = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}, "generateName": STRING}}
    assert said(properties={"metadata": names}) == set()
    labels = {"type": "object", "properties": {"labels": {"type": "object", "additionalProperties": STRING}}}
    assert said(properties={"metadata": labels}) == {f"s.properties[metadata]: Forbidden: {METADATA}"}
    assert said(properties={"metadata": {"type": "object", "minProperties": 3}}) == {
        f"s.properties[metadata]: Forbidden: {METADATA}"
    }
    assert said(properties={"metadata": STRING, "kind": {"type": "integer"}}) == {
        's.properties[kind].type: Invalid value: "integer": must be string',
        's.properties[metadata].type: Invalid value: "string": must be object',
    }
    assert said(
        allOf=[{"properties": {"metadata": {"minProperties": 1}}}], properties={"metadata": {"type": "object"}}
    ) == {"s.allOf[0].properties[metadata]: Forbidden: must not be specified in a nested context"}
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"metadata": labels}}
    assert inner(**embedded) == set()


def test_types_have_to_be_there() -> None:
    assert inner() == {"s.properties[x].type: Required value: must not be empty for specified object fields"}
    assert inner(type="array", items={}) == {
        "s.properties[x].items.type: Required value: must not be empty for specified array items"
    }
    assert {str(error) for error in validate_structural({"description": "x"}, "s")} == {
        "s.type: Required value: must not be empty at the root"
    }
    assert said(additionalProperties=STRING) == {"s.additionalProperties: Forbidden: must not be used at the root"}
    assert inner(**{"x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}) == {
        "s.properties[x].type: Required value: must be object if x-kubernetes-embedded-resource is true"
    }
