"""Discovery and OpenAPI: what clients find out before they ask for anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_testing import Caller, crd

from homeport.apiserver.discovery import version_priority

V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
V2BETA1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"


@pytest.mark.parametrize(
    ("accept", "version"),
    [
        (f"{V2},application/json", "v2"),
        (f"{V2},{V2BETA1},application/json", "v2"),
        (f"{V2BETA1},application/json", "v2beta1"),
        (f"{V2BETA1},{V2},application/json", "v2beta1"),
        ("application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io", "v2"),
    ],
)
async def test_aggregated_discovery(api: Caller, accept: str, version: str) -> None:
    core = await api.get("/api?timeout=32s", accept=accept)
    assert (
        core.headers["content-type"] == f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    )
    body = core.ok()
    assert (body["kind"], body["apiVersion"]) == ("APIGroupDiscoveryList", f"apidiscovery.k8s.io/{version}")
    pods = next(r for r in body["items"][0]["versions"][0]["resources"] if r["resource"] == "pods")
    assert pods["responseKind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert pods["scope"] == "Namespaced"
    assert pods["shortNames"] == ["po"]
    assert {sub["subresource"] for sub in pods["subresources"]} == {"binding", "eviction", "log", "status"}
    groups = (await api.get("/apis", accept=accept)).ok()
    assert "kubeflow.org" in {item["metadata"]["name"] for item in groups["items"]}


async def test_an_unchanged_answer_is_not_sent_again(api: Caller) -> None:
    first = await api.get("/apis", accept=V2)
    again = await api.get("/apis", accept=V2, headers={"if-none-match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    (await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())).ok(201)
    changed = await api.get("/apis", accept=V2, headers={"if-none-match": first.headers["etag"]})
    assert changed.status == 200
    assert b"example.com" in changed.body


@pytest.mark.parametrize("slash", ["", "/"])
async def test_plain_lists(api: Caller, slash: str) -> None:
    assert (await api.get(f"/api{slash}")).ok()["versions"] == ["v1"]
    groups = (await api.get(f"/apis{slash}", accept="*/*")).ok()
    for group in groups["groups"]:
        assert group["preferredVersion"] in group["versions"]
        for version in group["versions"]:
            listed = (await api.get(f"/apis/{version['groupVersion']}{slash}")).ok()
            assert listed["groupVersion"] == version["groupVersion"]
            for resource in listed["resources"]:
                assert {"name", "singularName", "namespaced", "kind", "verbs"} <= set(resource)
        assert (await api.get(f"/apis/{group['name']}")).ok()["name"] == group["name"]
    core = (await api.get("/api/v1")).ok()
    assert {"pods", "pods/status", "pods/log", "namespaces/finalize"} <= {r["name"] for r in core["resources"]}
    for missing in ("/api/v2", "/apis/none", "/apis/kubeflow.org/v9"):
        (await api.get(missing)).error(404, "NotFound")


async def test_version(api: Caller) -> None:
    version = (await api.get("/version/")).ok()
    assert (version["major"], version["minor"]) == ("1", "35")
    assert version["gitVersion"].startswith("v1.35.")
    assert all(isinstance(value, str) for value in version.values())
    assert len(version) == 9


def test_versions_are_preferred_as_kubernetes_does() -> None:
    names = ["foo10", "v1", "v10", "v1beta1", "v11alpha2", "foo1", "v2", "v12alpha1", "v3beta1", "v11beta2", "v10beta3"]
    assert sorted(names, key=version_priority) == [
        "v10",
        "v2",
        "v1",
        "v11beta2",
        "v10beta3",
        "v3beta1",
        "v1beta1",
        "v12alpha1",
        "v11alpha2",
        "foo1",
        "foo10",
    ]


async def documents(api: Caller) -> dict[str, Any]:
    index = (await api.get("/openapi/v3?timeout=32s")).ok()["paths"]
    return {name: (await api.get(entry["serverRelativeURL"])).ok() for name, entry in index.items()}


async def test_openapi_says_that_the_server_validates(api: Caller) -> None:
    (await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())).ok(201)
    found = set()
    for document in (await documents(api)).values():
        for path in document["paths"].values():
            patch = path.get("patch")
            if patch and "requestBody" not in patch:
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


async def test_openapi_v2_has_the_same_operations_in_both_forms(api: Caller) -> None:
    text = (await api.get("/openapi/v2")).ok()
    assert text["swagger"] == "2.0"
    answer = await api.get("/openapi/v2", accept="application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
    assert answer.status == 200
    assert answer.headers["content-type"].endswith("v2.v1.0+protobuf")
    for path, item in text["paths"].items():
        assert path.encode() in answer.body
        assert (
            json.dumps(item["patch"]["x-kubernetes-group-version-kind"], separators=(",", ":")).encode() in answer.body
        )


async def test_the_root_lists_paths(api: Caller) -> None:
    assert {"/api/v1", "/apis/kubeflow.org/v1", "/version"} <= set((await api.get("/")).ok()["paths"])


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
async def test_health(api: Caller, path: str) -> None:
    assert (await api.get(path)).body == b"ok"
    verbose = await api.get(f"{path}?verbose")
    assert b"[+]ping ok\n" in verbose.body
    assert verbose.body.endswith(b"check passed\n")
