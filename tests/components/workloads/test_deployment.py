from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cluster import DEPLOYMENTS, PODS, REPLICA_SETS, Cluster, cluster, template, workload

from homeport.kube import core, meta
from homeport.kube.meta import Object


def condition(obj: Object, type: str) -> tuple[str, str, str]:
    found = meta.find_condition(meta.status(obj).get("conditions"), type) or {}
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


async def sets(here: Cluster) -> dict[str, Object]:
    """Image -> replica set."""
    listed = (await here.client.list(REPLICA_SETS, "default")).items
    return {meta.spec(each)["template"]["spec"]["containers"][0]["image"]: each for each in listed}


async def test_a_deployment_makes_a_replica_set_and_that_makes_pods() -> None:
    async with cluster() as here:
        await here.create(workload("Deployment", replicas=3))
        found = await here.settled(DEPLOYMENTS, availableReplicas=3)
        (made,) = (await sets(here)).values()
        own = meta.name(made)
        hash = meta.labels(made)["pod-template-hash"]
        assert own == f"web-{hash}"
        assert meta.spec(made)["selector"] == {"matchLabels": {"app": "web", "pod-template-hash": hash}}
        assert meta.annotations(found) == {"deployment.kubernetes.io/revision": "1"}
        assert meta.annotations(made) == {
            "deployment.kubernetes.io/revision": "1",
            "deployment.kubernetes.io/desired-replicas": "3",
            "deployment.kubernetes.io/max-replicas": "4",
        }
        for pod in await here.pods():
            assert meta.name(pod).startswith(f"{own}-")
            assert meta.metadata(pod)["generateName"] == f"{own}-"
            assert meta.labels(pod) == {"app": "web", "pod-template-hash": hash}
        status = meta.status(found)
        assert {key: value for key, value in status.items() if key != "conditions"} == {
            "observedGeneration": 1,
            "replicas": 3,
            "updatedReplicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "terminatingReplicas": 0,
        }
        assert condition(found, "Available") == (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
        words = f'ReplicaSet "{own}" has successfully progressed.'
        assert condition(found, "Progressing") == ("True", "NewReplicaSetAvailable", words)
        assert await here.events("web") == [("ScalingReplicaSet", f"Scaled up replica set {own} from 0 to 3")]
        told = await here.events(own)
        assert sorted(told) == sorted(("SuccessfulCreate", f"Created pod: {name}") for name in await here.names())


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "least"),
    [(1, 0, 5, 4), (0, 1, 4, 3), ("25%", "25%", 5, 3), ("100%", 0, 8, 4), (2, 2, 6, 2)],
)
async def test_a_rolling_update_keeps_within_its_limits(surge: Any, unavailable: Any, most: int, least: int) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    async with cluster() as here:
        await here.create(workload("Deployment", replicas=4, strategy=strategy))
        await here.settled(DEPLOYMENTS, availableReplicas=4)
        counts: list[tuple[int, int]] = []

        def count(now: Cluster) -> None:
            alive = [pod for pod in now.live.values() if not meta.is_deleting(pod)]
            ready = [pod for pod in alive if meta.is_condition_true(pod, "Ready")]
            counts.append((len(alive), len(ready)))

        here.watchers.append(count)
        await here.image(DEPLOYMENTS, "web:2")
        found = await here.settled(DEPLOYMENTS, updatedReplicas=4, availableReplicas=4, replicas=4)
        assert max(alive for alive, _ in counts) <= most
        assert min(ready for _, ready in counts) >= least
        assert meta.annotations(found)["deployment.kubernetes.io/revision"] == "2"
        both = await sets(here)
        assert {image: meta.spec(each)["replicas"] for image, each in both.items()} == {"web:1": 0, "web:2": 4}


async def test_recreate_waits_until_the_old_pods_have_gone() -> None:
    async with cluster() as here:
        await here.create(workload("Deployment", replicas=2, strategy={"type": "Recreate"}))
        await here.settled(DEPLOYMENTS, availableReplicas=2)
        mixed: list[set[str]] = []
        here.watchers.append(
            lambda now: mixed.append({meta.spec(pod)["containers"][0]["image"] for pod in now.live.values()})
        )
        await here.image(DEPLOYMENTS, "web:2")
        await here.settled(DEPLOYMENTS, updatedReplicas=2, availableReplicas=2)
        assert {"web:1", "web:2"} not in mixed
        own = {image: meta.name(each) for image, each in (await sets(here)).items()}
        told = [message for _, message in await here.events("web")]
        assert told == [
            f"Scaled up replica set {own['web:1']} from 0 to 2",
            f"Scaled down replica set {own['web:1']} from 2 to 0",
            f"Scaled up replica set {own['web:2']} from 0 to 2",
        ]


