"""OpenAPI: what clients read of paths and schemas, in both versions and forms."""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller, crd

from homeport.kube.meta import Object
from homeport.kube.protobuf.wire import LENGTH, skip, span, tag

PROTOBUF_2 = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
PROTOBUF_3 = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def documents(api: Caller) -> dict[str, Any]:
    index = (await api.get("/openapi/v3?timeout=32s")).ok()["paths"]
    return {name: (await api.get(entry["serverRelativeURL"])).ok() for name, entry in index.items()}


async def test_openapi_says_that_the_server_validates(api: Caller) -> None:
    (await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())).ok(201)
    found = set()
    for document in (await documents(api)).values():
        for path in document["paths"].values():
            patch = path.get("patch")
            if patch and patch["x-kubernetes-action"] == "patch":
                names = {parameter["name"] for parameter in patch["parameters"]}
                if {"fieldValidation", "dryRun"} <= names:
                    found.add(patch["x-kubernetes-group-version-kind"]["kind"])
    assert {"Pod", "ConfigMap", "TFJob", "Widget", "CustomResourceDefinition"} <= found


async def test_openapi_references_resolve_and_kinds_are_found(api: Caller) -> None:
    (await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())).ok(201)
    for name, document in (await documents(api)).items():
        schemas = document["components"]["schemas"]
        for reference in references(document):
            assert reference.removeprefix("#/components/schemas/") in schemas, (name, reference)
        kinds = {
            (gvk["group"], gvk["version"], gvk["kind"])
            for schema in schemas.values()
            for gvk in schema.get("x-kubernetes-group-version-kind", ())
        }
        for path, item in document["paths"].items():
            for operation in ("get", "put", "patch", "post"):
                if operation in item:
                    gvk = item[operation]["x-kubernetes-group-version-kind"]
                    assert (gvk["group"], gvk["version"], gvk["kind"]) in kinds, path


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [r for inner in value.values() for r in references(inner)]
    if isinstance(value, list):
        return [r for inner in value for r in references(inner)]
    return []


