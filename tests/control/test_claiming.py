from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import farm
import msgspec
import pytest
from farm import CONFIG_MAPS, FARMS, PODS
from test_manager import managed, reasons, settled

import support
from homeport.control.controller import Child, Claim, Controller, Desired, Observed, Patch, Related
from homeport.control.naming import fresh_names
from homeport.control.reports import of_pods
from homeport.kube import core
from homeport.kube.meta import Object, controller_of, is_deleting, labels, metadata, name, namespace, spec, status, uid
from homeport.kube.selector import from_label_selector

FINALIZER = "example.com/counted"


def sync(observed: Observed) -> Desired:
    """A farm that wants as many pods as it says, of whatever names, and marks them with its mood."""
    parent, pods = observed.parent, observed.children["Pod"]
    alive = [key for key, pod in pods.items() if not is_deleting(pod)]
    missing = (spec(parent).get("pods") or 0) - len(alive)
    names = fresh_names(f"{name(parent)}-", parent, pods)
    made = [pod(next(names), name(parent), generateName=f"{name(parent)}-") for _ in range(missing)]
    kept = sorted(alive)[: len(alive) + min(missing, 0)]
    mood = spec(parent).get("mood") or ""
    return Desired(
        status={"pods": len(alive), "refused": sorted({failure.reason for failure in observed.failures})},
        children=tuple(made),
        keep=frozenset(("Pod", key) for key in kept),
        patches=tuple(Patch(pods[key], {"metadata": {"labels": {"mood": mood}}}) for key in kept if mood),
        others=({"kind": "ConfigMap", "metadata": {"name": f"{name(parent)}-config"}, "data": {}},),
        finalized=frozenset(("Pod", key) for key, each in pods.items() if is_deleting(each)),
    )


def pod(own: str, farm: str, **meta: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": own, "namespace": "default", "labels": {"farm": farm}, "finalizers": [FINALIZER], **meta},
        "spec": {"containers": [{"name": "main", "image": "python"}]},
    }


CONTROLLER = Controller(
    name="farm",
    parent=FARMS,
    sync=sync,
    children=(
        Child(
            PODS,
            "never",
            claim=Claim(lambda parent: from_label_selector({"matchLabels": {"farm": name(parent)}})),
            gradual=True,
            tell=of_pods,
            finalizer=FINALIZER,
        ),
    ),
    related=(Related(CONFIG_MAPS, farm.concerned),),
)


@pytest.fixture
async def world() -> AsyncIterator[support.World]:
    async with support.world((farm.FARM,)) as made:
        yield made


async def pods(world: support.World) -> dict[str, Object]:
    return {name(item): item for item in (await world.client.list(PODS)).items}


async def test_orphans_that_match_are_adopted_and_others_are_not(world: support.World) -> None:
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u", "controller": True}
    await world.client.create(PODS, pod("stray", "f", finalizers=[]))
    await world.client.create(PODS, pod("unlike", "g", finalizers=[]))
    await world.client.create(PODS, pod("taken", "f", finalizers=[], ownerReferences=[other]))
    async with managed(world, CONTROLLER):
        await world.client.create(FARMS, farm.farm("f", pods=2))
        await settled(world, "f", pods=2)
    found = await pods(world)
    parent = await world.client.get(FARMS, "f", "default")
    owners = {own: (controller_of(each) or {}).get("uid") for own, each in found.items()}
    made = next(own for own in found if own.startswith("f-"))
    assert owners == {"stray": uid(parent), "unlike": None, "taken": "u", made: uid(parent)}
    assert metadata(found["stray"])["finalizers"] == [FINALIZER]


async def test_an_orphan_that_comes_to_match_is_adopted(world: support.World) -> None:
    async with managed(world, CONTROLLER):
        await world.client.create(FARMS, farm.farm("f", pods=1))
        await settled(world, "f", pods=1)
        await world.client.create(PODS, pod("a-stray", "g", finalizers=[]))
        await world.client.patch(PODS, "a-stray", "default", {"metadata": {"labels": {"farm": "f"}}})

        async def instead() -> bool:
            found = await pods(world)
            return list(found) == ["a-stray"] and controller_of(found["a-stray"]) is not None

        await world.eventually(instead)


