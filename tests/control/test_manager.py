from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import farm
import msgspec
import pytest
from farm import CONTROLLER, FARMS, PODS, SERVICES

import support
from homeport.client.client import Client
from homeport.control.controller import Child, Controller, Desired, Note, Observed
from homeport.control.informer import Informers
from homeport.control.manager import Manager
from homeport.kube import core
from homeport.kube.meta import Object, metadata, owner_reference, status
from virtual_time import now


@pytest.fixture
async def world() -> AsyncIterator[support.World]:
    async with support.world((farm.FARM,)) as made:
        yield made


@asynccontextmanager
async def managed(
    world: support.World, *controllers: Controller, client: Client | None = None
) -> AsyncIterator[Manager]:
    client = client or Client(world.transport, field_manager="homeport")
    informers = Informers(client, freeze=True)
    manager = Manager(client, controllers or (CONTROLLER,), informers=informers, now=now)
    async with support.running(informers.run(), manager.run()):
        async with asyncio.timeout(10):
            await manager.ready.wait()
        yield manager


async def settled(world: support.World, own: str, **expected: Any) -> Object:
    async def check() -> Object | None:
        obj = await world.get(FARMS, own, "default")
        matches = obj is not None and {key: status(obj).get(key) for key in expected} == expected
        return obj if matches else None

    found: Object = await world.eventually(check)
    return found


async def reasons(world: support.World, own: str) -> list[tuple[str, str, int]]:
    listed = await world.client.list(core.EVENT.resource, "default")
    return sorted(
        (event["type"], event["reason"], event["count"])
        for event in listed.items
        if event["involvedObject"]["name"] == own
    )


async def test_children_are_made_and_counted(world: support.World) -> None:
    async with managed(world):
        await world.client.create(FARMS, farm.farm("f", pods=3, services=2))
        await settled(world, "f", pods=3, services=2)
    assert await world.names(PODS) == ["f-0", "f-1", "f-2"]
    pod = await world.client.get(PODS, "f-0", "default")
    parent = await world.client.get(FARMS, "f", "default")
    assert metadata(pod)["ownerReferences"] == [owner_reference(parent)]


async def test_what_is_there_already_is_taken_up_after_a_restart(world: support.World) -> None:
    async with managed(world):
        await world.client.create(FARMS, farm.farm("f", pods=2))
        await settled(world, "f", pods=2)
    before = [metadata(item)["uid"] for item in (await world.client.list(PODS)).items]
    async with managed(world) as manager:
        await world.eventually(lambda: _true(manager.counters["farm"].syncs and manager.idle))
    assert [metadata(item)["uid"] for item in (await world.client.list(PODS)).items] == before


async def _true(value: Any) -> Any:
    return value


async def test_fewer_and_more(world: support.World) -> None:
    async with managed(world):
        await world.client.create(FARMS, farm.farm("f", pods=4))
        await settled(world, "f", pods=4)
        await world.client.patch(FARMS, "f", "default", {"spec": {"pods": 1}})
        await settled(world, "f", pods=1)
        await world.client.patch(FARMS, "f", "default", {"spec": {"pods": 3}})
        await settled(world, "f", pods=3)
    assert await world.names(PODS) == ["f-0", "f-1", "f-2"]


async def test_a_lost_child_comes_back(world: support.World) -> None:
    async with managed(world):
        await world.client.create(FARMS, farm.farm("f", pods=1))
        await settled(world, "f", pods=1)
        first = await world.client.get(PODS, "f-0", "default")
        await world.client.delete(PODS, "f-0", "default", grace_period=0)

        async def replaced() -> bool:
            pod = await world.get(PODS, "f-0", "default")
            return pod is not None and metadata(pod)["uid"] != metadata(first)["uid"]

        await world.eventually(replaced)


async def test_a_settled_world_causes_no_writes(world: support.World) -> None:
    async with managed(world) as manager:
        await world.client.create(FARMS, farm.farm("f", pods=2, services=2))
        await settled(world, "f", pods=2, services=2)
        await world.eventually(lambda: _true(manager.idle))
        await asyncio.sleep(60)
        revision = world.store.revision
        syncs = manager.counters["farm"].syncs
        await asyncio.sleep(3600)
        assert world.store.revision == revision
        assert manager.counters["farm"].syncs == syncs


