from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cluster import CLAIMS, PODS, REVISIONS, STATEFUL_SETS, Cluster, cluster, workload

from homeport.kube import core, meta
from homeport.kube.meta import Object

CLAIM = {
    "metadata": {"name": "data", "labels": {"tier": "disk"}},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
}


def order(here: Cluster) -> list[str]:
    """Notes which pods come (``+``) and go (``-``)."""
    seen: list[str] = []
    known: dict[str, str] = {}

    def look(now: Cluster) -> None:
        live = {own: meta.name(pod) for own, pod in now.live.items()}
        seen.extend(f"-{known[own]}" for own in known.keys() - live.keys())
        seen.extend(f"+{live[own]}" for own in live.keys() - known.keys())
        known.clear()
        known.update(live)

    here.watchers.append(look)
    return seen


def images(pods: list[Object]) -> dict[str, str]:
    return {meta.name(pod): meta.spec(pod)["containers"][0]["image"] for pod in pods}


async def test_pods_come_one_after_the_other_and_go_the_other_way_round() -> None:
    async with cluster() as here:
        seen = order(here)
        await here.create(workload("StatefulSet", replicas=3, serviceName="web"))
        found = await here.settled(STATEFUL_SETS, availableReplicas=3, currentReplicas=3, updatedReplicas=3)
        assert seen == ["+web-0", "+web-1", "+web-2"]
        pod = await here.client.get(PODS, "web-1", "default")
        (revision,) = await here.names(REVISIONS)
        assert meta.labels(pod) == {
            "app": "web",
            "apps.kubernetes.io/pod-index": "1",
            "controller-revision-hash": revision,
            "statefulset.kubernetes.io/pod-name": "web-1",
        }
        assert (meta.spec(pod)["hostname"], meta.spec(pod)["subdomain"]) == ("web-1", "web")
        assert meta.status(found) == {
            "observedGeneration": 1,
            "replicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "currentReplicas": 3,
            "updatedReplicas": 3,
            "currentRevision": revision,
            "updateRevision": revision,
            "collisionCount": 0,
        }
        await here.patch(STATEFUL_SETS, {"spec": {"replicas": 1}})
        await here.settled(STATEFUL_SETS, replicas=1, availableReplicas=1)
        assert seen[3:] == ["-web-2", "-web-1"]
        told = await here.events("web")
        assert told == [
            ("SuccessfulCreate", "create Pod web-0 in StatefulSet web successful"),
            ("SuccessfulCreate", "create Pod web-1 in StatefulSet web successful"),
            ("SuccessfulCreate", "create Pod web-2 in StatefulSet web successful"),
            ("SuccessfulDelete", "delete Pod web-2 in StatefulSet web successful"),
            ("SuccessfulDelete", "delete Pod web-1 in StatefulSet web successful"),
        ]


async def test_scaling_halts_at_a_pod_that_is_not_ready() -> None:
    async with cluster() as here:
        await here.create(workload("StatefulSet", replicas=2))
        await here.settled(STATEFUL_SETS, availableReplicas=2)
        await here.ready("web-0", False)
        await here.patch(STATEFUL_SETS, {"spec": {"replicas": 4}})
        await asyncio.sleep(20)
        assert await here.names() == ["web-0", "web-1"]
        await here.ready("web-1", False)
        await here.patch(STATEFUL_SETS, {"spec": {"replicas": 0}})
        await asyncio.sleep(20)
        assert await here.names() == ["web-0", "web-1"], "not even downwards"
        await here.ready("web-1")
        await here.settled(STATEFUL_SETS, replicas=0)
        assert await here.names() == []


async def test_parallel_sets_do_not_wait() -> None:
    async with cluster() as here:
        here.broken = {"web:1"}
        await here.create(workload("StatefulSet", replicas=4, podManagementPolicy="Parallel", ordinals={"start": 5}))
        await here.settled(STATEFUL_SETS, replicas=4)
        assert await here.names() == ["web-5", "web-6", "web-7", "web-8"]
        await here.patch(STATEFUL_SETS, {"spec": {"replicas": 1, "ordinals": {"start": 6}}})
        await here.settled(STATEFUL_SETS, replicas=1)
        assert await here.names() == ["web-6"]


async def test_a_rolling_update_goes_down_to_its_partition_and_can_be_undone() -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    async with cluster() as here:
        await here.create(workload("StatefulSet", replicas=3, updateStrategy=strategy))
        first = meta.status(await here.settled(STATEFUL_SETS, availableReplicas=3))["currentRevision"]
        seen = order(here)
        await here.image(STATEFUL_SETS, "web:2")
        found = await here.settled(STATEFUL_SETS, updatedReplicas=1, currentReplicas=2, availableReplicas=3)
        assert images(await here.pods()) == {"web-0": "web:1", "web-1": "web:1", "web-2": "web:2"}
        second = meta.status(found)["updateRevision"]
        assert meta.status(found)["currentRevision"] == first != second
        await here.client.delete(PODS, "web-0", "default")
        await asyncio.sleep(10)
        assert images(await here.pods())["web-0"] == "web:1", "below the partition it stays what it was"
        del seen[:]
        await here.patch(STATEFUL_SETS, {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})
        found = await here.settled(STATEFUL_SETS, updatedReplicas=3, currentReplicas=3, availableReplicas=3)
        assert seen == ["-web-1", "+web-1", "-web-0", "+web-0"]
        assert meta.status(found)["currentRevision"] == second
        await here.image(STATEFUL_SETS, "web:1")
        found = await here.settled(STATEFUL_SETS, updatedReplicas=3, currentReplicas=3, availableReplicas=3)
        assert meta.status(found)["currentRevision"] == first
        numbers = {meta.name(each): each["revision"] for each in (await here.client.list(REVISIONS, "default")).items}
        assert numbers == {first: 3, second: 2}


