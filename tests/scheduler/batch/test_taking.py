"""Who takes whose place: between groups of a queue, and between queues."""

from __future__ import annotations

import pytest
from batches import World, configuration, node, nodes
from msgspec.structs import replace

from homeport.scheduler.batch.configuration import Configuration
from homeport.scheduler.batch.model import GroupPhase, Queue

PREEMPT = configuration("enqueue", "allocate", "backfill", "preempt")
RECLAIM = configuration("enqueue", "allocate", "backfill", "reclaim")
CAPACITY = configuration(
    "enqueue", "allocate", "backfill", "reclaim", plugins=("drf", "predicates", "capacity", "nodeorder")
)


def test_the_more_important_group_takes_what_others_have_beyond_their_minimum() -> None:
    world = World(nodes(1, cpu=4), PREEMPT)
    world.add("low", 4, min_member=1)
    world.settle(1)
    world.add("high", 2, priority=10, min_resources=None)
    decisions = world.cycle()
    assert [(each.group, each.reason, each.by) for each in decisions.evictions] == [("low", "preempt", "high")] * 2
    assert len(decisions.nominations) == 2
    assert [each.message for each in decisions.tasks if each.group == "high"] == [
        f"Pod default/high-worker-{i} can possibly be assigned to n0, "
        "once resource is released and minAvailable is satisfied"
        for i in range(2)
    ]
    world.pass_time(1)
    world.settle(2)
    assert (world.running("low"), world.running("high")) == (2, 2)


def test_nobody_goes_for_a_group_that_stays_short_all_the_same() -> None:
    world = World(nodes(1, cpu=4), PREEMPT)
    world.add("low", 4, min_member=2)
    world.settle(1)
    world.add("high", 3, priority=10, min_resources=None)
    world.settle(3)
    assert world.evictions == 0
    assert (world.running("low"), world.running("high")) == (4, 0)


@pytest.mark.parametrize("protected", [{"preemptable": False}, {"critical": True}])
def test_who_is_protected_stays(protected: dict[str, bool]) -> None:
    world = World(nodes(1, cpu=4), PREEMPT)
    world.add("low", 4, min_member=1, task=protected)
    world.settle(1)
    world.add("high", 2, priority=10, min_resources=None)
    world.settle(3)
    assert world.evictions == 0


def test_who_never_preempts_waits() -> None:
    world = World(nodes(1, cpu=4), PREEMPT)
    world.add("low", 4, min_member=1)
    world.settle(1)
    world.add("high", 2, priority=10, min_resources=None)
    key = world.groups["high"].tasks[0].shape
    other = world.shape_of(replace(world.shapes[key], preempts=False))
    group = world.groups["high"]
    world.groups["high"] = replace(group, tasks=tuple(replace(task, shape=other) for task in group.tasks))
    world.settle(3)
    assert world.evictions == 0


def _shared(config: Configuration, queues: list[Queue]) -> World:
    world = World(nodes(2, cpu=4), config, queues)
    world.add("a", 8, min_member=1, queue="a")
    world.settle(1)
    assert world.running("a") == 8
    world.add("b", 3, queue="b")
    return world


@pytest.mark.parametrize(
    ("config", "queues"),
    [
        (RECLAIM, [Queue("a"), Queue("b")]),
        (CAPACITY, [Queue("a", deserved={"cpu": 4000}), Queue("b", deserved={"cpu": 4000})]),
    ],
    ids=["proportion", "capacity"],
)
def test_a_queue_gets_its_share_back_and_no_more(config: Configuration, queues: list[Queue]) -> None:
    world = _shared(config, queues)
    world.settle(4)
    assert (world.running("a"), world.running("b")) == (5, 3)
    world.settle(6)
    assert world.evictions == 3


def test_what_is_not_reclaimable_is_not_taken_back() -> None:
    world = _shared(RECLAIM, [Queue("a", reclaimable=False), Queue("b")])
    world.settle(4)
    assert world.evictions == 0


