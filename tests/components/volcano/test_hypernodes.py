"""Which nodes a hyper node has, and how many it says that it has."""

from __future__ import annotations

import support
from homeport.components import volcano
from homeport.control.informer import Informers
from homeport.control.manager import Manager
from homeport.kube import core, meta
from homeport.kube.meta import Object
from homeport.kube.scheduling import HYPER_NODE
from homeport.kube.scheduling.hypernodes import nodes_of

_NODES = {"n1": {"rack": "a"}, "n2": {"rack": "a", "gpu": "yes"}, "m1": {"rack": "b"}}


def hypernode(name: str, *members: Object, tier: int = 1) -> Object:
    return HYPER_NODE.new(name, spec={"tier": tier, "members": list(members)})


def node(**selector: Object) -> Object:
    return {"type": "Node", "selector": selector}


def part(**selector: Object) -> Object:
    return {"type": "HyperNode", "selector": selector}


def test_members() -> None:
    found = nodes_of(
        {
            "exact": hypernode("exact", node(exactMatch={"name": "n1"}), node(exactMatch={"name": "unknown"})),
            "regex": hypernode("regex", node(regexMatch={"pattern": "^n[0-9]$"})),
            "label": hypernode("label", node(labelMatch={"matchLabels": {"rack": "b"}})),
            "terms": hypernode("terms", node(labelMatch={"matchExpressions": [{"key": "gpu", "operator": "Exists"}]})),
            "empty": hypernode("empty", node(labelMatch={})),
            "row": hypernode("row", part(exactMatch={"name": "exact"}), part(regexMatch={"pattern": "lab"}), tier=2),
            "hall": hypernode("hall", part(exactMatch={"name": "row"}), node(exactMatch={"name": "n2"}), tier=3),
        },
        _NODES,
    )
    assert found == {
        "exact": {"n1"},
        "regex": {"n1", "n2"},
        "label": {"m1"},
        "terms": {"n2"},
        "empty": set(),
        "row": {"n1", "m1"},
        "hall": {"n1", "n2", "m1"},
    }


def test_those_that_are_parts_of_each_other_have_the_same_nodes() -> None:
    found = nodes_of(
        {
            "a": hypernode("a", node(exactMatch={"name": "n1"}), part(exactMatch={"name": "b"})),
            "b": hypernode("b", node(exactMatch={"name": "n2"}), part(exactMatch={"name": "a"})),
            "every": hypernode("every", part(regexMatch={"pattern": "."})),
        },
        _NODES,
    )
    assert found == {key: {"n1", "n2"} for key in ("a", "b", "every")}


async def test_the_count_follows_nodes_and_parts() -> None:
    async with support.world(volcano.KINDS) as world:
        informers = Informers(world.client)
        manager = Manager(world.client, (volcano.HYPER_NODES,), informers=informers)
        async with support.running(informers.run(), manager.run()):
            await manager.ready.wait()

            async def reached(**counts: int) -> None:
                async def check() -> bool:
                    found = (await world.client.list(HYPER_NODE.resource)).items
                    return {meta.name(one): meta.status(one).get("nodeCount", 0) for one in found} == counts

                await world.eventually(check)

            for name, labels in _NODES.items():
                made = core.NODE.new(name)
                made["metadata"]["labels"] = labels
                await world.client.create(core.NODE.resource, made)
            await world.client.create(HYPER_NODE.resource, hypernode("row", part(exactMatch={"name": "rack"}), tier=2))
            await reached(row=0)
            rack = hypernode("rack", node(labelMatch={"matchLabels": {"rack": "a"}}))
            await world.client.create(HYPER_NODE.resource, rack)
            await reached(row=2, rack=2)
            await world.client.patch(core.NODE.resource, "m1", "", {"metadata": {"labels": {"rack": "a"}}})
            await reached(row=3, rack=3)
            await world.client.delete(core.NODE.resource, "n1", "")
            await reached(row=2, rack=2)
            await world.client.delete(HYPER_NODE.resource, "rack", "")
            await reached(row=0)
