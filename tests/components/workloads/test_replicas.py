from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cluster import CONTROLLERS, PODS, REPLICA_SETS, cluster, workload

from homeport.components.workloads.ranking import COST, doomed
from homeport.kube import meta
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("kind", "resource"), [("ReplicaSet", REPLICA_SETS), ("ReplicationController", CONTROLLERS)])
async def test_pods_are_kept_adopted_and_released(kind: str, resource: Resource) -> None:
    async with cluster() as here:
        orphan = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "orphan", "namespace": "default", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]},
        }
        await here.create(orphan)
        await here.create(workload(kind, replicas=3))
        found = await here.settled(resource, replicas=3, readyReplicas=3, availableReplicas=3, fullyLabeledReplicas=3)
        assert "orphan" in await here.names()
        assert (meta.controller_of(await here.client.get(PODS, "orphan", "default")) or {})["uid"] == meta.uid(found)
        await here.patch(PODS, {"metadata": {"labels": {"app": "free"}}}, "orphan")
        await asyncio.sleep(5)
        await here.settled(resource, readyReplicas=3)
        assert len(await here.names()) == 4
        assert meta.controller_of(await here.client.get(PODS, "orphan", "default")) is None
        await here.patch(resource, {"spec": {"replicas": 1}})
        await here.settled(resource, replicas=1)
        await asyncio.sleep(5)
        assert len(await here.names()) == 2


async def test_pods_that_ended_are_replaced_and_left_to_the_collector() -> None:
    async with cluster() as here:
        await here.create(workload("ReplicaSet", replicas=1))
        await here.settled(REPLICA_SETS, readyReplicas=1)
        (first,) = await here.names()
        await here.world.set_status(PODS, first, "default", phase="Failed")
        await asyncio.sleep(5)
        await here.settled(REPLICA_SETS, replicas=1, readyReplicas=1)
        assert len(await here.names()) == 2


async def test_terminating_pods_are_told_of() -> None:
    async with cluster() as here:
        here.stop = 30.0
        await here.create(workload("ReplicaSet", replicas=3))
        await here.settled(REPLICA_SETS, readyReplicas=3)
        await here.patch(REPLICA_SETS, {"spec": {"replicas": 1}})
        await here.settled(REPLICA_SETS, replicas=1, terminatingReplicas=2)
        await asyncio.sleep(60)
        await here.settled(REPLICA_SETS, replicas=1, terminatingReplicas=0)


async def test_what_is_ready_stays_when_pods_go() -> None:
    async with cluster() as here:
        here.broken = {"web:1"}
        await here.create(workload("ReplicaSet", replicas=4))
        await here.settled(REPLICA_SETS, replicas=4)
        keep = sorted(await here.names())[1]
        await here.ready(keep)
        await here.patch(REPLICA_SETS, {"spec": {"replicas": 1}})
        await asyncio.sleep(5)
        assert await here.names() == [keep]


def pod(name: str, **given: Any) -> Object:
    """A pod that runs and is ready; `given` says what is different."""
    made = {"node": "one", "phase": "Running", "ready": 60.0, "age": 60.0, "cost": "", "restarts": 0, **given}
    since = meta.timestamp(NOW - timedelta(seconds=made["ready"] or 0))
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": meta.timestamp(NOW - timedelta(seconds=made["age"])),
            "annotations": {COST: made["cost"]} if made["cost"] else {},
        },
        "spec": {"nodeName": made["node"]} if made["node"] else {},
        "status": {
            "phase": made["phase"],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}] if made["ready"] else [],
            "containerStatuses": [{"name": "web", "restartCount": made["restarts"]}],
        },
    }


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"node": "", "phase": "Pending", "ready": 0}, {"phase": "Pending", "ready": 0}),
        ({"phase": "Pending", "ready": 0}, {"phase": "Unknown", "ready": 0}),
        ({"phase": "Unknown"}, {}),
        ({"ready": 0}, {}),
        ({"cost": "-5"}, {}),
        ({}, {"cost": "3"}),
        ({"ready": 0, "cost": "100"}, {"cost": "-100"}),
        ({"ready": 10}, {"ready": 1000}),
        ({"restarts": 3}, {"restarts": 1}),
        ({"age": 10}, {"age": 1000}),
    ],
)
def test_the_order_of_deletion(first: dict[str, Any], then: dict[str, Any]) -> None:
    for one, other in ((pod("a", **first), pod("b", **then)), (pod("b", **first), pod("a", **then))):
        for both in ([one, other], [other, one]):
            assert doomed(both, 1, NOW) == [one]


def test_crowded_nodes_lose_first_and_ages_of_one_magnitude_are_equal() -> None:
    crowd = [pod("a", node="one"), pod("b", node="one"), pod("c", node="two", ready=1)]
    assert meta.name(doomed(crowd, 1, NOW)[0]) in ("a", "b")
    assert [meta.name(each) for each in doomed([pod("z", ready=100), pod("y", ready=101)], 1, NOW)] == ["y"]
    assert doomed(crowd, 3, NOW) == crowd
