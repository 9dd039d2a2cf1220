"""Unknown fields and duplicate keys, in every kind of body and under every ``fieldValidation``: what upstream's
integration tests (``test/integration/apiserver/field_validation_test.go``) look for, in the order in which they do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from api_testing import Answer, Caller, crd

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
YAML = "application/yaml"
VALID = """apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers:
      - {name: c, image: i}
"""
FIELDS = """"no1": 1, "twice": 1, "twice": {"x": 1, "x": 2}, "paused": true, "paused": false"""
CONTAINER = """{"name": "c", "image": "i", "no2": 1, "imagePullPolicy": "Always", "imagePullPolicy": "Never"}"""
TEMPLATE = f"""{{"metadata": {{"labels": {{"a": "b"}}}}, "spec": {{"containers": [{CONTAINER}]}}}}"""
SPEC = f"""{{{FIELDS}, "selector": {{"matchLabels": {{"a": "b"}}}}, "template": {TEMPLATE}}}"""
TYPED_JSON = f"""{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "d"}}, "spec": {SPEC}}}"""
TYPED_YAML = """apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  no1: 1
  twice: 1
  twice: 2
  paused: true
  paused: false
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers:
      - name: c
        image: i
        no2: 1
        imagePullPolicy: Always
        imagePullPolicy: Never
"""
OPERATIONS = """[
  {"op": "add", "path": "/spec/no1", "value": 1, "foo": 1},
  {"op": "add", "path": "/spec/no2", "path": "/spec/no3", "value": {"x": 1, "x": 2}},
  {"op": "add", "path": "/spec/template/spec/containers/0/no4", "value": 1}
]"""
KNOWN_TWICE = """{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
  "spec": {"paused": false,
    "paused": true, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "c", "image": "i",
      "imagePullPolicy": "Never",
      "imagePullPolicy": "Always"}]}}}}"""
CUSTOM_JSON = """{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "nope": 1},
  "spec": {"no1": 1, "twice": 1, "twice": 2, "size": 1, "size": 2, "parts": [{"a": "x", "a": "y", "no2": 1}]}}"""
CUSTOM_YAML = """apiVersion: example.com/v1
kind: Widget
metadata: {name: w, nope: 1}
spec:
  no1: 1
  twice: 1
  twice: 2
  size: 1
  size: 2
  parts:
  - {a: x, a: y, no2: 1}
