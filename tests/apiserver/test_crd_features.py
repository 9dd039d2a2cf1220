"""What the definitions of well-known projects are made of, each feature with an object that it takes and one that it
refuses: Kubeflow, KServe, Volcano, Argo, Istio, Knative, cert-manager, Gateway API, JobSet."""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller, crd

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
RULES = "x-kubernetes-validations"
STRING = {"type": "string"}
QUANTITY = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE])?$"
EITHER = [{"type": "integer"}, {"type": "string"}]


def a_list(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def an_object(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties} | ({"required": list(required)} if required else {})


NAMED = an_object("name", name=STRING | {"maxLength": 63}, value=STRING)
ONE_OF = [{"required": ["a"]}, {"required": ["b"]}]

FEATURES: dict[str, tuple[dict[str, Any], Any, Any, str]] = {
    # Nearly all: quantities and ports, as controller-gen writes them.
    "int-or-string": (
        {"anyOf": EITHER, "pattern": QUANTITY, "x-kubernetes-int-or-string": True},
        "1.5Gi",
        "much",
        "should match",
    ),
    "int-or-string-all-of": (
        {"allOf": [{"anyOf": EITHER}, {"maxLength": 4}], "x-kubernetes-int-or-string": True},
        80,
        "eighty",
        "Too long",
    ),
    "map-of-quantities": (
        {"type": "object", "additionalProperties": {"anyOf": EITHER, "x-kubernetes-int-or-string": True}},
        {"cpu": 1, "memory": "1Gi"},
        {"cpu": 1.5},
        "must be of type",
    ),
    "enum-default": ({"type": "string", "enum": ["Always", "Never"], "default": "Never"}, "Always", "No", "supported"),
    "formats": (
        an_object(at={"type": "string", "format": "date-time"}),
        {"at": "2026-01-01T00:00:00Z"},
        {"at": "x"},
        "date-time",
    ),
    "int32": ({"type": "integer", "format": "int32", "minimum": 1}, 3, 0, "greater than or equal to 1"),
    "bounded-number": ({"type": "number", "maximum": 1, "exclusiveMaximum": True}, 0.5, 1, "should be less than 1"),
    "nullable": ({"type": "object", "nullable": True, "properties": {"a": STRING}}, None, {"a": 1}, "must be of type"),
    # Pod templates: preserved, embedded, or spelled out with map lists whose keys have defaults.
    "preserved": (
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        {"a": {"b": 1}},
        "x",
        "must be of type",
    ),
    "preserved-with-known": (
        an_object(known=STRING) | {"x-kubernetes-preserve-unknown-fields": True},
        {"known": "a", "else": 1},
        {"known": 1},
        "spec.x.known",
    ),
    "untyped": ({"x-kubernetes-preserve-unknown-fields": True}, [1, {"a": 2}], None, ""),
    "embedded": (
        {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "x-kubernetes-preserve-unknown-fields": True,
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}},
        "a",
        "must be of type",
    ),
    "map-list": (
        a_list(
            an_object("containerPort", containerPort={"type": "integer"}, protocol=STRING | {"default": "TCP"}),
            **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["containerPort", "protocol"]},
        ),
        [{"containerPort": 1}, {"containerPort": 1, "protocol": "UDP"}],
        [{"containerPort": 1}, {"containerPort": 1, "protocol": "TCP"}],
        "Duplicate value",
    ),
    "set-list": (a_list(STRING, **{"x-kubernetes-list-type": "set"}), ["a", "b"], ["a", "a"], "Duplicate value"),
    "atomic-list": (a_list(NAMED, **{"x-kubernetes-list-type": "atomic"}), [{"name": "a"}], [{}], "name: Required"),
    "atomic-map": (
        {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": STRING},
        {"a": "b"},
        {"a": 1},
        "must be of type",
    ),
    "bounded-list": (a_list(STRING, minItems=1, maxItems=2), ["a"], ["a", "b", "c"], "must have at most 2 items"),
    "bounded-map": (
        {"type": "object", "additionalProperties": STRING, "maxProperties": 1},
        {"a": "b"},
        {"a": "b", "c": "d"},
        "at most 1",
    ),
    # Istio, KServe, Argo: alternatives.
    "one-of": (an_object(a=STRING, b=STRING) | {"oneOf": ONE_OF}, {"a": "x"}, {"a": "x", "b": "y"}, "one and only one"),
    "one-of-or-none": (
        an_object(a=STRING, b=STRING) | {"oneOf": [{"not": {"anyOf": ONE_OF}}, *ONE_OF]},
        {},
        {"a": "x", "b": "y"},
        "one and only one",
    ),
    "any-of": (an_object(a=STRING, b=STRING) | {"anyOf": ONE_OF}, {"a": "x", "b": "y"}, {}, "at least one schema"),
    "not": (an_object(a=STRING) | {"not": {"required": ["a"]}}, {}, {"a": "x"}, "must not validate the schema"),
    "all-of-bounds": (STRING | {"allOf": [{"maxLength": 9}, {"maxLength": 3}]}, "abc", "abcd", "Too long"),
    # Gateway API, JobSet, Trainer, KServe: rules.
    "rule": (
        an_object(min={"type": "integer"}, max={"type": "integer"})
        | {RULES: [{"rule": "self.min <= self.max", "message": "min is above max", "fieldPath": ".min"}]},
        {"min": 1, "max": 2},
        {"min": 3, "max": 2},
        "spec.x.min: Invalid value",
    ),
    "rule-over-list": (
        a_list(NAMED, maxItems=16)
        | {RULES: [{"rule": "self.all(a, self.exists_one(b, a.name == b.name))", "message": "names differ"}]},
        [{"name": "a"}, {"name": "b"}],
        [{"name": "a"}, {"name": "a"}],
        "names differ",
    ),
    "rule-union": (
        an_object("type", type=STRING, mirror=an_object())
        | {
            RULES: [
                {"rule": "!has(self.mirror) || self.type == 'Mirror'", "messageExpression": "'not for ' + self.type"}
            ]
        },
        {"type": "Mirror", "mirror": {}},
        {"type": "Redirect", "mirror": {}},
        "not for Redirect",
    ),
    "rule-reason": (
        an_object(kind=STRING)
        | {RULES: [{"rule": "has(self.kind)", "message": "say which", "reason": "FieldValueRequired"}]},
        {"kind": "a"},
        {},
        "Required value: say which",
    ),
    "rule-on-addresses": (
        an_object(addresses=a_list(STRING | {"maxLength": 64}, maxItems=8), mode=STRING | {"maxLength": 16})
        | {RULES: [{"rule": "!((has(self.addresses) ? self.addresses : []).exists(k, k.contains('/')))"}]},
        {"addresses": ["10.0.0.1"]},
        {"addresses": ["10.0.0.0/8"]},
        "failed rule",
    ),
}


@pytest.mark.parametrize("feature", FEATURES)
async def test_a_feature_takes_and_refuses(api: Caller, feature: str) -> None:
    schema, good, bad, words = FEATURES[feature]
    whole = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": schema}}}}
    definition = crd(schema=whole)
    (await api.post(f"{CRDS}?fieldValidation=Strict", definition)).ok(201)
    body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"x": good}}
    (await api.post(f"{WIDGETS}?fieldValidation=Strict", body)).ok(201)
    (await api.patch(f"{WIDGETS}/b?fieldManager=me", body | {"metadata": {"name": "b"}}, "apply")).ok(201)
    # As it is, by server-side apply, a definition stays as it is.
    before = (await api.get(f"{CRDS}/widgets.example.com")).ok()["spec"]
    (await api.patch(f"{CRDS}/widgets.example.com?fieldManager=me&force=true", definition, "apply")).ok()
    assert (await api.get(f"{CRDS}/widgets.example.com")).ok()["spec"] == before
    if words:
        answer = await api.post(WIDGETS, body | {"metadata": {"name": "c"}, "spec": {"x": bad}})
        answer.error(422, "Invalid", words)
