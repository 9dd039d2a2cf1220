from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import support
from homeport.client.client import Client
from homeport.client.transport import Unreachable
from homeport.control.cache import Change
from homeport.control.freeze import FrozenError, freeze, thaw
from homeport.control.informer import Informer, Informers
from homeport.control.reflector import Follower
from homeport.kube.errors import Expired
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, metadata, uid
from homeport.kube.wire import Request, Response

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


def config_map(name: str, **meta: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", **meta}}


class Switch:
    """Passes requests on, or refuses them; ends running watches on demand. `expired`: forgets its history."""

    remote = False

    def __init__(self, world: support.World) -> None:
        self.inner = world.transport
        self.down = False
        self.expired = False
        self.watches = 0
        self.cut = asyncio.Event()

    async def send(self, request: Request) -> Response:
        if self.down:
            raise Unreachable("down")
        watching = ("watch", "true") in request.query
        if watching and self.expired:
            self.expired = False
            raise Expired("too old resource version")
        response = await self.inner.send(request)
        if watching and not isinstance(response.body, bytes):
            self.watches += 1
            response.body = self._until_cut(response.body)
        return response

    async def _until_cut(self, body: Any) -> Any:
        try:
            while True:
                following = asyncio.ensure_future(body.__anext__())
                ended = asyncio.ensure_future(self.cut.wait())
                done, _ = await asyncio.wait({following, ended}, return_when=asyncio.FIRST_COMPLETED)
                ended.cancel()
                if following in done:
                    yield following.result()
                else:
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
                    return
        finally:
            await body.aclose()

    async def close(self) -> None: ...


def names(informer: Informer) -> list[str]:
    return sorted(metadata(obj)["name"] for obj in informer.cache)


async def eventually(world: support.World, check: Any) -> None:
    async def asked() -> Any:
        return check()

    await world.eventually(asked)


async def test_a_cache_follows_and_tells(world: support.World) -> None:
    await world.client.create(CONFIG_MAPS, config_map("a"))
    informer = Informer(world.client, CONFIG_MAPS)
    seen: list[tuple[str, str]] = []
    informer.subscribe(lambda change: seen.append((change.type, metadata(change.object)["name"])))
    async with support.running(informer.run()):
        await informer.synced.wait()
        await world.client.create(CONFIG_MAPS, config_map("b"))
        await world.client.patch(CONFIG_MAPS, "a", "default", {"data": {"k": "1"}})
        await world.client.delete(CONFIG_MAPS, "b", "default")
        await eventually(world, lambda: len(seen) == 4)
        assert seen == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
        assert names(informer) == ["a"]
        assert "managedFields" not in metadata(informer.cache.get("default", "a") or {})
        late: list[Change] = []
        informer.subscribe(late.append)
        assert [change.type for change in late] == ["ADDED"]
    assert informer.lists == 1


async def test_it_resumes_without_listing_again(world: support.World) -> None:
    switch = Switch(world)
    informer = Informer(Client(switch), CONFIG_MAPS)
    async with support.running(informer.run()):
        await informer.synced.wait()
        await eventually(world, lambda: switch.watches == 1)
        switch.down = True
        switch.cut.set()
        await world.client.create(CONFIG_MAPS, config_map("meanwhile"))
        await asyncio.sleep(0.05)
        switch.cut.clear()
        switch.down = False
        await eventually(world, lambda: names(informer) == ["meanwhile"])
    assert informer.lists == 1


async def test_after_a_410_it_lists_and_tells_the_difference(world: support.World) -> None:
    switch = Switch(world)
    informer = Informer(Client(switch), CONFIG_MAPS)
    for name in ("gone", "kept", "remade"):
        await world.client.create(CONFIG_MAPS, config_map(name))
    seen: list[tuple[str, str]] = []
    async with support.running(informer.run()):
        await informer.synced.wait()
        await eventually(world, lambda: switch.watches == 1)
        informer.subscribe(lambda change: seen.append((change.type, metadata(change.object)["name"])))
        seen.clear()
        switch.down = True
        switch.cut.set()
        await asyncio.sleep(0.01)
        await world.client.delete(CONFIG_MAPS, "gone", "default")
        await world.client.delete(CONFIG_MAPS, "remade", "default")
        await world.client.create(CONFIG_MAPS, config_map("remade"))
        await world.client.create(CONFIG_MAPS, config_map("new"))
        switch.expired = True
        switch.cut.clear()
        switch.down = False
        await eventually(world, lambda: len(seen) >= 4)
    assert informer.lists == 2
    assert sorted(seen) == sorted([("DELETED", "gone"), ("DELETED", "remade"), ("ADDED", "remade"), ("ADDED", "new")])


async def test_who_waits_for_a_revision_is_called_when_the_cache_shows_it(world: support.World) -> None:
    informer = Informer(world.client, CONFIG_MAPS)
    called: list[str] = []
    async with support.running(informer.run()):
        await informer.synced.wait()
        informer.when(informer.revision, lambda: called.append("now"))
        assert called == ["now"]
        made = await world.client.create(CONFIG_MAPS, config_map("a"))
        revision = int(metadata(made)["resourceVersion"])

        def reached() -> None:
            assert informer.cache.get("default", "a") is not None
            called.append("then")

        informer.when(revision, reached)
        await eventually(world, lambda: called == ["now", "then"])


async def test_a_server_that_went_back_in_time_releases_who_waits(world: support.World) -> None:
    informer = Informer(world.client, CONFIG_MAPS)
    informer.revision = 10**6
    called: list[int] = []
    informer.when(10**6 + 1, lambda: called.append(1))
    async with support.running(informer.run()):
        await informer.synced.wait()
        assert called == [1]
        assert informer.revision < 10**6


async def test_owned_objects_are_found_by_their_owner(world: support.World) -> None:
    owner = await world.client.create(CONFIG_MAPS, config_map("owner"))
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "owner",
        "uid": metadata(owner)["uid"],
        "controller": True,
    }
    informer = Informer(world.client, CONFIG_MAPS)
    async with support.running(informer.run()):
        await informer.synced.wait()
        await world.client.create(CONFIG_MAPS, config_map("child", ownerReferences=[reference]))
        uid = metadata(owner)["uid"]
        await eventually(world, lambda: list(informer.cache.owned(uid)) == [("default", "child")])
        await world.client.patch(CONFIG_MAPS, "child", "default", {"metadata": {"ownerReferences": None}})
        await eventually(world, lambda: not informer.cache.owned(uid))


