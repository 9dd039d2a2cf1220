from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import support
from homeport.components.system.storage import DefaultClass, EphemeralVolumes, InUseProtection, VolumeBinder
from homeport.control.cache import Cache
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.kube.core import claims as rules
from homeport.kube.meta import Object, spec, status

CLAIM, VOLUME, CLASS = (
    core.PERSISTENT_VOLUME_CLAIM.resource,
    core.PERSISTENT_VOLUME.resource,
    core.STORAGE_CLASS.resource,
)
POD, EVENT = core.POD.resource, core.EVENT.resource


@asynccontextmanager
async def storage(world: support.World) -> AsyncIterator[None]:
    informers = Informers(world.client, freeze=True)
    recorder = EventRecorder(world.client, "test")
    parts = (
        VolumeBinder(world.client, informers, recorder),
        InUseProtection(world.client, informers),
        EphemeralVolumes(world.client, informers, recorder),
        DefaultClass(world.client),
    )
    async with support.running(informers.run(), recorder.run(), *(part.run() for part in parts)):
        for part in parts:
            await part.ready.wait()
        yield


@pytest.fixture
async def cluster(world: support.World) -> AsyncIterator[support.World]:
    async with storage(world):
        yield world


def claim(name: str = "c", size: str = "1Gi", modes: tuple[str, ...] = ("ReadWriteOnce",), **more: Any) -> Object:
    wanted = {"accessModes": list(modes), "resources": {"requests": {"storage": size}}, "storageClassName": "", **more}
    wanted = {key: value for key, value in wanted.items() if value is not None}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": wanted}


def volume(name: str, size: str = "1Gi", modes: tuple[str, ...] = ("ReadWriteOnce",), **more: Any) -> Object:
    wanted = {"capacity": {"storage": size}, "accessModes": list(modes), "hostPath": {"path": f"/tmp/{name}"}, **more}
    labels = wanted.pop("labels", {})
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": wanted}


def pod(name: str = "p", *volumes: Object, node: str = "n") -> Object:
    wanted = {"containers": [{"name": "main", "image": "x"}], "volumes": list(volumes), "nodeName": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": wanted}


def uses(name: str) -> Object:
    return {"name": "v", "persistentVolumeClaim": {"claimName": name}}


def finding(world: support.World, kind: Any, name: str, test: Callable[[Object], Any]) -> Callable[[], Awaitable[Any]]:
    async def check() -> Any:
        found = await world.get(kind, name, "default" if kind.namespaced else "")
        return found if found is not None and test(found) else None

    return check


async def claim_is(world: support.World, name: str, phase: str) -> Object:
    found: Object = await world.eventually(finding(world, CLAIM, name, lambda c: status(c).get("phase") == phase))
    return found


async def volume_is(world: support.World, name: str, phase: str) -> Object:
    found: Object = await world.eventually(finding(world, VOLUME, name, lambda v: status(v).get("phase") == phase))
    return found


async def told(world: support.World, about: str, reason: str) -> str:
    async def check() -> Any:
        events = (await world.client.list(EVENT)).items
        return next(
            (e["message"] for e in events if e["involvedObject"]["name"] == about and e["reason"] == reason), None
        )

    message: str = await world.eventually(check)
    return message


async def gone(world: support.World, kind: Any, name: str) -> None:
    async def check() -> bool:
        return await world.get(kind, name, "default" if kind.namespaced else "") is None

    await world.eventually(check)


async def test_a_claim_gets_the_smallest_volume_that_suits(cluster: support.World) -> None:
    fits = {"labels": {"tier": "a"}}
    for made in (
        volume("small", "1Gi", **fits),
        volume("large", "9Gi", **fits),
        volume("right", "3Gi", ("ReadWriteOnce", "ReadOnlyMany"), **fits),
        volume("other-mode", "2Gi", ("ReadOnlyMany",), **fits),
        volume("other-class", "2Gi", storageClassName="fast", **fits),
        volume("other-label", "2Gi", labels={"tier": "b"}),
        volume("reserved", "2Gi", claimRef={"namespace": "default", "name": "somebody"}, **fits),
        volume("block", "2Gi", volumeMode="Block", **fits),
    ):
        await cluster.client.create(VOLUME, made)
    await cluster.client.create(CLAIM, claim(size="2Gi", selector={"matchLabels": {"tier": "a"}}))
    bound = await claim_is(cluster, "c", "Bound")
    assert spec(bound)["volumeName"] == "right"
    assert status(bound) == {
        "phase": "Bound",
        "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
        "capacity": {"storage": "3Gi"},
    }
    assert meta.annotations(bound) == {rules.BIND_COMPLETED: "yes", rules.BOUND_BY_CONTROLLER: "yes"}
    found = await volume_is(cluster, "right", "Bound")
    assert rules.claim_ref(found)["uid"] == meta.uid(bound)
    assert status(await volume_is(cluster, "small", "Available")) == {"phase": "Available"}
    assert status(await volume_is(cluster, "reserved", "Available"))


async def test_many_claims_get_a_volume_each(cluster: support.World) -> None:
    for index in range(12):
        await cluster.client.create(CLAIM, claim(f"c{index}"))
        await cluster.client.create(VOLUME, volume(f"v{index}"))
    bound = [await claim_is(cluster, f"c{index}", "Bound") for index in range(12)]
    assert len({spec(each)["volumeName"] for each in bound}) == 12


async def test_a_claim_that_nothing_suits_says_so_and_is_bound_when_something_does(cluster: support.World) -> None:
    await cluster.client.create(CLAIM, claim())
    text = "no persistent volumes available for this claim and no storage class is set"
    assert await told(cluster, "c", "FailedBinding") == text
    await cluster.client.create(VOLUME, volume("v"))
    await claim_is(cluster, "c", "Bound")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"size": "1Mi"}, "requested PV is too small"),
        ({"storageClassName": "fast"}, "storageClassName does not match"),
        ({"volumeMode": "Block"}, "incompatible volumeMode"),
        ({"modes": ("ReadOnlyMany",)}, "incompatible accessMode"),
    ],
)
async def test_a_named_volume_has_to_suit(cluster: support.World, given: Any, why: str) -> None:
    await cluster.client.create(VOLUME, volume("v", **given))
    await cluster.client.create(CLAIM, claim(volumeName="v"))
    assert await told(cluster, "c", "VolumeMismatch") == f'Cannot bind to requested volume "v": {why}'
    assert rules.claim_ref(await volume_is(cluster, "v", "Available")) == {}


