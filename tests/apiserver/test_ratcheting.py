"""Objects that a new schema would refuse may stay as they are while something else of them changes.

The conditions are those of upstream's ``test/e2e/apimachinery/crd_validation_ratcheting.go``.
"""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller, crd

from homeport.kube.meta import Object

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGET = "/apis/example.com/v1/namespaces/default/widgets/w"
FIELDS = ("field", "struct.field", "list[0].field", "list[1].field")
LABELLED: Object = {"metadata": {"name": "w", "labels": {"foo": "bar"}}}
ARRAYS: Object = {"setArray": ["foo", "bar", "baz"], "atomicArray": ["foo", "bar", "baz"]}
MORE_ARRAYS: Object = {key: [*items, "notfoo"] for key, items in ARRAYS.items()}


def fields(field: Object) -> Object:
    """A schema with `field` wherever a value of before can be found again: in structs, lists by key, and maps."""
    string = {"type": "string"}
    both = {"field": field, "otherField": string}
    part = {"type": "object", "properties": both}
    element = {"type": "object", "required": ["key"], "properties": {"key": string, **both}}
    by_key = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"]}
    return {
        "type": "object",
        "properties": {
            "field": field,
            "otherField": string,
            "struct": part,
            "list": {"type": "array", "maxItems": 5, "items": element, **by_key},
            "map": {"type": "object", "maxProperties": 5, "additionalProperties": part},
        },
    }


def arrays(item: Object) -> Object:
    """A schema with `item` where values of before cannot be told from each other."""
    array = {"type": "array", "maxItems": 10, "items": item}
    return {
        "type": "object",
        "properties": {"atomicArray": array, "setArray": {**array, "x-kubernetes-list-type": "set"}},
    }


def value(text: str, **more: str) -> Object:
    part = {"field": text, **more}
    listed = [{"key": "foo", **part}, {"key": "bar", **part}]
    return {"field": text, "struct": part, "list": listed, "map": {"foo": part, "bar": part}, **more}


def rule(text: str, **more: Any) -> Object:
    return {"type": "string", "maxLength": 10, "x-kubernetes-validations": [{"rule": text, **more}]}


async def applied(api: Caller, obj: Object) -> Any:
    whole = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, **obj}
    return await api.patch(f"{WIDGET}?fieldManager=manager&force=true", whole, "apply")


async def has_schema(api: Caller, schema: Object) -> None:
    definition = (await api.get(f"{CRDS}/widgets.example.com")).ok()
    definition["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": schema}
    (await api.put(f"{CRDS}/widgets.example.com", definition)).ok()


@pytest.fixture
async def world(api: Caller) -> Caller:
    (await api.post(CRDS, crd(schema={"type": "object", "x-kubernetes-preserve-unknown-fields": True}))).ok(201)
    return api


@pytest.mark.parametrize(
    "field", [{"type": "string", "enum": ["notfoo"]}, rule("self == 'notfoo'")], ids=["enum", "rule"]
)
async def test_what_does_not_change_may_stay(world: Caller, field: Object) -> None:
    (await applied(world, value("foo"))).ok(201)
    await has_schema(world, fields(field))
    (await applied(world, {**value("foo"), **LABELLED})).ok()
    grown = value("foo", otherField="changed")
    grown["list"].append({"key": "baz", "field": "notfoo"})
    (await applied(world, grown)).ok()
    grown["list"].append({"key": "new", "field": "foo"})
    refused = (await applied(world, grown)).error(422, "Invalid")
    assert [cause["field"] for cause in refused["details"]["causes"]] == ["list[3].field"]


@pytest.mark.parametrize("item", [{"type": "string", "enum": ["notfoo"]}, rule("self != 'foo'")], ids=["enum", "rule"])
async def test_lists_without_keys_change_as_a_whole(world: Caller, item: Object) -> None:
    (await applied(world, ARRAYS)).ok(201)
    await has_schema(world, arrays(item))
    (await applied(world, {**ARRAYS, **LABELLED})).ok()
    message = (await applied(world, MORE_ARRAYS)).error(422, "Invalid")["message"]
    assert "atomicArray[0]" in message
    assert "setArray[0]" in message


@pytest.mark.parametrize("field", [{"type": "string", "enum": ["foo"]}, rule("self == 'foo'")], ids=["enum", "rule"])
async def test_what_changes_is_judged(world: Caller, field: Object) -> None:
    (await applied(world, value("foo"))).ok(201)
    await has_schema(world, fields(field))
    message = (await applied(world, value("notfoo"))).error(422, "Invalid")["message"]
    assert [path for path in FIELDS if path not in message] == []


async def test_transition_rules_are_not_ratcheted(world: Caller) -> None:
    (await applied(world, value("foo"))).ok(201)
    await has_schema(world, fields(rule("self != oldSelf")))
    message = (await applied(world, {**value("foo"), **LABELLED})).error(422, "Invalid")["message"]
    assert [path for path in FIELDS if path not in message] == []
    (await applied(world, value("new"))).ok()


async def test_nor_are_those_that_also_hold_for_new_values(world: Caller) -> None:
    optional = rule("!oldSelf.hasValue() || self != oldSelf.value()", optionalOldSelf=True)
    await has_schema(world, fields(optional))
    (await applied(world, value("foo"))).ok(201)
    message = (await applied(world, {**value("foo"), **LABELLED})).error(422, "Invalid")["message"]
    assert [path for path in FIELDS if path not in message] == []
    (await applied(world, value("new"))).ok()