async def test_a_broken_update_stops_at_its_first_pod_and_goes_on_when_the_pod_is_deleted() -> None:
    async with cluster() as here:
        await here.create(workload("StatefulSet", replicas=3))
        await here.settled(STATEFUL_SETS, availableReplicas=3)
        here.broken = {"web:2"}
        await here.image(STATEFUL_SETS, "web:2")
        await asyncio.sleep(60)
        assert images(await here.pods()) == {"web-0": "web:1", "web-1": "web:1", "web-2": "web:2"}
        await here.image(STATEFUL_SETS, "web:1")
        await asyncio.sleep(60)
        assert images(await here.pods())["web-2"] == "web:2", "upstream's known issue: it waits for the broken pod"
        await here.client.delete(PODS, "web-2", "default")
        await here.settled(STATEFUL_SETS, availableReplicas=3, updatedReplicas=3)


@pytest.mark.parametrize(("unavailable", "together"), [(2, 2), ("50%", 2), (1, 1)])
async def test_several_may_be_missing_in_an_update(unavailable: Any, together: int) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable}}
    async with cluster() as here:
        await here.create(workload("StatefulSet", replicas=4, podManagementPolicy="Parallel", updateStrategy=strategy))
        await here.settled(STATEFUL_SETS, availableReplicas=4)
        missing: list[int] = []

        def look(now: Cluster) -> None:
            up = [p for p in now.live.values() if meta.is_condition_true(p, "Ready") and not meta.is_deleting(p)]
            missing.append(4 - len(up))

        here.watchers.append(look)
        await here.image(STATEFUL_SETS, "web:2")
        await here.settled(STATEFUL_SETS, availableReplicas=4, updatedReplicas=4)
        assert max(missing) == together


async def test_on_delete_replaces_only_what_is_deleted() -> None:
    async with cluster() as here:
        await here.create(workload("StatefulSet", replicas=2, updateStrategy={"type": "OnDelete"}))
        await here.settled(STATEFUL_SETS, availableReplicas=2)
        await here.image(STATEFUL_SETS, "web:2")
        await asyncio.sleep(20)
        assert set(images(await here.pods()).values()) == {"web:1"}
        await here.client.delete(PODS, "web-0", "default")
        await here.settled(STATEFUL_SETS, updatedReplicas=1, availableReplicas=2)
        assert images(await here.pods()) == {"web-0": "web:2", "web-1": "web:1"}


async def test_claims_are_made_kept_and_used_again() -> None:
    async with cluster() as here:
        await here.create(workload("StatefulSet", replicas=2, volumeClaimTemplates=[CLAIM]))
        await here.settled(STATEFUL_SETS, availableReplicas=2)
        assert await here.names(CLAIMS) == ["data-web-0", "data-web-1"]
        claim = await here.client.get(CLAIMS, "data-web-1", "default")
        assert meta.labels(claim) == {"app": "web", "tier": "disk"}
        assert not meta.metadata(claim).get("ownerReferences")
        volumes = meta.spec(await here.client.get(PODS, "web-1", "default"))["volumes"]
        assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}} in volumes
        told = await here.events("web")
        assert ("SuccessfulCreate", "create Claim data-web-0 Pod web-0 in StatefulSet web success") in told
        await here.patch(STATEFUL_SETS, {"spec": {"replicas": 0}})
        await here.settled(STATEFUL_SETS, replicas=0)
        await here.patch(STATEFUL_SETS, {"spec": {"replicas": 2}})
        await here.settled(STATEFUL_SETS, availableReplicas=2)
        kept = await here.client.get(CLAIMS, "data-web-1", "default")
        assert meta.uid(kept) == meta.uid(claim)


