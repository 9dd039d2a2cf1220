"""Whole objects inside of custom resources: what they have to say of themselves, and what is made of their metadata."""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller, crd

from homeport.kube.meta import Object

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
WHOLE = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
SPEC = {
    "type": "object",
    "properties": {
        "template": WHOLE,
        "list": {"type": "array", "items": WHOLE},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"inner": WHOLE}}},
    },
}


@pytest.fixture
async def widgets(api: Caller) -> Caller:
    (await api.post(CRDS, crd(schema={"type": "object", "properties": {"spec": SPEC}}))).ok(201)
    return api


def widget(**spec: Any) -> Object:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}


def pod(**metadata: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "anything": 1}


@pytest.mark.parametrize(
    ("spec", "errors"),
    [
        ({"template": {}}, ["spec.template.apiVersion: Required value", "spec.template.kind: Required value"]),
        (
            {"list": [pod(), {"apiVersion": "", "kind": ""}]},
            [
                'spec.list[1].apiVersion: Invalid value: "": must not be empty',
                'spec.list[1].kind: Invalid value: "": must not be empty',
            ],
        ),
        (
            {"map": {"x": {"inner": {"apiVersion": "a/b/c", "kind": "Bad_Kind"}}}},
            [
                'spec.map[x].inner.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
                'spec.map[x].inner.kind: Invalid value: "Bad_Kind": may have mixed case, but should otherwise match: ',
            ],
        ),
        (
            {"template": pod(name="a/b", namespace="No", labels={"a": "b c"}, finalizers=["no spaces"])},
            [
                "spec.template.metadata.name: Invalid value: \"a/b\": may not contain '/'",
                'spec.template.metadata.namespace: Invalid value: "No": a lowercase RFC 1123 label',
                'spec.template.metadata.labels: Invalid value: "b c": a valid label',
                'spec.template.metadata.finalizers: Invalid value: "no spaces": name part',
            ],
        ),
    ],
)
async def test_what_is_wrong_with_them(widgets: Caller, spec: Any, errors: list[str]) -> None:
    body = (await widgets.post(WIDGETS, widget(**spec))).error(422, "Invalid")
    found = [f"{cause['field']}: {cause['message']}" for cause in body["details"]["causes"]]
    assert len(found) == len(errors)
    assert [text[: len(start)] for text, start in zip(found, errors, strict=True)] == errors


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"template": {"apiVersion": 5, "kind": "Pod"}},
            "spec.template.apiVersion: Invalid value: 5: must be a string",
        ),
        (
            {"list": [pod(labels={"a": 1})]},
            'spec.list[0].metadata: Invalid value: {"labels":{"a":1}}: json: cannot unmarshal number into Go struct '
            "field ObjectMeta.labels of type string",
        ),
    ],
)
async def test_what_cannot_be_read(widgets: Caller, spec: Any, words: str) -> None:
    prefix = 'Widget in version "v1" cannot be handled as a Widget: '
    assert (await widgets.post(WIDGETS, widget(**spec))).error(400, "BadRequest")["message"] == prefix + words


async def test_what_is_kept_of_their_metadata(widgets: Caller) -> None:
    sent = widget(template=pod(name="p", nope=1, creationTimestamp=None, labels=None))
    made = await widgets.post(WIDGETS, sent)
    assert made.ok(201)["spec"]["template"] == {**pod(name="p")}
    assert 'unknown field \\"spec.template.metadata.nope\\"' in made.headers["warning"]
    # Without metadata they are whole, too; and they are objects of any kind, known or not.
    fine = {"apiVersion": "no.such/v1", "kind": "Thing"}
    changed = (await widgets.patch(f"{WIDGETS}/w", {"spec": {"template": None, "list": [fine]}})).ok()
    assert changed["spec"] == {"list": [fine]}
