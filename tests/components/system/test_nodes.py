"""The life of nodes and the eviction of pods by taints, against the real server, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import support
from homeport.components.system.monitor import Monitor
from homeport.components.system.nodes import NodeLifecycle, TaintEviction
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.kube.core import taints
from homeport.kube.meta import Object, find_condition, micro_timestamp, timestamp
from virtual_time import now

TAINT = {"key": "kubernetes.io/e2e-evict-taint-key", "value": "evictTaintVal", "effect": "NoExecute"}


@asynccontextmanager
async def controlling(world: support.World) -> AsyncIterator[None]:
    informers = Informers(world.client)
    recorder = EventRecorder(world.client, "system", now=now)
    monitor = Monitor(world.client, informers)
    lifecycle = NodeLifecycle(world.client, informers, monitor, recorder, now=now)
    eviction = TaintEviction(world.client, informers, recorder, now=now)
    async with support.running(informers.run(), recorder.run(), monitor.run(), lifecycle.run(), eviction.run()):
        async with asyncio.timeout(10):
            await lifecycle.ready.wait()
            await eviction.ready.wait()
            await monitor.ready.wait()
        yield
        await recorder.flush()


async def add_node(world: support.World, name: str, *, ready: str = "True") -> None:
    await world.client.create(core.NODE.resource, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    if ready:
        await tell(world, name, ready)


async def tell(world: support.World, name: str, ready: str = "True", **conditions: str) -> None:
    """The node writes its status."""
    moment = timestamp(now())
    made = [
        {"type": type, "status": status, "lastHeartbeatTime": moment, "lastTransitionTime": moment}
        for type, status in ({"Ready": ready} | conditions).items()
    ]
    body = {"status": {"conditions": made}}
    await world.client.patch(core.NODE.resource, name, "", body, type="strategic", subresource="status")


@asynccontextmanager
async def alive(world: support.World, *names: str) -> AsyncIterator[None]:
    """Nodes that renew their leases."""

    async def beat(name: str) -> None:
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": "kube-node-lease"},
        }
        while True:
            spec = {"holderIdentity": name, "renewTime": micro_timestamp(now())}
            if await world.get(core.LEASE.resource, name, "kube-node-lease") is None:
                await world.client.create(core.LEASE.resource, {**lease, "spec": spec})
            else:
                await world.client.patch(core.LEASE.resource, name, "kube-node-lease", {"spec": spec})
            await asyncio.sleep(10)

    await world.make_namespace("kube-node-lease")
    async with support.running(*(beat(name) for name in names)):
        yield


async def add_pod(world: support.World, name: str, node: str, *tolerations: Object) -> Object:
    spec = {"nodeName": node, "containers": [{"name": "main", "image": "python"}], "tolerations": list(tolerations)}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
    return await world.client.create(core.POD.resource, pod)


async def taints_of(world: support.World, name: str) -> set[tuple[str, str]]:
    node = await world.client.get(core.NODE.resource, name)
    return {(taint["key"], taint["effect"]) for taint in meta.spec(node).get("taints") or ()}


async def set_taints(world: support.World, name: str, *taints: Object) -> None:
    await world.client.patch(core.NODE.resource, name, "", {"spec": {"taints": list(taints)}})


async def is_leaving(world: support.World, name: str) -> bool:
    pod = await world.get(core.POD.resource, name, "default")
    return pod is None or "deletionTimestamp" in pod["metadata"]


async def events(world: support.World, reason: str) -> list[str]:
    listed = await world.client.list(core.EVENT.resource)
    return [event["message"] for event in listed.items if event["reason"] == reason]


def tolerating(seconds: int | None = None, taint: Object = TAINT) -> Object:
    toleration = {"operator": "Equal", **taint}
    return toleration if seconds is None else {**toleration, "tolerationSeconds": seconds}


async def test_taints_follow_conditions_and_cordoning(world: support.World) -> None:
    await add_node(world, "n")
    own = {"key": "mine", "effect": "NoSchedule"}
    async with controlling(world), alive(world, "n"):
        await set_taints(world, "n", own)
        for conditions, expected in (
            ({"MemoryPressure": "True", "PIDPressure": "True"}, {taints.MEMORY_PRESSURE, taints.PID_PRESSURE}),
            ({"MemoryPressure": "False", "DiskPressure": "True"}, {taints.PID_PRESSURE, taints.DISK_PRESSURE}),
            ({"PIDPressure": "False", "DiskPressure": "False"}, set()),
            ({"NetworkUnavailable": "True"}, {taints.NETWORK_UNAVAILABLE}),
            ({"NetworkUnavailable": "False"}, set()),
        ):
            await tell(world, "n", **conditions)
            wanted = {("mine", "NoSchedule"), *((key, "NoSchedule") for key in expected)}
            await world.eventually(lambda wanted=wanted: _are(world, "n", wanted))
        await world.client.patch(core.NODE.resource, "n", "", {"spec": {"unschedulable": True}})
        cordoned = {("mine", "NoSchedule"), (taints.UNSCHEDULABLE, "NoSchedule")}
        await world.eventually(lambda: _are(world, "n", cordoned))
        await world.client.patch(core.NODE.resource, "n", "", {"spec": {"unschedulable": None}})
        await world.eventually(lambda: _are(world, "n", {("mine", "NoSchedule")}))
    assert await events(world, "RegisteredNode") == ["Node n event: Registered Node n in Controller"]


async def _are(world: support.World, name: str, expected: set[tuple[str, str]]) -> bool:
    return await taints_of(world, name) == expected


async def test_a_silent_node_among_others_loses_its_pods(world: support.World) -> None:
    for name in ("well", "lost"):
        await add_node(world, name)
    async with controlling(world), alive(world, "well"):
        await add_pod(world, "default", "lost")  # admission gives it 300 seconds
        await add_pod(world, "forever", "lost", {"operator": "Exists"})
        await world.set_status(
            core.POD.resource, "forever", "default", conditions=[{"type": "Ready", "status": "True"}]
        )
        await asyncio.sleep(45)
        assert await taints_of(world, "lost") == set()
        await asyncio.sleep(10)
        node = await world.client.get(core.NODE.resource, "lost")
        assert {c["type"]: c["status"] for c in node["status"]["conditions"]} == dict.fromkeys(
            ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure"), "Unknown"
        )
        ready = find_condition(node["status"]["conditions"], "Ready")
        assert ready is not None
        assert ready["reason"] == "NodeStatusUnknown"
        assert await taints_of(world, "lost") == {(taints.UNREACHABLE, "NoSchedule"), (taints.UNREACHABLE, "NoExecute")}
        pod = await world.client.get(core.POD.resource, "forever", "default")
        assert find_condition(pod["status"]["conditions"], "Ready")["status"] == "False"  # type: ignore[index]
        await asyncio.sleep(290)
        assert not await is_leaving(world, "default")
        await asyncio.sleep(10)
        assert await is_leaving(world, "default")
        assert not await is_leaving(world, "forever")
        assert await taints_of(world, "well") == set()
        await tell(world, "lost", MemoryPressure="False", DiskPressure="False", PIDPressure="False")
        await world.eventually(lambda: _are(world, "lost", set()))


async def test_the_only_node_keeps_its_pods_whatever_it_says(world: support.World) -> None:
    """One machine, whose own lease is stale: pods would have nowhere to go."""
    await add_node(world, "n")
    async with controlling(world):
        await add_pod(world, "p", "n")
        await asyncio.sleep(60)
        assert await taints_of(world, "n") == {(taints.UNREACHABLE, "NoSchedule")}
        await asyncio.sleep(3600)
        assert not await is_leaving(world, "p")
        await tell(world, "n", "False")
        await world.eventually(lambda: _are(world, "n", {(taints.NOT_READY, "NoSchedule")}))
        await asyncio.sleep(3600)
        assert not await is_leaving(world, "p")


async def test_a_lease_from_before_the_start_is_no_sign_of_death(world: support.World) -> None:
    """The platform was down for the night: the node has its time from the start on, however old its lease is."""
    for name in ("n", "m"):
        await add_node(world, name)
    async with alive(world, "n", "m"):
        await asyncio.sleep(1)
    await asyncio.sleep(8 * 3600)
    async with controlling(world):
        await asyncio.sleep(45)
        assert await taints_of(world, "n") == set()


async def test_a_process_that_was_held_up_gives_everybody_more_time(
    world: support.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped and continued (SIGSTOP, a debugger, a virtual machine that was paused): the timer is hours late, and the
    nodes' heartbeats are no earlier."""
    for name in ("n", "m"):
        await add_node(world, name)
    async with controlling(world):
        await asyncio.sleep(20)
        loop: Any = asyncio.get_running_loop()
        loop._selector_.now += 3600
        await asyncio.sleep(1)
        assert await taints_of(world, "n") == set()
        await asyncio.sleep(60)
        assert (taints.UNREACHABLE, "NoSchedule") in await taints_of(world, "n")


