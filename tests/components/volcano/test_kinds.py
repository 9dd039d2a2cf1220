"""What the kinds of gang scheduling take, add and refuse, and how they are shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

import support
from homeport.components import volcano
from homeport.control import definitions
from homeport.kube import core, scheduling
from homeport.kube.errors import Invalid, NotFound
from homeport.kube.kind import Kind
from homeport.kube.meta import Object, is_condition_true

POD: Object = {"spec": {"containers": [{"name": "main", "image": "python"}]}}
_ALL: Object = {"type": "Node", "selector": {"exactMatch": {"name": "n"}, "labelMatch": {"matchLabels": {"a": "b"}}}}
GANG: Object = {"schedulingPolicy": {"gang": {"minCount": 2}}}


def _node(**selector: Object) -> Object:
    return {"type": "Node", "selector": selector}


@pytest.fixture
async def served() -> AsyncIterator[support.World]:
    async with support.world(volcano.KINDS) as made:
        yield made


async def made(served: support.World, kind: Kind, spec: Object, name: str = "one") -> Object:
    place = "default" if kind.resource.namespaced else ""
    return await served.client.create(kind.resource, kind.new(name, place, spec=spec))


async def test_defaults_of_volcano(served: support.World) -> None:
    group = await made(served, scheduling.VOLCANO_POD_GROUP, {"minMember": 2, "networkTopology": {}})
    assert group["spec"] == {"minMember": 2, "queue": "default", "networkTopology": {"mode": "hard"}}
    queue = await made(served, scheduling.VOLCANO_QUEUE, {"capability": {"cpu": "1000m"}})
    assert queue["spec"] == {
        "weight": 1,
        "dequeueStrategy": "traverse",
        "reclaimable": True,
        "capability": {"cpu": "1"},
    }


async def test_a_status_is_part_of_a_group_of_volcano(served: support.World) -> None:
    """As upstream, there is no subresource for it: who writes the group writes it all."""
    resource = scheduling.VOLCANO_POD_GROUP.resource
    group = await made(served, scheduling.VOLCANO_POD_GROUP, {"minMember": 1})
    written = await served.client.replace(resource, {**group, "status": {"phase": "Inqueue"}})
    assert written["status"] == {"phase": "Inqueue"}
    with pytest.raises(NotFound):
        await served.client.replace(resource, written, subresource="status")


@pytest.mark.parametrize(
    ("kind", "spec", "text"),
    [
        (scheduling.VOLCANO_POD_GROUP, {"minMember": -1}, "spec.minMember: Invalid value: -1"),
        (scheduling.VOLCANO_POD_GROUP, {"queue": "A"}, "spec.queue: Invalid value"),
        (scheduling.VOLCANO_QUEUE, {"weight": 65536}, "should be less than or equal to 65535"),
        (scheduling.VOLCANO_QUEUE, {"dequeueStrategy": "lifo"}, 'supported values: "fifo", "traverse"'),
        (scheduling.HYPER_NODE, {"tier": 1, "members": []}, "spec.members"),
        (scheduling.HYPER_NODE, {"tier": 1}, "spec.members: Invalid value: []: member must have at least one member"),
        (scheduling.HYPER_NODE, {"tier": -1, "members": [_node(exactMatch={"name": "n"})]}, "spec.tier: Invalid value"),
        (scheduling.HYPER_NODE, {"members": [_node(exactMatch={"name": "n"})]}, "spec.tier: Required value"),
        (scheduling.HYPER_NODE, {"tier": 1, "members": [_node()]}, "spec.members[0].selector: Invalid value"),
        (scheduling.HYPER_NODE, {"tier": 1, "members": [_ALL]}, "Only one of ExactMatch, RegexMatch, or LabelMatch"),
        (
            scheduling.HYPER_NODE,
            {"tier": 1, "members": [_node(exactMatch={"name": "n"}), _node(regexMatch={"pattern": "n("})]},
            'spec.members[1].selector.regexMatch.pattern: Invalid value: "n(": member regexMatch pattern is invalid',
        ),
        (scheduling.HYPER_NODE, {"tier": 1, "members": [_node(exactMatch={"name": "A"})]}, "exactMatch.name"),
        (
            scheduling.HYPER_NODE,
            {"tier": 1, "members": [{"type": "HyperNode", "selector": {"labelMatch": {"matchLabels": {"a": "b"}}}}]},
            "labelMatch is for members of the type Node only",
        ),
        (scheduling.COSCHEDULING_POD_GROUP, {"minMember": 0}, "greater than or equal to 1"),
        (volcano.JOB, {"tasks": []}, "spec.tasks"),
        (volcano.JOB, {"tasks": [{"name": "A", "template": POD}]}, "spec.tasks[0].name"),
        (volcano.JOB, {"tasks": [{"template": POD}], "volumes": [{"mountPath": "a:b"}]}, "spec.volumes[0].mountPath"),
        (scheduling.POD_GROUP, {"schedulingPolicy": {}}, "must specify one of: `basic`, `gang`"),
        (
            scheduling.POD_GROUP,
            {"schedulingPolicy": {"basic": {}, "gang": {"minCount": 1}}},
            "must specify exactly one of: `basic`, `gang`",
        ),
        (scheduling.POD_GROUP, {"schedulingPolicy": {"gang": {"minCount": 0}}}, "greater than or equal to 1"),
        (scheduling.POD_GROUP, {**GANG, "priority": 1_000_000_001}, "spec.priority"),
        (scheduling.WORKLOAD, {}, "must specify one of: `podGroupTemplates`"),
        (scheduling.WORKLOAD, {"podGroupTemplates": [{"name": "A", **GANG}]}, "podGroupTemplates[0].name"),
    ],
)
async def test_refused(served: support.World, kind: Kind, spec: Object, text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        await made(served, kind, spec)
    assert text in str(refusal.value)


async def changed(served: support.World, kind: Kind, obj: Object, **spec: Any) -> Object:
    return await served.client.replace(kind.resource, {**obj, "spec": {**obj["spec"], **spec}})


async def test_what_of_a_group_of_kubernetes_may_change(served: support.World) -> None:
    group = await made(served, scheduling.POD_GROUP, GANG)
    assert group["spec"]["disruptionMode"] == {"single": {}}
    group = await changed(served, scheduling.POD_GROUP, group, schedulingPolicy={"gang": {"minCount": 3}})
    assert group["spec"]["schedulingPolicy"] == {"gang": {"minCount": 3}}
    for change in ({"schedulingPolicy": {"basic": {}}}, {"priority": 3}, {"disruptionMode": {"all": {}}}):
        with pytest.raises(Invalid):
            await changed(served, scheduling.POD_GROUP, group, **change)


async def test_what_of_a_workload_may_change(served: support.World) -> None:
    template = {"name": "workers", **GANG}
    workload = await made(served, scheduling.WORKLOAD, {"podGroupTemplates": [template]})
    more = {**template, "schedulingPolicy": {"gang": {"minCount": 4}}}
    workload = await changed(served, scheduling.WORKLOAD, workload, podGroupTemplates=[more])
    for templates in ([more, {**more, "name": "others"}], [{**more, "priority": 7}]):
        with pytest.raises(Invalid):
            await changed(served, scheduling.WORKLOAD, workload, podGroupTemplates=templates)


async def test_every_kind_is_served(served: support.World) -> None:
    for kind in volcano.KINDS:
        place = "default" if kind.resource.namespaced else ""
        assert (await served.client.list(kind.resource, place)).items == []


async def test_their_definitions_are_accepted(served: support.World) -> None:
    await definitions.install(served.client, volcano.KINDS)
    found = (await served.client.list(core.CRD.resource)).items
    wanted = {kind.resource.qualified for kind in volcano.KINDS if not kind.builtin}
    assert {one["metadata"]["name"] for one in found} == wanted
    for one in found:
        assert is_condition_true(one, "Established"), one
