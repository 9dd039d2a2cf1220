"""What changes while a decision is made, and room that is kept until it can be used."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ganging import add_group, add_members, member, places, scheduling_groups
from placing import add_node, pod

import support
from homeport.kube import core, scheduling
from homeport.kube.meta import Object, is_deleting, name
from homeport.scheduler.batch import runner
from homeport.scheduler.batch.configuration import Configuration
from homeport.scheduler.batch.decide import decide
from homeport.scheduler.batch.decisions import Decisions

PREEMPT = Configuration(actions=("enqueue", "allocate", "backfill", "preempt"))


async def cordon(world: support.World) -> None:
    await world.update(core.NODE.resource, "n", "", lambda node: node["spec"].update(unschedulable=True))


async def taint(world: support.World) -> None:
    taints = [{"key": "mine", "effect": "NoSchedule"}]
    await world.update(core.NODE.resource, "n", "", lambda node: node["spec"].update(taints=taints))


async def unready(world: support.World) -> None:
    conditions = [{"type": "Ready", "status": "False"}]
    await world.set_status(core.NODE.resource, "n", "", conditions=conditions)


async def remove_node(world: support.World) -> None:
    await world.client.delete(core.NODE.resource, "n")


async def remove_group(world: support.World) -> None:
    from ganging import GROUP

    await world.client.delete(GROUP, "g", "default")


async def shun(world: support.World) -> None:
    """Somebody comes who wants none of them near."""
    term = {"labelSelector": {"matchLabels": {"gang": "g"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    await world.client.create(core.POD.resource, pod("shy", nodeName="n", affinity=affinity))


async def rewire(world: support.World) -> None:
    """The node is no longer in the part of the network that the group has to be in."""
    members = [{"type": "Node", "selector": {"exactMatch": {"name": "elsewhere"}}}]
    await world.client.patch(scheduling.HYPER_NODE.resource, "rack", "", {"spec": {"members": members}})


@pytest.mark.parametrize("event", [rewire, cordon, taint, unready, remove_node, remove_group, shun])
async def test_what_is_decided_is_not_done_if_it_is_wrong_by_then(
    gangs: support.World, monkeypatch: pytest.MonkeyPatch, event: Callable[[support.World], Awaitable[None]]
) -> None:
    deciding, may_go_on = threading.Event(), threading.Event()

    def slowly(*arguments: Any, **options: Any) -> Decisions:
        decisions = decide(*arguments, **options)
        if decisions.binds and not deciding.is_set():
            deciding.set()
            assert may_go_on.wait(30)
        return decisions

    monkeypatch.setattr(runner, "_MUCH", 0)
    monkeypatch.setattr(runner, "decide", slowly)
    await add_node(gangs)
    await gangs.update(core.NODE.resource, "n", "", _named_by_label)
    rack = {"tier": 1, "members": [{"type": "Node", "selector": {"exactMatch": {"name": "n"}}}]}
    await gangs.client.create(scheduling.HYPER_NODE.resource, scheduling.HYPER_NODE.new("rack", spec=rack))
    async with scheduling_groups(gangs) as scheduler:
        await add_group(gangs, members=2, networkTopology={"mode": "hard", "highestTierAllowed": 1})
        for one in ("a", "b"):
            obj = member(one)
            obj["metadata"]["labels"] = {"gang": "g"}
            await gangs.client.create(core.POD.resource, obj)
        assert await asyncio.to_thread(deciding.wait, 30)
        await event(gangs)
        await asyncio.sleep(1)  # of virtual time: the caches have heard of it
        may_go_on.set()

        async def overtaken() -> bool:
            return scheduler.counters.taken_meanwhile > 0

        await gangs.eventually(overtaken)
        await asyncio.sleep(1)
        assert set(await places(gangs)) <= {"shy"}


def _named_by_label(node: Object) -> None:
    node["metadata"]["labels"] = {"kubernetes.io/hostname": name(node)}


async def test_the_room_of_the_ended_is_kept_from_the_other_scheduler(gangs: support.World) -> None:
    await add_node(gangs)
    classes = {"low": 1, "high": 1000}
    for each, value in classes.items():
        await gangs.client.create(core.PRIORITY_CLASS.resource, core.PRIORITY_CLASS.new(each, value=value))
    async with scheduling_groups(gangs, beside=True, configuration=PREEMPT):
        await add_group(gangs, "low", members=1, priorityClassName="low")
        await add_members(gangs, "abcd", "low")
        for one in "abcd":

            async def placed(one: str = one) -> bool:
                return one in await places(gangs)

            await gangs.eventually(placed)
            await gangs.set_status(core.POD.resource, one, "default", phase="Running")
        await add_group(gangs, "high", members=2, priorityClassName="high")
        await add_members(gangs, "xy", "high")

        async def leaving() -> list[str]:
            pods = (await gangs.client.list(core.POD.resource, "default")).items
            found = [name(one) for one in pods if is_deleting(one)]
            return found if len(found) == 2 else []

        victims = await gangs.eventually(leaving)
        await gangs.client.create(core.POD.resource, pod("single"))
        left = [one for one in "abcd" if one not in victims]
        for victim in victims:  # one after the other: half of the gang's room is free for a while
            await gangs.client.delete(core.POD.resource, victim, "default", grace_period=0)
            await asyncio.sleep(1)

        async def whole() -> bool:
            return {"x", "y"} <= set(await places(gangs))

        await gangs.eventually(whole)
        assert set(await places(gangs)) == {"x", "y", *left}, "nobody else was ended, and the other one waits"