async def test_services_are_brought_up_to_date_and_fields_of_others_stay(world: support.World) -> None:
    async with managed(world):
        await world.client.create(FARMS, farm.farm("f", services=1, labels={"a": "1", "b": "2"}))
        await settled(world, "f", services=1)
        await world.client.patch(SERVICES, "f-0", "default", {"metadata": {"labels": {"foreign": "yes"}}})
        await world.client.patch(FARMS, "f", "default", {"spec": {"labels": {"a": "3", "b": None}}})

        async def updated() -> bool:
            service = await world.client.get(SERVICES, "f-0", "default")
            return metadata(service)["labels"] == {"a": "3", "foreign": "yes"}

        await world.eventually(updated)
        await world.client.patch(SERVICES, "f-0", "default", {"metadata": {"labels": {"a": "drifted"}}})
        await world.eventually(updated)


async def test_a_removed_label_alone_is_noticed(world: support.World) -> None:
    async with managed(world):
        await world.client.create(FARMS, farm.farm("f", services=1, labels={"a": "1", "b": "2"}))
        await settled(world, "f", services=1)
        await world.client.patch(FARMS, "f", "default", {"spec": {"labels": {"b": None}}})

        async def updated() -> bool:
            service = await world.client.get(SERVICES, "f-0", "default")
            return bool(metadata(service)["labels"] == {"a": "1"})

        await world.eventually(updated)


async def test_a_taken_name_is_left_alone_until_it_is_free(world: support.World) -> None:
    other = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "f-0", "namespace": "default", "labels": {"mine": "yes"}},
        "spec": {"containers": [{"name": "x", "image": "y"}]},
    }
    await world.client.create(PODS, other)
    async with managed(world):
        await world.client.create(FARMS, farm.farm("f", pods=2))
        await settled(world, "f", pods=1)

        async def warned() -> bool:
            return ("Warning", "FailedCreatePod", 1) in await reasons(world, "f")

        await world.eventually(warned)
        kept = await world.client.get(PODS, "f-0", "default")
        assert metadata(kept)["labels"] == {"mine": "yes"}
        assert "ownerReferences" not in metadata(kept)
        await world.client.delete(PODS, "f-0", "default")
        await settled(world, "f", pods=2)


async def test_a_child_is_completed_once_with_what_no_sync_knows(world: support.World) -> None:
    def complete(pod: Object) -> Object:
        drawn.append(f"key {len(drawn)}")
        return {**pod, "metadata": {**metadata(pod), "annotations": {"key": drawn[-1]}}}

    drawn: list[str] = []
    children = (Child(PODS, update="never", complete=complete), Child(SERVICES))
    async with managed(world, msgspec.structs.replace(CONTROLLER, children=children)):
        await world.client.create(FARMS, farm.farm("f", pods=1))
        await settled(world, "f", pods=1)
        await world.client.patch(FARMS, "f", "default", {"spec": {"services": 1}})
        await settled(world, "f", services=1)
    pod = await world.client.get(PODS, "f-0", "default")
    assert metadata(pod)["annotations"] == {"key": "key 0"}
    assert drawn == ["key 0"]


async def test_notes_become_events_once(world: support.World) -> None:
    async with managed(world) as manager:
        await world.client.create(FARMS, farm.farm("f", pods=2))
        await settled(world, "f", pods=2)
        await world.eventually(lambda: _true(manager.idle))

        async def noted() -> bool:
            return await reasons(world, "f") == [("Normal", "Grown", 1)]

        await world.eventually(noted)


async def test_related_objects_are_seen_and_their_changes_cause_a_sync(world: support.World) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "f-config", "namespace": "default"}}
    async with managed(world):
        await world.client.create(FARMS, farm.farm("f", config="f-config"))
        await settled(world, "f", config={})
        await world.client.create(farm.CONFIG_MAPS, {**config, "data": {"k": "1"}})
        await settled(world, "f", config={"k": "1"})
        await world.client.patch(farm.CONFIG_MAPS, "f-config", "default", {"data": {"k": "2"}})
        await settled(world, "f", config={"k": "2"})
        await world.client.delete(farm.CONFIG_MAPS, "f-config", "default")
        await settled(world, "f", config={})


async def test_a_bug_is_reported_retried_and_does_not_stop_others(
    world: support.World, caplog: pytest.LogCaptureFixture
) -> None:
    async with managed(world) as manager:
        await world.client.create(FARMS, farm.farm("bad", mood="buggy"))
        await world.client.create(FARMS, farm.farm("good", pods=1))
        await settled(world, "good", pods=1)

        async def told() -> bool:
            found = await reasons(world, "bad")
            return any(reason == "SyncError" and count > 1 for _, reason, count in found)

        await world.eventually(told)
        assert manager.counters["farm"].failures > 1
        await world.client.patch(FARMS, "bad", "default", {"spec": {"mood": "", "pods": 1}})
        await settled(world, "bad", pods=1)
    assert "KeyError" in caplog.text


