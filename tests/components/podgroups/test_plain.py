"""The groups of pods that name Volcano and none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import support
from homeport.components import volcano
from homeport.components.podgroups.plain import PlainGroups
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.kube.meta import Object
from homeport.kube.scheduling import VOLCANO_POD_GROUP, VOLCANO_QUEUE, names, plain

POD, GROUP, SET = core.POD.resource, VOLCANO_POD_GROUP.resource, core.REPLICA_SET.resource


def pod(name: str, owner: Object | None = None, notes: dict[str, str] | None = None, **more: Any) -> Object:
    container = {"name": "main", "image": "python", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}
    metadata: Object = {"name": name, "namespace": "default", "labels": {"app": "web"}, "annotations": notes or {}}
    if owner is not None:
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": meta.name(owner), "uid": meta.uid(owner)}
        metadata["ownerReferences"] = [{**reference, "controller": True}]
    spec = {"schedulerName": "volcano", "containers": [container], **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def replica_set(**notes: str) -> Object:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "python"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "default", "annotations": notes},
        "spec": spec,
    }


@asynccontextmanager
async def making_groups() -> AsyncIterator[support.World]:
    async with support.world(volcano.KINDS, hooks=volcano.ADMISSION) as made:
        await made.client.create(VOLCANO_QUEUE.resource, VOLCANO_QUEUE.new("default", spec={"weight": 1}))
        informers = Informers(made.client, freeze=True)
        async with support.running(informers.run(), PlainGroups(made.client, informers).run()):
            yield made


async def tied(world: support.World, name: str) -> str:
    async def look() -> str:
        found = await world.client.get(POD, name, "default")
        return meta.annotations(found).get(names.GROUP_NAME) or ""

    return str(await world.eventually(look))


async def test_a_pod_has_a_group_that_goes_with_it() -> None:
    async with making_groups() as world:
        notes = {"volcano.sh/preemptable": "true", "other.example/note": "x"}
        made = await world.client.create(POD, pod("single", notes=notes))
        group = await tied(world, "single")
        assert group == f"podgroup-{meta.uid(made)}"
        found = await world.client.get(GROUP, group, "default")
    (owner,) = meta.metadata(found)["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Pod", meta.uid(made), True)
    assert meta.annotations(found) == {"volcano.sh/preemptable": "true"}
    assert meta.spec(found) == {
        "minMember": 1,
        "queue": "default",
        "minResources": {"cpu": "500m", "memory": "1Gi"},
    }


async def test_pods_of_a_set_share_a_group_until_it_is_scaled_to_nothing() -> None:
    async with making_groups() as world:
        owner = await world.client.create(SET, replica_set(**{names.GROUP_MIN_MEMBER: "2", "volcano.sh/note": "x"}))
        for name in "abc":
            await world.client.create(POD, pod(name, owner))
        assert {await tied(world, name) for name in "abc"} == {f"podgroup-{meta.uid(owner)}"}
        (group,) = (await world.client.list(GROUP, "default")).items
        assert meta.spec(group)["minMember"] == 2
        assert meta.spec(group)["minResources"] == {"cpu": "1", "memory": "2Gi"}
        assert [one["uid"] for one in meta.metadata(group)["ownerReferences"]] == [meta.uid(owner)]

        await world.update(
            SET, "web", "default", lambda one: meta.annotations(one).update({names.GROUP_MIN_MEMBER: "3"})
        )

        async def grown() -> bool:
            return bool(meta.spec(await world.client.get(GROUP, meta.name(group), "default"))["minMember"] == 3)

        await world.eventually(grown)
        await world.update(SET, "web", "default", lambda one: one["spec"].update(replicas=0))

        async def gone() -> bool:
            return not await world.names(GROUP, "default")

        await world.eventually(gone)


async def test_a_group_that_is_deleted_is_made_again() -> None:
    async with making_groups() as world:
        await world.client.create(POD, pod("single"))
        group = await tied(world, "single")
        first = await world.client.get(GROUP, group, "default")
        await world.client.delete(GROUP, group, "default")

        async def again() -> bool:
            found = await world.get(GROUP, group, "default")
            return found is not None and meta.uid(found) != meta.uid(first)

        await world.eventually(again)


async def test_a_refused_group_is_told_of_once_and_made_when_its_queue_comes() -> None:
    async with making_groups() as world:
        await world.client.create(POD, pod("single", notes={names.QUEUE_NAME: "research"}))

        async def told() -> list[Object]:
            return [
                e for e in (await world.client.list(core.EVENT.resource, "default")).items if e["type"] == "Warning"
            ]

        (event,) = await world.eventually(told)
        assert event["reason"] == "FailedCreatePodGroup"
        assert 'queue.scheduling.volcano.sh "research" not found' in event["message"]
        other = VOLCANO_QUEUE.new("other", spec={"weight": 1})  # any change of queues is a reason to try again
        await world.client.create(VOLCANO_QUEUE.resource, other)
        await world.client.create(VOLCANO_QUEUE.resource, VOLCANO_QUEUE.new("research", spec={"weight": 1}))
        group = await tied(world, "single")
        assert meta.spec(await world.client.get(GROUP, group, "default"))["queue"] == "research"
        assert [event["count"] for event in await told()] == [1]


@pytest.mark.parametrize(
    ("notes", "more", "expected"),
    [
        ({}, {}, True),
        ({names.GROUP_NAME: "g"}, {}, False),
        ({names.VOLCANO_GROUP_NAME: "g"}, {}, False),
        ({}, {"schedulerName": "homeport"}, False),
        ({}, {"schedulingGroup": {"podGroupName": "g"}}, False),
    ],
)
def test_which_pods_have_none(notes: dict[str, str], more: Object, expected: bool) -> None:
    assert plain.is_plain(pod("p", notes=notes, **more)) is expected


def test_what_annotations_say_of_a_group() -> None:
    notes = {
        "volcano.sh/network-topology-mode": "Soft",
        "volcano.sh/network-topology-highest-tier": "2",
        "volcano.sh/from": "pod",
    }
    owner = replica_set(
        **{"volcano.sh/from": "owner", "volcano.sh/sla-waiting-time": "1h", names.GROUP_MIN_MEMBER: "-1"}
    )
    made = pod("p", notes=notes, priorityClassName="high")
    meta.metadata(made)["uid"] = "u"
    group = plain.pod_group(made, owner, "team")
    assert meta.annotations(group) == {**notes, "volcano.sh/sla-waiting-time": "1h"}
    assert meta.spec(group)["minMember"] == 1
    assert meta.spec(group)["queue"] == "team"
    assert meta.spec(group)["priorityClassName"] == "high"
    assert meta.spec(group)["networkTopology"] == {"mode": "soft", "highestTierAllowed": 2}