async def test_a_deployment_that_does_not_come_on_fails_and_recovers() -> None:
    async with cluster() as here:
        here.broken = {"web:2"}
        await here.create(workload("Deployment", replicas=4, progressDeadlineSeconds=60))
        await here.settled(DEPLOYMENTS, availableReplicas=4)
        await here.image(DEPLOYMENTS, "web:2")
        await asyncio.sleep(50)
        obj = await here.client.get(DEPLOYMENTS, "web", "default")
        assert condition(obj, "Progressing")[:2] == ("True", "ReplicaSetUpdated")
        await asyncio.sleep(20)
        obj = await here.client.get(DEPLOYMENTS, "web", "default")
        own = {image: meta.name(each) for image, each in (await sets(here)).items()}
        words = f'ReplicaSet "{own["web:2"]}" has timed out progressing.'
        assert condition(obj, "Progressing") == ("False", "ProgressDeadlineExceeded", words)
        assert condition(obj, "Available")[0] == "True"
        assert meta.status(obj)["unavailableReplicas"] == 2
        revision = here.world.store.revision
        await asyncio.sleep(3600)
        assert here.world.store.revision == revision, "a failed deployment is left alone"
        await here.image(DEPLOYMENTS, "web:1")  # as kubectl rollout undo does
        obj = await here.settled(DEPLOYMENTS, updatedReplicas=4, availableReplicas=4, replicas=4)
        assert condition(obj, "Progressing")[:2] == ("True", "NewReplicaSetAvailable")
        back = (await sets(here))["web:1"]
        assert meta.annotations(obj)["deployment.kubernetes.io/revision"] == "3"
        assert meta.annotations(back)["deployment.kubernetes.io/revision"] == "3"
        assert meta.annotations(back)["deployment.kubernetes.io/revision-history"] == "1"


async def test_the_first_pod_of_a_new_template_is_progress() -> None:
    async with cluster() as here:
        here.broken = {"web:2"}
        await here.create(workload("Deployment", replicas=3))  # none of which may be missing
        await here.settled(DEPLOYMENTS, availableReplicas=3)
        await here.image(DEPLOYMENTS, "web:2")
        obj = await here.settled(DEPLOYMENTS, replicas=4, updatedReplicas=1)
        own = meta.name((await sets(here))["web:2"])
        words = f'ReplicaSet "{own}" is progressing.'
        assert condition(obj, "Progressing") == ("True", "ReplicaSetUpdated", words)


async def test_pausing_holds_a_rollout_and_scaling_a_paused_one_is_proportional() -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    async with cluster() as here:
        here.broken = {"web:2"}
        await here.create(workload("Deployment", replicas=10, strategy=strategy))
        await here.settled(DEPLOYMENTS, availableReplicas=10)
        await here.image(DEPLOYMENTS, "web:2")
        await here.settled(DEPLOYMENTS, replicas=13, updatedReplicas=5)
        await here.patch(DEPLOYMENTS, {"spec": {"paused": True}})
        obj = await here.settled(DEPLOYMENTS, replicas=13)
        assert condition(obj, "Progressing") == ("Unknown", "DeploymentPaused", "Deployment is paused")
        await here.image(DEPLOYMENTS, "web:3")
        await here.settled(DEPLOYMENTS, replicas=13)
        assert set(await sets(here)) == {"web:1", "web:2"}
        await here.image(DEPLOYMENTS, "web:2")
        await here.patch(DEPLOYMENTS, {"spec": {"replicas": 30}})
        await here.settled(DEPLOYMENTS, replicas=33)
        # Upstream's example: 30 * 8/13 and 30 * 5/13, of 33 with the surge.
        assert {image: meta.spec(each)["replicas"] for image, each in (await sets(here)).items()} == {
            "web:1": 20,
            "web:2": 13,
        }
        here.broken = set()
        for pod in await here.pods():
            await here.ready(meta.name(pod))
        await here.patch(DEPLOYMENTS, {"spec": {"paused": None}})
        obj = await here.settled(DEPLOYMENTS, replicas=30, updatedReplicas=30, availableReplicas=30)
        assert condition(obj, "Progressing")[:2] == ("True", "NewReplicaSetAvailable")


