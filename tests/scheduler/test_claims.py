"""Pods and their claims, from nothing to bound and back: the scheduler, the binder and the node's provisioner."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import support
from homeport.components.system.storage import DefaultClass, EphemeralVolumes, InUseProtection, VolumeBinder
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.kube.core import claims as rules
from homeport.kube.meta import Object, spec, status
from homeport.node.provisioner import Provisioner
from homeport.node.sandbox import trees
from homeport.scheduler.binder import Scheduler
from virtual_time import now

CLAIM, VOLUME, POD = core.PERSISTENT_VOLUME_CLAIM.resource, core.PERSISTENT_VOLUME.resource, core.POD.resource
CLASS, EVENT = core.STORAGE_CLASS.resource, core.EVENT.resource


class Cluster:
    def __init__(self, world: support.World, directory: Path) -> None:
        self.world = world
        self.client = world.client
        self.directory = directory
        self.removed: list[str] = []
        self.copied: list[tuple[str, str]] = []

    async def remove(self, path: str) -> None:
        if not os.path.basename(path).startswith("."):
            self.removed.append(path)
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)

    async def copy(self, source: str, target: str) -> None:
        await asyncio.to_thread(trees.copy, source, target)

    async def node(self, name: str) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        }
        await self.client.create(core.NODE.resource, body)
        ready = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok"}]
        await self.world.set_status(
            core.NODE.resource, name, "", conditions=ready, allocatable={"cpu": "4", "pods": "9"}
        )

    async def claim(self, name: str, **more: Any) -> Object:
        wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **more}
        metadata = {"name": name, "namespace": "default"}
        body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": wanted}
        return await self.client.create(CLAIM, body)

    async def pod(self, name: str, *claims: str, **more: Any) -> Object:
        volumes = [{"name": f"v-{claim}", "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
        wanted = {"containers": [{"name": "main", "image": "x"}], "volumes": volumes, **more}
        metadata = {"name": name, "namespace": "default"}
        return await self.client.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": wanted})

    async def until(self, kind: Any, name: str, test: Callable[[Object], Any]) -> Object:
        async def check() -> Any:
            found = await self.world.get(kind, name, "default" if kind.namespaced else "")
            return found if found is not None and test(found) else None

        found: Object = await self.world.eventually(check)
        return found

    async def bound(self, claim: str) -> Object:
        """The claim's volume."""
        found = await self.until(CLAIM, claim, lambda c: status(c).get("phase") == "Bound")
        return await self.until(VOLUME, spec(found)["volumeName"], lambda v: status(v).get("phase") == "Bound")

    async def placed(self, pod: str) -> str:
        found = await self.until(POD, pod, lambda p: spec(p).get("nodeName"))
        return str(spec(found)["nodeName"])

    async def refused(self, pod: str, why: str) -> None:
        def says_so(found: Object) -> bool:
            condition = meta.find_condition(status(found).get("conditions"), "PodScheduled") or {}
            return (condition.get("message") or "").partition(" preemption: ")[0] == why

        await self.until(POD, pod, says_so)

    async def told(self, about: str, reason: str) -> str:
        async def check() -> Any:
            events = [e for e in (await self.client.list(EVENT)).items if e["reason"] == reason]
            return next((e["message"] for e in events if e["involvedObject"]["name"] == about), None)

        message: str = await self.world.eventually(check)
        return message

    async def gone(self, kind: Any, name: str) -> None:
        async def check() -> bool:
            return await self.world.get(kind, name, "default" if kind.namespaced else "") is None

        await self.world.eventually(check)