async def test_a_permanent_error_waits_for_a_change(world: support.World) -> None:
    async with managed(world) as manager:
        await world.client.create(FARMS, farm.farm("f", mood="hopeless"))

        async def told() -> bool:
            return await reasons(world, "f") == [("Warning", "SyncFailed", 1)]

        await world.eventually(told)
        await asyncio.sleep(3600)
        assert manager.counters["farm"].failures == 1
        await world.client.patch(FARMS, "f", "default", {"spec": {"mood": ""}})
        await settled(world, "f", pods=0)


async def test_a_child_that_the_server_refuses_is_reported(world: support.World) -> None:
    def sync(observed: Observed) -> Desired:
        return Desired(children=({"kind": "Pod", "metadata": {"name": "Wrong_Name"}, "spec": {}},))

    async with managed(world, msgspec.structs.replace(CONTROLLER, sync=sync)):
        await world.client.create(FARMS, farm.farm("f"))

        async def told() -> bool:
            found = await reasons(world, "f")
            return any((kind, reason) == ("Warning", "FailedCreatePod") for kind, reason, _ in found)

        await world.eventually(told)


async def test_nothing_is_told_or_tried_again_in_a_namespace_that_goes(
    world: support.World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "homeport.control.loop")
    await world.make_namespace("going")
    parent = farm.farm("f", pods=2)
    await world.client.create(FARMS, {**parent, "metadata": {"name": "f", "namespace": "going"}})
    await world.client.delete(core.NAMESPACE.resource, "going")
    async with managed(world) as manager:
        await asyncio.sleep(3600)
        assert manager.counters["farm"].failures == 0
    assert not [record for record in caplog.records if record.name == "homeport.control.loop"]
    assert not await world.names(core.EVENT.resource)


async def test_a_parent_can_ask_for_its_own_end(world: support.World) -> None:
    async with managed(world):
        await world.client.create(FARMS, farm.farm("f", mood="gone"))

        async def gone() -> bool:
            return await world.get(FARMS, "f", "default") is None

        await world.eventually(gone)


async def test_deadlines_wake_a_parent(world: support.World) -> None:
    def sync(observed: Observed) -> Desired:
        seen = status(observed.parent).get("count") or 0
        return Desired(status={"count": seen + 1}) if seen == 0 else Desired(requeue_after=60.0)

    times: list[float] = []

    def timed(observed: Observed) -> Desired:
        times.append(observed.now.timestamp())
        return sync(observed)

    async with managed(world, msgspec.structs.replace(CONTROLLER, sync=timed)):
        await world.client.create(FARMS, farm.farm("f"))
        await asyncio.sleep(3600)
    assert times[-1] - times[-2] == pytest.approx(60, abs=0.1)
    assert 58 <= len(times) <= 62


async def test_no_sync_sees_less_than_the_last_one_wrote(world: support.World) -> None:
    """Each sync adds one pod to those it sees. A cache without its own last pod would show as a repeated number."""
    counts: list[int] = []

    def sync(observed: Observed) -> Desired:
        pods = observed.children["Pod"]
        counts.append(len(pods))
        more = min(len(pods) + 1, 30)
        children = tuple(
            {
                "kind": "Pod",
                "metadata": {"name": f"p{index}"},
                "spec": {"containers": [{"name": "x", "image": "y"}]},
            }
            for index in range(more)
        )
        return Desired(status={"count": len(pods)}, children=children)

    async with managed(world, msgspec.structs.replace(CONTROLLER, sync=sync)):
        await world.client.create(FARMS, farm.farm("f"))
        await settled(world, "f", count=30)
    assert sorted(set(counts)) == list(range(31))
    assert counts == sorted(counts)


async def test_a_deleted_parent_is_not_synced_and_a_namesake_starts_afresh(world: support.World) -> None:
    async with managed(world):
        held = farm.farm("f", pods=1)
        held["metadata"]["finalizers"] = ["example.com/hold"]
        first = await world.client.create(FARMS, held)
        await settled(world, "f", pods=1)
        await world.client.delete(FARMS, "f", "default")
        await world.client.patch(FARMS, "f", "default", {"spec": {"pods": 5}})
        await asyncio.sleep(0.05)
        assert await world.names(PODS) == ["f-0"]
        await world.client.patch(FARMS, "f", "default", {"metadata": {"finalizers": None}})
        second = await world.client.create(FARMS, farm.farm("f", pods=1))
        assert metadata(first)["uid"] != metadata(second)["uid"]
        await asyncio.sleep(0.05)
        await world.client.delete(PODS, "f-0", "default")  # as the garbage collector would
        await settled(world, "f", pods=1)
        pod = await world.client.get(PODS, "f-0", "default")
        assert metadata(pod)["ownerReferences"][0]["uid"] == metadata(second)["uid"]
        events = await reasons(world, "f")
        assert not [event for event in events if event[0] == "Warning"]


