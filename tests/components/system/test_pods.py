from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import support
from homeport.components.system.pods import PodCleanup
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.meta import Object
from virtual_time import now


@asynccontextmanager
async def cleaning(world: support.World, **options: Any) -> AsyncIterator[None]:
    informers = Informers(world.client)
    cleanup = PodCleanup(world.client, informers, now=now, **options)
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
    await world.client.create(core.NODE.resource, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    await world.client.create(core.POD.resource, pod("on-node", "n"))
    await world.client.create(core.POD.resource, pod("free"))
    await world.client.create(core.POD.resource, pod("lost", "never-was", finalizers=["example.com/look"]))
    async with cleaning(world, quarantine=0.1):

        async def lost() -> bool:
            found = await world.client.get(core.POD.resource, "lost", "default")
            return found["status"].get("phase") == "Failed" and "deletionTimestamp" in found["metadata"]

        await world.eventually(lost)
        found = await world.client.get(core.POD.resource, "lost", "default")
        assert [item["reason"] for item in found["status"]["conditions"]] == ["DeletionByPodGC"]
        assert await world.names(core.POD.resource) == ["free", "lost", "on-node"]
        await world.client.delete(core.NODE.resource, "n")

        async def gone() -> bool:
            return await world.names(core.POD.resource) == ["free", "lost"]

        await world.eventually(gone)


async def test_a_node_that_comes_back_in_time_keeps_its_pods(world: support.World) -> None:
    node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}
    await world.client.create(core.NODE.resource, node)
    await world.client.create(core.POD.resource, pod("on-node", "n"))
    async with cleaning(world, quarantine=40):
        await world.client.delete(core.NODE.resource, "n")
        await asyncio.sleep(30)
        await world.client.create(core.NODE.resource, node)
        await asyncio.sleep(60)
        assert await world.names(core.POD.resource) == ["on-node"]


async def test_of_too_many_finished_pods_the_oldest_go(world: support.World) -> None:
    async with cleaning(world, finished_limit=3):
        for index in range(6):
            await world.client.create(core.POD.resource, pod(f"p{index}"))
            if index != 0:
                await world.set_status(core.POD.resource, f"p{index}", "default", phase="Succeeded")

        async def thinned() -> bool:
            return len(await world.names(core.POD.resource)) == 4

        await world.eventually(thinned)
        assert "p0" in await world.names(core.POD.resource)  # it is the oldest, and it runs


async def test_pods_end_without_a_node_that_is_out_of_service(world: support.World) -> None:
    taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
    node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {"taints": [taint]}}
    ready = {"type": "Ready", "status": "True"}
    await world.client.create(core.NODE.resource, {**node, "status": {"conditions": [ready]}})
    await world.set_status(core.NODE.resource, "n", "", conditions=[ready])
    for name in ("going", "staying"):
        await world.client.create(core.POD.resource, pod(name, "n"))
    async with cleaning(world):
        await world.client.delete(core.POD.resource, "going", "default")
        await asyncio.sleep(60)
        assert await world.names(core.POD.resource) == ["going", "staying"]
        await world.set_status(core.NODE.resource, "n", "", conditions=[{**ready, "status": "Unknown"}])

        async def gone() -> bool:
            return await world.names(core.POD.resource) == ["staying"]

        await world.eventually(gone)
        await world.client.delete(core.POD.resource, "staying", "default")
        await world.eventually(lambda: nothing(world))


async def nothing(world: support.World) -> bool:
    return await world.names(core.POD.resource) == []