@pytest.fixture
async def cluster(world: support.World, tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(world, tmp_path / "volumes")
    await made.node("n1")
    informers = Informers(world.client, freeze=True)
    recorder = EventRecorder(world.client, "test")
    parts = (
        VolumeBinder(world.client, informers, recorder),
        InUseProtection(world.client, informers),
        EphemeralVolumes(world.client, informers, recorder),
        DefaultClass(world.client),
    )
    provisioner = Provisioner(
        world.client,
        informers,
        recorder,
        node_name="n1",
        directory=made.directory,
        remove=made.remove,
        copy=made.copy,
    )
    scheduler = Scheduler(world.client, informers=informers, recorder=recorder, now=now)
    runs = (informers.run(), recorder.run(), provisioner.run(), scheduler.run(), *(part.run() for part in parts))
    async with support.running(*runs):
        for part in parts:
            await part.ready.wait()
        await scheduler.ready.wait()
        yield made


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def is_there(path: str | Path) -> bool:
    return os.path.exists(path)


async def test_a_volume_is_made_for_a_pod_and_deleted_with_its_claim(cluster: Cluster) -> None:
    await cluster.claim("c")
    await cluster.told("c", "WaitForFirstConsumer")
    assert not cluster.directory.exists()
    await cluster.pod("p", "c")
    assert await cluster.placed("p") == "n1"
    volume = await cluster.bound("c")
    path = Path(spec(volume)["local"]["path"])
    assert path.name.startswith("default_c_pvc-")
    assert (mode(path), mode(path.parent)) == (0o777, 0o711)
    assert rules.class_name(volume) == "standard"
    assert "Successfully provisioned volume" in await cluster.told("c", "ProvisioningSucceeded")

    await cluster.client.delete(CLAIM, "c", "default")
    await cluster.claim("other")
    await cluster.told("other", "WaitForFirstConsumer")
    assert is_there(path)
    await cluster.client.delete(POD, "p", "default", grace_period=0)
    await cluster.gone(VOLUME, meta.name(volume))
    assert cluster.removed == [str(path)]


async def test_what_is_retained_is_not_deleted(cluster: Cluster) -> None:
    await cluster.claim("c")
    await cluster.pod("p", "c")
    volume = await cluster.bound("c")
    await cluster.client.patch(VOLUME, meta.name(volume), "", {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
    await cluster.client.delete(POD, "p", "default", grace_period=0)
    await cluster.client.delete(CLAIM, "c", "default")
    await cluster.until(VOLUME, meta.name(volume), lambda v: status(v).get("phase") == "Released")
    await cluster.client.delete(VOLUME, meta.name(volume))
    await cluster.gone(VOLUME, meta.name(volume))
    assert is_there(spec(volume)["local"]["path"])
    assert cluster.removed == []


@pytest.mark.parametrize("path", ["/", "/etc", "{directory}", "{directory}/pvc-other"])
async def test_nothing_but_a_volume_s_own_directory_is_ever_deleted(cluster: Cluster, path: str) -> None:
    """Whatever somebody writes into a volume."""
    ref = {"namespace": "default", "name": "gone", "uid": "0-1"}
    wanted = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "local": {"path": path.format(directory=cluster.directory)},
        "persistentVolumeReclaimPolicy": "Delete",
        "claimRef": ref,
        "nodeAffinity": {
            "required": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]}
                ]
            }
        },
    }
    metadata = {"name": "pvc-1", "annotations": {rules.PROVISIONED_BY: rules.LOCAL_PROVISIONER}}
    body = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": wanted}
    await cluster.client.create(VOLUME, body)
    await cluster.until(VOLUME, "pvc-1", lambda v: status(v).get("phase") == "Released")
    await cluster.claim("later")
    await cluster.told("later", "WaitForFirstConsumer")
    assert cluster.removed == []


async def test_a_class_that_does_not_wait(cluster: Cluster) -> None:
    fast = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "now"}}
    await cluster.client.create(CLASS, {**fast, "provisioner": rules.LOCAL_PROVISIONER, "reclaimPolicy": "Retain"})
    await cluster.claim("c", storageClassName="now")
    assert spec(await cluster.bound("c"))["persistentVolumeReclaimPolicy"] == "Retain"


