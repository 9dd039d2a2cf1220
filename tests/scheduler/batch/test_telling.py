"""What people read of why a group waits."""

from __future__ import annotations

import pytest
from batches import GPU, World, configuration, nodes

from homeport.scheduler.batch import telling
from homeport.scheduler.batch.model import GroupPhase, Queue, QueueState


def told(world: World, name: str) -> list[str]:
    decisions = world.cycle()
    snapshot = world.snapshot()
    return list(telling.tell(snapshot, decisions, world.groups[name], world.now))


def test_needs_idle_holders_queue_place_and_share_in_units_that_people_read() -> None:
    world = World(nodes(1, cpu=8, memory=16, gpu=1), queues=[Queue("default")])
    world.add("first", 1, gpu=1)
    world.settle(2)
    world.add("gang", 4, gpu=1, min_resources={"cpu": 4000, GPU: 4, "memory": 4 << 30}, pods=False)
    assert told(world, "gang") == [
        "PodGroup default/gang waits (Pending): 0 of 4 needed pods have nodes.",
        "  Reason:  4/0 tasks in gang unschedulable: pod group is not ready, 4 minAvailable. Origin reason is: "
        "resource in cluster is overused: overused nvidia.com/gpu",
        "  Needs:   4 cpu, 4 GiB memory, 4 nvidia.com/gpu",
        "  Idle:    7 cpu, 16 GiB memory, 0 nvidia.com/gpu on all nodes together",
        "  Held by: PodGroup default/first: 1 nvidia.com/gpu",
        "  Queue:   default: has 1 cpu, 1 nvidia.com/gpu; may have 8 cpu, 16 GiB memory, 1 nvidia.com/gpu",
        "  Place:   1 of 1 in line of queue default",
        "  Share:   100% of what the queue deserves now (5 cpu, 4 GiB memory, 1 nvidia.com/gpu)",
    ]


def test_a_queue_that_takes_nobody_is_named() -> None:
    world = World(nodes(1), queues=[Queue("default"), Queue("research", state=QueueState.CLOSED)])
    world.add("a", 1, queue="research")
    lines = told(world, "a")
    assert lines[1].endswith("Origin reason is: queue research is Closed")
    assert "  Queue:   research (Closed): has nothing; may have 4 cpu. It takes nobody until it is opened " in lines[4]
    assert "(homeport queue open research)" in lines[4]


def test_a_queue_that_is_not_there_is_named() -> None:
    world = World(nodes(1))
    world.add("a", 1, queue="gone")
    assert told(world, "a") == [
        'PodGroup default/a waits: its queue "gone" does not exist (homeport queue create gone).'
    ]
    (condition,) = world.decisions.groups["a"].conditions
    assert (condition.type, condition.reason, condition.message) == (
        "Unschedulable",
        "QueueNotFound",
        'queue "gone" not found',
    )
    assert world.phase("a") is GroupPhase.PENDING


def test_a_queue_that_is_full_says_how_much_it_may_have() -> None:
    world = World(nodes(1), configuration(), [Queue("default"), Queue("small", capability={"cpu": 1000})])
    world.add("a", 1, queue="small")
    world.settle(2)
    world.add("b", 1, queue="small")
    lines = told(world, "b")
    assert lines[1].endswith("Origin reason is: queue resource quota insufficient: insufficient cpu")
    assert "  Queue:   small: has 1 cpu; may have 1 cpu" in lines
    assert "  Place:   1 of 1 in line of queue small" in lines


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"cpu": 200, "memory": 4224 << 20, "pods": 3}, "0.2 cpu, 4.1 GiB memory"),
        ({"cpu": 1980, "nvidia.com/gpu": 2}, "1.98 cpu, 2 nvidia.com/gpu"),
        ({"memory": 1 << 30, "ephemeral-storage": 1023}, "1023 bytes ephemeral-storage, 1 GiB memory"),
        ({}, "nothing"),
    ],
)
def test_amounts_are_in_units_that_people_read(found: dict[str, int], expected: str) -> None:
    assert telling.amounts(found) == expected


def test_a_group_that_has_just_got_its_turn_has_nothing_to_complain_of() -> None:
    world = World(nodes(1), queues=[Queue("default")])
    world.add("a", 2, pods=False)
    decisions = world.cycle()
    assert world.phase("a") is GroupPhase.INQUEUE
    assert decisions.groups["a"].conditions == ()
    assert "  Reason:  its pods are being made" in telling.tell(
        world.snapshot(), decisions, world.groups["a"], world.now
    )
    world.pass_time(5)
    assert world.cycle().groups["a"].conditions[0].message.startswith("2/0 tasks in gang unschedulable")