async def test_a_node_that_never_says_a_word(world: support.World) -> None:
    await add_node(world, "well")
    async with controlling(world), alive(world, "well"):
        await add_node(world, "mute", ready="")
        await asyncio.sleep(55)
        assert await taints_of(world, "mute") == set()
        await asyncio.sleep(10)
        assert (taints.UNREACHABLE, "NoExecute") in await taints_of(world, "mute")
        await world.client.delete(core.NODE.resource, "mute")
        await asyncio.sleep(1)
    assert await events(world, "RemovingNode") == ["Node mute event: Removing Node mute from Controller"]


async def test_when_most_of_a_small_zone_is_silent_nothing_is_evicted(world: support.World) -> None:
    names = [f"n{index}" for index in range(5)]
    for name in names:
        await add_node(world, name)
    async with controlling(world), alive(world, *names[:2]):
        await asyncio.sleep(600)
        found = [effect for name in names for _, effect in await taints_of(world, name)]
        assert found.count("NoSchedule") == 3
        # They fell silent at the same moment: perhaps one was tainted before it was clear how many there are.
        assert found.count("NoExecute") <= 1


async def test_pods_that_do_not_tolerate_a_taint_go(world: support.World) -> None:
    await add_node(world, "n")
    async with controlling(world), alive(world, "n"):
        await add_pod(world, "plain", "n")
        await add_pod(world, "tolerant", "n", tolerating())
        await add_pod(world, "for-a-while", "n", tolerating(60))
        await add_pod(world, "not-at-all", "n", tolerating(0))
        await set_taints(world, "n", TAINT)
        await asyncio.sleep(1)
        assert [await is_leaving(world, name) for name in ("plain", "tolerant", "for-a-while", "not-at-all")] == [
            True,
            False,
            False,
            True,
        ]
        plain = await world.client.get(core.POD.resource, "plain", "default")
        condition = find_condition(plain["status"]["conditions"], "DisruptionTarget")
        assert condition is not None
        assert condition["reason"] == "DeletionByTaintManager"
        await add_pod(world, "late", "n")
        await asyncio.sleep(50)
        assert await is_leaving(world, "late")
        assert not await is_leaving(world, "for-a-while")
        await asyncio.sleep(10)
        assert await is_leaving(world, "for-a-while")
        assert not await is_leaving(world, "tolerant")
    assert "Marking for deletion Pod default/plain" in await events(world, "TaintManagerEviction")