def test_queues_below_a_queue_share_its_capability() -> None:
    queues = [
        Queue("root"),
        Queue("team", parent="root", capability={"cpu": 3000}),
        Queue("x", parent="team"),
        Queue("y", parent="team"),
    ]
    world = World(nodes(1, cpu=8), CAPACITY, queues)
    world.add("x", 2, queue="x")
    world.add("y", 2, queue="y")
    world.settle(3)
    assert (world.running("x"), world.running("y")) == (2, 0)
    assert world.decisions.groups["y"].event == "queue resource quota insufficient: insufficient cpu"
    assert world.decisions.queues["team"].allocated["cpu"] == 2000
    assert world.decisions.explanations["y"].queue_allocated == {}


def test_what_is_guaranteed_nobody_else_gets() -> None:
    queues = [Queue("a"), Queue("b", guarantee={"cpu": 3000})]
    world = World([node("n", cpu=4)], CAPACITY, queues)
    world.add("a", 4, min_member=1, queue="a", min_resources=None)
    world.settle(2)
    assert world.running("a") == 1
    world.add("b", 3, queue="b")
    world.settle(2)
    assert world.running("b") == 3


def test_no_gang_is_broken_for_a_more_important_one() -> None:
    """Upstream's second tier would: `drf` names those whom `gang` in the first does not."""
    world = World(nodes(1, cpu=4), PREEMPT)
    world.add("low", 4)
    world.settle(1)
    world.add("high", 1, priority=10, min_resources=None)
    world.settle(3)
    assert world.evictions == 0


@pytest.mark.parametrize("cycles", [1, 4])
def test_who_may_take_the_place_of_others_is_let_into_the_queue_for_it(cycles: int) -> None:
    """Its pods are made only then, and nobody is ended for a group that has none. After some cycles there is nothing
    left to decide about the others."""
    world = World(nodes(1, cpu=4), PREEMPT)
    world.add("low", 4, min_member=1)
    world.settle(cycles)
    world.add("high", 2, priority=10, pods=False)
    world.add("equal", 2, pods=False)
    world.cycle()
    assert (world.phase("high"), world.phase("equal")) == (GroupPhase.INQUEUE, GroupPhase.PENDING)
    world.groups["high"] = replace(
        world.groups["high"], tasks=world.tasks("high", 2, world.groups["low"].tasks[0].shape)
    )
    world.settle(4)
    assert (world.running("low"), world.running("high")) == (2, 2)


@pytest.mark.parametrize("cycles", [1, 4])
@pytest.mark.parametrize("plugin", ["proportion", "capacity"])
def test_a_queue_that_is_full_of_less_important_groups_takes_a_more_important_one(plugin: str, cycles: int) -> None:
    config = configuration("enqueue", "allocate", "backfill", "preempt", plugins=("drf", "predicates", plugin))
    world = World(nodes(1, cpu=8), config, [Queue("small", capability={"cpu": 4000})])
    world.add("low", 4, min_member=1, queue="small")
    world.settle(cycles)
    world.add("high", 2, priority=10, queue="small")
    world.settle(4)
    assert (world.running("low"), world.running("high")) == (2, 2)


def test_what_a_gang_needs_itself_is_no_reason_to_let_others_in() -> None:
    world = World(nodes(1, cpu=4), PREEMPT)
    world.add("low", 4)
    world.settle(1)
    world.add("high", 2, priority=10)
    world.settle(2)
    assert world.phase("high") is GroupPhase.PENDING


@pytest.mark.parametrize("cycles", [1, 4])
def test_a_queue_that_has_nothing_gets_its_share_for_a_group_whose_pods_are_still_to_be_made(cycles: int) -> None:
    world = World(nodes(1, cpu=4), RECLAIM, [Queue("a"), Queue("b")])
    world.add("a", 4, min_member=1, queue="a")
    world.settle(cycles)
    world.add("b", 4, min_member=2, queue="b", pods=False)
    world.cycle()
    assert world.phase("b") is GroupPhase.INQUEUE
    world.groups["b"] = replace(world.groups["b"], tasks=world.tasks("b", 4, world.groups["a"].tasks[0].shape))
    world.settle(6)
    assert (world.running("a"), world.running("b"), world.evictions) == (2, 2, 2)