"""


def unknown(*paths: str) -> list[str]:
    return [f'unknown field "{path}"' for path in paths]


def twice(*paths: str) -> list[str]:
    return [f'duplicate field "{path}"' for path in paths]


def lines(**keys: int) -> list[str]:
    return [f'line {line}: key "{key}" already set in map' for key, line in keys.items()]


C0 = "spec.template.spec.containers[0]"
IN_ORDER = [
    *unknown("spec.no1", "spec.twice"), *twice("spec.paused"), *unknown(f"{C0}.no2"), *twice(f"{C0}.imagePullPolicy"),
]  # fmt: skip
SORTED = unknown("spec.no1", f"{C0}.no2", "spec.twice")
PATCHED = [*twice("spec.twice", "spec.twice.x", "spec.paused", f"{C0}.imagePullPolicy"), *SORTED]
CASES: dict[str, tuple[str, str, str, list[str]]] = {
    "post": ("POST", "", TYPED_JSON, IN_ORDER),
    "put": ("PUT", "", TYPED_JSON, IN_ORDER),
    "post-yaml": ("POST", YAML, TYPED_YAML, [*lines(twice=7, paused=9, imagePullPolicy=19), *SORTED]),
    "put-yaml": ("PUT", YAML, TYPED_YAML, [*lines(twice=7, paused=9, imagePullPolicy=19), *SORTED]),
    "merge": ("PATCH", "application/merge-patch+json", f'{{"spec": {SPEC}}}', PATCHED),
    "strategic": ("PATCH", "application/strategic-merge-patch+json", f'{{"spec": {SPEC}}}', PATCHED),
    "json-patch": (
        "PATCH",
        "application/json-patch+json",
        OPERATIONS,
        [
            'json patch unknown field "[0].foo"',
            'json patch duplicate field "[1].path"',
            *unknown("spec.no1", "spec.no3", f"{C0}.no4"),
        ],
    ),
    "apply": ("PATCH", "application/apply-patch+yaml", KNOWN_TWICE, lines(paused=3, imagePullPolicy=6)),
}


async def call(api: Caller, path: str, case: tuple[str, str, str, list[str]], mode: str) -> Answer:
    method, media, body, _ = case
    query = "?fieldManager=m&force=true&" if "apply" in media else "?"
    target = path.rpartition("/")[0] if method == "POST" else path
    asked = f"{target}{query}fieldValidation={mode}" if mode else f"{target}{query.removesuffix('&')}".removesuffix("?")
    return await api.call(method, asked, body.encode(), content_type=media or "application/json")


def warnings(answer: Answer) -> list[str]:
    found = re.findall(r'299 - "((?:[^"\\]|\\.)*)"', answer.headers.get("warning", ""))
    return [text.replace('\\"', '"') for text in found]


async def check(api: Caller, path: str, case: tuple[str, str, str, list[str]], mode: str) -> None:
    answer = await call(api, path, case, mode)
    expected = case[3]
    if mode != "Strict":
        assert answer.status in (200, 201), answer.body
        assert warnings(answer) == ([] if mode == "Ignore" else expected)
        return
    is_json = case[1].endswith(("merge-patch+json", "json-patch+json"))
    body: Any = answer.error(422 if is_json else 400, "Invalid" if is_json else "BadRequest", "strict decoding")
    text = body["message"]
    places = [text.index(words) for words in expected]
    assert places == sorted(places), text


@pytest.mark.parametrize("mode", ["Strict", "Warn", "", "Ignore"])
@pytest.mark.parametrize("name", CASES)
async def test_built_in_kinds(api: Caller, name: str, mode: str) -> None:
    case = CASES[name]
    if case[0] != "POST":
        (await api.post(DEPLOYMENTS, VALID.encode(), content_type=YAML)).ok(201)
    await check(api, f"{DEPLOYMENTS}/d", case, mode)


CUSTOM_SORTED = unknown("metadata.nope", "spec.no1", "spec.parts[0].no2", "spec.twice")
CUSTOM_TWICE = twice("spec.twice", "spec.size", "spec.parts[0].a")


@pytest.mark.parametrize("mode", ["Strict", "Warn", "", "Ignore"])
@pytest.mark.parametrize(
    "case",
    [
        ("POST", "", CUSTOM_JSON, [*CUSTOM_TWICE, *CUSTOM_SORTED]),
        ("POST", YAML, CUSTOM_YAML, [*lines(twice=7, size=9, a=11), *CUSTOM_SORTED]),
        ("PATCH", "application/merge-patch+json", CUSTOM_JSON, [*CUSTOM_TWICE, *CUSTOM_SORTED]),
    ],
    ids=["post", "post-yaml", "merge"],
)
async def test_custom_resources(api: Caller, case: tuple[str, str, str, list[str]], mode: str) -> None:
    part = {"type": "object", "properties": {"a": {"type": "string"}}}
    spec = {"type": "object", "properties": {"size": {"type": "integer"}, "parts": {"type": "array", "items": part}}}
    (await api.post(CRDS, crd(schema={"type": "object", "properties": {"spec": spec}}))).ok(201)
    if case[0] == "PATCH":
        body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
        (await api.post(WIDGETS, body)).ok(201)
    await check(api, f"{WIDGETS}/w", case, mode)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"spec": {"replicas": "3"}}, ".spec.replicas: expected numeric (int or float), got string"),
        ({"spec": {"paused": 3}}, ".spec.paused: expected boolean, got &{3}"),
        (
            {"metadata": {"labels": {"a": 1}}},
            ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        ({"spec": {"template": "x"}}, ".spec.template: expected map, got &{x}"),
        (
            {"spec": {"selector": {"matchExpressions": {"a": [1]}}}},
            "matchExpressions: expected list, got &{map[a:[1]]}",
        ),
        (
            {"spec": {"template": {"spec": {"containers": [{"name": "x", "imag": "y", "tty": "z"}]}}}},
            'errors:\n  .spec.template.spec.containers[name="x"].imag: field not declared in schema\n'
            '  .spec.template.spec.containers[name="x"].tty: expected boolean, got &{z}',
        ),
    ],
)
async def test_what_cannot_be_applied(api: Caller, body: dict[str, Any], words: str) -> None:
    whole = {"apiVersion": "apps/v1", "kind": "Deployment", **body}
    answer = await api.patch(f"{DEPLOYMENTS}/d?fieldManager=m", whole, "apply")
    prefix = "failed to create typed patch object (default/d; apps/v1, Kind=Deployment): "
    assert answer.error(400, "BadRequest", words)["message"].startswith(prefix)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"kind": "Deployment"}, "invalid object type: /, Kind=Deployment"),
        ({"apiVersion": "apps/v1beta1", "kind": "Deployment"}, "invalid object type: apps/v1beta1, Kind=Deployment"),
        ({"apiVersion": "v1", "kind": "Pod"}, "invalid object type: /v1, Kind=Pod"),
        (
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"managedFields": []}},
            "metadata.managedFields must be nil",
        ),
        (
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "e"}},
            "the name of the object (e) does not match the name on the URL (d)",
        ),
        (
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "e"}},
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 2**40}},
            "to object: json: cannot unmarshal number 1099511627776 into Go struct field DeploymentSpec.spec.replicas",
        ),
    ],
)
async def test_configurations_of_something_else(api: Caller, body: dict[str, Any], words: str) -> None:
    (await api.patch(f"{DEPLOYMENTS}/d?fieldManager=m", body, "apply")).error(400, "BadRequest", words)
