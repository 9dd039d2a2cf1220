from __future__ import annotations

import asyncio

from ganging import GROUP, add_group, add_members, group_status, member, places, scheduling_groups
from placing import add_node, bound, pod

import support
from homeport.client.client import Client
from homeport.client.transport import Transport
from homeport.kube import core, scheduling
from homeport.kube.meta import find_condition, is_deleting, spec, status
from homeport.kube.wire import Request, Response
from homeport.scheduler.batch.configuration import Configuration


async def test_a_gang_goes_whole_or_waits_whole(gangs: support.World) -> None:
    await add_node(gangs)
    async with scheduling_groups(gangs):
        await add_group(gangs, members=5)
        await add_members(gangs, "abcde")

        async def told() -> bool:
            found = find_condition((await group_status(gangs)).get("conditions"), "Unschedulable")
            return found is not None and found["reason"] == "NotEnoughResources"

        await gangs.eventually(told)
        assert not await places(gangs)
        await add_node(gangs, "m")

        async def whole() -> bool:
            return len(await places(gangs)) == 5

        await gangs.eventually(whole)
        for name in "abcde":
            await gangs.set_status(core.POD.resource, name, "default", phase="Running")

        async def running() -> bool:
            found = await group_status(gangs)
            return (found.get("phase"), found.get("running")) == ("Running", 5)

        await gangs.eventually(running)


async def test_a_pod_whose_group_does_not_exist_says_so_and_goes_when_it_comes(gangs: support.World) -> None:
    await add_node(gangs)
    async with scheduling_groups(gangs):
        await add_members(gangs, "a")

        async def told() -> bool:
            obj = await gangs.client.get(core.POD.resource, "a", "default")
            condition = find_condition(status(obj).get("conditions"), "PodScheduled") or {}
            return condition.get("message") == 'PodGroup "default/g" not found'

        await gangs.eventually(told)
        await add_group(gangs, members=1)
        await bound(gangs, "a")


async def test_pods_that_name_the_scheduler_and_no_group_go_by_themselves(gangs: support.World) -> None:
    await add_node(gangs)
    async with scheduling_groups(gangs):
        for name, scheduler in (("a", "volcano"), ("b", "kube-batch"), ("c", "scheduler-plugins-scheduler")):
            await gangs.client.create(core.POD.resource, pod(name, schedulerName=scheduler))
        await bound(gangs, "a", "b", "c")


async def test_two_schedulers_of_a_process_never_hand_out_the_same_room(gangs: support.World) -> None:
    for number in range(4):
        await add_node(gangs, f"n{number}")
    async with scheduling_groups(gangs, beside=True):
        await add_group(gangs, members=4)
        for number in range(12):
            await gangs.client.create(core.POD.resource, pod(f"single-{number}"))
            await gangs.client.create(core.POD.resource, member(f"gang-{number}"))

        async def full() -> bool:
            return len(await places(gangs)) == 16

        await gangs.eventually(full)
        await asyncio.sleep(0.1)
    found = await places(gangs)
    for number in range(4):
        assert sum(node == f"n{number}" for node in found.values()) == 4
    ganged = sum(name.startswith("gang") for name in found)
    assert ganged >= 4


async def test_idle_costs_nothing(gangs: support.World) -> None:
    await add_node(gangs)
    async with scheduling_groups(gangs) as scheduler:
        await add_group(gangs, members=2)
        await add_members(gangs, "ab")
        await bound(gangs, "a", "b")
        await asyncio.sleep(1)
        cycles = scheduler.counters.cycles
        version = (await gangs.client.get(GROUP, "g", "default"))["metadata"]["resourceVersion"]
        await asyncio.sleep(60)
        assert scheduler.counters.cycles == cycles
        assert (await gangs.client.get(GROUP, "g", "default"))["metadata"]["resourceVersion"] == version


async def test_conflicts_and_lost_answers_lose_nothing(gangs: support.World) -> None:
    for number in range(3):
        await add_node(gangs, f"n{number}")
    transport = support.FlakyTransport(gangs.transport, seed=7, chance=0.2)
    async with scheduling_groups(gangs, Client(transport)):
        await add_group(gangs, members=8)
        await add_members(gangs, "abcdefgh")

        async def whole() -> bool:
            return len(await places(gangs)) == 8

        await gangs.eventually(whole, 60)
    assert transport.faults
    by_node = list((await places(gangs)).values())
    assert max(by_node.count(node) for node in set(by_node)) <= 4


async def test_bindings_that_were_begun_are_ended_by_the_next_scheduler(gangs: support.World) -> None:
    for number in range(2):
        await add_node(gangs, f"n{number}")
    await add_group(gangs, members=6)
    await add_members(gangs, "abcdef")
    for name, node in (("a", "n0"), ("b", "n1"), ("c", "n1")):
        meta = {"namespace": "default", "name": name}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": meta, "target": {"kind": "Node", "name": node}}
        await gangs.client.create(core.POD.resource, body, subresource="binding")
    async with scheduling_groups(gangs):

        async def whole() -> bool:
            return len(await places(gangs)) == 6

        await gangs.eventually(whole)
    found = await places(gangs)
    assert (found["a"], found["b"], found["c"]) == ("n0", "n1", "n1")


async def test_a_lost_member_is_replaced(gangs: support.World) -> None:
    await add_node(gangs)
    async with scheduling_groups(gangs):
        await add_group(gangs, members=4)
        await add_members(gangs, "abcd")
        await bound(gangs, "a", "b", "c", "d")
        await gangs.client.delete(core.POD.resource, "b", "default", grace_period=0)
        await add_members(gangs, "e")
        await bound(gangs, "a", "c", "d", "e")
        obj = await gangs.client.get(core.POD.resource, "e", "default")
        assert spec(obj)["nodeName"] == "n"