async def test_a_taint_that_goes_in_time_takes_nothing_along(world: support.World) -> None:
    await add_node(world, "n")
    async with controlling(world), alive(world, "n"):
        await add_pod(world, "p", "n", tolerating(60))
        await set_taints(world, "n", TAINT)
        await asyncio.sleep(30)
        await set_taints(world, "n")
        await asyncio.sleep(600)
        assert not await is_leaving(world, "p")
        assert await events(world, "TaintManagerEviction") == ["Cancelling deletion of Pod default/p"]
        # A second time counts anew.
        await set_taints(world, "n", TAINT)
        await asyncio.sleep(50)
        assert not await is_leaving(world, "p")
        await asyncio.sleep(20)
        assert await is_leaving(world, "p")


async def test_each_taint_counts_from_its_own_time(world: support.World) -> None:
    second = {"key": "second", "value": "", "effect": "NoExecute"}
    await add_node(world, "n")
    async with controlling(world), alive(world, "n"):
        await add_pod(world, "p", "n", tolerating(300), tolerating(60, second))
        await set_taints(world, "n", TAINT)
        await asyncio.sleep(100)
        await set_taints(world, "n", TAINT, second)
        await asyncio.sleep(50)
        assert not await is_leaving(world, "p")
        await asyncio.sleep(20)
        assert await is_leaving(world, "p")
