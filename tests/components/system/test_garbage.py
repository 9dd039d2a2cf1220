from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import support
from homeport.client.client import Client
from homeport.components.system.garbage import GarbageCollector
from homeport.components.system.monitor import Monitor
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.errors import Expired, NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, metadata, uid
from homeport.kube.wire import Request, Response
from virtual_time import now

PODS = Resource("", "v1", "pods", "Pod")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
WIDGETS = Resource("example.com", "v1", "widgets", "Widget")
WIDGET_CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@asynccontextmanager
async def collecting(world: support.World, client: Client | None = None) -> AsyncIterator[GarbageCollector]:
    client = client or world.client
    informers = Informers(client)
    monitor = Monitor(client, informers)
    recorder = EventRecorder(client, "system", now=now)
    collector = GarbageCollector(client, monitor, recorder)
    async with support.running(informers.run(), monitor.run(), recorder.run(), collector.run()):
        async with asyncio.timeout(10):
            await collector.ready.wait()
        yield collector


def reference(owner: Object, *, controller: bool = False, block: bool = True) -> Object:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata(owner)["name"],
        "uid": uid(owner),
        "controller": controller,
        "blockOwnerDeletion": block,
    }


def config_map(name: str, *owners: Object, place: str = "default", **more: Any) -> Object:
    meta: Object = {"name": name, "namespace": place, **more}
    if owners:
        meta["ownerReferences"] = list(owners)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


async def names(world: support.World, *expected: str, resource: Resource = CONFIG_MAPS) -> None:
    async def check() -> bool:
        return await world.names(resource) == sorted(expected)

    await world.eventually(check)


async def test_dependents_of_a_deleted_owner_go_all_the_way_down(world: support.World) -> None:
    async with collecting(world):
        top = await world.client.create(CONFIG_MAPS, config_map("top"))
        middle = await world.client.create(CONFIG_MAPS, config_map("middle", reference(top)))
        await world.client.create(CONFIG_MAPS, config_map("low", reference(middle)))
        await world.client.create(CONFIG_MAPS, config_map("other"))
        await world.client.delete(CONFIG_MAPS, "top", "default")
        await names(world, "other")


async def test_what_was_left_behind_before_the_start_goes(world: support.World) -> None:
    owner = await world.client.create(CONFIG_MAPS, config_map("owner"))
    await world.client.create(CONFIG_MAPS, config_map("dependent", reference(owner)))
    await world.client.create(CONFIG_MAPS, config_map("kept", reference(owner)))
    await world.client.delete(CONFIG_MAPS, "owner", "default")
    await names(world, "dependent", "kept")
    again = await world.client.create(CONFIG_MAPS, config_map("owner"))  # a namesake is no owner
    await world.client.patch(CONFIG_MAPS, "kept", "default", {"metadata": {"ownerReferences": [reference(again)]}})
    async with collecting(world):
        await names(world, "kept", "owner")


@pytest.mark.parametrize("kind", [CONFIG_MAPS, SECRETS], ids=lambda kind: kind.plural)
async def test_what_a_backup_brings_back_stays_with_its_owner(world: support.World, kind: Resource) -> None:
    async with collecting(world):
        own = {"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": "a-owner", "namespace": "default"}}
        owner = await world.client.create(kind, own)
        for number in range(3):
            await world.client.create(CONFIG_MAPS, config_map(f"dependent-{number}", reference(owner)))
        records = [
            record
            for resource in ("/namespaces", "/configmaps", "/secrets")
            for record in world.store.scan(resource)[0]
        ]
        saved = world.store.revision
        await world.client.delete(kind, "a-owner", "default")
        await names(world)
        await world.store.restore(records, saved)
        # Once another one has been collected, whatever was thought of these has been done.
        gone = {**owner, "metadata": {**owner["metadata"], "uid": "never", "name": "never"}}
        await world.client.create(CONFIG_MAPS, config_map("late", reference(gone)))
        back = {"dependent-0", "dependent-1", "dependent-2"} | ({"a-owner"} if kind is CONFIG_MAPS else set())
        await names(world, *sorted(back))


