"""Which addresses are behind a service: slices, Endpoints and mirrored Endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import support
from homeport.components.system.endpoints import slices
from homeport.components.system.endpoints.controller import ServiceEndpoints
from homeport.components.system.endpoints.index import SelectorIndex
from homeport.components.system.endpoints.mirror import EndpointsMirror
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.kube.errors import NotFound
from homeport.kube.meta import Object

POD, SERVICE, SLICE, ENDPOINTS = (
    kind.resource for kind in (core.POD, core.SERVICE, core.ENDPOINT_SLICE, core.ENDPOINTS)
)


@asynccontextmanager
async def running(world: support.World) -> AsyncIterator[None]:
    informers = Informers(world.client)
    parts = ServiceEndpoints(world.client, informers), EndpointsMirror(world.client, informers)
    async with support.running(informers.run(), *(part.run() for part in parts)):
        async with asyncio.timeout(10):
            for part in parts:
                await part.ready.wait()
        yield


def pod(name: str, **spec: Any) -> Object:
    ports = [{"name": "http", "containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]
    main = {"name": "main", "image": "python", "ports": ports}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [main], "nodeName": "here", **spec},
    }


def service(name: str = "web", **spec: Any) -> Object:
    spec.setdefault("selector", {"app": "web"})
    spec.setdefault("ports", [{"port": 80, "targetPort": "http"}])
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "labels": {"of": "me"}},
        "spec": spec,
    }


async def start(world: support.World, name: str, ip: str, *, ready: bool = True, **spec: Any) -> None:
    await world.client.create(POD, pod(name, **spec))
    await become(world, name, ip, ready=ready)


async def become(world: support.World, name: str, ip: str, *, ready: bool, phase: str = "Running") -> None:
    conditions = [{"type": "Ready", "status": str(ready)}]
    await world.set_status(
        POD, name, "default", phase=phase, podIP=ip, podIPs=[{"ip": ip}], conditions=conditions
    )  # fmt: skip


async def slices_of(world: support.World, name: str = "web") -> list[Object]:
    found = await world.client.list(SLICE, "default", labels=f"kubernetes.io/service-name={name}")
    return found.items


async def states(world: support.World, name: str = "web") -> dict[str, tuple[bool, ...]]:
    """Address -> ready, serving, terminating."""
    return {
        each["addresses"][0]: tuple(each["conditions"].get(key) for key in ("ready", "serving", "terminating"))
        for obj in await slices_of(world, name)
        for each in obj.get("endpoints") or ()
    }


async def subsets_of(world: support.World, name: str = "web") -> list[Object] | None:
    try:
        return (await world.client.get(ENDPOINTS, name, "default")).get("subsets") or []
    except NotFound:
        return None


async def test_conditions_follow_the_pods(world: support.World) -> None:
    async with running(world):
        await world.client.create(SERVICE, service())

        async def has_placeholder() -> bool:
            found = await slices_of(world)
            return len(found) == 1 and not found[0].get("endpoints") and await subsets_of(world) == []

        await world.eventually(has_placeholder)
        await start(world, "a", "10.0.0.1", ready=False)
        await start(world, "b", "10.0.0.2", hostname="b", subdomain="web")

        async def both() -> bool:
            return await states(world) == {"10.0.0.1": (False, False, False), "10.0.0.2": (True, True, False)}

        await world.eventually(both)
        (found,) = await slices_of(world)
        assert found["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
        assert found["metadata"]["labels"] == {
            "of": "me",
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        assert found["metadata"]["ownerReferences"][0]["kind"] == "Service"
        named = next(each for each in found["endpoints"] if each["addresses"] == ["10.0.0.2"])
        assert (named["hostname"], named["nodeName"], named["targetRef"]["name"]) == ("b", "here", "b")
        (subset,) = await subsets_of(world) or []
        assert [each["ip"] for each in subset["addresses"]] == ["10.0.0.2"]
        assert [each["ip"] for each in subset["notReadyAddresses"]] == ["10.0.0.1"]
        await become(world, "a", "10.0.0.1", ready=True)
        await world.client.delete(POD, "b", "default", grace_period=30)

        async def turned() -> bool:
            return await states(world) == {"10.0.0.1": (True, True, False), "10.0.0.2": (False, True, True)}

        await world.eventually(turned)
        assert [each["ip"] for each in (await subsets_of(world) or [])[0]["addresses"]] == ["10.0.0.1"]
        await become(world, "a", "10.0.0.1", ready=False, phase="Succeeded")
        await world.client.delete(POD, "b", "default", grace_period=0)
        await world.eventually(has_placeholder)
        await world.client.delete(SERVICE, "web", "default")

        async def gone() -> bool:
            return await subsets_of(world) is None

        await world.eventually(gone)


async def test_headless_and_not_ready(world: support.World) -> None:
    async with running(world):
        await start(world, "a", "10.0.0.1", ready=False)
        headless = service(clusterIP="None", publishNotReadyAddresses=True, ports=[])
        await world.client.create(SERVICE, headless)

        async def published() -> bool:
            return await states(world) == {"10.0.0.1": (True, False, False)}

        await world.eventually(published)
        (found,) = await slices_of(world)
        assert found["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
        assert not found.get("ports")

        async def written() -> bool:
            return bool(await subsets_of(world))

        await world.eventually(written)
        (subset,) = await subsets_of(world) or []
        assert ("ports" in subset, subset["addresses"][0]["ip"]) == (False, "10.0.0.1")


async def test_somebody_elses_changes_are_undone(world: support.World) -> None:
    async with running(world):
        await world.client.create(SERVICE, service())
        await start(world, "a", "10.0.0.1")

        async def right() -> bool:
            return await states(world) == {"10.0.0.1": (True, True, False)} and bool(await subsets_of(world))

        await world.eventually(right)
        (found,) = await slices_of(world)
        await world.client.replace(SLICE, {**found, "endpoints": []})
        await world.eventually(right)
        await world.client.delete(SLICE, found["metadata"]["name"], "default")
        await world.client.delete(ENDPOINTS, "web", "default")
        await world.eventually(right)
        await world.client.patch(SERVICE, "web", "default", {"spec": {"selector": {"app": "other"}}})

        async def empty() -> bool:
            return await states(world) == {} and await subsets_of(world) == []

        await world.eventually(empty)


async def test_endpoints_without_a_selector_are_mirrored(world: support.World) -> None:
    async with running(world):
        await world.client.create(SERVICE, service("db", selector=None))
        subset: Object = {"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 5432, "name": "sql"}]}
        await world.client.create(ENDPOINTS, core.ENDPOINTS.new("db", "default", subsets=[subset]))

        async def mirrored() -> bool:
            return await states(world, "db") == {"192.0.2.7": (True, None, None)}

        await world.eventually(mirrored)
        (found,) = await slices_of(world, "db")
        labels = found["metadata"]["labels"]
        assert labels["endpointslice.kubernetes.io/managed-by"] == "endpointslicemirroring-controller.k8s.io"
        assert found["ports"] == [{"name": "sql", "port": 5432, "protocol": "TCP"}]
        known = await world.client.get(ENDPOINTS, "db", "default")
        moved = {
            "addresses": [{"ip": "192.0.2.8"}],
            "notReadyAddresses": [{"ip": "192.0.2.9"}],
            "ports": subset["ports"],
        }
        await world.client.replace(ENDPOINTS, {**known, "subsets": [moved]})

        async def moved_too() -> bool:
            return await states(world, "db") == {"192.0.2.8": (True, None, None), "192.0.2.9": (False, None, None)}

        await world.eventually(moved_too)
        await world.client.delete(ENDPOINTS, "db", "default")

        async def gone() -> bool:
            return await slices_of(world, "db") == []

        await world.eventually(gone)


_OF = slices.Slices("web", "default", {"uid": "u"}, "me", {})


def entry(number: int, *, ready: bool = True) -> Object:
    return {"addresses": [f"10.0.{number // 256}.{number % 256}"], "conditions": {"ready": ready}}


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sets(st.integers(0, 400), max_size=350), st.sampled_from(("a", "b"))), min_size=1, max_size=5
    )
)
def test_plans_lead_to_what_is_wanted(steps: list[tuple[set[int], str]]) -> None:
    existing: dict[str, Object] = {}
    for count, (numbers, port) in enumerate(steps):
        group: slices.Group = ("IPv4", ((port, "TCP", 80, None),) if numbers else ())
        wanted = {group: [entry(number, ready=number % 2 == count % 2) for number in sorted(numbers)]}
        for again in range(2):
            plan = slices.plan(_OF, wanted, existing.values())
            if again:
                assert plan == ([], [], [])  # it is as it should be
            for obj in plan.delete:
                del existing[meta.name(obj)]
            for obj in plan.update:
                existing[meta.name(obj)] = obj
            for obj in plan.create:
                name = f"s{count}-{len(existing)}-{len(plan.create)}-{id(obj)}"
                existing[name] = {**obj, "metadata": {**obj["metadata"], "name": name}}
        found = [each for obj in existing.values() for each in obj["endpoints"]]
        assert sorted(found, key=str) == sorted(wanted[group], key=str)
        assert all(len(obj["endpoints"]) <= slices.MOST for obj in existing.values())


def test_few_slices_change_with_few_endpoints() -> None:
    group: slices.Group = ("IPv4", (("", "TCP", 80, None),))
    made = slices.plan(_OF, {group: [entry(number) for number in range(250)]}, []).create
    existing = [{**obj, "metadata": {**obj["metadata"], "name": f"s{n}"}} for n, obj in enumerate(made)]
    assert [len(obj["endpoints"]) for obj in existing] == [100, 100, 50]
    wanted = [entry(number, ready=number != 120) for number in range(251)]
    plan = slices.plan(_OF, {group: wanted}, existing)
    assert (plan.create, [meta.name(obj) for obj in plan.update], plan.delete) == ([], ["s1", "s2"], [])


def test_the_index_finds_both_ways() -> None:
    index = SelectorIndex()
    index.set_service(("ns", "web"), {"app": "web", "tier": "front"})
    index.set_service(("ns", "all"), {"app": "web"})
    assert index.set_pod(("ns", "a"), {"app": "web"}) == {("ns", "all")}
    assert index.set_pod(("ns", "a"), {"app": "web", "tier": "front"}) == {("ns", "all"), ("ns", "web")}
    assert index.set_pod(("other", "a"), {"app": "web"}) == set()
    assert index.pods_of(("ns", "web")) == {("ns", "a")}
    index.set_service(("ns", "web"), {"app": "db"})
    assert index.pods_of(("ns", "web")) == set()
    assert index.set_pod(("ns", "a"), None) == {("ns", "all")}
    assert index.pods_of(("ns", "all")) == set()
