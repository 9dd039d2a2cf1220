"""Workloads over a connection that loses requests and answers."""

from __future__ import annotations

import asyncio

import pytest
from cluster import DAEMON_SETS, DEPLOYMENTS, STATEFUL_SETS, cluster, workload

from homeport.kube import meta


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_lost_requests_and_answers_change_nothing_in_the_end(seed: int) -> None:
    async with cluster(seed=seed) as here:
        await here.create(workload("Deployment", "web", replicas=5))
        await here.create(workload("StatefulSet", "db", replicas=3))
        await here.create(workload("DaemonSet", "agent"))
        await here.settled(DEPLOYMENTS, availableReplicas=5, replicas=5)
        await here.image(DEPLOYMENTS, "web:2")
        await here.image(STATEFUL_SETS, "web:2", "db")
        await here.image(DAEMON_SETS, "web:2", "agent")
        await here.settled(DEPLOYMENTS, updatedReplicas=5, availableReplicas=5, replicas=5)
        await here.settled(STATEFUL_SETS, "db", updatedReplicas=3, availableReplicas=3, replicas=3)
        await here.settled(DAEMON_SETS, "agent", updatedNumberScheduled=1, numberAvailable=1)
        await asyncio.sleep(10)
        found = [pod for pod in await here.pods() if not meta.is_deleting(pod)]
        assert sorted(meta.labels(pod)["app"] for pod in found) == ["agent", *["db"] * 3, *["web"] * 5]
        assert {meta.spec(pod)["containers"][0]["image"] for pod in found} == {"web:2"}
