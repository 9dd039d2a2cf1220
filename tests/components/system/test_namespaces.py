from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

import support
from homeport.client.client import Client
from homeport.components import system
from homeport.components.system.events import EventExpiry
from homeport.components.system.namespaces import INITIAL
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.errors import Forbidden
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, find_condition, metadata, status
from virtual_time import now

PODS = Resource("", "v1", "pods", "Pod")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
CA = "-----BEGIN CERTIFICATE-----\n"


@asynccontextmanager
async def started(world: support.World, client: Client | None = None) -> AsyncIterator[None]:
    client = client or world.client
    informers = Informers(client)
    ready = asyncio.Event()
    async with support.running(informers.run(), system.run(client, informers, ca_pem=CA, ready=ready)):
        async with asyncio.timeout(10):
            await ready.wait()
        yield


async def until(world: support.World, check: Callable[[], Any]) -> None:
    async def asked() -> Any:
        return await check()

    await world.eventually(asked)


async def test_the_first_namespaces_and_what_each_has(world: support.World) -> None:
    async with started(world):
        assert await world.names(core.NAMESPACE.resource) == sorted(INITIAL)

        async def complete() -> bool:
            accounts = await world.client.list(ACCOUNTS)
            maps = await world.client.list(CONFIG_MAPS)
            return (
                {metadata(item)["namespace"] for item in accounts.items} == set(INITIAL)
                and {metadata(item)["namespace"] for item in maps.items} == set(INITIAL)
                and all(item["data"] == {"ca.crt": CA} for item in maps.items)
            )

        await world.eventually(complete)


async def test_account_and_certificate_come_back(world: support.World) -> None:
    async with started(world):
        await world.make_namespace("team")
        await until(world, lambda: world.get(CONFIG_MAPS, "kube-root-ca.crt", "team"))
        await world.client.delete(ACCOUNTS, "default", "team")
        await world.client.patch(CONFIG_MAPS, "kube-root-ca.crt", "team", {"data": {"ca.crt": "wrong"}})

        async def restored() -> bool:
            config_map = await world.client.get(CONFIG_MAPS, "kube-root-ca.crt", "team")
            return config_map["data"] == {"ca.crt": CA} and await world.get(ACCOUNTS, "default", "team") is not None

        await world.eventually(restored)


def pod(name: str, **meta: Any) -> Object:
    containers = [{"name": "main", "image": "python"}]
    metadata = {"name": name, "namespace": "team", **meta}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}


async def test_a_deleted_namespace_takes_everything_along(world: support.World) -> None:
    async with started(world):
        await world.make_namespace("team")
        await world.client.create(PODS, pod("p"))
        config_map: Object = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "c", "namespace": "team"},
        }
        await world.client.create(CONFIG_MAPS, config_map)
        await world.client.delete(core.NAMESPACE.resource, "team")

        async def gone() -> bool:
            return await world.get(core.NAMESPACE.resource, "team") is None

        await world.eventually(gone)
        assert await world.names(PODS) == []
        assert "c" not in await world.names(CONFIG_MAPS)
        await world.make_namespace("team")
        await until(world, lambda: world.get(ACCOUNTS, "default", "team"))


async def test_a_namespace_says_what_keeps_it_and_pods_go_first(world: support.World) -> None:
    async with started(world):
        await world.make_namespace("team")
        await world.client.create(PODS, pod("p", finalizers=["example.com/hold"]))
        await until(world, lambda: world.get(CONFIG_MAPS, "kube-root-ca.crt", "team"))
        await world.client.delete(core.NAMESPACE.resource, "team")

        async def explained() -> bool:
            namespace = await world.client.get(core.NAMESPACE.resource, "team")
            found = {
                item["type"]: (item["status"], item["reason"], item["message"])
                for item in status(namespace).get("conditions") or ()
            }
            return status(namespace)["phase"] == "Terminating" and found == {
                "NamespaceDeletionContentFailure": (
                    "False",
                    "ContentDeleted",
                    "All content successfully deleted, may be waiting on finalization",
                ),
                "NamespaceContentRemaining": (
                    "True",
                    "SomeResourcesRemain",
                    "Some resources are remaining: pods. has 1 resource instances",
                ),
                "NamespaceFinalizersRemaining": (
                    "True",
                    "SomeFinalizersRemain",
                    "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
                ),
            }

        await world.eventually(explained)
        namespace = await world.client.get(core.NAMESPACE.resource, "team")
        assert find_condition(status(namespace)["conditions"], "NamespaceContentRemaining") is not None
        assert await world.get(CONFIG_MAPS, "kube-root-ca.crt", "team") is not None  # still there for the pod
        with pytest.raises(Forbidden):
            await world.client.create(PODS, pod("late"))
        await world.client.patch(PODS, "p", "team", {"metadata": {"finalizers": None}})

        async def gone() -> bool:
            return await world.get(core.NAMESPACE.resource, "team") is None

        await world.eventually(gone)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_goes_wrong_namespaces_end(world: support.World, seed: int) -> None:
    await world.make_namespace("team")
    for index in range(5):
        await world.client.create(PODS, pod(f"p{index}"))
    flaky = support.FlakyTransport(world.transport, seed=seed, chance=0.1)
    async with started(world, Client(flaky)):
        await world.client.delete(core.NAMESPACE.resource, "team")

        async def gone() -> bool:
            return await world.get(core.NAMESPACE.resource, "team") is None

        await world.eventually(gone, 30)


def event(name: str, made: str | None = None) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "Tested",
        "type": "Normal",
    }


async def test_events_go_when_their_time_is_up_and_not_before(world: support.World) -> None:
    await world.client.create(core.EVENT.resource, event("old"))
    informers = Informers(world.client)
    expiry = EventExpiry(world.client, informers, now=now, ttl=timedelta(hours=1))
    async with support.running(informers.run(), expiry.run()):
        async with asyncio.timeout(10):
            await expiry.ready.wait()
        await world.client.create(core.EVENT.resource, event("touched"))
        await asyncio.sleep(1800)
        assert await world.names(core.EVENT.resource) == ["old", "touched"]
        await world.client.patch(core.EVENT.resource, "touched", "default", {"count": 2})
        await asyncio.sleep(1790)
        assert await world.names(core.EVENT.resource) == ["old", "touched"]
        await asyncio.sleep(20)
        assert await world.names(core.EVENT.resource) == ["touched"]
        await asyncio.sleep(1780)
        assert await world.names(core.EVENT.resource) == ["touched"]
        await asyncio.sleep(20)
        assert await world.names(core.EVENT.resource) == []


async def test_an_idle_platform_writes_nothing(world: support.World) -> None:
    async with started(world):
        await until(world, lambda: world.get(CONFIG_MAPS, "kube-root-ca.crt", "kube-public"))
        await asyncio.sleep(1)
        revision = world.store.revision
        await asyncio.sleep(3600)
        assert world.store.revision == revision
