"""Discovery and OpenAPI: what clients find out before they ask for anything."""

from __future__ import annotations

import re

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
    subresources = {"attach", "binding", "eviction", "ephemeralcontainers", "exec", "log", "portforward", "status"}
    assert {sub["subresource"] for sub in pods["subresources"]} >= subresources
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
    assert re.fullmatch("[0-9a-f]+", version["gitCommit"])  # as kubectl's conformance test reads it


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


async def test_the_root_lists_paths(api: Caller) -> None:
    assert {"/api/v1", "/apis/kubeflow.org/v1", "/version"} <= set((await api.get("/")).ok()["paths"])


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
async def test_health(api: Caller, path: str) -> None:
    assert (await api.get(path)).body == b"ok"
    verbose = await api.get(f"{path}?verbose")
    assert b"[+]ping ok\n" in verbose.body
    assert verbose.body.endswith(b"check passed\n")


async def test_no_request_deletes_all_namespaces(api: Caller) -> None:
    (await api.post("/api/v1/namespaces", {"metadata": {"name": "kept"}})).ok(201)
    (await api.delete("/api/v1/namespaces")).error(405, "MethodNotAllowed")
    assert "deletionTimestamp" not in (await api.get("/api/v1/namespaces/kept")).ok()["metadata"]
    resources = {each["name"]: each["verbs"] for each in (await api.get("/api/v1")).ok()["resources"]}
    assert resources["namespaces"] == ["create", "delete", "get", "list", "patch", "update", "watch"]
    assert "deletecollection" in resources["nodes"]
    paths = (await api.get("/openapi/v3/api/v1")).ok()["paths"]
    assert "delete" not in paths["/api/v1/namespaces"]
    assert "delete" in paths["/api/v1/nodes"]
