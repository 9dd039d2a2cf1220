"""Resource quotas: what is counted, what is refused, and that no race gets past one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from api_testing import Caller, Clock, config_map, crd, make_server, pod, with_default_namespace

from homeport.apiserver.quota import ledger
from homeport.store import backup
from homeport.store.protocol import Key, Put
from homeport.store.sqlite import SqliteStore

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
QUOTAS = "/api/v1/namespaces/default/resourcequotas"


def quota(name: str, hard: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard, **spec}}


def worker(name: str, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, **spec: Any) -> Any:
    container = {"name": "main", "image": "python", "resources": {"requests": requests or {}, "limits": limits or {}}}
    return pod(name, containers=[container], **spec)


async def used(api: Caller, name: str = "q") -> Any:
    return (await api.get(f"{QUOTAS}/{name}")).ok()["status"]["used"]


async def test_pods_are_counted_refused_and_given_back(api: Caller) -> None:
    (await api.post(PODS, pod("before"))).ok(201)
    made = (await api.post(QUOTAS, quota("q", {"pods": "3", "count/pods": "4"}))).ok(201)
    assert made["status"] == {"hard": {"pods": "3", "count/pods": "4"}, "used": {"pods": "1", "count/pods": "1"}}
    for name in ("a", "b"):
        (await api.post(PODS, pod(name))).ok(201)
    words = 'pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3'
    assert (await api.post(PODS, pod("c"))).error(403, "Forbidden")["message"] == words
    # One that has ended is counted as an object only.
    (await api.patch(f"{PODS}/a/status", {"status": {"phase": "Succeeded"}})).ok()
    assert await used(api) == {"pods": "2", "count/pods": "3"}
    (await api.post(PODS, pod("c"))).ok(201)
    (await api.delete(f"{PODS}/b")).ok()
    assert await used(api) == {"pods": "2", "count/pods": "3"}
    (await api.delete(PODS)).ok()
    assert await used(api) == {"pods": "0", "count/pods": "0"}


async def test_creations_at_once_cannot_get_more_than_there_is(api: Caller) -> None:
    (await api.post(QUOTAS, quota("q", {"count/configmaps": "5"}))).ok(201)
    answers = await asyncio.gather(*(api.post(MAPS, config_map(f"m{n}")) for n in range(20)))
    assert sorted(answer.status for answer in answers) == [201] * 5 + [403] * 15
    assert await used(api) == {"count/configmaps": "5"}
    assert len((await api.get(MAPS)).ok()["items"]) == 5
    await asyncio.gather(*(api.delete(f"{MAPS}/m{n}") for n in range(20)))
    assert await used(api) == {"count/configmaps": "0"}


async def test_compute_resources(api: Caller) -> None:
    hard = {"requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "2", "requests.nvidia.com/gpu": "1"}
    (await api.post(QUOTAS, quota("q", hard))).ok(201)
    (await api.post(PODS, pod("p"))).error(
        403,
        "Forbidden",
        "failed quota: q: must specify limits.cpu for: main; requests.cpu for: main; requests.memory for: main",
    )
    amounts = {"cpu": "600m", "memory": "512Mi"}
    gpu = {"nvidia.com/gpu": "1"}
    (await api.post(PODS, worker("p", amounts | gpu, {"cpu": "1"} | gpu))).ok(201)
    assert await used(api) == {
        "requests.cpu": "600m",
        "requests.memory": "512Mi",
        "limits.cpu": "1",
        "requests.nvidia.com/gpu": "1",
    }
    (await api.post(PODS, worker("r", amounts | gpu, {"cpu": "1"} | gpu))).error(
        403,
        "Forbidden",
        "exceeded quota: q, requested: requests.cpu=600m,requests.nvidia.com/gpu=1, used: requests.cpu=600m,"
        "requests.nvidia.com/gpu=1, limited: requests.cpu=1,requests.nvidia.com/gpu=1",
    )


@pytest.mark.parametrize(
    ("spec", "matching", "other"),
    [
        ({"scopes": ["Terminating"]}, worker("m", activeDeadlineSeconds=60), worker("o")),
        ({"scopes": ["NotTerminating"]}, worker("m"), worker("o", activeDeadlineSeconds=60)),
        ({"scopes": ["BestEffort"]}, worker("m"), worker("o", {"cpu": "1"})),
        ({"scopes": ["NotBestEffort"]}, worker("m", {"cpu": "1"}), worker("o")),
        (
            {
                "scopeSelector": {
                    "matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]
                }
            },
            worker("m", priorityClassName="high"),
            worker("o"),
        ),
    ],
)
async def test_scopes(api: Caller, spec: Any, matching: Any, other: Any) -> None:
    high = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 7}
    (await api.post("/apis/scheduling.k8s.io/v1/priorityclasses", high)).ok(201)
    (await api.post(QUOTAS, quota("q", {"pods": "1"}, **spec))).ok(201)
    (await api.post(PODS, other)).ok(201)
    assert await used(api) == {"pods": "0"}
    (await api.post(PODS, matching)).ok(201)
    assert await used(api) == {"pods": "1"}
    matching["metadata"]["name"] = "another"
    (await api.post(PODS, matching)).error(403, "Forbidden", "exceeded quota: q")


async def test_a_claim_counts_for_every_class_of_attributes_that_it_refers_to(api: Caller) -> None:
    hard = {"persistentvolumeclaims": "1", "requests.storage": "5Gi"}
    for name in ("gold", "silver"):
        match = {"scopeName": "VolumeAttributesClass", "operator": "In", "values": [name]}
        (await api.post(QUOTAS, quota(name, hard, scopeSelector={"matchExpressions": [match]}))).ok(201)
    none = {"scopeName": "VolumeAttributesClass", "operator": "DoesNotExist"}
    (await api.post(QUOTAS, quota("none", hard, scopeSelector={"matchExpressions": [none]}))).ok(201)

    async def counted() -> str:
        names = ("gold", "silver", "none")
        return "".join([(await used(api, name))["persistentvolumeclaims"] for name in names])

    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": wanted}
    (await api.post(claims, claim)).ok(201)
    assert await counted() == "001"
    (await api.delete(f"{claims}/c?gracePeriodSeconds=0")).ok()
    (await api.patch(f"{claims}/c", {"metadata": {"finalizers": None}})).ok()
    wanted["volumeAttributesClassName"] = "gold"
    (await api.post(claims, claim)).ok(201)
    assert await counted() == "100"
    other = {"metadata": {"name": "d"}}
    (await api.post(claims, {**claim, **other})).error(403, "Forbidden", "exceeded quota: gold")
    current = {"phase": "Bound", "currentVolumeAttributesClassName": "gold"}
    (await api.patch(f"{claims}/c/status", {"status": current})).ok()
    (await api.patch(f"{claims}/c", {"spec": {"volumeAttributesClassName": "silver"}})).ok()
    assert await counted() == "110"
    (await api.patch(f"{claims}/c/status", {"status": {"currentVolumeAttributesClassName": "silver"}})).ok()
    assert await counted() == "010"


async def test_devices_of_a_class(api: Caller) -> None:
    hard = {"gold.deviceclass.resource.k8s.io/devices": "40", "count/resourceclaims.resource.k8s.io": "3"}
    (await api.post(QUOTAS, quota("q", hard))).ok(201)
    claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"

    def claim(name: str, *requests: dict[str, Any]) -> Any:
        numbered = [{"name": f"r{number}", **request} for number, request in enumerate(requests)]
        spec = {"devices": {"requests": numbered}}
        return {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name}, "spec": spec}

    def devices(count: int, of: str = "gold", **more: Any) -> Any:
        return {"deviceClassName": of, "allocationMode": "ExactCount", "count": count, **more}

    alternatives = [devices(2, name="a"), devices(3, name="b"), devices(9, "iron", name="c")]
    (await api.post(claims, claim("a", {"exactly": devices(1)}, {"firstAvailable": alternatives}))).ok(201)
    assert await used(api) == dict(zip(hard, ("4", "1"), strict=True))
    everything = {"exactly": {"deviceClassName": "gold", "allocationMode": "All"}}
    (await api.post(claims, claim("b", everything))).ok(201)
    assert await used(api) == dict(zip(hard, ("36", "2"), strict=True))
    (await api.post(claims, claim("c", {"exactly": devices(5)}))).error(403, "Forbidden", "requested: gold.deviceclass")
    (await api.delete(f"{claims}/b")).ok()
    assert await used(api) == dict(zip(hard, ("4", "1"), strict=True))


async def test_containers_need_not_state_what_their_pod_does(api: Caller) -> None:
    (await api.post(QUOTAS, quota("q", {"requests.cpu": "1", "requests.memory": "1Gi"}))).ok(201)
    (await api.post(PODS, worker("a"))).error(403, "Forbidden", "must specify requests.cpu for: main")
    whole = {"requests": {"cpu": "600m", "memory": "100Mi"}}
    (await api.post(PODS, worker("a", resources=whole))).ok(201)
    assert await used(api) == {"requests.cpu": "600m", "requests.memory": "100Mi"}
    (await api.post(PODS, worker("b", resources=whole))).error(403, "Forbidden", "requested: requests.cpu=600m")


async def test_services_claims_secrets_and_custom_objects(api: Caller) -> None:
    (await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())).ok(201)
    hard = {
        "services.nodeports": "1",
        "services.loadbalancers": "1",
        "persistentvolumeclaims": "5",
        "requests.storage": "10Gi",
        "gold.storageclass.storage.k8s.io/requests.storage": "4Gi",
        "secrets": "1",
        "count/widgets.example.com": "1",
        "resourcequotas": "1",
    }
    (await api.post(QUOTAS, quota("q", hard))).ok(201)
    assert (await used(api))["resourcequotas"] == "1"
    (await api.post(QUOTAS, quota("r", {"pods": "1"}))).error(403, "Forbidden", "requested: resourcequotas=1")

    def service(name: str, **spec: Any) -> Any:
        ports = [{"port": 80, "protocol": "TCP"}]
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports, **spec}}

    services = "/api/v1/namespaces/default/services"
    (await api.post(services, service("s"))).ok(201)
    (await api.patch(f"{services}/s", {"spec": {"type": "NodePort"}})).ok()
    assert (await used(api))["services.nodeports"] == "1"
    (await api.post(services, service("t"))).ok(201)
    (await api.patch(f"{services}/t", {"spec": {"type": "NodePort"}})).error(403, "Forbidden", "services.nodeports=1")

    def claim(name: str, size: str, **spec: Any) -> Any:
        body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
        return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": body}

    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    (await api.post(claims, claim("a", "3Gi", storageClassName="gold"))).ok(201)
    (await api.post(claims, claim("b", "3Gi", storageClassName="gold"))).error(403, "Forbidden", "limited: gold.")
    (await api.post(claims, claim("b", "8Gi", storageClassName=""))).error(403, "Forbidden", "requests.storage=3Gi")
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    (await api.post(widgets, widget)).ok(201)
    widget["metadata"] = {"name": "x"}
    (await api.post(widgets, widget)).error(403, "Forbidden", 'widgets.example.com "x" is forbidden')
    (await api.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com")).ok()
    async with asyncio.timeout(5):
        while (await used(api))["count/widgets.example.com"] != "0":
            await asyncio.sleep(0)


async def test_a_dry_run_is_refused_but_costs_nothing(api: Caller) -> None:
    (await api.post(QUOTAS, quota("q", {"count/configmaps": "1"}))).ok(201)
    (await api.post(f"{MAPS}?dryRun=All", config_map("m"))).ok(201)
    assert await used(api) == {"count/configmaps": "0"}
    (await api.post(MAPS, config_map("m"))).ok(201)
    (await api.post(f"{MAPS}?dryRun=All", config_map("n"))).error(403, "Forbidden", "exceeded quota")


async def test_a_new_spec_is_measured_at_once(api: Caller) -> None:
    (await api.post(QUOTAS, quota("q", {"count/configmaps": "1"}))).ok(201)
    (await api.post(MAPS, config_map("m"))).ok(201)
    changed = (await api.patch(f"{QUOTAS}/q", {"spec": {"hard": {"count/configmaps": "2", "pods": "1"}}})).ok()
    assert changed["status"] == {
        "hard": {"count/configmaps": "2", "pods": "1"},
        "used": {"count/configmaps": "1", "pods": "0"},
    }
    (await api.delete(f"{QUOTAS}/q")).ok()
    (await api.post(MAPS, config_map("n"))).ok(201)
    (await api.post(MAPS, config_map("o"))).ok(201)


async def test_a_status_that_somebody_wrote_is_put_right(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "RESYNC_SECONDS", 0.05)
    (await api.post(QUOTAS, quota("q", {"pods": "3"}))).ok(201)
    status = {"hard": {"pods": "9"}, "used": {"pods": "8"}}
    async with api.watch(f"{QUOTAS}?watch=true&resourceVersion={api.store.revision}") as watcher:
        assert (await api.patch(f"{QUOTAS}/q/status", {"status": status})).ok()["status"] == status
        assert (await watcher.next())["object"]["status"] == status
        async with asyncio.timeout(5):
            assert (await watcher.next())["object"]["status"] == {"hard": {"pods": "3"}, "used": {"pods": "0"}}


async def test_a_quota_of_an_older_release_is_kept_after_a_restart(api: Caller) -> None:
    stored = quota("old", {"count/configmaps": "1"})
    stored["metadata"]["namespace"] = "default"
    await api.store.write(Put(Key("/resourcequotas", "default", "old"), stored, 0))
    again = Caller(make_server(api.store, api.clock), api.store, api.clock)
    (await again.post(MAPS, config_map("m"))).ok(201)
    assert await used(again, "old") == {"count/configmaps": "1"}
    (await again.post(MAPS, config_map("n"))).error(403, "Forbidden", "exceeded quota: old")
    await again.server.close()


async def test_a_quota_that_a_backup_brings_back_counts(api: Caller, tmp_path: Path) -> None:
    database, saved = tmp_path / "objects.db", tmp_path / "backup.db"
    store = SqliteStore.open(database)
    other = make_server(store, api.clock)
    elsewhere = await with_default_namespace(Caller(other, store, api.clock))
    (await elsewhere.post(QUOTAS, quota("q", {"count/configmaps": "1"}))).ok(201)
    await other.close()
    await store.close()
    backup.write(database, saved)
    api.server.restorable = saved
    (await api.post("/restore", {})).ok()
    (await api.post(MAPS, config_map("one"))).ok(201)
    (await api.post(MAPS, config_map("two"))).error(403, "Forbidden", "exceeded quota: q")


async def stuck(api: Caller, name: str) -> None:
    """A pod whose node does not answer: it is deleted, with a second's grace (which counts twice), and stays."""
    (await api.post(PODS, worker(name, {"cpu": "1"}, nodeName="n"))).ok(201)
    (await api.delete(f"{PODS}/{name}?gracePeriodSeconds=1")).ok()


