from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from homeport.apiserver.server import ApiServer
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.kube import core, meta
from homeport.kube.wire import User
from homeport.node import following
from homeport.node.following import Followed, Following
from homeport.node.references import Ref
from homeport.store.memory import MemoryStore

MAP = core.CONFIG_MAP.resource
REF = Ref("ConfigMap", "cfg")


class World:
    """A pod that shows one config map, and re-reads it when it is told to."""

    def __init__(self) -> None:
        self.client = Client(
            LocalTransport(ApiServer(MemoryStore(), core.KINDS).handle, User("a", ("system:masters",)))
        )
        self.following = Following(self.client)
        self.told = 0
        self.shown: dict[str, str] | None = None
        self._news = asyncio.Event()
        self.followed = Followed(self.following, "default", self._changed)

    def _changed(self) -> None:
        self.told += 1
        self._news.set()

    async def read(self) -> None:
        self.followed.begin({REF})
        listed = await self.client.list(MAP, "default", fields="metadata.name=cfg")
        found = dict(zip((REF,), listed.items, strict=False))
        self.shown = found[REF].get("data") if found else None
        immutable = [ref for ref, obj in found.items() if obj.get("immutable")]
        self.followed.finish({ref: meta.resource_version(obj) for ref, obj in found.items()}, immutable)

    async def until(self, test: Callable[[World], bool]) -> None:
        async with asyncio.timeout(10):
            while not test(self):
                await self._news.wait()
                self._news.clear()
                await self.read()

    async def make(self, **more: Any) -> None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cfg", "namespace": "default"}}
        await self.client.create(MAP, {**body, **more})

    async def change(self, **data: str) -> None:
        await self.client.patch(MAP, "cfg", "default", {"data": data})


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.client.create(
        core.NAMESPACE.resource, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
    )
    yield world
    world.followed.close()
    world.following.close()
    await asyncio.sleep(0)


async def test_what_comes_changes_and_goes_is_told(world: World) -> None:
    await world.read()
    assert world.shown is None
    await world.make(data={"a": "1"})
    await world.until(lambda w: w.shown == {"a": "1"})
    for value in "234":
        await world.change(a=value)
    await world.until(lambda w: w.shown == {"a": "4"})
    await world.client.delete(MAP, "cfg", "default")
    await world.until(lambda w: w.shown is None)
    await world.make(data={"a": "5"})
    await world.until(lambda w: w.shown == {"a": "5"})


async def test_what_was_read_as_it_is_needs_no_second_reading(world: World) -> None:
    await world.make(data={"a": "1"})
    await world.read()
    async with asyncio.timeout(10):
        while world.following.version("default", REF) is None:
            await asyncio.sleep(0.001)
    assert world.told == 0


async def test_a_change_while_it_is_read_is_not_lost(world: World) -> None:
    await world.make(data={"a": "1"})
    await world.read()
    world.followed.begin({REF})
    old = await world.client.get(MAP, "cfg", "default")
    await world.change(a="2")
    async with asyncio.timeout(10):
        while int(world.following.version("default", REF) or "0") <= int(meta.resource_version(old)):
            await asyncio.sleep(0.001)
    assert world.told == 0
    world.followed.finish({REF: meta.resource_version(old)}, ())
    assert world.told == 1


async def test_nobody_watches_what_is_immutable(world: World) -> None:
    await world.make(data={"a": "1"}, immutable=True)
    await world.read()
    assert not len(world.following)
    await world.read()
    assert not len(world.following)


async def test_one_watch_for_all_pods_and_none_without_any(world: World) -> None:
    other = Followed(world.following, "default", lambda: None)
    await world.read()
    other.begin({REF})
    assert len(world.following) == 1
    world.followed.close()
    assert len(world.following) == 1
    other.close()
    assert not len(world.following)


def watches() -> int:
    return sum(task.get_name() == "ConfigMap default/cfg" for task in asyncio.all_tasks())


async def test_the_watch_waits_a_while_for_the_next_pod(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.read()
    world.followed.close()
    assert watches() == 1
    monkeypatch.setattr(following, "_LINGERS", 0.01)
    other = Followed(world.following, "default", lambda: None)
    other.begin({REF})
    assert watches() == 1
    other.close()
    async with asyncio.timeout(10):
        while watches():
            await asyncio.sleep(0.005)