async def test_informers_are_shared_and_started_on_demand(world: support.World) -> None:
    informers = Informers(world.client)
    whole = informers.get(CONFIG_MAPS)
    assert informers.get(CONFIG_MAPS) is whole
    assert informers.get(CONFIG_MAPS, metadata_only=True) is whole
    one = informers.get(CONFIG_MAPS, fields="metadata.name=a")
    assert one is not whole
    async with support.running(informers.run()):
        async with asyncio.timeout(5):
            await informers.synced()
            later = informers.get(Resource("", "v1", "secrets", "Secret"), metadata_only=True)
            await later.synced.wait()
        await world.client.create(CONFIG_MAPS, config_map("b"))
        await world.client.create(CONFIG_MAPS, config_map("a"))
        await eventually(world, lambda: names(whole) == ["a", "b"])
        await eventually(world, lambda: names(one) == ["a"])
        informers.drop(Resource("", "v1", "secrets", "Secret"))


async def test_a_broken_resource_is_attempted_and_does_not_spin(world: support.World) -> None:
    switch = Switch(world)
    switch.down = True
    informer = Informer(Client(switch), CONFIG_MAPS)
    async with support.running(informer.run()):
        async with asyncio.timeout(5):
            await informer.attempted.wait()
        assert not informer.synced.is_set()
        switch.down = False
        async with asyncio.timeout(5):
            await informer.synced.wait()


async def test_a_handler_that_fails_does_not_stop_the_others(
    world: support.World, caplog: pytest.LogCaptureFixture
) -> None:
    informer = Informer(world.client, CONFIG_MAPS)
    seen: list[Change] = []

    def broken(change: Change) -> None:
        raise KeyError("bug")

    informer.subscribe(broken)
    informer.subscribe(seen.append)
    async with support.running(informer.run()):
        await informer.synced.wait()
        await world.client.create(CONFIG_MAPS, config_map("a"))
        await eventually(world, lambda: len(seen) == 1)
    assert "a handler failed on default/a" in caplog.text


async def test_idle_informers_use_no_processor_time(world: support.World) -> None:
    informers = Informers(world.client)
    for entry in await world.client.discover():
        if entry.can("list", "watch"):
            informers.get(entry.resource, metadata_only=True)
    async with support.running(informers.run()):
        await informers.synced()
        await asyncio.sleep(10)
        before = time.process_time()
        await asyncio.sleep(600)  # of virtual time: as many wake-ups as ten minutes have
        # Each of some sixty watches is renewed once or twice meanwhile, which takes half a millisecond.
        assert time.process_time() - before < 0.2


