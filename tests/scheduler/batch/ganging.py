"""A batch scheduler at work, groups and their pods, for the tests of what it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import placing

import support
from homeport.client.client import Client
from homeport.control.informer import Informers
from homeport.kube import core, scheduling
from homeport.kube.meta import Object, name, spec, status
from homeport.kube.scheduling import names
from homeport.scheduler.batch.runner import BatchScheduler
from homeport.scheduler.binder import Scheduler
from homeport.scheduler.ledger import Ledger
from virtual_time import now

GROUP = scheduling.VOLCANO_POD_GROUP.resource


@asynccontextmanager
async def scheduling_groups(
    world: support.World, client: Client | None = None, *, beside: bool = False, **options: Any
) -> AsyncIterator[BatchScheduler]:
    """`beside`: with the scheduler of single pods in the same process."""
    client = client or world.client
    informers = Informers(client, freeze=True)
    ledger = Ledger(client, informers)
    single = Scheduler(client, informers=informers, ledger=ledger, now=now) if beside else None
    batch = BatchScheduler(client, informers=informers, ledger=ledger, now=now, **options)
    work = [informers.run(), batch.run(), *([single.run()] if single is not None else [])]
    async with support.running(*work):
        async with asyncio.timeout(10):
            await batch.ready.wait()
            if single is not None:
                await single.ready.wait()
        yield batch


async def add_group(world: support.World, group: str = "g", members: int = 2, **more: Any) -> Object:
    meta = {"name": group, "namespace": "default"}
    obj = {
        "apiVersion": GROUP.api_version,
        "kind": "PodGroup",
        "metadata": meta,
        "spec": {"minMember": members, **more},
    }
    return await world.client.create(GROUP, obj)


def member(pod: str, group: str = "g", cpu: str = "1", **more: Any) -> Object:
    obj = placing.pod(pod, cpu, **{"schedulerName": "volcano", **more})
    obj["metadata"]["annotations"] = {names.GROUP_NAME: group}
    return obj


async def add_members(world: support.World, pods: Iterable[str], group: str = "g", cpu: str = "1") -> None:
    for pod in pods:
        await world.client.create(core.POD.resource, member(pod, group, cpu))


async def places(world: support.World) -> dict[str, str]:
    """Where each pod is, of those that are somewhere."""
    pods = (await world.client.list(core.POD.resource)).items
    return {name(pod): spec(pod)["nodeName"] for pod in pods if spec(pod).get("nodeName")}


async def group_status(world: support.World, group: str = "g") -> Object:
    return status(await world.client.get(GROUP, group, "default"))