async def test_a_child_that_matches_no_longer_is_released_and_replaced(world: support.World) -> None:
    async with managed(world, CONTROLLER):
        await world.client.create(FARMS, farm.farm("f", pods=2))
        await settled(world, "f", pods=2)
        before = await pods(world)
        lost = min(before)
        await world.client.patch(PODS, lost, "default", {"metadata": {"labels": {"farm": "free"}}})
        await world.eventually(lambda: _count(world, 3))
        after = await pods(world)
    assert controller_of(after[lost]) is None
    assert not metadata(after[lost]).get("finalizers")
    assert metadata(after[lost])["uid"] == metadata(before[lost])["uid"]


async def _count(world: support.World, wanted: int) -> bool:
    return len(await pods(world)) == wanted


async def test_a_parent_that_is_being_deleted_adopts_nothing(world: support.World) -> None:
    parent = farm.farm("f", pods=0)
    parent["metadata"]["finalizers"] = ["example.com/wait"]
    await world.client.create(FARMS, parent)
    await world.client.delete(FARMS, "f", "default")
    await world.client.create(PODS, pod("stray", "f", finalizers=[]))
    async with managed(world, CONTROLLER):
        await asyncio.sleep(0.1)
    assert controller_of((await pods(world))["stray"]) is None


async def test_names_are_never_given_twice(world: support.World) -> None:
    seen: set[str] = set()
    async with managed(world, CONTROLLER):
        await world.client.create(FARMS, farm.farm("f", pods=1))
        for _ in range(4):
            await settled(world, "f", pods=1)
            (own,) = [own for own, each in (await pods(world)).items() if not is_deleting(each)]
            assert own not in seen
            assert len(own) == len("f-x7k2p")
            seen.add(own)
            await world.client.delete(PODS, own, "default", grace_period=0)
            await world.eventually(lambda own=own: _gone(world, own))


async def _gone(world: support.World, own: str) -> bool:
    return await world.get(PODS, own, "default") is None


async def test_finalizers_of_a_lost_parent_s_children_are_taken_off(world: support.World) -> None:
    async with managed(world, CONTROLLER):
        await world.client.create(FARMS, farm.farm("f", pods=2))
        await settled(world, "f", pods=2)
        await world.client.delete(FARMS, "f", "default")
        for own in await pods(world):
            await world.client.delete(PODS, own, "default", grace_period=0)
        await world.eventually(lambda: _count(world, 0))
        await world.client.create(PODS, pod("nobodys", "free"))

        async def free() -> bool:
            return not metadata((await pods(world))["nobodys"]).get("finalizers")

        await world.eventually(free)


async def test_refusals_are_told_once_and_few_requests_are_made(world: support.World) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "default"}}
    await world.client.create(core.RESOURCE_QUOTA.resource, {**quota, "spec": {"hard": {"pods": "2"}}})
    async with managed(world, CONTROLLER) as manager:
        await world.client.create(FARMS, farm.farm("f", pods=50))
        await settled(world, "f", pods=2, refused=["Forbidden"])
        told = await world.eventually(lambda: reasons(world, "f"))
        assert {("Normal", "SuccessfulCreate"), ("Warning", "FailedCreate")} >= {entry[:2] for entry in told}
        assert manager.counters["farm"].failures < 12
        await world.client.patch(FARMS, "f", "default", {"spec": {"pods": 2}})
        await settled(world, "f", pods=2, refused=[])


async def test_refusals_that_come_and_go_with_each_sync_are_tried_ever_more_rarely(world: support.World) -> None:
    def fickle(observed: Observed) -> Desired:
        wrong = pod("Wrong_Name", name(observed.parent))
        return Desired(children=() if observed.failures else (wrong,))

    async with managed(world, msgspec.structs.replace(CONTROLLER, sync=fickle)) as manager:
        await world.client.create(FARMS, farm.farm("f"))
        await asyncio.sleep(3600)
        assert manager.counters["farm"].syncs < 60


async def test_single_fields_are_patched_and_others_made_without_an_owner(world: support.World) -> None:
    async with managed(world, CONTROLLER):
        await world.client.create(FARMS, farm.farm("f", pods=2, mood="glad"))

        async def marked() -> bool:
            found = await pods(world)
            return len(found) == 2 and all(labels(each).get("mood") == "glad" for each in found.values())

        await world.eventually(marked)
    config = await world.client.get(CONFIG_MAPS, "f-config", "default")
    assert controller_of(config) is None
    assert namespace(config) == "default"
    assert status(await world.client.get(FARMS, "f", "default"))["pods"] == 2