async def test_frozen_objects_refuse_every_change(world: support.World) -> None:
    await world.client.create(CONFIG_MAPS, {**config_map("a"), "data": {"k": "1"}})
    informer = Informer(world.client, CONFIG_MAPS, freeze=True)
    async with support.running(informer.run()):
        await informer.synced.wait()
        obj = informer.cache.get("default", "a")
        assert obj is not None
        with pytest.raises(FrozenError):
            obj["data"]["k"] = "2"
        with pytest.raises(FrozenError):
            obj |= {"x": 1}
        with pytest.raises(FrozenError):
            obj.setdefault("status", {})
        assert {**obj}["data"] == {"k": "1"}
        made = thaw(obj)
        made["data"]["k"] = "2"
        replaced = await world.client.replace(CONFIG_MAPS, {**obj, "data": made["data"]})
        assert replaced["data"] == {"k": "2"}


def test_frozen_lists() -> None:
    frozen = freeze({"a": [1, {"b": []}]})
    for change in ("append", "remove"):
        with pytest.raises(FrozenError):
            getattr(frozen["a"], change)(1)
    with pytest.raises(FrozenError):
        frozen["a"][1]["b"].sort()
    assert thaw(frozen) == {"a": [1, {"b": []}]}


# -- followers, which keep nothing


class Following:
    """A follower of config maps: those with a finalizer matter."""

    def __init__(self, client: Client) -> None:
        self.seen: list[tuple[str, str]] = []
        self.remembered: list[tuple[str, Object]] = []
        self.follower = Follower(
            client,
            CONFIG_MAPS,
            self.told,
            matters=lambda meta: bool(meta.finalizers),
            remembered=lambda: self.remembered,
        )

    def told(self, change: Change) -> None:
        assert change.object["kind"] == "ConfigMap"
        assert "data" not in change.object
        self.seen.append((change.type, metadata(change.object)["name"]))


async def test_a_follower_tells_what_matters_and_every_change(
    world: support.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeport.client.client._LOCAL_PAGE", 2)
    for number in range(5):
        held = {"finalizers": ["example.com/held"]} if number % 2 else {}
        await world.client.create(CONFIG_MAPS, config_map(f"m{number}", **held))
    following = Following(world.client)
    async with support.running(following.follower.run()):
        await following.follower.attempted.wait()
        assert following.seen == [("MODIFIED", "m1"), ("MODIFIED", "m3")]
        following.seen.clear()
        await world.client.patch(CONFIG_MAPS, "m0", "default", {"data": {"k": "1"}})
        await world.client.create(CONFIG_MAPS, config_map("new"))
        await world.client.delete(CONFIG_MAPS, "m2", "default")
        await eventually(world, lambda: len(following.seen) == 3)
        assert following.seen == [("MODIFIED", "m0"), ("ADDED", "new"), ("DELETED", "m2")]


async def test_a_follower_tells_of_what_went_while_nobody_watched(world: support.World) -> None:
    switch = Switch(world)
    following = Following(Client(switch))
    made = [await world.client.create(CONFIG_MAPS, config_map(name)) for name in ("gone", "kept", "remade", "unknown")]
    async with support.running(following.follower.run()):
        await eventually(world, lambda: switch.watches == 1)
        assert following.follower.watching
        following.remembered = [(uid(obj), obj) for obj in made[:3]]
        switch.down = True
        switch.cut.set()
        await asyncio.sleep(0.01)
        for name in ("gone", "remade", "unknown"):
            await world.client.delete(CONFIG_MAPS, name, "default")
        await world.client.create(CONFIG_MAPS, config_map("remade"))
        switch.expired = True
        switch.cut.clear()
        switch.down = False
        await eventually(world, lambda: len(following.seen) >= 2)
    assert following.seen == [("DELETED", "gone"), ("DELETED", "remade")]


async def test_followers_run_with_the_informers(world: support.World) -> None:
    informers = Informers(world.client)
    following = Following(world.client)
    assert informers.find(CONFIG_MAPS) is None
    async with support.running(informers.run()):
        await asyncio.sleep(0)
        informers.follow(following.follower)
        assert informers.waiting == ["configmaps"]
        await following.follower.attempted.wait()
        assert informers.waiting == []
        informers.drop(CONFIG_MAPS)
        await asyncio.sleep(0)
        await world.client.create(CONFIG_MAPS, config_map("a"))
        informer = informers.get(CONFIG_MAPS)
        assert informers.find(CONFIG_MAPS) is informer
        await informer.synced.wait()
    assert following.seen == []
