"""Where gangs go in a network whose parts are known."""

from __future__ import annotations

from typing import Any

import pytest
from batches import World, configuration, nodes
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from homeport.scheduler.batch.configuration import Configuration, PluginOption
from homeport.scheduler.batch.model import HyperNode, NetworkTopology, Queue, TaskStatus

_RACKS = {f"rack{i}": [f"n{2 * i}", f"n{2 * i + 1}"] for i in range(4)}
_TREE = (
    *(HyperNode(name, 1, frozenset(members), "rack") for name, members in _RACKS.items()),
    HyperNode("row0", 2, frozenset({"n0", "n1", "n2", "n3"}), "row"),
    HyperNode("row1", 2, frozenset({"n4", "n5", "n6", "n7"}), "row"),
    HyperNode("hall", 3, frozenset(f"n{i}" for i in range(8)), "hall"),
)
_HARD1, _HARD2 = NetworkTopology(True, 1), NetworkTopology(True, 2)
_SOFT = NetworkTopology(False)


def _world(config: Configuration | None = None, cpu: int = 2) -> World:
    world = World(nodes(8, cpu=cpu), config)
    world.more["hypernodes"] = _TREE
    return world


def _with_plugin(*actions: str, **arguments: str) -> Configuration:
    stock = configuration(*actions)
    return replace(stock, tiers=(*stock.tiers, (PluginOption("network-topology-aware", arguments),)))


def _racks(world: World, group: str) -> set[str]:
    there = set(world.where(group))
    return {rack for rack, members in _RACKS.items() if there & set(members)}


def test_a_rack_is_enough_for_what_fits_into_one() -> None:
    world = _world()
    for name in ("a", "b"):
        world.add(name, 4, network=_SOFT)
    world.cycle()
    assert len(_racks(world, "a")) == len(_racks(world, "b")) == 1
    assert _racks(world, "a") != _racks(world, "b")


def test_the_next_tier_is_taken_when_a_rack_is_too_small() -> None:
    world = _world()
    world.add("hard", 6, network=_HARD2)
    world.add("soft", 8, network=_SOFT)
    world.cycle()
    assert _racks(world, "hard") in ({"rack0", "rack1"}, {"rack2", "rack3"})
    assert len(_racks(world, "soft")) == 2
    assert not _racks(world, "soft") & _racks(world, "hard")


def test_a_tier_is_meant_by_its_name_too() -> None:
    world = _world()
    world.add("g", 6, network=NetworkTopology(True, None, "rack"), min_resources=None)
    world.add("h", 6, network=NetworkTopology(True, None, "row"))
    world.add("unknown", 1, network=NetworkTopology(True, None, "room"))
    world.cycle()
    assert world.where("g") == []
    assert len(world.where("h")) == 6
    assert 'up to tier "rack"' in world.message("g")
    assert world.message("unknown").endswith('there is no hyperNode up to tier "room"')


def test_a_hard_group_waits_where_no_part_is_known() -> None:
    world = World(nodes(2))
    world.add("hard", 2, network=_HARD1)
    world.add("soft", 2, network=_SOFT)
    world.cycle()
    assert world.where("hard") == []
    assert len(world.where("soft")) == 2
    assert world.message("hard").endswith("the cluster has no hyperNode")


def test_pods_beyond_the_minimum_stay_in_the_part_too() -> None:
    world = _world()
    world.add("g", 6, min_member=2, network=_HARD1)
    world.settle(3)
    assert len(world.where("g")) == 4
    assert len(_racks(world, "g")) == 1


def test_pods_that_ask_for_nothing_stay_in_the_part_too() -> None:
    world = _world()
    world.add("g", 4, network=_HARD1)
    group = world.groups["g"]
    world.groups["g"] = replace(group, tasks=(*group.tasks, *world.tasks("more", 9, world.shape())))
    world.settle(2)
    assert len(world.where("g")) == 13
    assert len(_racks(world, "g")) == 1