async def test_two_claims_name_one_volume(cluster: support.World) -> None:
    await cluster.client.create(VOLUME, volume("v"))
    await cluster.client.create(CLAIM, claim("first", volumeName="v"))
    await claim_is(cluster, "first", "Bound")
    await cluster.client.create(CLAIM, claim("second", volumeName="v"))
    assert await told(cluster, "second", "FailedBinding") == 'volume "v" already bound to a different claim.'
    await claim_is(cluster, "second", "Pending")


async def test_a_volume_waits_for_the_claim_that_it_is_reserved_for(cluster: support.World) -> None:
    reserved = volume("v", claimRef={"namespace": "default", "name": "later"})
    await cluster.client.create(VOLUME, reserved)
    await volume_is(cluster, "v", "Available")
    await cluster.client.create(CLAIM, claim("other"))
    await told(cluster, "other", "FailedBinding")
    await cluster.client.create(CLAIM, claim("later"))
    assert spec(await claim_is(cluster, "later", "Bound"))["volumeName"] == "v"


async def test_what_is_retained_is_released_and_can_be_given_again(cluster: support.World) -> None:
    await cluster.client.create(VOLUME, volume("v"))
    await cluster.client.create(CLAIM, claim())
    await claim_is(cluster, "c", "Bound")
    await cluster.client.delete(CLAIM, "c", "default")
    await volume_is(cluster, "v", "Released")
    await cluster.client.create(CLAIM, claim("next"))
    await told(cluster, "next", "FailedBinding")
    await cluster.client.patch(VOLUME, "v", "", {"spec": {"claimRef": None}})
    assert spec(await claim_is(cluster, "next", "Bound"))["volumeName"] == "v"


@pytest.mark.parametrize(
    ("policy", "reason", "text"),
    [
        ("Delete", "VolumeFailedDelete", "no deletable volume plugin matched"),
        ("Recycle", "VolumeFailedRecycle", "deprecated"),
    ],
)
async def test_nobody_deletes_what_was_made_by_hand(
    cluster: support.World, policy: str, reason: str, text: str
) -> None:
    await cluster.client.create(VOLUME, volume("v", persistentVolumeReclaimPolicy=policy))
    await cluster.client.create(CLAIM, claim())
    await claim_is(cluster, "c", "Bound")
    await cluster.client.delete(CLAIM, "c", "default")
    assert text in status(await volume_is(cluster, "v", "Failed"))["message"]
    assert text in await told(cluster, "v", reason)