class Killed:
    """A transport to the server of a scheduler that dies after so many bindings: no request of it gets through then."""

    remote = False

    def __init__(self, inner: Transport, bindings: int) -> None:
        self.inner = inner
        self.left = bindings
        self.dead = asyncio.Event()

    async def send(self, request: Request) -> Response:
        if request.path.endswith("/binding"):
            if not self.left:
                self.dead.set()
            else:
                self.left -= 1
        if self.dead.is_set():
            await asyncio.get_running_loop().create_future()
        return await self.inner.send(request)

    async def close(self) -> None:
        return


async def test_a_scheduler_that_dies_in_the_middle_of_bindings_is_gone_on_from(gangs: support.World) -> None:
    for number in range(2):
        await add_node(gangs, f"n{number}")
    await add_group(gangs, members=6)
    await add_members(gangs, "abcdef")
    transport = Killed(gangs.transport, 3)
    async with scheduling_groups(gangs, Client(transport)):
        await transport.dead.wait()
    before = await places(gangs)
    assert len(before) == 3
    async with scheduling_groups(gangs, beside=True):
        for number in range(4):  # they come after, and get what the gang leaves
            await gangs.client.create(core.POD.resource, pod(f"single-{number}"))

        async def full() -> bool:
            return len(await places(gangs)) == 8

        await gangs.eventually(full)
    after = await places(gangs)
    assert before.items() <= after.items()
    by_node = list(after.values())
    assert by_node.count("n0") == by_node.count("n1") == 4


async def test_what_a_gang_holds_that_can_not_become_whole_is_given_back(gangs: support.World) -> None:
    await add_node(gangs)
    await add_group(gangs, members=6)
    await add_members(gangs, "abcdef")
    for name in "abc":
        meta = {"namespace": "default", "name": name}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": meta, "target": {"kind": "Node", "name": "n"}}
        await gangs.client.create(core.POD.resource, body, subresource="binding")
    async with scheduling_groups(gangs, configuration=Configuration(stale_seconds=30.0)) as scheduler:
        await asyncio.sleep(20)
        assert scheduler.counters.evicted == 0

        async def given_back() -> bool:
            pods = (await gangs.client.list(core.POD.resource, "default")).items
            return not [one for one in pods if spec(one).get("nodeName") and not is_deleting(one)]

        await gangs.eventually(given_back, 60, every=0.5)
        events = (await gangs.client.list(core.EVENT.resource, "default")).items
    for one in (await gangs.client.list(core.POD.resource, "default")).items:
        if spec(one).get("nodeName"):
            target = find_condition(status(one).get("conditions"), "DisruptionTarget") or {}
            assert target["reason"] == "PreemptionByScheduler"
    told = [event for event in events if event["reason"] == "Evict"]
    assert len(told) <= 3
    assert all(event["count"] == 1 for event in told)


async def test_pods_of_groups_that_are_still_to_be_made_wait_for_them(gangs: support.World) -> None:
    await add_node(gangs)
    async with scheduling_groups(gangs, plain_groups=True):
        made = await gangs.client.create(core.POD.resource, pod("a", schedulerName="volcano"))
        group = f"podgroup-{made['metadata']['uid']}"

        async def told() -> bool:
            obj = await gangs.client.get(core.POD.resource, "a", "default")
            condition = find_condition(status(obj).get("conditions"), "PodScheduled") or {}
            return condition.get("message") == f'PodGroup "default/{group}" not found'

        await asyncio.sleep(2)
        assert not await told()
        await gangs.eventually(told)
        assert not await places(gangs)
        await add_group(gangs, group, members=1)
        await bound(gangs, "a")


async def test_a_gang_goes_where_a_part_of_the_network_has_room_once_there_is_one(gangs: support.World) -> None:
    resource = scheduling.HYPER_NODE.resource
    for node in ("a1", "a2", "b1", "b2"):
        await add_node(gangs, node)
    async with scheduling_groups(gangs) as scheduler:
        await add_group(gangs, members=6, networkTopology={"mode": "hard", "highestTierAllowed": 1})
        await add_members(gangs, "abcdef")

        async def told(text: str) -> None:
            async def check() -> bool:
                found = find_condition((await group_status(gangs)).get("conditions"), "Unschedulable")
                return found is not None and text in found["message"]

            await gangs.eventually(check)

        await told("the cluster has no hyperNode")
        member = {"type": "Node", "selector": {"exactMatch": {"name": "b1"}}}
        made = scheduling.HYPER_NODE.new("rack", spec={"tier": 1, "members": [member]})
        made = await gangs.client.create(resource, made)
        await told("of 1 that may have it, rack has most, for 4 of the 6 pods that it needs")
        assert not await places(gangs)
        wider = {"type": "Node", "selector": {"regexMatch": {"pattern": "^b"}}}
        await gangs.client.patch(resource, "rack", "", {"spec": {"members": [wider]}})

        async def whole() -> bool:
            return len(await places(gangs)) == 6

        await gangs.eventually(whole)
        assert set((await places(gangs)).values()) == {"b1", "b2"}
        shown = scheduler.snapshot().hypernodes
        assert [(one.name, one.tier, one.nodes) for one in shown] == [("rack", 1, {"b1", "b2"})]
        assert scheduler.snapshot().hypernodes is shown
