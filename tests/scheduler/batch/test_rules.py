"""What nodes have to be like, and which is best: the rules of the other scheduler, and those of plugins."""

from __future__ import annotations

import pytest
from batches import World, configuration, node, nodes
from msgspec.structs import replace

from homeport.kube.selector import from_label_selector
from homeport.scheduler.batch.configuration import PluginOption
from homeport.scheduler.batch.model import GroupPhase, HyperNode, NetworkTopology, Shape
from homeport.scheduler.batch.plugins.sla import duration
from homeport.scheduler.interpod import PodTerm, Preference, Rules, Spread
from homeport.scheduler.model import Demand, HostPort, Taint

_REQUESTS = (("cpu", 1000),)
_SELF = from_label_selector({"matchLabels": {"app": "a"}})


def _gang(world: World, shape: Shape, count: int) -> None:
    group = world.add("g", 0, min_member=count, min_resources=None)
    world.groups["g"] = replace(group, tasks=world.tasks("g", count, world.shape_of(shape), labels={"app": "a"}))


def test_members_that_keep_apart_get_a_node_each() -> None:
    labelled = [node(f"n{i}", labels={"host": f"n{i}"}) for i in range(3)]
    apart = Rules(anti_affinity=(PodTerm("host", _SELF, frozenset({"default"})),))
    world = World(labelled)
    _gang(world, Shape("default", Demand(_REQUESTS), apart), 3)
    world.settle(1)
    assert sorted(world.where("g")) == ["n0", "n1", "n2"]


def test_a_gang_that_cannot_keep_apart_does_not_start() -> None:
    labelled = [node(f"n{i}", labels={"host": f"n{i}"}) for i in range(2)]
    apart = Rules(anti_affinity=(PodTerm("host", _SELF, frozenset({"default"})),))
    world = World(labelled)
    _gang(world, Shape("default", Demand(_REQUESTS), apart), 3)
    world.settle(1)
    assert world.where("g") == []
    assert "2 node(s) didn't match pod anti-affinity rules" in world.decisions.tasks[0].message


def test_members_that_stay_together_share_a_zone() -> None:
    labelled = [node(f"n{i}", cpu=2, labels={"zone": "ab"[i % 2]}) for i in range(4)]
    together = Rules(affinity=(PodTerm("zone", _SELF, frozenset({"default"})),))
    world = World(labelled)
    _gang(world, Shape("default", Demand(_REQUESTS), together), 4)
    world.settle(1)
    assert sorted(world.where("g")) in (["n0", "n0", "n2", "n2"], ["n1", "n1", "n3", "n3"])


def test_members_spread_evenly() -> None:
    labelled = [node(f"n{i}", cpu=4, labels={"zone": "ab"[i % 2]}) for i in range(2)]
    even = Rules(spread=(Spread("zone", _SELF, 1, True),))
    world = World(labelled)
    _gang(world, Shape("default", Demand(_REQUESTS), even), 4)
    world.settle(1)
    assert sorted(world.where("g")) == ["n0", "n0", "n1", "n1"]


def test_members_with_the_same_host_port_get_a_node_each() -> None:
    world = World(nodes(2))
    _gang(world, Shape("default", Demand(_REQUESTS, ports=(HostPort("TCP", "0.0.0.0", 80),))), 2)
    world.settle(1)
    assert sorted(world.where("g")) == ["n0", "n1"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"taints": (Taint("gpu", "only", "NoSchedule"),)}, "1 node(s) had untolerated taint {gpu: only}"),
        ({"unschedulable": True}, "1 node(s) were unschedulable"),
        ({"ready": False}, "1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }"),
    ],
)
def test_nodes_that_are_none_for_it_are_counted_by_reason(change: dict[str, object], reason: str) -> None:
    world = World([node("n0", **change), node("n1", cpu=1), node("n2", cpu=1)])
    _gang(world, Shape("default", Demand((("cpu", 2000),))), 1)
    world.settle(1)
    assert f"0/3 nodes are unavailable: {reason}, 2 Insufficient cpu." in world.message("g")


def test_a_node_selector_holds() -> None:
    world = World([node("n0"), node("n1", labels={"disk": "ssd"})])
    _gang(world, Shape("default", Demand(_REQUESTS, selector=(("disk", "ssd"),))), 2)
    world.settle(1)
    assert world.where("g") == ["n1", "n1"]


def test_a_gang_stays_within_the_smallest_part_of_the_network_that_has_room() -> None:
    world = World(nodes(6, cpu=2))
    world.more["hypernodes"] = (
        HyperNode("rack0", 1, frozenset({"n0"})),
        HyperNode("rack1", 1, frozenset({"n1", "n2"})),
        HyperNode("row", 2, frozenset({"n0", "n1", "n2", "n3"})),
    )
    world.add("g", 4, network=NetworkTopology(hard=True, highest_tier=1))
    world.add("too-big", 6, min_resources=None, network=NetworkTopology(hard=True, highest_tier=1))
    world.add("soft", 6, min_resources=None, network=NetworkTopology(hard=False, highest_tier=1))
    world.settle(1)
    assert set(world.where("g")) == {"n1", "n2"}
    assert world.where("too-big") == []
    told = "of 2 that may have it, rack0 has most, for 0 of the 6 pods that it needs"
    assert world.message("too-big").endswith(f"no hyperNode up to tier 1 has room for the whole group: {told}")
    assert len(world.where("soft")) == 6