async def test_a_claim_whose_volume_is_lost(cluster: support.World) -> None:
    await cluster.client.create(VOLUME, volume("v"))
    await cluster.client.create(CLAIM, claim())
    await claim_is(cluster, "c", "Bound")
    await cluster.client.delete(VOLUME, "v")
    assert meta.is_deleting(await volume_is(cluster, "v", "Bound"))  # protected
    await cluster.client.patch(VOLUME, "v", "", {"metadata": {"finalizers": None}})
    await claim_is(cluster, "c", "Lost")
    assert "Data on the volume is lost!" in await told(cluster, "c", "ClaimLost")


async def test_the_default_class_and_who_waits_for_what(cluster: support.World) -> None:
    await cluster.client.create(CLAIM, claim(storageClassName=None))
    assert await told(cluster, "c", "WaitForFirstConsumer") == (
        "waiting for first consumer to be created before binding"
    )
    waits = await claim_is(cluster, "c", "Pending")
    assert spec(waits)["storageClassName"] == "standard"
    assert not {*rules.PROVISIONERS} & meta.annotations(waits).keys()
    placed = {"metadata": {"annotations": {rules.SELECTED_NODE: "n"}}}
    await cluster.client.patch(CLAIM, "c", "default", placed)
    await cluster.eventually(
        finding(
            cluster, CLAIM, "c", lambda c: meta.annotations(c).get(rules.PROVISIONERS[0]) == rules.LOCAL_PROVISIONER
        )
    )
    await cluster.client.create(CLAIM, claim("d", storageClassName="nowhere"))
    assert await told(cluster, "d", "ProvisioningFailed") == 'storageclass.storage.k8s.io "nowhere" not found'


async def test_a_claim_without_a_class_gets_the_default_class_that_comes_later(world: support.World) -> None:
    await world.client.create(CLAIM, claim(storageClassName=None))
    async with storage(world):
        await world.eventually(finding(world, CLAIM, "c", lambda c: spec(c).get("storageClassName") == "standard"))


async def test_a_claim_in_use_outlives_its_deletion(cluster: support.World) -> None:
    await cluster.client.create(VOLUME, volume("v"))
    await cluster.client.create(CLAIM, claim())
    await cluster.client.create(POD, pod("p", uses("c")))
    await cluster.client.create(POD, pod("homeless", uses("c"), node=""))
    await claim_is(cluster, "c", "Bound")
    await cluster.client.delete(CLAIM, "c", "default")
    await cluster.client.create(CLAIM, claim("other"))  # handled after it
    await told(cluster, "other", "FailedBinding")
    assert await cluster.get(CLAIM, "c", "default") is not None
    await cluster.client.delete(POD, "p", "default", grace_period=0)
    await gone(cluster, CLAIM, "c")
    await volume_is(cluster, "v", "Released")
    await cluster.client.delete(VOLUME, "v")
    await gone(cluster, VOLUME, "v")


async def test_claims_of_ephemeral_volumes(cluster: support.World) -> None:
    wanted = claim(storageClassName="standard")["spec"]
    template = {"metadata": {"labels": {"l": "1"}}, "spec": wanted}
    own = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}
    await cluster.client.create(CLAIM, claim("taken-scratch"))
    await cluster.client.create(POD, pod("taken", own))
    text = "PVC default/taken-scratch was not created for pod default/taken (pod is not owner)"
    assert text in await told(cluster, "taken", "FailedBinding")
    made = await cluster.client.create(POD, pod("p", own))
    found = await cluster.eventually(finding(cluster, CLAIM, "p-scratch", lambda _: True))
    assert (meta.controller_of(found) or {})["uid"] == meta.uid(made)
    assert meta.labels(found) == {"l": "1"}


async def test_nobody_looks_at_all_claims_volumes_or_pods(
    cluster: support.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Cache) -> Iterator[Object]:
        raise AssertionError("a cache was walked through")

    monkeypatch.setattr(Cache, "__iter__", refuse)
    await cluster.client.create(CLAIM, claim())
    await cluster.client.create(VOLUME, volume("v"))
    bound = finding(cluster, CLAIM, "c", lambda found: status(found).get("phase") == "Bound")
    assert spec(await cluster.eventually(bound))["volumeName"] == "v"
    await cluster.client.create(POD, pod("p", uses("c")))
    await cluster.client.delete(CLAIM, "c", "default")
    assert await cluster.get(CLAIM, "c", "default") is not None
    await cluster.client.delete(POD, "p", "default", grace_period=0)
    await gone(cluster, CLAIM, "c")
    await cluster.eventually(finding(cluster, VOLUME, "v", lambda found: status(found)["phase"] == "Released"))
