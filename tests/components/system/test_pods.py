from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import support
from homeport.components.system.pods import NODES, PODS, PodCleanup
from homeport.control.informer import Informers
from homeport.kube.meta import Object


@asynccontextmanager
async def cleaning(world: support.World, **options: Any) -> AsyncIterator[None]:
    informers = Informers(world.client)
    cleanup = PodCleanup(world.client, informers, now=lambda: datetime.now(UTC), **options)
    async with support.running(informers.run(), cleanup.run()):
        async with asyncio.timeout(10):
            await cleanup.ready.wait()
        yield


def pod(name: str, node: str = "", **meta: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", **meta},
        "spec": {"containers": [{"name": "main", "image": "python"}]} | ({"nodeName": node} if node else {}),
    }


async def test_pods_of_a_node_that_has_gone_fail_and_go(world: support.World) -> None:
    await world.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    await world.client.create(PODS, pod("on-node", "n"))
    await world.client.create(PODS, pod("free"))
    await world.client.create(PODS, pod("lost", "never-was", finalizers=["example.com/look"]))
    async with cleaning(world, quarantine=0.1):

        async def lost() -> bool:
            found = await world.client.get(PODS, "lost", "default")
            return found["status"].get("phase") == "Failed" and "deletionTimestamp" in found["metadata"]

        await world.eventually(lost)
        found = await world.client.get(PODS, "lost", "default")
        assert [item["reason"] for item in found["status"]["conditions"]] == ["DeletionByPodGC"]
        assert await world.names(PODS) == ["free", "lost", "on-node"]
        await world.client.delete(NODES, "n")

        async def gone() -> bool:
            return await world.names(PODS) == ["free", "lost"]

        await world.eventually(gone)


async def test_a_node_that_comes_back_in_time_keeps_its_pods(world: support.World) -> None:
    node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}
    await world.client.create(NODES, node)
    await world.client.create(PODS, pod("on-node", "n"))
    async with cleaning(world, quarantine=0.2):
        await world.client.delete(NODES, "n")
        await asyncio.sleep(0.05)
        await world.client.create(NODES, node)
        await asyncio.sleep(0.3)
        assert await world.names(PODS) == ["on-node"]


async def test_of_too_many_finished_pods_the_oldest_go(world: support.World) -> None:
    async with cleaning(world, finished_limit=3):
        for index in range(6):
            await world.client.create(PODS, pod(f"p{index}"))
            if index != 0:
                await world.set_status(PODS, f"p{index}", "default", phase="Succeeded")

        async def thinned() -> bool:
            return len(await world.names(PODS)) == 4

        await world.eventually(thinned)
        assert "p0" in await world.names(PODS)  # it is the oldest, and it runs
