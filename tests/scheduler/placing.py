"""A scheduler, nodes and pods, for the tests of what it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import support
from homeport.client.client import Client
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.meta import Object, find_condition, spec, status
from homeport.scheduler.binder import Scheduler


@asynccontextmanager
async def scheduling(world: support.World, client: Client | None = None, **options: Any) -> AsyncIterator[Scheduler]:
    client = client or world.client
    informers = Informers(client, freeze=True)
    scheduler = Scheduler(client, informers=informers, **options)
    async with support.running(informers.run(), scheduler.run()):
        async with asyncio.timeout(10):
            await scheduler.ready.wait()
        yield scheduler


async def add_node(
    world: support.World, name: str = "n", *, ready: bool = True, pods: str = "110", **more: Any
) -> None:
    node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": more}
    await world.client.create(core.NODE.resource, node)
    await world.set_status(
        core.NODE.resource,
        name,
        "",
        allocatable={"cpu": "4", "memory": "8Gi", "pods": pods},
        capacity={"cpu": "4", "memory": "8Gi", "pods": pods},
        conditions=[{"type": "Ready", "status": "True" if ready else "False"}],
    )


def pod(name: str, cpu: str = "1", **more: Any) -> Object:
    container = {"name": "main", "image": "python", "resources": {"requests": {"cpu": cpu}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], **more},
    }


async def bound(world: support.World, *names: str, node: str = "n") -> None:
    async def check() -> bool:
        pods = (await world.client.list(core.POD.resource)).items
        return {item["metadata"]["name"] for item in pods if spec(item).get("nodeName") == node} == set(names)

    await world.eventually(check)


async def waiting(world: support.World, name: str, message: str) -> None:
    """Until it is said of the pod why it is not placed."""

    async def check() -> bool:
        found = await world.client.get(core.POD.resource, name, "default")
        condition = find_condition(status(found).get("conditions"), "PodScheduled") or {}
        return (condition.get("status"), condition.get("reason"), condition.get("message")) == (
            "False",
            "Unschedulable",
            message,
        )

    await world.eventually(check)
