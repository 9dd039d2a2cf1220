"""Gangs get places for all of their pods, or for none."""

from __future__ import annotations

from batches import GPU, World, configuration, node, nodes
from msgspec.structs import replace

from homeport.scheduler.batch.decisions import Condition
from homeport.scheduler.batch.model import GroupPhase, Queue, QueueState


def test_a_gang_that_fits_starts_whole() -> None:
    world = World(nodes(2, cpu=2))
    world.add("a", 4)
    world.settle(1)
    assert world.running("a") == 4
    assert sorted(world.where("a")) == ["n0", "n0", "n1", "n1"]
    world.cycle()
    assert world.phase("a") is GroupPhase.RUNNING
    outcome = world.decisions.groups["a"]
    assert outcome.counts.running == 4


def test_a_gang_that_does_not_fit_holds_nothing_and_says_so_in_volcanos_words() -> None:
    world = World(nodes(4, cpu=1))
    world.add("a", 5, min_resources=None)
    decisions = world.cycle()
    assert not decisions.binds
    assert world.message("a") == (
        "1/5 tasks in gang unschedulable: pod group is not ready, 5 Pending, 5 minAvailable; "
        "Pending: 1 Unschedulable, 4 Schedulable. Origin reason is a-worker-0: "
        "0/4 nodes are unavailable: 4 Insufficient cpu."
    )
    (condition,) = decisions.groups["a"].conditions
    assert (condition.type, condition.reason) == ("Unschedulable", "NotEnoughResources")


def test_the_next_in_line_gets_what_a_gang_cannot_use() -> None:
    world = World(nodes(1, cpu=4))
    world.add("big", 5, min_resources=None)
    world.add("small", 3)
    world.settle(1)
    assert world.running("big") == 0
    assert world.running("small") == 3


def test_the_users_example_waits_without_a_pod() -> None:
    world = World([node("n", cpu=8, gpu=1)])
    world.add("tf", 6, pods=False, min_resources={"cpu": 6000, GPU: 4})
    decisions = world.cycle()
    assert world.phase("tf") is GroupPhase.PENDING
    assert decisions.groups["tf"].event == f"resource in cluster is overused: overused {GPU}"
    assert decisions.groups["tf"].conditions[0].message == (
        "6/0 tasks in gang unschedulable: pod group is not ready, 6 minAvailable. "
        f"Origin reason is: resource in cluster is overused: overused {GPU}"
    )
    explanation = decisions.explanations["tf"]
    assert explanation.needed == {"cpu": 6000, GPU: 4}
    assert explanation.idle[GPU] == 1
    assert (explanation.place, explanation.line) == (1, 1)


def test_a_ready_gang_says_so_once_it_has_places() -> None:
    world = World(nodes(1))
    world.add("a", 2)
    decisions = world.cycle()
    assert decisions.groups["a"].conditions == (
        Condition("Scheduled", "True", "tasks in gang are ready to be scheduled", ""),
    )


def test_roles_have_minima_of_their_own() -> None:
    world = World(nodes(1, cpu=3))
    group = world.add("a", 0, min_member=2, min_task_member={"ps": 1, "worker": 1})
    shape = world.shape(cpu=1)
    tasks = (*world.tasks("a", 3, shape, "ps"), *world.tasks("a", 1, world.shape(cpu=9), "worker"))
    world.groups["a"] = replace(group, tasks=tasks)
    assert not world.cycle().binds


def test_too_few_pods_are_no_gang() -> None:
    world = World(nodes(1))
    world.add("a", 1, min_member=3)
    decisions = world.cycle()
    assert decisions.groups["a"].conditions == ()  # the others may be on their way
    assert decisions.wake == world.now + 5
    world.pass_time(5)
    decisions = world.cycle()
    assert decisions.groups["a"].conditions == (
        Condition(
            "Unschedulable", "True", "NotEnoughTasks", "Not enough valid tasks for gang-scheduling, valid: 1, min: 3"
        ),
    )


def test_more_than_the_minimum_comes_as_there_is_room() -> None:
    world = World(nodes(1, cpu=4))
    world.add("a", 6, min_member=2)
    world.settle(1)
    assert world.running("a") == 4


def test_queues_share_by_weight() -> None:
    world = World(nodes(3, cpu=4), queues=[Queue("a", weight=2), Queue("b", weight=1)])
    for index in range(12):
        world.add(f"a{index}", queue="a", min_resources=None)
        world.add(f"b{index}", queue="b", min_resources=None)
    world.settle(2)
    assert sum(world.running(f"a{i}") for i in range(12)) == 8
    assert sum(world.running(f"b{i}") for i in range(12)) == 4


def test_what_a_queue_cannot_use_others_get() -> None:
    world = World(nodes(3, cpu=4), queues=[Queue("a", weight=2), Queue("b", weight=1)])
    world.add("huge", 1, cpu=8, queue="a", min_resources=None)
    for index in range(12):
        world.add(f"b{index}", queue="b", min_resources=None)
    world.settle(2)
    assert sum(world.running(f"b{i}") for i in range(12)) == 12


def test_a_closed_queue_gives_nothing() -> None:
    world = World(nodes(1), queues=[Queue("a", state=QueueState.CLOSED)])
    world.add("a", queue="a")
    world.settle(2)
    assert world.running("a") == 0


def test_priority_comes_first() -> None:
    world = World(nodes(1, cpu=2))
    world.add("low", 2)
    world.add("high", 2, priority=10)
    world.settle(1)
    assert (world.running("low"), world.running("high")) == (0, 2)


def test_who_asks_for_nothing_is_placed_though_the_queue_has_enough() -> None:
    world = World(nodes(1, cpu=1), configuration("enqueue", "allocate", "backfill"))
    world.add("a", 1, cpu=1)
    world.add("b", 2, cpu=0, min_resources=None)
    world.settle(1)
    assert world.running("b") == 2


def test_binpack_fills_a_node_first() -> None:
    world = World(nodes(3, cpu=4), configuration(plugins=("predicates", "proportion", "binpack")))
    world.add("a", 4)
    world.settle(1)
    assert set(world.where("a")) == {"n0"}