def test_a_lost_member_comes_back_to_the_others() -> None:
    world = _world()
    world.add("g", 4, network=_HARD1)
    world.settle(1)
    rack = _racks(world, "g")
    world.lose("g", 2)
    world.settle(1)
    assert _racks(world, "g") == rack
    assert len(world.where("g")) == 4


def test_a_gang_whose_part_is_full_waits_and_says_so() -> None:
    world = _world()
    world.add("g", 4, network=_HARD1)
    world.settle(1)
    here = world.where("g")[0]
    world.lose("g", 1)
    free = next(iter(set(_RACKS[next(iter(_racks(world, "g")))]) | {here}))
    assert free
    for node in _RACKS[next(iter(_racks(world, "g")))]:
        used = world.used()[node].get("cpu", 0)
        if used < 2000:
            filler = world.tasks(f"filler-{node}", 1, world.shape(cpu=1), role="x")[0]
            world.loose[node] = (replace(filler, status=TaskStatus.RUNNING, node=node),)
    world.cycle()
    assert len(world.where("g")) == 3
    assert "for 0 of the 1 pods that it needs" in world.message("g")


def test_a_gang_that_shares_no_part_any_more_gets_no_more_pods() -> None:
    world = _world()
    world.add("g", 4, network=_HARD1)
    world.settle(1)
    first, second = _RACKS[next(iter(_racks(world, "g")))]
    world.more["hypernodes"] = (HyperNode("a", 1, frozenset({first})), HyperNode("b", 1, frozenset({second})))
    world.lose("g", 1)
    world.cycle()
    assert len(world.where("g")) == 3
    assert world.message("g").endswith("its pods have no hyperNode up to tier 1 in common")


@pytest.mark.parametrize("action", ["preempt", "reclaim"])
def test_others_are_ended_within_one_part_only(action: str) -> None:
    world = _world(configuration("enqueue", "allocate", "backfill", action))
    world.queues = [Queue("a", deserved={"cpu": 4000}), Queue("b", deserved={"cpu": 12000})]
    world.add("low", 16, min_member=1, queue="a")
    world.settle(2)
    assert world.running("low") == 16
    queue = "a" if action == "preempt" else "b"
    world.add("high", 4, queue=queue, priority=10, network=_HARD1)
    world.settle(6)
    assert world.running("high") == 4
    assert len(_racks(world, "high")) == 1
    assert world.evictions == 4


def test_nodes_are_kept_within_one_part_only() -> None:
    world = _world(configuration(reserve_seconds=10.0))
    for number in range(16):
        world.add(f"small{number}", 1, lasts=100 + 10 * (number % 5))
    world.settle(1)
    world.add("big", 4, min_resources=None, network=_HARD1)
    world.settle(2, seconds=11)
    assert world.carried.reservation is not None
    assert set(world.carried.reservation.nodes) in [set(members) for members in _RACKS.values()]
    world.settle(20, seconds=10)
    assert len(world.where("big")) == 4
    assert len(_racks(world, "big")) == 1


def test_with_the_plugin_the_fullest_part_that_has_room_is_taken() -> None:
    world = _world(_with_plugin(), cpu=4)
    world.add("first", 1, network=_HARD1, task={"role": "a"})
    world.settle(1)
    rack = _racks(world, "first")
    world.add("second", 4, network=_HARD1)
    world.settle(1)
    assert _racks(world, "second") == rack


def test_with_the_plugin_further_pods_go_where_more_of_the_group_are() -> None:
    """Of two racks of the row the one with more of them, though the other is emptier."""
    world = _world(_with_plugin(weight="10"), cpu=4)
    world.add("g", 5, network=_HARD2)
    group = world.groups["g"]
    at = ["n0", "n0", "n1", "n2"]
    placed = [replace(task, status=TaskStatus.RUNNING, node=node) for task, node in zip(group.tasks, at, strict=False)]
    world.groups["g"] = replace(group, tasks=(*placed, group.tasks[4]))
    world.cycle()
    assert world.where("g")[4] in ("n0", "n1")