async def test_cancelling_ends_it_cleanly(world: support.World) -> None:
    client = Client(world.transport)
    manager = Manager(client, (CONTROLLER,))
    task = asyncio.create_task(manager.run())
    async with asyncio.timeout(10):
        await manager.ready.wait()
    await world.client.create(FARMS, farm.farm("f", pods=3))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [other for other in asyncio.all_tasks() if other is not asyncio.current_task()]


def test_two_controllers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        Manager(Client(support.FlakyTransport(None)), (CONTROLLER, CONTROLLER))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_goes_wrong_the_world_converges(world: support.World, seed: int) -> None:
    flaky = support.FlakyTransport(world.transport, seed=seed, chance=0.25)
    async with managed(world, client=Client(flaky)):
        for index in range(8):
            await world.client.create(FARMS, farm.farm(f"f{index}", pods=3, services=2))
        await asyncio.sleep(0.1)
        for index in range(0, 8, 2):
            await world.client.patch(FARMS, f"f{index}", "default", {"spec": {"pods": 1, "labels": {"v": "2"}}})
        flaky.chance = 0.15
        for index in range(8):
            await settled(world, f"f{index}", pods=1 if index % 2 == 0 else 3, services=2)
        flaky.chance = 0.0

        async def converged() -> bool:
            pods = await world.names(PODS)
            services = (await world.client.list(SERVICES)).items
            labels = {metadata(item)["name"]: metadata(item)["labels"] for item in services}
            return len(pods) == 4 * 1 + 4 * 3 and all(
                labels[f"f{index}-{number}"] == ({"v": "2"} if index % 2 == 0 else {"farm": f"f{index}"})
                for index in range(8)
                for number in range(2)
            )

        await world.eventually(converged)
    assert flaky.faults > 5


async def test_a_child_kind_without_parent_of_this_kind_is_ignored(world: support.World) -> None:
    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "x",
            "namespace": "default",
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "f", "uid": "other", "controller": True}
            ],
        },
        "spec": {"containers": [{"name": "x", "image": "y"}]},
    }
    async with managed(world):
        await world.client.create(FARMS, farm.farm("f", pods=1))
        await world.client.create(PODS, stranger)
        await settled(world, "f", pods=1)
    assert await world.names(PODS) == ["f-0", "x"]


async def test_cluster_scoped_children_of_a_namespaced_parent_are_refused(world: support.World) -> None:
    nodes = support.Resource("", "v1", "nodes", "Node", namespaced=False)

    def sync(observed: Observed) -> Desired:
        return Desired(children=({"kind": "Node", "metadata": {"name": "n"}},))

    async with managed(world, msgspec.structs.replace(CONTROLLER, sync=sync, children=(Child(nodes),), related=())):
        await world.client.create(FARMS, farm.farm("f"))

        async def told() -> bool:
            return await reasons(world, "f") == [("Warning", "SyncFailed", 1)]

        await world.eventually(told)


async def test_what_a_status_tells_is_told_though_a_child_was_refused(world: support.World) -> None:
    """The next sync finds the status as it should be, and has no note again."""

    def sync(observed: Observed) -> Desired:
        news = () if status(observed.parent).get("told") else (Note("Normal", "News", "it is so"),)
        child = {"kind": "Pod", "metadata": {"name": "Wrong_Name"}, "spec": {}}
        return Desired(status={"told": True}, children=(child,), notes=news)

    async with managed(world, msgspec.structs.replace(CONTROLLER, sync=sync)):
        await world.client.create(FARMS, farm.farm("f"))

        async def told() -> bool:
            return ("Normal", "News", 1) in await reasons(world, "f")

        await world.eventually(told)


async def test_related_objects_are_deleted(world: support.World) -> None:
    def sync(observed: Observed) -> Desired:
        found = observed.related["ConfigMap"].values()
        return Desired(status={"left": len(found)}, removed=tuple(each for each in found if "old" in each["data"]))

    async with managed(world, msgspec.structs.replace(CONTROLLER, sync=sync)):
        for name, data in (("f", {"old": "1"}), ("f-config", {"new": "1"})):
            config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
            await world.client.create(farm.CONFIG_MAPS, {**config, "metadata": {"name": name, "namespace": "default"}})
        await world.client.create(FARMS, farm.farm("f"))
        await settled(world, "f", left=2)

        async def going() -> bool:
            found = await world.get(farm.CONFIG_MAPS, "f", "default")
            return found is not None and metadata(found).get("finalizers") == ["foregroundDeletion"]

        await world.eventually(going)
        kept = await world.get(farm.CONFIG_MAPS, "f-config", "default")
        assert kept is not None
        assert "deletionTimestamp" not in metadata(kept)
