"""Groups of which nothing is left to decide cost a cycle nothing, and are there all the same for who needs them."""

from __future__ import annotations

from batches import World, configuration, nodes
from msgspec.structs import replace

from homeport.scheduler.batch.model import GroupPhase
from homeport.scheduler.model import Taint


def test_what_is_settled_is_not_judged_again_when_others_change() -> None:
    world = World(nodes(2, cpu=4))
    world.add("a", 2)
    world.settle(3)
    before = world.cycle()
    world.add("b", 2)
    after = world.cycle()
    assert before.groups["a"].phase is GroupPhase.RUNNING
    assert after.groups["a"] is before.groups["a"]
    assert sum(outcome.running for outcome in after.queues.values()) >= 1
    world.settle(2)
    assert set(world.cycle().groups) == {"a", "b"}


def test_the_queue_of_a_settled_group_counts_it() -> None:
    world = World(nodes(2, cpu=4))
    world.add("a", 2)
    world.add("b", 2)
    world.settle(3)
    assert world.cycle().queues["default"].running == 2


def test_settled_groups_make_room_for_a_more_important_one() -> None:
    world = World(nodes(1, cpu=4), configuration("enqueue", "allocate", "backfill", "preempt"))
    world.add("low", 4, min_member=1)
    world.settle(3)
    settled = world.cycle().groups["low"]
    world.add("high", 2, priority=10, min_resources=None)
    decisions = world.cycle()
    assert {each.group for each in decisions.evictions} == {"low"}
    assert settled.phase is decisions.groups["low"].phase is GroupPhase.RUNNING
    assert decisions.explanations.keys() == {"high"}


def test_what_becomes_of_a_node_between_two_looks_is_seen() -> None:
    world = World(nodes(2, cpu=4))
    world.cycle()
    world.nodes[0] = replace(world.nodes[0], taints=(Taint("busy", "", "PreferNoSchedule"),))
    world.add("a", 1, min_resources=None)
    assert [bind.node for bind in world.cycle().binds] == ["n1"]
    world.nodes = [replace(world.nodes[0], taints=()), replace(world.nodes[1], ready=False)]
    world.add("b", 1, min_resources=None)
    assert [bind.node for bind in world.cycle().binds] == ["n0"]