async def test_pods_that_should_have_gone_are_not_counted(api: Caller) -> None:
    (await api.post(QUOTAS, quota("q", {"pods": "1", "count/pods": "9", "requests.cpu": "1"}))).ok(201)
    await stuck(api, "lost")
    assert (await api.post(PODS, worker("next", {"cpu": "1"}))).status == 403
    (await api.patch(f"{PODS}/lost", {"metadata": {"labels": {"looked": "at"}}})).ok()
    assert (await used(api))["pods"] == "1"
    async with asyncio.timeout(10):
        while (await used(api)) != {"pods": "0", "count/pods": "1", "requests.cpu": "0"}:
            await asyncio.sleep(0.05)
    (await api.post(PODS, worker("next", {"cpu": "1"}))).ok(201)
    (await api.delete(f"{PODS}/lost?gracePeriodSeconds=0")).ok()
    assert await used(api) == {"pods": "1", "count/pods": "1", "requests.cpu": "1"}


async def test_pods_that_should_have_gone_before_the_server_started(api: Caller, clock: Clock) -> None:
    (await api.post(QUOTAS, quota("q", {"pods": "1"}))).ok(201)
    await stuck(api, "lost")
    clock.advance(3)
    server = make_server(api.store, clock)
    server.quotas.start()
    again = Caller(server, api.store, clock)
    async with asyncio.timeout(5):
        while (await used(again)) != {"pods": "0"}:
            await asyncio.sleep(0.01)
    await server.close()