async def test_only_so_many_old_replica_sets_are_kept() -> None:
    async with cluster() as here:
        await here.create(workload("Deployment", replicas=1, revisionHistoryLimit=1))
        for image in ("web:1", "web:2", "web:3", "web:4"):
            await here.image(DEPLOYMENTS, image)
            await here.settled(DEPLOYMENTS, updatedReplicas=1, availableReplicas=1, replicas=1)
        await asyncio.sleep(5)
        assert set(await sets(here)) == {"web:3", "web:4"}


async def test_what_a_rollback_brought_back_is_not_the_first_to_be_forgotten() -> None:
    async with cluster() as here:
        await here.create(workload("Deployment", replicas=1, revisionHistoryLimit=1))
        for image in ("web:1", "web:2", "web:1", "web:3"):
            await here.image(DEPLOYMENTS, image)
            await here.settled(DEPLOYMENTS, updatedReplicas=1, availableReplicas=1, replicas=1)
            await asyncio.sleep(2)
        assert set(await sets(here)) == {"web:1", "web:3"}


async def test_a_name_that_is_taken_gets_another_hash() -> None:
    async with cluster() as here:
        await here.create(workload("Deployment", replicas=1))
        await here.settled(DEPLOYMENTS, availableReplicas=1)
        (own,) = await here.names(REPLICA_SETS)
        await here.client.delete(DEPLOYMENTS, "web", "default", propagation="Background")
        await here.patch(REPLICA_SETS, {"metadata": {"labels": {"app": "other"}, "ownerReferences": None}}, own)
        await here.create(workload("Deployment", replicas=1))
        found = await here.settled(DEPLOYMENTS, availableReplicas=1)
        assert meta.status(found)["collisionCount"] == 1
        names = await here.names(REPLICA_SETS)
        assert len(names) == 2
        assert own in names


async def test_a_deployment_takes_up_the_replica_set_that_another_left() -> None:
    async with cluster() as here:
        await here.create(workload("ReplicaSet", replicas=2))
        await here.settled(REPLICA_SETS, availableReplicas=2)
        before = await here.names()
        await here.patch(REPLICA_SETS, {"metadata": {"labels": {"app": "web"}}})
        await here.create(workload("Deployment", replicas=2))
        found = await here.settled(DEPLOYMENTS, availableReplicas=2, updatedReplicas=2)
        assert await here.names(REPLICA_SETS) == ["web"]
        assert await here.names() == before
        assert meta.annotations(found)["deployment.kubernetes.io/revision"] == "1"


async def test_scaling_to_nothing_and_back() -> None:
    async with cluster() as here:
        await here.create(workload("Deployment", replicas=3))
        await here.settled(DEPLOYMENTS, availableReplicas=3)
        before = set(await here.names())
        await here.patch(DEPLOYMENTS, {"spec": {"replicas": 0}})
        await here.settled(DEPLOYMENTS, replicas=0, terminatingReplicas=0)
        await here.patch(DEPLOYMENTS, {"spec": {"replicas": 3}})
        await here.settled(DEPLOYMENTS, availableReplicas=3)
        assert not before & set(await here.names())
        assert len(await sets(here)) == 1


async def test_a_quota_stops_a_rollout_and_its_condition_says_so() -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "default"}}
    async with cluster() as here:
        await here.client.create(core.RESOURCE_QUOTA.resource, {**quota, "spec": {"hard": {"pods": "2"}}})
        await here.create(workload("Deployment", replicas=3))
        found = await here.settled(DEPLOYMENTS, availableReplicas=2)
        status, reason, message = condition(found, "ReplicaFailure")
        assert (status, reason) == ("True", "FailedCreate")
        assert "is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2" in message
        (own,) = await here.names(REPLICA_SETS)
        assert "FailedCreate" in {reason for reason, _ in await here.events(own)}
        await here.client.patch(core.RESOURCE_QUOTA.resource, "q", "default", {"spec": {"hard": {"pods": "5"}}})
        found = await here.settled(DEPLOYMENTS, availableReplicas=3)
        assert condition(found, "ReplicaFailure") == ("", "", "")


async def test_min_ready_seconds_hold_a_rollout_back() -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    async with cluster() as here:
        await here.create(workload("Deployment", replicas=2, minReadySeconds=30, strategy=strategy))
        await here.settled(DEPLOYMENTS, readyReplicas=2)
        assert "availableReplicas" not in await here.status(DEPLOYMENTS)
        await asyncio.sleep(35)
        await here.settled(DEPLOYMENTS, availableReplicas=2)
        await here.image(DEPLOYMENTS, "web:2")
        await asyncio.sleep(20)
        assert (await here.status(DEPLOYMENTS))["updatedReplicas"] == 1
        await asyncio.sleep(60)
        await here.settled(DEPLOYMENTS, updatedReplicas=2, availableReplicas=2, replicas=2)


