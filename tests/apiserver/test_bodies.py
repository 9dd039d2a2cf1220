"""What bodies may hold: forms, unknown and duplicate fields, sizes. The words are those of the conformance suite's
FieldValidation tests."""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller, config_map, crd

from homeport.kube.meta import Object

MAPS = "/api/v1/namespaces/default/configmaps"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
YAML = "application/yaml"
SPEC: Object = {"type": "object", "properties": {"foo": {"type": "string"}}}
TEMPLATE: Object = {
    "type": "object",
    "x-kubernetes-embedded-resource": True,
    "properties": {"metadata": {"type": "object"}, "spec": {"type": "object"}},
}


async def define(api: Caller, spec: Object) -> None:
    (await api.post(CRDS, crd(schema={"type": "object", "properties": {"spec": spec}}))).ok(201)


async def test_unknown_and_duplicate_fields_of_json(api: Caller) -> None:
    body = (
        b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"unknown":1,"immutable":true,"immutable":false}'
    )
    strict = await api.post(f"{MAPS}?fieldValidation=Strict", body)
    strict.error(400, "BadRequest", 'strict decoding error: unknown field "unknown", duplicate field "immutable"')
    warned = await api.post(f"{MAPS}?fieldValidation=Warn", body)
    assert warned.ok(201)["immutable"] is False
    assert warned.headers["warning"] == (r'299 - "unknown field \"unknown\"", 299 - "duplicate field \"immutable\""')


async def test_duplicate_keys_of_yaml_are_named_by_their_lines(api: Caller) -> None:
    await define(api, {**SPEC, "x-kubernetes-preserve-unknown-fields": True})
    body = b"""
apiVersion: example.com/v1
kind: Widget
metadata: {name: mytest}
spec:
  unknown: uk1
  foo: foo1
  foo: foo2
"""
    path = f"{WIDGETS}/mytest?fieldManager=m&fieldValidation=Strict"
    (await api.patch(path, body, "apply")).error(400, "BadRequest", 'line 8: key "foo" already set in map')
    created = await api.post(f"{WIDGETS}?fieldValidation=Strict", body, content_type=YAML)
    created.error(400, "BadRequest", 'line 8: key "foo" already set in map')


@pytest.mark.parametrize(
    ("spec", "applied", "path"),
    [
        (SPEC, {"unknownField": "x"}, ".unknownField"),
        (SPEC, {"metadata": {"unknownMeta": "x"}}, ".metadata.unknownMeta"),
        (
            {"type": "object", "properties": {"template": TEMPLATE}},
            {"spec": {"template": {"apiVersion": "v1", "kind": "Sub", "metadata": {"unknownSub": "x"}}}},
            ".spec.template.metadata.unknownSub",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["Strict", "Ignore"])
async def test_nobody_can_apply_fields_that_there_are_not(
    api: Caller, spec: Object, applied: dict[str, Any], path: str, mode: str
) -> None:
    await define(api, spec)
    body = {"apiVersion": "example.com/v1", "kind": "Widget", **applied}
    answer = await api.patch(f"{WIDGETS}/w?fieldManager=m&fieldValidation={mode}", body, "apply")
    answer.error(400, "BadRequest", f"example.com/v1, Kind=Widget): {path}: field not declared in schema")


async def test_yaml_is_read_and_written(api: Caller) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {a: '1'}\n"
    made = await api.post(MAPS, body, content_type=YAML, accept=YAML)
    assert (made.status, made.headers["content-type"]) == (201, YAML)
    assert b"data:\n  a: '1'\n" in made.body
    changed = (await api.put(f"{MAPS}/y", body.replace(b"'1'", b"'2'"), content_type=YAML)).ok()
    assert changed["data"] == {"a": "2"}
    listed = await api.get(MAPS, accept=YAML)
    assert b"kind: ConfigMapList" in listed.body
    (await api.get(f"{MAPS}?watch=1", accept=YAML)).error(406, "NotAcceptable", "application/json")
    deletion = b"kind: DeleteOptions\napiVersion: v1\npropagationPolicy: Nonsense\n"
    refused = await api.delete(f"{MAPS}/y", deletion, content_type=YAML)
    refused.error(422, "Invalid", "propagationPolicy")


async def test_nothing_is_written_for_a_client_that_could_not_read_the_answer(api: Caller) -> None:
    answer = await api.post(MAPS, config_map("c"), accept="text/html")
    answer.error(406, "NotAcceptable", "only the following media types are accepted: application/json")
    (await api.get(f"{MAPS}/c")).error(404, "NotFound")


@pytest.mark.parametrize("path", ["/apis", "/api", "/api/v1", "/apis/kubeflow.org"])
async def test_lists_of_discovery_have_the_forms_of_objects(api: Caller, path: str) -> None:
    assert (await api.get(path, accept=YAML)).body.startswith(b"kind:")
    assert (await api.get(path, accept="application/vnd.kubernetes.protobuf")).body.startswith(b"k8s\0")
    (await api.get(path, accept="text/html")).error(406, "NotAcceptable")


async def test_storage_versions_have_upstreams_hashes(api: Caller) -> None:
    found = {one["name"]: one for one in (await api.get("/api/v1")).ok()["resources"]}
    assert found["pods"]["storageVersionHash"] == "xPOwRZ+Yhw8="