async def test_why_a_pod_waits_for_its_claims(cluster: Cluster) -> None:
    await cluster.pod("p", "c")
    await cluster.refused("p", '0/1 nodes are available: persistentvolumeclaim "c" not found.')
    await cluster.claim("c", storageClassName="")
    await cluster.refused("p", "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.")
    elsewhere = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}]
    metadata = {"name": "v"}
    wanted = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "local": {"path": "/tmp/v"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": elsewhere}},
    }
    await cluster.client.create(
        VOLUME, {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": wanted}
    )
    await cluster.refused("p", "0/1 nodes are available: 1 node(s) had volume node affinity conflict.")
    await cluster.node("n2")
    assert await cluster.placed("p") == "n2"


async def test_a_volume_of_the_node_that_the_pod_goes_to(cluster: Cluster) -> None:
    """A class without a provisioner: volumes made by hand, chosen when the pod is."""
    body = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "hand"}}
    more = {"provisioner": rules.NO_PROVISIONER, "volumeBindingMode": "WaitForFirstConsumer"}
    await cluster.client.create(CLASS, {**body, **more})
    await cluster.claim("c", storageClassName="hand")
    await cluster.pod("p", "c", nodeSelector={"kubernetes.io/hostname": "n2"})
    await cluster.node("n2")
    nothing = "1 node(s) didn't find available persistent volumes to bind"
    affinity = "1 node(s) didn't match Pod's node affinity/selector"
    await cluster.refused("p", f"0/2 nodes are available: {nothing}, {affinity}.")
    for node in ("n1", "n2"):
        there = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]
        wanted = {
            "capacity": {"storage": "1Gi" if node == "n1" else "2Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "hand",
            "local": {"path": f"/tmp/{node}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": there}},
        }
        made = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"v-{node}"}, "spec": wanted}
        await cluster.client.create(VOLUME, made)
    assert await cluster.placed("p") == "n2"
    assert meta.name(await cluster.bound("c")) == "v-n2"


async def test_one_pod_at_a_time(cluster: Cluster) -> None:
    await cluster.claim("c", accessModes=["ReadWriteOncePod"])
    await cluster.pod("first", "c")
    await cluster.placed("first")
    await cluster.pod("second", "c")
    text = "1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    await cluster.refused("second", f"0/1 nodes are available: {text}.")
    await cluster.client.delete(POD, "first", "default", grace_period=0)
    await cluster.placed("second")


async def test_a_claim_grows(cluster: Cluster) -> None:
    await cluster.claim("c")
    await cluster.pod("p", "c")
    volume = await cluster.bound("c")
    more = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    await cluster.client.patch(CLAIM, "c", "default", more)
    await cluster.until(CLAIM, "c", lambda c: status(c)["capacity"] == {"storage": "3Gi"})
    await cluster.until(VOLUME, meta.name(volume), lambda v: spec(v)["capacity"] == {"storage": "3Gi"})
    await cluster.told("c", "VolumeResizeSuccessful")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"volumeMode": "Block"}, "raw block volumes (volumeMode: Block) are not supported"),
        ({"selector": {"matchLabels": {"a": "b"}}}, "claim.Spec.Selector is not supported for dynamic provisioning"),
    ],
)
async def test_what_can_not_be_made_says_why(cluster: Cluster, more: Any, why: str) -> None:
    await cluster.claim("c", **more)
    await cluster.pod("p", "c")
    text = await cluster.told("c", "ProvisioningFailed")
    assert text.startswith('failed to provision volume with StorageClass "standard": ')
    assert why in text
    assert not cluster.directory.exists()


async def test_a_copy_of_another_claim(cluster: Cluster) -> None:
    await cluster.claim("origin")
    await cluster.pod("p", "origin")
    (Path(spec(await cluster.bound("origin"))["local"]["path"]) / "f").write_text("x")
    await cluster.claim("copy", dataSource={"kind": "PersistentVolumeClaim", "name": "origin"})
    await cluster.pod("q", "copy")
    assert (Path(spec(await cluster.bound("copy"))["local"]["path"]) / "f").read_text() == "x"


async def test_an_ephemeral_volume_goes_with_its_pod(cluster: Cluster) -> None:
    template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}
    own = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}
    await cluster.pod("p", volumes=[own])
    assert await cluster.placed("p") == "n1"
    await cluster.bound("p-scratch")


async def test_many_pods_with_a_claim_each(cluster: Cluster) -> None:
    for index in range(9):
        await cluster.claim(f"c{index}")
        await cluster.pod(f"p{index}", f"c{index}")
    for index in range(9):
        await cluster.placed(f"p{index}")
    assert len(list(cluster.directory.iterdir())) == 9