async def test_openapi_of_a_crd_comes_and_goes_with_it(api: Caller) -> None:
    (await api.get("/openapi/v3/apis/example.com/v1")).error(404, "NotFound")
    (await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())).ok(201)
    before = (await api.get("/openapi/v3")).ok()["paths"]["apis/example.com/v1"]["serverRelativeURL"]
    document = (await api.get("/openapi/v3/apis/example.com/v1")).ok()
    widget = document["components"]["schemas"]["com.example.v1.Widget"]
    assert set(widget["properties"]) == {"apiVersion", "kind", "metadata", "spec", "status"}
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com"
    operation = {"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "new"}
    (await api.patch(path, [operation], "json")).ok()
    assert (await api.get("/openapi/v3")).ok()["paths"]["apis/example.com/v1"]["serverRelativeURL"] != before


def messages(data: bytes, *path: int) -> list[bytes]:
    """The values of the length-delimited fields at a path of field numbers."""
    found = [data]
    for wanted in path:
        found = [value for one in found for number, value in fields(one) if number == wanted]
    return found


def fields(data: bytes) -> list[tuple[int, bytes]]:
    at, found = 0, []
    while at < len(data):
        number, wire, at = tag(data, at, len(data))
        if wire == LENGTH:
            start, at = span(data, at, len(data))
            found.append((number, data[start:at]))
        else:
            at = skip(data, at, len(data), wire)
    return found


def names(data: bytes, *path: int) -> set[str]:
    return {name.decode() for name in messages(data, *path, 1)}


async def test_openapi_v2_is_the_same_in_both_forms(api: Caller) -> None:
    (await api.post(CRDS, crd())).ok(201)
    text = (await api.get("/openapi/v2")).ok()
    assert text["swagger"] == "2.0"
    answer = await api.get("/openapi/v2", accept=PROTOBUF_2)
    assert answer.headers["content-type"].endswith("v2.v1.0+protobuf")
    assert names(answer.body, 8, 2) == set(text["paths"])
    assert names(answer.body, 9, 1) == set(text["definitions"])
    for reference in references(text):
        assert reference.removeprefix("#/definitions/") in text["definitions"], reference
    pod = text["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert pod["x-kubernetes-patch-merge-key"] == "name"
    assert pod["items"] == {"$ref": "#/definitions/io.k8s.api.core.v1.Container"}
    (await api.get("/openapi/v2", accept="text/html")).error(406, "NotAcceptable")


async def test_openapi_v3_is_the_same_in_both_forms(api: Caller) -> None:
    text = (await api.get("/openapi/v3/api/v1")).ok()
    answer = await api.get("/openapi/v3/api/v1", accept=PROTOBUF_3)
    assert answer.headers["content-type"].endswith("v3.v1.0+protobuf")
    assert names(answer.body, 4, 1) == set(text["paths"])
    assert names(answer.body, 5, 1, 1) == set(text["components"]["schemas"])


async def test_operations_have_ids_of_their_own_and_their_actions(api: Caller) -> None:
    seen: set[str] = set()
    for document in (await documents(api)).values():
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if method != "parameters":
                    assert operation["operationId"] not in seen, path
                    seen.add(operation["operationId"])
                    assert operation["x-kubernetes-action"]
    wanted = {"createCoreV1NamespacedPod", "listCoreV1PodForAllNamespaces", "deleteCoreV1CollectionNamespacedPod"}
    wanted |= {"readCoreV1NamespacedPodLog", "patchCoreV1NamespacedPodStatus", "createCoreV1NamespacedPodBinding"}
    wanted |= {"replaceCoreV1NamespaceFinalize", "createAuthorizationV1SelfSubjectAccessReview"}
    wanted |= {"listRbacAuthorizationV1ClusterRole", "readKubeflowOrgV1NamespacedTFJob"}
    assert wanted <= seen, wanted - seen
    assert "/api/v1/namespaces/{namespace}/bindings" in (await documents(api))["api/v1"]["paths"]


async def test_a_patch_says_which_forms_it_takes(api: Caller) -> None:
    (await api.post(CRDS, crd())).ok(201)
    core = (await api.get("/openapi/v3/api/v1")).ok()["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" in core["requestBody"]["content"]
    path = "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"
    custom = (await api.get("/openapi/v3/apis/example.com/v1")).ok()["paths"][path]["patch"]
    assert set(custom["requestBody"]["content"]) == {
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/apply-patch+yaml",
    }


async def test_documents_are_cached_by_their_hash(api: Caller) -> None:
    url = (await api.get("/openapi/v3")).ok()["paths"]["api/v1"]["serverRelativeURL"]
    first = await api.get(url)
    assert first.headers["cache-control"] == "public, immutable"
    again = await api.get(url, headers={"if-none-match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    old = await api.get("/openapi/v3/api/v1?hash=OLD")
    assert (old.status, old.headers["location"]) == (301, url)
    whole = await api.get("/openapi/v2")
    assert (await api.get("/openapi/v2", headers={"if-none-match": whole.headers["etag"]})).status == 304


async def test_a_definition_costs_the_documents_of_its_own_group_only(api: Caller) -> None:
    before = (await api.get("/openapi/v3")).ok()["paths"]
    (await api.post(CRDS, crd())).ok(201)
    after = (await api.get("/openapi/v3")).ok()["paths"]
    assert after.keys() - before.keys() == {"apis/example.com/v1"}
    assert {name: after[name] for name in before} == before


FOO: Object = {
    "description": "Foo",
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "description": "Specification",
            "properties": {
                "bars": {
                    "type": "array",
                    "description": "Bars",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "feeling": {"type": "string", "enum": ["Great", "Down"]},
                            "type": {"type": "string", "pattern": "in-tree|out-of-tree"},
                        },
                    },
                }
            },
        }
    },
}
ADDED = ("apiVersion", "kind", "metadata")


async def definition(api: Caller, version: str = "v1") -> Any:
    """The published definition without what the server adds to every one, as the conformance suite compares it."""
    found = (await api.get("/openapi/v2")).ok()["definitions"].get(f"com.example.{version}.Widget")
    if found is None:
        return None
    assert found.pop("x-kubernetes-group-version-kind") == [
        {"group": "example.com", "version": version, "kind": "Widget"}
    ]
    properties = {key: value for key, value in found.pop("properties", {}).items() if key not in ADDED}
    return {**found, "properties": properties} if properties else found


@pytest.mark.parametrize(
    ("schema", "published"),
    [
        (FOO, FOO),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, {"type": "object"}),
        ({**FOO, "x-kubernetes-preserve-unknown-fields": True}, {"type": "object"}),
        (
            {"type": "object", "properties": {"spec": {**FOO, "x-kubernetes-preserve-unknown-fields": True}}},
            {
                "type": "object",
                "properties": {
                    "spec": {"description": "Foo", "type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            },
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "nullable": True, "default": "x"}}},
            {"type": "object", "properties": {"a": {}}},
        ),
    ],
)
async def test_the_schema_of_a_definition_is_published(api: Caller, schema: Object, published: Object) -> None:
    (await api.post(CRDS, crd(schema=schema))).ok(201)
    assert await definition(api) == published


async def test_versions_come_and_go_with_being_served(api: Caller) -> None:
    made = crd(schema=FOO)
    (first,) = made["spec"]["versions"]
    made["spec"]["versions"] = [first, {**first, "name": "v2", "storage": False}]
    made = (await api.post(CRDS, made)).ok(201)
    assert await definition(api, "v1") == await definition(api, "v2") == FOO
    made["spec"]["versions"][1]["served"] = False
    made = (await api.put(f"{CRDS}/widgets.example.com", made)).ok()
    assert (await definition(api, "v1"), await definition(api, "v2")) == (FOO, None)
    made["spec"]["versions"][1] |= {"served": True, "name": "v3"}
    (await api.put(f"{CRDS}/widgets.example.com", made)).ok()
    assert [await definition(api, version) for version in ("v1", "v2", "v3")] == [FOO, None, FOO]
    (await api.delete(f"{CRDS}/widgets.example.com")).ok()