async def test_one_owner_left_is_enough_and_the_other_reference_goes(world: support.World) -> None:
    async with collecting(world):
        one = await world.client.create(CONFIG_MAPS, config_map("one"))
        two = await world.client.create(CONFIG_MAPS, config_map("two"))
        await world.client.create(CONFIG_MAPS, config_map("shared", reference(one), reference(two)))
        await world.client.delete(CONFIG_MAPS, "one", "default")

        async def freed() -> bool:
            shared = await world.client.get(CONFIG_MAPS, "shared", "default")
            return [owner["name"] for owner in metadata(shared)["ownerReferences"]] == ["two"]

        await world.eventually(freed)
        await world.client.delete(CONFIG_MAPS, "two", "default")
        await names(world)


async def test_a_dependent_made_after_its_owner_went_is_collected(world: support.World) -> None:
    async with collecting(world):
        owner = await world.client.create(CONFIG_MAPS, config_map("owner"))
        await world.client.delete(CONFIG_MAPS, "owner", "default")
        await names(world)
        await world.client.create(CONFIG_MAPS, config_map("late", reference(owner)))
        await names(world)


async def test_foreground_deletion_waits_for_blocking_dependents(world: support.World) -> None:
    async with collecting(world):
        owner = await world.client.create(CONFIG_MAPS, config_map("owner"))
        held = config_map("held", reference(owner), finalizers=["example.com/hold"])
        await world.client.create(CONFIG_MAPS, held)
        await world.client.create(CONFIG_MAPS, config_map("free", reference(owner)))
        await world.client.delete(CONFIG_MAPS, "owner", "default", propagation="Foreground")
        await names(world, "held", "owner")
        live = await world.client.get(CONFIG_MAPS, "owner", "default")
        assert metadata(live)["finalizers"] == ["foregroundDeletion"]
        await world.client.patch(CONFIG_MAPS, "held", "default", {"metadata": {"finalizers": None}})
        await names(world)


async def test_foreground_deletion_does_not_wait_for_others(world: support.World) -> None:
    async with collecting(world):
        owner = await world.client.create(CONFIG_MAPS, config_map("owner"))
        held = config_map("held", reference(owner, block=False), finalizers=["example.com/hold"])
        await world.client.create(CONFIG_MAPS, held)
        await world.client.delete(CONFIG_MAPS, "owner", "default", propagation="Foreground")
        await names(world, "held")


async def test_foreground_deletion_goes_through_the_generations(world: support.World) -> None:
    async with collecting(world):
        top = await world.client.create(CONFIG_MAPS, config_map("top"))
        middle = await world.client.create(CONFIG_MAPS, config_map("middle", reference(top)))
        await world.client.create(CONFIG_MAPS, config_map("low", reference(middle)))
        await world.client.delete(CONFIG_MAPS, "top", "default", propagation="Foreground")
        await names(world)


async def test_a_circle_of_foreground_deletions_ends(world: support.World) -> None:
    async with collecting(world):
        one = await world.client.create(CONFIG_MAPS, config_map("one"))
        two = await world.client.create(CONFIG_MAPS, config_map("two", reference(one)))
        await world.client.patch(CONFIG_MAPS, "one", "default", {"metadata": {"ownerReferences": [reference(two)]}})
        await world.client.delete(CONFIG_MAPS, "one", "default", propagation="Foreground")
        await names(world)


async def test_orphans_are_set_free(world: support.World) -> None:
    async with collecting(world):
        owner = await world.client.create(CONFIG_MAPS, config_map("owner"))
        await world.client.create(CONFIG_MAPS, config_map("child", reference(owner)))
        await world.client.delete(CONFIG_MAPS, "owner", "default", propagation="Orphan")
        await names(world, "child")
        child = await world.client.get(CONFIG_MAPS, "child", "default")
        assert "ownerReferences" not in metadata(child)


async def test_an_owner_in_another_namespace_counts_as_absent(world: support.World) -> None:
    await world.make_namespace("other")
    async with collecting(world):
        owner = await world.client.create(CONFIG_MAPS, config_map("owner", place="other"))
        await world.client.create(CONFIG_MAPS, config_map("child", reference(owner)))
        await names(world, "owner")

        async def told() -> bool:
            events = (await world.client.list(core.EVENT.resource)).items
            return [event["reason"] for event in events] == ["OwnerRefInvalidNamespace"]

        await world.eventually(told)


async def test_cluster_scoped_owners_work(world: support.World) -> None:
    async with collecting(world):
        node = await world.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
        await world.client.create(CONFIG_MAPS, config_map("child", reference(node)))
        await asyncio.sleep(10)
        assert await world.names(CONFIG_MAPS) == ["child"]
        await world.client.delete(NODES, "n")
        await names(world)


