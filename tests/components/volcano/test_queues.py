"""The states of queues, and the rules of queues and of the groups in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import support
from homeport.components import volcano
from homeport.components.volcano import queues
from homeport.control.informer import Informers
from homeport.control.manager import Manager
from homeport.kube import meta
from homeport.kube.errors import Forbidden
from homeport.kube.meta import Object
from homeport.kube.scheduling import VOLCANO_POD_GROUP, VOLCANO_QUEUE


@pytest.mark.parametrize(
    ("before", "action", "has_groups", "after"),
    [
        ("", "", True, "Open"),
        ("Open", "", False, "Open"),
        ("Open", "CloseQueue", True, "Closing"),
        ("Open", "CloseQueue", False, "Closed"),
        ("Closing", "", True, "Closing"),
        ("Closing", "", False, "Closed"),
        ("Closing", "OpenQueue", True, "Open"),
        ("Closed", "CloseQueue", True, "Closed"),
        ("Closed", "", True, "Closed"),
        ("Closed", "OpenQueue", False, "Open"),
        ("Nonsense", "", False, "Unknown"),
    ],
)
def test_states(before: str, action: str, has_groups: bool, after: str) -> None:
    assert queues.state(before, action, has_groups) == after


@pytest.fixture
async def served() -> AsyncIterator[support.World]:
    async with support.world(volcano.KINDS, hooks=volcano.ADMISSION) as made:
        yield made


def queue(name: str = "one", **spec: Any) -> Object:
    return VOLCANO_QUEUE.new(name, spec=spec)


def group(**spec: Any) -> Object:
    return VOLCANO_POD_GROUP.new("gang", "default", spec=spec)


async def test_a_queue_is_closed_and_opened_by_commands(served: support.World) -> None:
    informers = Informers(served.client)
    manager = Manager(served.client, (volcano.QUEUES,), informers=informers)
    tasks = [asyncio.create_task(informers.run()), asyncio.create_task(manager.run())]
    try:
        await manager.ready.wait()
        await served.client.create(VOLCANO_QUEUE.resource, queue("one"))
        waiting = await served.client.create(VOLCANO_POD_GROUP.resource, group(queue="one"))

        async def reached(state: str) -> None:
            async def check() -> bool:
                found = await served.client.get(VOLCANO_QUEUE.resource, "one")
                return bool((found.get("status") or {}).get("state") == state)

            await served.eventually(check)

        async def order(action: str) -> None:
            target = {"apiVersion": "scheduling.volcano.sh/v1beta1", "kind": "Queue", "name": "one", "uid": "u"}
            order = volcano.COMMAND.new(action.lower(), "default", action=action, target=target)
            await served.client.create(volcano.COMMAND.resource, order)

        await reached("Open")
        await order("CloseQueue")
        await reached("Closing")
        late = {**group(queue="one"), "metadata": {"name": "late", "namespace": "default"}}
        with pytest.raises(Forbidden, match="can only submit PodGroup to queue with state `Open`"):
            await served.client.create(VOLCANO_POD_GROUP.resource, late)
        await served.client.delete(VOLCANO_POD_GROUP.resource, waiting["metadata"]["name"], "default")
        await reached("Closed")
        await order("OpenQueue")
        await reached("Open")

        async def obeyed() -> bool:
            left = (await served.client.list(volcano.COMMAND.resource, "default")).items
            return all(meta.is_deleting(one) for one in left)  # nobody collects garbage here

        await served.eventually(obeyed)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_those_that_are_always_there(served: support.World) -> None:
    await queues.install(served.client)
    await queues.install(served.client)
    found = {one["metadata"]["name"]: one["spec"]["reclaimable"] for one in await listed(served)}
    assert found == {"default": True, "root": False}


async def listed(served: support.World) -> list[Object]:
    return list((await served.client.list(VOLCANO_QUEUE.resource)).items)


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (queue(guarantee={"resource": {"cpu": "2"}}), "deserved[cpu] must be >= guarantee[cpu]=2"),
        (queue(guarantee={"resource": {"cpu": "2"}}, deserved={"cpu": "1"}), "deserved[cpu]=1 must be >= guarantee"),
        (queue(deserved={"cpu": "3"}, capability={"cpu": "2"}), "deserved[cpu]=3 must be <= capability[cpu]=2"),
        (queue(capability={"cpu": "-1"}), "must be greater than or equal to 0"),
        (queue(parent="one"), "queue one cannot use itself as parent"),
        (queue(parent="lost"), "failed to get parent queue of queue one"),
        (group(queue="lost"), 'unable to find queue: queue.scheduling.volcano.sh "lost" not found'),
        (
            group(networkTopology={"highestTierAllowed": 1, "highestTierName": "rack"}),
            "must not specify 'highestTierAllowed' and 'highestTierName'",
        ),
    ],
)
async def test_refused(served: support.World, refused: Object, text: str) -> None:
    kind = VOLCANO_QUEUE if refused["kind"] == "Queue" else VOLCANO_POD_GROUP
    with pytest.raises(Forbidden) as refusal:
        await served.client.create(kind.resource, refused)
    assert text in str(refusal.value)


async def test_which_may_not_be_deleted(served: support.World) -> None:
    await queues.install(served.client)
    for made in (queue("team"), queue("a", parent="team"), queue("b", parent="team"), queue("busy")):
        await served.client.create(VOLCANO_QUEUE.resource, made)
    await served.set_status(VOLCANO_QUEUE.resource, "busy", "", allocated={"cpu": "2", "pods": "3"})
    for name, text in (
        ("default", "`default` queue can not be deleted"),
        ("root", "`root` queue can not be deleted"),
        ("team", "queue team can not be deleted because it has 2 child queues: a, b"),
        ("busy", "queue busy cannot be deleted because it has allocated Pods: 3"),
    ):
        with pytest.raises(Forbidden) as refusal:
            await served.client.delete(VOLCANO_QUEUE.resource, name)
        assert str(refusal.value).endswith(f'"validatequeue.volcano.sh" denied the request: {text}')
    await served.set_status(VOLCANO_QUEUE.resource, "busy", "", state="Closed")  # its pods are on their way out
    for name in ("a", "b", "team", "busy"):
        await served.client.delete(VOLCANO_QUEUE.resource, name)
    assert [one["metadata"]["name"] for one in await listed(served)] == ["default", "root"]


async def test_hierarchies(served: support.World) -> None:
    def placed(name: str, path: str, weights: str) -> Object:
        annotations = {"volcano.sh/hierarchy": path, "volcano.sh/hierarchy-weights": weights}
        return VOLCANO_QUEUE.new(name, metadata={"annotations": annotations}, spec={})

    await served.client.create(VOLCANO_QUEUE.resource, placed("dev", "root/sci/dev", "1/2/3"))
    for path, weights, text in (
        ("root/sci", "1", "must have the same length with"),
        ("root/a", "1/x", "is invalid number"),
        ("root/a", "1/0", "must be larger than 0"),
        ("root/sci", "1/2", "is not allowed to be in the sub path of root/sci/dev of queue dev"),
    ):
        with pytest.raises(Forbidden) as refusal:
            await served.client.create(VOLCANO_QUEUE.resource, placed("other", path, weights))
        assert text in str(refusal.value)


async def test_the_queues_that_are_always_there_come_back() -> None:
    """On a cluster on which no webhook keeps them."""
    async with support.world(volcano.KINDS) as world:
        informers = Informers(world.client)

        async def there() -> bool:
            return {meta.name(one) for one in (await world.client.list(VOLCANO_QUEUE.resource)).items} == {
                "default",
                "root",
            }

        async with support.running(informers.run(), volcano.keep_queues(world.client, informers)):
            await world.eventually(there)
            await world.client.create(VOLCANO_QUEUE.resource, queue("one"))
            for name in ("default", "root", "one"):
                await world.client.delete(VOLCANO_QUEUE.resource, name)
            await world.eventually(there)