@pytest.mark.parametrize("deleted", ["Retain", "Delete"])
@pytest.mark.parametrize("scaled", ["Retain", "Delete"])
async def test_the_retention_policy_decides_who_owns_the_claims(deleted: str, scaled: str) -> None:
    policy = {"whenDeleted": deleted, "whenScaled": scaled}
    async with cluster() as here:
        here.stop = 30
        spec = {"volumeClaimTemplates": [CLAIM], "persistentVolumeClaimRetentionPolicy": policy}
        parent = await here.create(workload("StatefulSet", replicas=2, **spec))
        await here.settled(STATEFUL_SETS, availableReplicas=2)

        async def owners(name: str) -> list[str]:
            claim = await here.client.get(CLAIMS, name, "default")
            return [each["uid"] for each in meta.metadata(claim).get("ownerReferences") or ()]

        await asyncio.sleep(1)
        with_set = [meta.uid(parent)] if deleted == "Delete" else []
        assert await owners("data-web-1") == with_set
        pod = await here.client.get(PODS, "web-1", "default")
        await here.patch(STATEFUL_SETS, {"spec": {"replicas": 1}})
        await asyncio.sleep(10)
        assert await owners("data-web-1") == ([meta.uid(pod)] if scaled == "Delete" else with_set)
        assert await owners("data-web-0") == with_set


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
async def test_a_claim_that_is_refused_holds_up_neither_the_status_nor_other_pods(policy: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "default"}}
    async with cluster() as here:
        hard = {"hard": {"persistentvolumeclaims": "2"}}
        await here.client.create(core.RESOURCE_QUOTA.resource, {**quota, "spec": hard})
        spec = {"podManagementPolicy": policy, "volumeClaimTemplates": [CLAIM]}
        await here.create(workload("StatefulSet", replicas=3, serviceName="web", **spec))
        await here.settled(STATEFUL_SETS, readyReplicas=2, replicas=2)
        assert await here.names() == ["web-0", "web-1"]
        words = "create Claim data-web-2 for Pod web-2 in StatefulSet web failed error: "
        assert any(reason == "FailedCreate" and said.startswith(words) for reason, said in await here.events("web"))
        await here.client.delete(PODS, "web-0", "default")
        await asyncio.sleep(5)
        await here.settled(STATEFUL_SETS, readyReplicas=2, replicas=2)
        more = {"spec": {"hard": {"persistentvolumeclaims": "3"}}}
        await here.client.patch(core.RESOURCE_QUOTA.resource, "q", "default", more)
        await here.settled(STATEFUL_SETS, readyReplicas=3, replicas=3)


async def test_a_pod_waits_for_a_claim_that_goes_away() -> None:
    stale = {**CLAIM, "metadata": {"name": "data-web-0", "namespace": "default", "finalizers": ["example.com/wait"]}}
    async with cluster() as here:
        await here.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", **stale})
        await here.client.delete(CLAIMS, "data-web-0", "default")
        await here.create(workload("StatefulSet", replicas=1, volumeClaimTemplates=[CLAIM]))
        await asyncio.sleep(10)
        assert await here.names() == []
        await here.patch(CLAIMS, {"metadata": {"finalizers": None}}, "data-web-0")
        await here.settled(STATEFUL_SETS, availableReplicas=1)


async def test_what_ended_comes_back_and_orphans_of_its_name_are_adopted() -> None:
    async with cluster() as here:
        await here.create(workload("StatefulSet", replicas=1))
        await here.settled(STATEFUL_SETS, availableReplicas=1)
        before = meta.uid(await here.client.get(PODS, "web-0", "default"))
        await here.world.set_status(PODS, "web-0", "default", phase="Succeeded")
        await asyncio.sleep(10)
        await here.settled(STATEFUL_SETS, availableReplicas=1)
        pod = await here.client.get(PODS, "web-0", "default")
        assert meta.uid(pod) != before
        free = {"labels": {"app": "other"}}
        await here.patch(PODS, {"metadata": free}, "web-0")
        await asyncio.sleep(5)
        assert meta.controller_of(await here.client.get(PODS, "web-0", "default")) is None
        assert ("FailedCreate", 'create Pod web-0 in StatefulSet web failed error: pods "web-0" already exists') in (
            await here.events("web")
        )
        await here.patch(PODS, {"metadata": {"labels": {"app": "web"}}}, "web-0")
        await here.settled(STATEFUL_SETS, availableReplicas=1)
        pod = await here.client.get(PODS, "web-0", "default")
        assert meta.controller_of(pod) is not None
        await here.patch(PODS, {"metadata": {"labels": {"apps.kubernetes.io/pod-index": None}}}, "web-0")
        await asyncio.sleep(5)
        assert meta.labels(await here.client.get(PODS, "web-0", "default"))["apps.kubernetes.io/pod-index"] == "0"


async def test_old_revisions_are_forgotten_unless_a_pod_is_of_them() -> None:
    async with cluster() as here:
        await here.create(workload("StatefulSet", replicas=1, revisionHistoryLimit=1))
        for image in ("web:1", "web:2", "web:3", "web:4"):
            await here.image(STATEFUL_SETS, image)
            await here.settled(STATEFUL_SETS, availableReplicas=1, updatedReplicas=1, currentReplicas=1)
        await asyncio.sleep(5)
        listed = (await here.client.list(REVISIONS, "default")).items
        assert sorted(each["revision"] for each in listed) == [3, 4]


async def test_min_ready_seconds_hold_the_next_pod_back() -> None:
    async with cluster() as here:
        await here.create(workload("StatefulSet", replicas=2, minReadySeconds=20))
        await asyncio.sleep(10)
        assert await here.names() == ["web-0"]
        assert (await here.status(STATEFUL_SETS))["availableReplicas"] == 0
        await asyncio.sleep(60)
        await here.settled(STATEFUL_SETS, availableReplicas=2)
