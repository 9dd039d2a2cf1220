"""``metrics.k8s.io``: what the node measured, as ``kubectl top`` asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from api_testing import Caller, Clock, make_server, pod, with_default_namespace

from homeport.store.memory import MemoryStore

BASE = "/apis/metrics.k8s.io/v1beta1"
TIME = "2026-11-22T12:00:00Z"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def stats(cpu: int, memory: int, **more: Any) -> dict[str, Any]:
    return {"cpu": {"time": TIME, "usageNanoCores": cpu}, "memory": {"time": TIME, "workingSetBytes": memory}, **more}


class Node:
    async def summary(self) -> dict[str, Any]:
        containers = [stats(1_500_000, 3 << 20, name="main"), stats(500_000, 1 << 20, name="side")]
        pods = [
            stats(2_000_000, 4 << 20, podRef={"name": name, "namespace": "default"}, containers=containers)
            for name in ("two", "one", "not-stored")
        ]
        return {"node": stats(2_000_000_000, 1 << 30, nodeName="here"), "pods": pods, "windowSeconds": 0.5}


@pytest.fixture
async def api(clock: Clock) -> AsyncIterator[Caller]:
    store = MemoryStore()
    server = make_server(store, clock, node=Node())
    caller = await with_default_namespace(Caller(server, store, clock))
    for name in ("one", "two"):
        made = pod(name)
        made["metadata"]["labels"] = {"app": name}
        (await caller.post("/api/v1/namespaces/default/pods", made)).ok(201)
    node = {"metadata": {"name": "here", "labels": {"a": "b"}}}
    (await caller.post("/api/v1/nodes", node)).ok(201)
    yield caller
    await server.close()
    await store.close()


async def test_pods(api: Caller) -> None:
    listed = (await api.get(f"{BASE}/pods")).ok()
    assert listed["kind"] == "PodMetricsList"
    assert [item["metadata"]["name"] for item in listed["items"]] == ["one", "two"]
    found = (await api.get(f"{BASE}/namespaces/default/pods/one")).ok()
    assert found["containers"] == [
        {"name": "main", "usage": {"cpu": "1500000n", "memory": "3072Ki"}},
        {"name": "side", "usage": {"cpu": "500000n", "memory": "1024Ki"}},
    ]
    assert (found["window"], found["timestamp"], found["metadata"]["labels"]) == ("0.500s", TIME, {"app": "one"})
    chosen = (await api.get(f"{BASE}/namespaces/default/pods?labelSelector=app%3Dtwo")).ok()["items"]
    assert [item["metadata"]["name"] for item in chosen] == ["two"]
    by_name = (await api.get(f"{BASE}/pods?fieldSelector=metadata.name%3Done")).ok()["items"]
    assert [item["metadata"]["name"] for item in by_name] == ["one"]
    assert (await api.get(f"{BASE}/namespaces/other/pods")).ok()["items"] == []
    (await api.get(f"{BASE}/namespaces/default/pods/none")).error(404, "NotFound", "pods.metrics.k8s.io")
    (await api.delete(f"{BASE}/namespaces/default/pods/one")).error(405, "MethodNotAllowed")
    (await api.get(f"{BASE}/pods?fieldSelector=spec.x%3Da")).error(400, "BadRequest", "spec.x")


async def test_nodes(api: Caller) -> None:
    (found,) = (await api.get(f"{BASE}/nodes")).ok()["items"]
    assert found["usage"] == {"cpu": "2000000000n", "memory": "1048576Ki"}
    assert (await api.get(f"{BASE}/nodes/here")).ok() == found
    (await api.get(f"{BASE}/nodes/there")).error(404, "NotFound", 'nodes.metrics.k8s.io "there" not found')


async def test_tables_and_discovery(api: Caller) -> None:
    table = (await api.get(f"{BASE}/pods", accept=TABLE)).ok()
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "cpu", "memory", "Window"]
    assert table["rows"][0]["cells"] == ["one", "2000000n", "4096Ki", "0.500s"]
    resources = (await api.get(BASE)).ok()["resources"]
    assert [(each["name"], each["kind"], each["verbs"]) for each in resources] == [
        ("nodes", "NodeMetrics", ["get", "list"]),
        ("pods", "PodMetrics", ["get", "list"]),
    ]


async def test_the_kubelets_summary(api: Caller) -> None:
    found = (await api.get("/api/v1/nodes/here/proxy/stats/summary")).ok()
    assert found["node"]["nodeName"] == "here"
    assert len(found["pods"]) == 3


async def test_its_kinds_are_explained(api: Caller) -> None:
    document = (await api.get(f"/openapi/v3{BASE}")).ok()
    assert {f"{BASE}/pods", f"{BASE}/namespaces/{{namespace}}/pods/{{name}}", f"{BASE}/nodes"} <= document[
        "paths"
    ].keys()
    schemas = document["components"]["schemas"]
    prefix = "io.k8s.metrics.pkg.apis.metrics.v1beta1."
    one = schemas[f"{prefix}PodMetrics"]
    assert one["x-kubernetes-group-version-kind"] == [
        {"group": "metrics.k8s.io", "version": "v1beta1", "kind": "PodMetrics"}
    ]
    assert {"apiVersion", "kind", "metadata", "timestamp", "window", "containers"} == one["properties"].keys()
    assert schemas[f"{prefix}NodeMetricsList"]["properties"]["items"]["items"]["$ref"].endswith("NodeMetrics")