_groups = st.fixed_dictionaries(
    {
        "count": st.integers(1, 9),
        "extra": st.integers(0, 3),
        "cpu": st.integers(1, 2),
        "tier": st.sampled_from([None, 1, 2, 3]),
        "soft": st.booleans(),
        "lasts": st.integers(5, 40),
        "after": st.integers(0, 20),
        "priority": st.integers(0, 2),
    }
)
_workloads = st.lists(_groups, min_size=1, max_size=8)
_few = settings(max_examples=15, derandomize=True)


def _topology(group: dict[str, Any]) -> NetworkTopology | None:
    if group["soft"]:
        return _SOFT
    return None if group["tier"] is None else NetworkTopology(True, group["tier"])


def _check(world: World) -> None:
    for group in world.groups.values():
        there = {t.node for t in group.tasks if t.status.holds and t.status is not TaskStatus.RELEASING}
        wanted = group.network
        if there and wanted is not None and wanted.hard:
            assert any(there <= part.nodes for part in _TREE if part.tier <= (wanted.highest_tier or 0)), group.name
        started = sum(task.status is not TaskStatus.PENDING for task in group.tasks)
        assert started == 0 or started >= group.min_member
    for node, taken in world.used().items():
        assert taken.get("cpu", 0) <= 2000, node


@_few
@given(_workloads, st.sampled_from(["stock", "plugin", "all"]))
def test_hard_gangs_are_whole_and_never_beyond_their_tier(workload: list[dict[str, Any]], kind: str) -> None:
    everything = ("enqueue", "allocate", "backfill", "preempt", "reclaim")
    world = _world({"stock": configuration(), "plugin": _with_plugin(), "all": _with_plugin(*everything)}[kind])
    for number, group in enumerate(workload):
        count = group["count"] + group["extra"]
        topology = _topology(group)
        more = {"cpu": group["cpu"], "lasts": group["lasts"], "priority": group["priority"]}
        world.add(f"g{number}", count, min_member=group["count"], network=topology, min_resources=None, **more)
        world.cycle()
        _check(world)
        world.pass_time(group["after"])
    for _ in range(60):
        world.cycle()
        _check(world)
        world.pass_time(10)
    for number, group in enumerate(workload):
        size = {None: 8, 1: 2, 2: 4, 3: 8}[None if group["soft"] else group["tier"]]
        if group["count"] <= size * (2 // group["cpu"]):
            assert all(task.status is TaskStatus.SUCCEEDED for task in world.groups[f"g{number}"].tasks), "it starves"
        else:
            assert all(task.status is TaskStatus.PENDING for task in world.groups[f"g{number}"].tasks)


@_few
@given(st.lists(st.integers(0, 2), min_size=8, max_size=8), st.integers(1, 9), st.sampled_from([1, 2, 3]))
def test_a_gang_that_fits_some_part_is_placed_at_once(taken: list[int], count: int, tier: int) -> None:
    world = _world()
    filler = world.tasks("filler", 16, world.shape(cpu=1), role="x")
    for place, many in enumerate(taken):
        mine = filler[2 * place : 2 * place + many]
        world.loose[f"n{place}"] = tuple(replace(t, status=TaskStatus.RUNNING, node=f"n{place}") for t in mine)
    room = {part.name: sum(2 - taken[int(name[1:])] for name in part.nodes) for part in _TREE if part.tier <= tier}
    world.add("g", count, network=NetworkTopology(True, tier), min_resources=None)
    world.cycle()
    _check(world)
    assert len(world.where("g")) == (count if max(room.values()) >= count else 0)
    if world.where("g"):
        least = min(part.tier for part in _TREE if part.tier <= tier and room[part.name] >= count)
        assert any(set(world.where("g")) <= part.nodes for part in _TREE if part.tier == least)