async def test_custom_resources_that_appear_at_run_time_own_and_are_owned(world: support.World) -> None:
    async with collecting(world):
        await world.client.create(core.CRD.resource, WIDGET_CRD)

        async def served() -> bool:
            found = await world.client.discover(refresh=True)
            return any(entry.resource == WIDGETS for entry in found)

        await world.eventually(served)
        widget: Object = {
            "apiVersion": "example.com/v1",
            "kind": "Widget",
            "metadata": {"name": "w", "namespace": "default"},
        }
        made = await world.client.create(WIDGETS, widget)
        inner = {**widget, "metadata": {"name": "inner", "namespace": "default", "ownerReferences": [reference(made)]}}
        owned = await world.client.create(WIDGETS, inner)
        await world.client.create(CONFIG_MAPS, config_map("child", reference(owned)))
        await asyncio.sleep(10)
        assert await world.names(WIDGETS) == ["inner", "w"]
        await world.client.delete(WIDGETS, "w", "default")
        await names(world, resource=WIDGETS)
        await names(world)


async def test_dependents_go_with_the_definition_of_their_owner(world: support.World) -> None:
    async with collecting(world):
        await world.client.create(core.CRD.resource, WIDGET_CRD)

        async def served() -> bool:
            found = await world.client.discover(refresh=True)
            return any(entry.resource == WIDGETS for entry in found)

        await world.eventually(served)
        meta = {"name": "w", "namespace": "default"}
        made = await world.client.create(WIDGETS, {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": meta})
        for number in range(20):
            await world.client.create(CONFIG_MAPS, config_map(f"child-{number:02}", reference(made)))
        await asyncio.sleep(10)
        await world.client.delete(core.CRD.resource, "widgets.example.com")
        await names(world)


async def test_a_kind_that_is_not_served_any_more_is_no_reason_to_delete(
    world: support.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An APIService was deleted: the objects of its server go on to exist."""
    async with collecting(world) as collector:
        await world.client.create(core.CRD.resource, WIDGET_CRD)

        async def followed() -> bool:
            return collector._monitor.passing(WIDGETS) is not None

        await world.eventually(followed)
        meta = {"name": "w", "namespace": "default"}
        made = await world.client.create(WIDGETS, {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": meta})
        await world.client.create(CONFIG_MAPS, config_map("child", reference(made)))
        await asyncio.sleep(10)
        known = world.client.resource_for

        async def resource_for(api_version: str, kind: str) -> Resource:
            if kind == "Widget":
                raise NotFound("no such kind")
            return await known(api_version, kind)

        monkeypatch.setattr(world.client, "resource_for", resource_for)
        collector._resource_gone(WIDGETS)
        other = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "none", "uid": "none"}}
        await world.client.create(CONFIG_MAPS, config_map("late", reference(other)))
        await names(world, "child")


async def test_an_owner_of_an_unknown_kind_is_no_reason_to_delete(world: support.World) -> None:
    async with collecting(world):
        ghost = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "uid": "u"}}
        await world.client.create(CONFIG_MAPS, config_map("child", reference(ghost)))
        await asyncio.sleep(10)
        assert await world.names(CONFIG_MAPS) == ["child"]
        await world.client.create(core.CRD.resource, WIDGET_CRD)  # now it can be asked for, and it is not there
        await names(world)


async def test_a_dependent_that_gains_a_new_owner_in_time_stays(world: support.World) -> None:
    async with collecting(world):
        one = await world.client.create(CONFIG_MAPS, config_map("one"))
        two = await world.client.create(CONFIG_MAPS, config_map("two"))
        await world.client.create(CONFIG_MAPS, config_map("child", reference(one)))
        moved = {"metadata": {"ownerReferences": [reference(two)]}}
        await asyncio.gather(
            world.client.patch(CONFIG_MAPS, "child", "default", moved),
            world.client.delete(CONFIG_MAPS, "one", "default"),
        )
        await names(world, "child", "two")
        await asyncio.sleep(10)
        assert await world.names(CONFIG_MAPS) == ["child", "two"]


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_goes_wrong_the_right_ones_go(world: support.World, seed: int) -> None:
    flaky = support.FlakyTransport(world.transport, seed=seed, chance=0.2)
    async with collecting(world, Client(flaky)):
        for index in range(10):
            owner = await world.client.create(CONFIG_MAPS, config_map(f"owner-{index}"))
            for number in range(3):
                await world.client.create(SECRETS, secret(f"child-{index}-{number}", owner))
        for index in range(0, 10, 2):
            policy: Any = "Foreground" if index % 4 else "Background"
            await world.client.delete(CONFIG_MAPS, f"owner-{index}", "default", propagation=policy)
        kept = [f"child-{index}-{number}" for index in range(1, 10, 2) for number in range(3)]
        await names(world, *kept, resource=SECRETS)
        await names(world, *(f"owner-{index}" for index in range(1, 10, 2)))
    assert flaky.faults > 5


def secret(name: str, owner: Object) -> Object:
    meta = {"name": name, "namespace": "default", "ownerReferences": [reference(owner)]}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta}


# -- what is kept in mind


async def test_objects_that_own_nothing_and_are_not_owned_are_not_kept(world: support.World) -> None:
    for number in range(20):
        await world.client.create(CONFIG_MAPS, config_map(f"plain-{number}"))
    async with collecting(world) as collector:
        assert len(collector.graph) == 0
        owner = await world.client.create(CONFIG_MAPS, config_map("owner"))
        await world.client.create(SECRETS, secret("child", owner))
        await settled(world, lambda: len(collector.graph) == 2)
        await world.client.patch(SECRETS, "child", "default", {"metadata": {"ownerReferences": None}})
        await settled(world, lambda: len(collector.graph) == 0)


async def test_an_owner_that_was_long_there_is_asked_about_once(world: support.World) -> None:
    asked: list[str] = []

    class Counting:
        remote = False

        async def send(self, request: Request) -> Response:
            if request.path.endswith("/configmaps/owner"):
                asked.append(request.method)
            return await world.transport.send(request)

        async def close(self) -> None: ...

    owner = await world.client.create(CONFIG_MAPS, config_map("owner"))
    async with collecting(world, Client(Counting())) as collector:
        await world.client.create(SECRETS, secret("first", owner))
        await settled(world, lambda: collector.graph.get(uid(owner)) is not None)
        for number in range(5):
            await world.client.create(SECRETS, secret(f"child-{number}", owner))
        await settled(world, lambda: len(collector.graph) == 7)
        assert asked == ["GET"]
        await world.client.delete(CONFIG_MAPS, "owner", "default", propagation="Foreground")
        await names(world, resource=SECRETS)
        await names(world)
        await settled(world, lambda: len(collector.graph) == 0)


async def test_an_owner_that_went_while_nobody_watched_takes_its_dependents(world: support.World) -> None:
    deaf = Deaf(world)
    owner = await world.client.create(CONFIG_MAPS, config_map("owner"))
    await world.client.create(SECRETS, secret("child", owner))
    async with collecting(world, Client(deaf)) as collector:
        await settled(world, lambda: collector.graph.get(uid(owner)) is not None)
        deaf.hears.clear()
        await world.client.delete(CONFIG_MAPS, "owner", "default")
        await world.client.create(CONFIG_MAPS, config_map("owner"))
        deaf.forgets = True
        deaf.hears.set()
        await names(world, resource=SECRETS)


class Deaf:
    """Watches of config maps end, and end again, until it `hears`; if it `forgets`, the next one has to list anew."""

    remote = False

    def __init__(self, world: support.World) -> None:
        self._inner = world.transport
        self.hears = asyncio.Event()
        self.hears.set()
        self.forgets = False

    async def send(self, request: Request) -> Response:
        response = await self._inner.send(request)
        if request.path != "/api/v1/configmaps" or ("watch", "true") not in request.query:
            return response
        assert not isinstance(response.body, bytes)
        if self.forgets:
            self.forgets = False
            await response.body.aclose()  # type: ignore[attr-defined]
            raise Expired("too old resource version")
        response.body = self._while_it_hears(response.body)
        return response

    async def _while_it_hears(self, body: Any) -> AsyncIterator[bytes]:
        following: asyncio.Future[bytes] | None = None
        try:
            while self.hears.is_set():
                following = following or asyncio.ensure_future(anext(body))
                await asyncio.wait({following}, timeout=0.01)
                if following.done() and self.hears.is_set():
                    yield following.result()
                    following = None
            await self.hears.wait()
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            await body.aclose()

    async def close(self) -> None: ...


async def settled(world: support.World, check: Callable[[], bool]) -> None:
    async def asked() -> bool:
        return check()

    await world.eventually(asked)