def test_a_reservation_ends_when_nothing_becomes_free() -> None:
    world = World(nodes(2, cpu=4), configuration(reserve_seconds=10.0))
    world.add("service", 5, min_member=1)
    world.settle(1)
    world.add("big", 8, min_resources=None)
    world.settle(2, seconds=11)
    assert world.carried.reservation is not None
    assert world.carried.reservation.group == "big"
    assert world.decisions.wake is not None
    world.add("small", 1)
    world.settle(1)
    assert world.running("small") == 0
    world.pass_time(60)
    world.settle(1)
    assert world.running("small") == 1


def test_who_has_waited_longer_than_promised_is_let_in() -> None:
    sla = configuration(plugins=("overcommit", "predicates"), first=("sla", "gang"))
    world = World(nodes(1, cpu=4), sla)
    world.add("g", 6, pods=False, sla_seconds=60.0)
    world.settle(1)
    assert world.phase("g") is GroupPhase.PENDING
    assert world.decisions.wake == 1060.0
    world.pass_time(60)
    world.settle(1)
    assert world.phase("g") is GroupPhase.INQUEUE


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h2m3s", 3723.0),
        ("90", 90.0),
        ("500ms", 0.5),
        ("1.5m", 90.0),
        ("", None),
        ("-1s", None),
        ("1d", None),
        ("m", None),
    ],
)
def test_durations_are_gos(text: str, seconds: float | None) -> None:
    assert duration(text) == seconds


def test_a_plugin_does_not_take_part_in_what_is_switched_off() -> None:
    stock = configuration()
    first = (PluginOption("priority", disabled=frozenset({"jobOrder"})), PluginOption("gang"))
    world = World(nodes(1, cpu=2), replace(stock, tiers=(first, *stock.tiers[1:])))
    world.add("first", 2)
    world.pass_time(1)
    world.add("important", 2, priority=10)
    world.settle(1)
    assert (world.running("first"), world.running("important")) == (2, 0)


def test_it_is_said_who_holds_what_is_lacking() -> None:
    world = World(nodes(1, cpu=4))
    world.add("holder", 3)
    world.settle(2)
    world.add("waits", 2)
    decisions = world.cycle()
    explanation = decisions.explanations["waits"]
    assert explanation.holders == (("holder", {"cpu": 3000}),)
    assert explanation.needed["cpu"] == 2000
    assert explanation.idle["cpu"] == 1000
    assert explanation.queue_allocated["cpu"] == 3000
    assert (explanation.place, explanation.line, explanation.waiting_since) == (1, 1, world.now)


def test_pods_of_a_group_that_may_not_come_in_yet_say_why() -> None:
    world = World(nodes(1, cpu=4))
    world.add("big", 8)
    world.cycle()
    assert world.phase("big") is GroupPhase.PENDING
    told = {task.message for task in world.decisions.tasks if task.group == "big"}
    assert told == {
        "pod group is not ready, 8 Pending, 8 minAvailable; Pending: 8 Unschedulable. "
        "Origin reason is: resource in cluster is overused: overused cpu"
    }
    assert len(world.decisions.tasks) == 8


_NEAR = Rules(preferences=(Preference(100, PodTerm("host", _SELF, frozenset({"default"}))),))
_EVEN = Rules(spread=(Spread("host", _SELF, 1, False),))


@pytest.mark.parametrize(
    ("rules", "arguments", "where"),
    [
        (_NEAR, {}, ["n0", "n0"]),
        (_NEAR, {"podaffinity.weight": "0"}, ["n0", "n1"]),
        (_NEAR, {"podtopologyspread.weight": "0"}, ["n0", "n0"]),
        (_EVEN, {"leastrequested.weight": "0", "mostrequested.weight": "1"}, ["n0", "n1"]),
        (
            _EVEN,
            {"leastrequested.weight": "0", "mostrequested.weight": "1", "podtopologyspread.weight": "0"},
            ["n0", "n0"],
        ),
    ],
)
def test_what_pods_prefer_about_each_other_has_weights(
    rules: Rules, arguments: dict[str, str], where: list[str]
) -> None:
    labelled = [node(f"n{i}", labels={"host": f"n{i}"}) for i in range(2)]
    arguments = {"balancedresource.weight": "0", **arguments}
    option = PluginOption("nodeorder", arguments=arguments)
    stock = configuration("enqueue", "allocate", plugins=("predicates",))
    world = World(labelled, replace(stock, tiers=(*stock.tiers, (option,))))
    _gang(world, Shape("default", Demand(_REQUESTS), rules), 2)
    world.settle(1)
    assert sorted(world.where("g")) == where