async def test_a_deployment_that_is_being_deleted_makes_nothing() -> None:
    obj = workload("Deployment", replicas=2)
    obj["metadata"]["finalizers"] = ["example.com/wait"]
    async with cluster() as here:
        await here.create(obj)
        await here.settled(DEPLOYMENTS, availableReplicas=2)
        await here.client.delete(DEPLOYMENTS, "web", "default", propagation="Background")
        await here.image(DEPLOYMENTS, "web:2")
        await asyncio.sleep(5)
        assert set(await sets(here)) == {"web:1"}


async def test_annotations_follow_to_the_replica_set() -> None:
    async with cluster() as here:
        obj = workload("Deployment", replicas=1)
        obj["metadata"]["annotations"] = {"kubernetes.io/change-cause": "first"}
        await here.create(obj)
        await here.settled(DEPLOYMENTS, availableReplicas=1)
        await here.patch(DEPLOYMENTS, {"metadata": {"annotations": {"kubernetes.io/change-cause": "second"}}})

        async def followed() -> bool:
            (only,) = (await sets(here)).values()
            return meta.annotations(only)["kubernetes.io/change-cause"] == "second"

        await here.world.eventually(followed)


async def test_a_lost_pod_is_replaced_and_templates_of_two_workloads_do_not_mix() -> None:
    async with cluster() as here:
        await here.create(workload("Deployment", "a", replicas=2))
        await here.create(workload("Deployment", "b", replicas=2))
        await here.settled(DEPLOYMENTS, "a", availableReplicas=2)
        await here.settled(DEPLOYMENTS, "b", availableReplicas=2)
        victim = meta.name((await here.pods(app="a"))[0])
        await here.client.delete(PODS, victim, "default")
        await asyncio.sleep(10)
        await here.settled(DEPLOYMENTS, "a", availableReplicas=2)
        assert victim not in await here.names()
        assert len(await here.pods(app="b")) == 2


def test_templates_differ_by_all_but_their_hash() -> None:
    from homeport.components.workloads.lineage import lineage

    def made(name: str, template: Object, at: str) -> Object:
        return {"metadata": {"name": name, "creationTimestamp": at}, "spec": {"template": template}}

    plain = template("web:1", {"app": "web"})
    hashed = template("web:1", {"app": "web", "pod-template-hash": "abc"})
    found = lineage(
        {"spec": {"template": plain}},
        [made("late", hashed, "2026-01-02"), made("early", hashed, "2026-01-01"), made("old", {}, "2026-01-03")],
    )
    assert meta.name(found.new or {}) == "early"
    assert [meta.name(each) for each in found.old] == ["late", "old"]


async def test_a_replica_set_that_is_refused_is_told_of_and_made_later() -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "default"}}
    async with cluster() as here:
        await here.client.create(
            core.RESOURCE_QUOTA.resource, {**quota, "spec": {"hard": {"count/replicasets.apps": "0"}}}
        )
        await here.create(workload("Deployment", replicas=1))
        await asyncio.sleep(5)
        obj = await here.client.get(DEPLOYMENTS, "web", "default")
        status, reason, message = condition(obj, "Progressing")
        assert (status, reason) == ("False", "ReplicaSetCreateError")
        assert message.startswith('Failed to create new replica set "web-')
        assert "exceeded quota" in message
        assert ("ReplicaSetCreateError", message) in await here.events("web")
        await here.client.patch(
            core.RESOURCE_QUOTA.resource, "q", "default", {"spec": {"hard": {"count/replicasets.apps": "1"}}}
        )
        found = await here.settled(DEPLOYMENTS, availableReplicas=1)
        assert condition(found, "Progressing")[:2] == ("True", "NewReplicaSetAvailable")


async def test_two_deployments_of_one_selector_do_not_fight() -> None:
    """Users are warned of it; nothing breaks all the same: each has the replica sets that it made."""
    async with cluster() as here:
        first, second = workload("Deployment", "one", replicas=2), workload("Deployment", "two", "web:2", replicas=2)
        for obj in (first, second):
            obj["spec"]["selector"] = {"matchLabels": {"app": "same"}}
            obj["spec"]["template"]["metadata"]["labels"] = {"app": "same"}
            await here.create(obj)
        await here.settled(DEPLOYMENTS, "one", availableReplicas=2)
        await here.settled(DEPLOYMENTS, "two", availableReplicas=2)
        revision = here.world.store.revision
        await asyncio.sleep(60)
        assert here.world.store.revision == revision
        assert len(await here.names()) == 4
