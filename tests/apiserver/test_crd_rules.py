"""Rules of CustomResourceDefinitions: what a definition may say, and what objects have to hold.

Conditions of upstream's test/e2e/apimachinery/crd_validation_rules.go are among them.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from api_testing import Caller, crd

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
KEY = "x-kubernetes-validations"


def schema(spec: dict[str, Any], *rules: Any, **properties: Any) -> dict[str, Any]:
    """A schema whose spec has the properties `spec` and the rules."""
    part: dict[str, Any] = {"type": "object", "properties": spec}
    if rules:
        part[KEY] = [{"rule": rule} if isinstance(rule, str) else rule for rule in rules]
    return {"type": "object", "properties": {"spec": part, **properties}}


def widget(name: str = "w", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


INTEGER, STRING = {"type": "integer"}, {"type": "string"}
HEALTH = {
    "type": "object",
    KEY: [{"rule": "self.health == 'ok' || self.health == 'unhealthy'"}],
    "properties": {"health": STRING},
}


async def test_objects_have_to_hold_the_rules(api: Caller) -> None:
    rules = schema({"x": INTEGER, "y": INTEGER}, "self.x + self.y > 0", status=HEALTH)
    (await api.post(CRDS, crd(schema=rules))).ok(201)
    (await api.post(WIDGETS, widget(x=1, y=0))).ok(201)
    answer = (await api.post(WIDGETS, widget("z", x=0, y=0))).error(422, "Invalid", "failed rule")
    assert answer["message"] == (
        'Widget.example.com "z" is invalid: spec: Invalid value: failed rule: self.x + self.y > 0'
    )
    assert answer["details"]["causes"] == [
        {
            "reason": "FieldValueInvalid",
            "message": "Invalid value: failed rule: self.x + self.y > 0",
            "field": "spec",
        }
    ]
    missing = (await api.post(WIDGETS, widget("z", x=0))).error(422, "Invalid")
    assert 'spec: Invalid value: "object": no such key: y evaluating rule: self.x + self.y > 0' in missing["message"]
    wrong = (await api.post(WIDGETS, widget("z", x="0", y=0))).error(422, "Invalid")
    assert "some validation rules were not checked because the object was invalid" in wrong["message"]
    (await api.post(WIDGETS, {**widget("s", x=1, y=1), "status": {"health": "bad"}})).error(422, "Invalid", "status")


@pytest.mark.parametrize(
    ("rule", "path", "words"),
    [
        ("self.z == 100", "rule", "compilation failed: ERROR: <input>:1:5: undefined field 'z'"),
        ("self.x", "rule", "cel expression must evaluate to a bool"),
        ("self.x == 'a'", "rule", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("", "rule", "rule is not specified"),
        ({"rule": "true", "message": "a\nb"}, "message", "must not contain line breaks"),
        (
            {"rule": "true", "messageExpression": "1"},
            "messageExpression",
            "messageExpression must evaluate to a string",
        ),
        ({"rule": "true", "messageExpression": "x"}, "messageExpression", "messageExpression compilation failed"),
        ({"rule": "true", "fieldPath": ".nope"}, "fieldPath", "must be a valid path"),
        ({"rule": "true", "optionalOldSelf": True}, "optionalOldSelf", "may not be set if oldSelf is not used in rule"),
    ],
)
async def test_definitions_with_wrong_rules_are_refused(api: Caller, rule: Any, path: str, words: str) -> None:
    answer = (await api.post(CRDS, crd(schema=schema({"x": INTEGER}, rule)))).error(422, "Invalid", words)
    (cause,) = answer["details"]["causes"]
    root = "spec.versions[0].schema.openAPIV3Schema.properties[spec]"
    assert cause["field"] == f"{root}.x-kubernetes-validations[0].{path}"


async def test_messages_reasons_and_field_paths(api: Caller) -> None:
    rules = schema(
        {
            "min": INTEGER,
            "max": INTEGER,
            "tags": {"type": "object", "additionalProperties": {"type": "string", KEY: [{"rule": "self != ''"}]}},
            "name": {**STRING, KEY: [{"rule": "self.startsWith('a')", "message": "has to begin with a"}]},
        },
        {"rule": "self.min <= self.max", "messageExpression": "'min is %d'.format([self.min])", "fieldPath": ".min"},
        {"rule": "self.max < 100", "message": "is too much", "reason": "FieldValueForbidden", "fieldPath": ".max"},
        {"rule": "has(self.name)", "message": "is needed", "reason": "FieldValueRequired", "fieldPath": ".name"},
    )
    (await api.post(CRDS, crd(schema=rules))).ok(201)
    answer = (await api.post(WIDGETS, widget(min=200, max=150, tags={"k": ""}))).error(422, "Invalid")
    assert {f"{cause['field']}: {cause['message']}" for cause in answer["details"]["causes"]} == {
        "spec.min: Invalid value: min is 200",
        "spec.max: Forbidden: is too much",
        "spec.name: Required value: is needed",
        "spec.tags[k]: Invalid value: \"\": failed rule: self != ''",
    }
    answer = (await api.post(WIDGETS, widget("v") | {"spec": {"min": 1, "max": 5, "name": "b"}})).error(422, "Invalid")
    assert 'spec.name: Invalid value: "b": has to begin with a' in answer["message"]


async def test_transition_rules_compare_with_what_was_there(api: Caller) -> None:
    item = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": STRING,
            "size": {**INTEGER, KEY: [{"rule": "self >= oldSelf", "message": "never shrinks"}]},
        },
    }
    rules = schema(
        {
            "id": {**STRING, KEY: [{"rule": "self == oldSelf", "message": "id is immutable"}]},
            "items": {
                "type": "array",
                "items": item,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            "set": {
                "type": "array",
                "items": STRING,
                "x-kubernetes-list-type": "set",
                KEY: [{"rule": "self == oldSelf || size(self) > 2"}],
            },
        },
        {"rule": "!oldSelf.hasValue() || oldSelf.value().id != 'x'", "optionalOldSelf": True},
    )
    (await api.post(CRDS, crd(schema=rules))).ok(201)
    made = widget(id="a", items=[{"name": "p", "size": 3}], set=["b", "a"])
    stored = (await api.post(WIDGETS, made)).ok(201)

    async def put(**spec: Any) -> Any:
        return await api.put(f"{WIDGETS}/w", {**stored, "spec": {**stored["spec"], **spec}})

    (await put(id="b")).error(422, "Invalid", 'spec.id: Invalid value: "b": id is immutable')
    items = [{"name": "q", "size": 1}, {"name": "p", "size": 2}]
    (await put(items=items)).error(422, "Invalid", "spec.items[1].size: Invalid value: 2: never shrinks")
    stored = (await put(items=[{"name": "q", "size": 1}, {"name": "p", "size": 4}])).ok()
    stored = (await put(set=["a", "b"])).ok()  # a set has no order
    (await put(set=["a", "c"])).error(422, "Invalid", "spec.set")


async def test_old_self_needs_something_to_compare_with(api: Caller) -> None:
    items = {"type": "array", "items": {"type": "string", KEY: [{"rule": "self == oldSelf"}]}}
    answer = (await api.post(CRDS, crd(schema=schema({"list": items})))).error(422, "Invalid")
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema within" in answer["message"]


async def test_what_an_update_leaves_alone_is_a_warning(api: Caller) -> None:
    (await api.post(CRDS, crd(schema=schema({"x": INTEGER, "y": INTEGER})))).ok(201)
    stored = (await api.post(WIDGETS, widget(x=-1))).ok(201)
    definition = (await api.get(f"{CRDS}/widgets.example.com")).ok()
    stricter = {**INTEGER, KEY: [{"rule": "self > 0", "message": "has to be positive"}]}
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema({"x": stricter, "y": INTEGER})
    (await api.put(f"{CRDS}/widgets.example.com", definition)).ok()
    answer = await api.put(f"{WIDGETS}/w", {**stored, "spec": {"x": -1, "y": 2}})
    answer.ok()
    assert "spec.x: Invalid value: -1: has to be positive" in answer.headers["warning"]
    stored = answer.json
    (await api.put(f"{WIDGETS}/w", {**stored, "spec": {"x": -2}})).error(422, "Invalid", "has to be positive")


async def test_types_follow_the_schema(api: Caller) -> None:
    rules = {
        "type": "object",
        KEY: [
            {"rule": "self.metadata.name.startsWith('w') && self.kind == 'Widget'"},
            {"rule": "self.spec.?missing.orValue('none') == 'none'"},
        ],
        "properties": {
            "spec": {
                "type": "object",
                KEY: [
                    {"rule": "self.when > timestamp('2020-01-01T00:00:00Z') && self.lasts < duration('1h')"},
                    {"rule": "self.ratio * 2.0 == 4.0 && self.data == b'abc'"},
                    {"rule": "type(self.port) == int ? self.port > 5 : self.port.endsWith('%')"},
                    {"rule": "self.__namespace__ == 'n' && self.a__dash__b == 1 && self.x__dot__y__slash__z == 2"},
                    {"rule": "self.object.metadata.name == 'inner' && !has(self.absent)"},
                ],
                "properties": {
                    "missing": STRING,
                    "absent": STRING,
                    "when": {"type": "string", "format": "date-time"},
                    "lasts": {"type": "string", "format": "duration"},
                    "ratio": {"type": "number"},
                    "data": {"type": "string", "format": "byte"},
                    "port": {"x-kubernetes-int-or-string": True},
                    "namespace": STRING,
                    "a-b": INTEGER,
                    "x.y/z": INTEGER,
                    "object": {
                        "type": "object",
                        "x-kubernetes-embedded-resource": True,
                        "x-kubernetes-preserve-unknown-fields": True,
                    },
                },
            }
        },
    }
    (await api.post(CRDS, crd(schema=rules))).ok(201)
    spec = {
        "when": "2024-05-05T01:02:03Z",
        "lasts": "5m",
        "ratio": 2,
        "data": "YWJj",
        "port": "5%",
        "namespace": "n",
        "a-b": 1,
        "x.y/z": 2,
        "object": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "inner"}, "free": 1},
    }
    (await api.post(WIDGETS, widget(**spec))).ok(201)
    answer = (await api.post(WIDGETS, widget("v", **{**spec, "port": 5}))).error(422, "Invalid")
    assert sorted(cause["field"] for cause in answer["details"]["causes"]) == ["<nil>", "spec"]


async def test_no_rule_holds_up_the_server(api: Caller) -> None:
    numbers = {"type": "array", "items": INTEGER, "maxItems": 2000}
    rules = schema({"list": numbers}, "self.list.all(a, self.list.all(b, self.list.all(c, a + b + c >= 0)))")
    made = await api.post(CRDS, crd(schema=rules))
    if made.status == 422:  # its cost is seen beforehand
        return
    answer = (await api.post(WIDGETS, widget(list=[1] * 2000))).error(422, "Invalid")
    assert "no further validation rules will be run due to call cost exceeds limit for rule" in answer["message"]


@pytest.mark.parametrize("rule", ["self == oldSelf", "(self + oldSelf).size() == self.size()"])
async def test_large_sets_are_compared_in_time_that_grows_with_them(api: Caller, rule: str) -> None:
    numbers = {
        "type": "array",
        "maxItems": 200_000,
        "items": {"type": "integer"},
        "x-kubernetes-list-type": "set",
        KEY: [{"rule": rule}],
    }
    (await api.post(CRDS, crd(schema=schema({"numbers": numbers})))).ok(201)
    made = (await api.post(WIDGETS, widget(numbers=list(range(30_000))))).ok(201)
    made["spec"]["numbers"].reverse()
    began = time.process_time()
    (await api.put(f"{WIDGETS}/w", made)).ok()
    assert time.process_time() - began < 5  # it was more than a minute
    made["spec"]["numbers"][0] = -1
    del made["metadata"]["resourceVersion"]
    refused = await api.patch(f"{WIDGETS}/w", {"spec": made["spec"]})
    refused.error(422, "Invalid", "failed rule")
