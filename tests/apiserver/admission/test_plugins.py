"""What the built-in plug-ins add and refuse."""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller, pod

from homeport.apiserver.admission import priority

PODS = "/api/v1/namespaces/default/pods"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
STORAGE = "/apis/storage.k8s.io/v1/storageclasses"


def limit_range(**item: Any) -> Any:
    limits = [{"type": "Container", **item}]
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": limits}}


def worker(name: str, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> Any:
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    return pod(name, containers=[{"name": "main", "image": "python", "resources": resources}])


async def test_a_limit_range_fills_in_what_is_missing(api: Caller) -> None:
    item = {"default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "0.1"}}
    (await api.post("/api/v1/namespaces/default/limitranges", limit_range(**item))).ok(201)
    made = (await api.post(PODS, pod("p"))).ok(201)
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "1Gi"},
        "limits": {"cpu": "500m", "memory": "1Gi"},
    }
    assert made["status"]["qosClass"] == "Burstable"
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container main; cpu, memory limit for container main"
    )
    given = (await api.post(PODS, worker("q", {"memory": "2Gi"}, {"cpu": "200m", "memory": "2Gi"}))).ok(201)
    assert given["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "200m", "memory": "2Gi"},
        "limits": {"cpu": "200m", "memory": "2Gi"},
    }
    assert "annotations" not in given["metadata"]


@pytest.mark.parametrize(
    ("item", "requests", "limits", "words"),
    [
        ({"min": {"cpu": "100m"}}, {"cpu": "50m"}, {}, "minimum cpu usage per Container is 100m, but request is 50m"),
        (
            {"max": {"memory": "1Gi"}},
            {},
            {"memory": "2Gi"},
            "maximum memory usage per Container is 1Gi, but limit is 2Gi",
        ),
        (
            {"type": "Pod", "max": {"memory": "1Gi"}},
            {"memory": "1Mi"},
            {},
            "maximum memory usage per Pod is 1Gi.  No limit is specified",
        ),
        (
            {"type": "Pod", "min": {"cpu": "1"}},
            {},
            {},
            "minimum cpu usage per Pod is 1.  No request is specified",
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {"cpu": "100m"},
            {"cpu": "300m"},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3",
        ),
    ],
)
async def test_a_limit_range_refuses(api: Caller, item: Any, requests: Any, limits: Any, words: str) -> None:
    (await api.post("/api/v1/namespaces/default/limitranges", limit_range(**item))).ok(201)
    body = (await api.post(PODS, worker("p", requests, limits))).error(403, "Forbidden", words)
    assert body["message"].startswith('pods "p" is forbidden: ')


async def test_a_limit_range_for_claims(api: Caller) -> None:
    item = {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}
    (await api.post("/api/v1/namespaces/default/limitranges", limit_range(**item))).ok(201)
    words = "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"
    (await api.post(CLAIMS, claim("c", "3Gi"))).error(403, "Forbidden", words)
    (await api.post(CLAIMS, claim("c", "2Gi"))).ok(201)


def claim(name: str, size: str, **spec: Any) -> Any:
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": body}


def priority_class(name: str, value: int, **more: Any) -> Any:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        **more,
    }


async def test_priority(api: Caller) -> None:
    plain = (await api.post(PODS, pod("plain"))).ok(201)["spec"]
    assert (plain["priority"], plain["preemptionPolicy"], plain.get("priorityClassName")) == (
        0,
        "PreemptLowerPriority",
        None,
    )
    (await api.post(CLASSES, priority_class("high", 1000, preemptionPolicy="Never"))).ok(201)
    high = (await api.post(PODS, pod("high", priorityClassName="high"))).ok(201)["spec"]
    assert (high["priority"], high["preemptionPolicy"]) == (1000, "Never")
    (await api.post(PODS, pod("x", priorityClassName="none"))).error(
        403, "Forbidden", "no PriorityClass with name none was found"
    )
    (await api.post(PODS, pod("x", priority=5))).error(
        403, "Forbidden", "the integer value of priority (5) must not be provided in pod spec"
    )
    (await api.post(CLASSES, priority_class("normal", 10, globalDefault=True))).ok(201)
    default = (await api.post(PODS, pod("default"))).ok(201)["spec"]
    assert (default["priority"], default["priorityClassName"]) == (10, "normal")
    words = "PriorityClass normal is already marked as default. Only one default can exist"
    (await api.post(CLASSES, priority_class("other", 20, globalDefault=True))).error(403, "Forbidden", words)


async def test_the_system_has_its_priority_classes(api: Caller) -> None:
    await priority.bootstrap(api.store, api.clock())
    await priority.bootstrap(api.store, api.clock())
    items = (await api.get(CLASSES)).ok()["items"]
    assert {item["metadata"]["name"]: item["value"] for item in items} == {
        "system-cluster-critical": 2_000_000_000,
        "system-node-critical": 2_000_001_000,
    }
    critical = (await api.post(PODS, pod("p", priorityClassName="system-node-critical"))).ok(201)
    assert critical["spec"]["priority"] == 2_000_001_000


async def test_pods_tolerate_trouble_for_a_while(api: Caller) -> None:
    own = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    made = (await api.post(PODS, pod("p", tolerations=[own]))).ok(201)
    assert made["spec"]["tolerations"] == [
        own,
        {
            "key": "node.kubernetes.io/unreachable",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 300,
        },
    ]


async def test_claims_get_the_default_class_and_grow_where_they_may(api: Caller) -> None:
    def storage_class(name: str, **more: Any) -> Any:
        metadata = {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
        return {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": metadata,
            "provisioner": "p",
            **more,
        }

    assert "storageClassName" not in (await api.post(CLAIMS, claim("early", "1Gi"))).ok(201)["spec"]
    (await api.post(STORAGE, storage_class("old"))).ok(201)
    api.clock.advance(5)
    (await api.post(STORAGE, storage_class("new", allowVolumeExpansion=True))).ok(201)
    assert (await api.post(CLAIMS, claim("c", "1Gi"))).ok(201)["spec"]["storageClassName"] == "new"
    assert (await api.post(CLAIMS, claim("d", "1Gi", storageClassName=""))).ok(201)["spec"]["storageClassName"] == ""
    bigger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    (await api.patch(f"{CLAIMS}/c", bigger)).error(403, "Forbidden", "Only bound persistent volume claims")
    (await api.patch(f"{CLAIMS}/c/status", {"status": {"phase": "Bound"}})).ok()
    (await api.patch(f"{CLAIMS}/c", bigger)).ok()
    (await api.patch(f"{CLAIMS}/d/status", {"status": {"phase": "Bound"}})).ok()
    (await api.patch(f"{CLAIMS}/d", bigger)).error(403, "Forbidden", "the storageclass that provisions the pvc must")


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_three_namespaces_stay(api: Caller, name: str) -> None:
    if name != "default":
        (
            await api.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        ).ok(201)
    (await api.delete(f"/api/v1/namespaces/{name}")).error(403, "Forbidden", "this namespace may not be deleted")
