"""What gang schedulers are known to get stuck in, each as what must not happen.

The numbers are those of issues of volcano-sh/volcano, unless another project is named.
"""

from __future__ import annotations

import pytest
from batches import GPU, World, configuration, node, nodes
from msgspec.structs import replace

from homeport.scheduler.batch.model import GroupPhase, Queue, Shape, TaskStatus
from homeport.scheduler.model import Demand

RECLAIM = configuration("enqueue", "allocate", "backfill", "reclaim")


def test_gangs_do_not_hold_parts_of_what_they_need_while_others_wait_for_it() -> None:
    """#2083: overcommit lets in more gangs than fit; each gets a part and none becomes ready."""
    world = World(nodes(3, cpu=4))
    for index in range(4):
        world.add(f"g{index}", 7, lasts=5)
        assert world.cycle().binds == () or world.running(f"g{index}") == 7
    for _ in range(60):
        world.settle(1)
        for index in range(4):
            assert world.running(f"g{index}") in (0, 7)
    assert all(world.phase(f"g{index}") is GroupPhase.COMPLETED for index in range(4))


def test_a_gang_that_can_never_fit_does_not_keep_others_out_of_the_queue() -> None:
    """#5006: it is Inqueue for ever, and what it has been promised is missing to all others."""
    world = World(nodes(4, cpu=4), configuration(inqueue_seconds=60.0))
    world.add("impossible", 2, cpu=6)  # bigger than any node
    world.settle(2)
    assert world.phase("impossible") is GroupPhase.INQUEUE
    world.add("other", 10, lasts=5)
    world.settle(3)
    assert world.phase("other") is GroupPhase.PENDING
    world.settle(20, seconds=10)
    assert world.phase("other") is GroupPhase.COMPLETED


def test_a_gang_that_lost_a_member_is_not_passed_by_new_ones() -> None:
    """#5805: by dominant shares a new group, which has nothing, is before one that has most of what it needs."""
    world = World([node("big", cpu=3), node("lost", cpu=1)])
    world.add("old", 4)
    world.settle(2)
    assert world.running("old") == 4
    world.nodes = [node("big", cpu=3), node("lost", cpu=1, ready=False)]
    world.lose("old", 1)
    for index in range(3):
        world.add(f"new{index}", 1, min_resources=None)
    world.nodes.append(node("spare", cpu=1))
    world.settle(3)
    assert world.running("old") == 4


def test_a_gang_that_stays_short_of_members_gives_back_what_it_holds() -> None:
    """#5805, KAI's stale gangs: its members wait for one that finds no place, for ever."""
    world = World(nodes(2, cpu=2), configuration(stale_seconds=60.0))
    world.add("old", 4)
    world.settle(2)
    world.nodes = world.nodes[:1]
    world.lose("old", 2)
    world.add("other", 2, lasts=5)
    world.settle(2)
    assert world.running("old") == 2
    world.settle(10, seconds=10)
    assert world.running("old") == 0
    assert world.phase("other") is GroupPhase.COMPLETED


def test_two_groups_do_not_take_the_same_room_from_each_other_for_ever() -> None:
    """#3869: both have a minimum of one, and each finds the other's pods beyond that worth having."""
    world = World(nodes(1, cpu=4), RECLAIM, [Queue("a"), Queue("b")])
    world.add("a", 4, min_member=1, queue="a")
    world.settle(2)
    world.add("b", 4, min_member=1, queue="b")
    world.settle(40)
    assert world.evictions <= 2
    assert world.running("a") + world.running("b") == 4
    assert world.running("b") >= 1


def test_being_kept_out_of_the_queue_does_not_keep_from_reclaiming() -> None:
    """#569: nothing is idle, so the group is not let in; and nothing is taken back for who is not in."""
    world = World(nodes(2, cpu=4), RECLAIM, [Queue("a"), Queue("b")])
    world.add("a", 8, min_member=1, queue="a")
    world.settle(2)
    world.add("b", 4, queue="b")
    world.settle(5)
    assert world.running("b") == 4


def test_finished_groups_are_promised_nothing() -> None:
    """#2633: what finished groups asked for stays missing in the queue's account."""
    world = World(nodes(1, cpu=4), queues=[Queue("q", capability={"cpu": 4000})])
    for index in range(6):
        world.add(f"g{index}", 4, lasts=1, queue="q")
        world.settle(4)
        assert world.phase(f"g{index}") is GroupPhase.COMPLETED


def test_pods_that_leave_do_not_make_a_running_group_wait() -> None:
    """#5794: a pod that is being deleted turns the phase back, with a false NotEnoughResources."""
    world = World(nodes(1, cpu=4))
    world.add("g", 3)
    world.settle(2)
    group = world.groups["g"]
    first = replace(group.tasks[0], status=TaskStatus.RELEASING)
    world.groups["g"] = replace(group, tasks=(first, *group.tasks[1:]))
    world.cycle()
    assert world.phase("g") is GroupPhase.RUNNING


def test_a_limit_on_what_the_cluster_does_not_have_limits_nothing_else() -> None:
    """#3220: 'queue resource quota insufficient' for a resource that the group does not ask for."""
    for plugin in ("proportion", "capacity"):
        config = configuration(plugins=("overcommit", "predicates", plugin))
        world = World(nodes(1, cpu=4), config, [Queue("q", capability={GPU: 0, "example.com/none": 5})])
        world.add("g", 4, queue="q")
        world.settle(1)
        assert world.running("g") == 4


def test_why_one_pod_does_not_fit_is_not_said_of_others() -> None:
    """#3527: pods without a role share one entry of the cache of refusals."""
    world = World(nodes(2, cpu=4))
    fitting, huge = world.shape(cpu=1), world.shape(cpu=9)
    group = world.add("g", 0, min_member=1, min_resources=None)
    tasks = (*world.tasks("a", 1, huge, role=""), *world.tasks("b", 3, fitting, role=""))
    world.groups["g"] = replace(group, tasks=tasks)
    world.settle(1)
    assert world.running("g") == 3


def test_a_big_gang_is_not_passed_by_small_ones_for_ever() -> None:
    """kube-batch #158: whatever becomes free goes to who needs little."""
    world = World(nodes(4, cpu=2), configuration(reserve_seconds=30.0))
    for index in range(8):
        world.add(f"first{index}", 1, lasts=10 + index)
    world.settle(1)
    world.add("big", 8, lasts=5)
    for step in range(120):
        world.add(f"small{step}", 1, lasts=12)
        world.settle(1, seconds=2)
        if world.phase("big") is GroupPhase.COMPLETED:
            break
    assert world.phase("big") is GroupPhase.COMPLETED


def test_gangs_whose_pods_come_in_turns_do_not_lock_each_other() -> None:
    """scheduler-plugins #114: pods of two groups, admitted alternately, each hold half."""
    world = World(nodes(1, cpu=4))
    shape = world.shape(cpu=1)
    for name in ("a", "b"):
        group = world.add(name, 0, min_member=3, min_resources=None, waits=False)
        world.groups[name] = replace(group, tasks=world.tasks(name, 3, shape, created=world.now))
        world.lasts[name] = 3
    world.settle(10)
    assert {world.phase("a"), world.phase("b")} == {GroupPhase.COMPLETED}


def test_admission_by_sums_does_not_block_where_only_pieces_are_free() -> None:
    """Kueue #349: quota is there and no node has room; those admitted so keep the others out."""
    world = World(nodes(4, cpu=3), configuration(inqueue_seconds=60.0))
    world.add("pieces", 5, cpu=2)  # 10 of 12 CPUs, but one a node
    world.settle(2)
    world.add("fits", 8, lasts=5)
    world.settle(30, seconds=5)
    assert world.phase("fits") is GroupPhase.COMPLETED


def test_who_can_not_reclaim_does_not_evict_for_nothing() -> None:
    """Evictions are made for a group as a whole: none for one that would stay short."""
    world = World(nodes(1, cpu=4), RECLAIM, [Queue("a"), Queue("b")])
    world.add("a", 4, min_member=3, queue="a")
    world.settle(2)
    world.add("b", 2, queue="b")
    world.settle(5)
    assert world.evictions == 0


def test_the_same_refusal_is_not_news() -> None:
    """#1094: 78,789 identical events in 26 hours: decisions about an unchanged world are equal."""
    world = World(nodes(1, cpu=1))
    world.add("g", 3, min_resources=None)
    world.settle(2)
    before = world.cycle()
    world.pass_time(1)
    after = world.cycle()
    assert before.groups == after.groups
    assert before.tasks == after.tasks


def test_no_pods_are_asked_for_when_the_quota_is_too_small() -> None:
    """#1387: pods are created although the queue's quota can't hold the gang."""
    world = World(nodes(4, cpu=4), queues=[Queue("q", capability={"cpu": 2000})])
    world.add("g", 4, queue="q", pods=False)
    world.settle(3)
    assert world.phase("g") is GroupPhase.PENDING


def test_a_pod_without_its_claim_does_not_hold_up_others() -> None:
    world = World(nodes(1, cpu=4))
    shape = world.shape_of(Shape("default", Demand(), refused='persistentvolumeclaim "c" not found'))
    group = world.add("g", 0, min_member=2, min_resources=None)
    world.groups["g"] = replace(group, tasks=world.tasks("g", 2, shape))
    world.add("other", 4)
    world.settle(1)
    assert world.running("other") == 4
    assert 'persistentvolumeclaim "c" not found' in world.message("g")


def test_a_gang_that_gave_back_what_it_held_is_not_made_anew_for_ever() -> None:
    """kuberay #5301: each time-out deletes the pods, their controller makes others, and the next time-out follows."""
    world = World(nodes(2, cpu=2), configuration(stale_seconds=60.0))
    world.add("old", 4)
    world.settle(2)
    for lost in range(1, 4):
        gone = world.nodes.pop()
        world.lose("old", 2)
        world.settle(8, seconds=10)
        assert (world.running("old"), world.evictions) == (0, 2 * lost)
        made = [task.uid for task in world.groups["old"].tasks]
        world.settle(60, seconds=60)  # an hour of many time-outs
        assert [task.uid for task in world.groups["old"].tasks] == made
        assert (world.running("old"), world.evictions) == (0, 2 * lost)
        world.nodes.append(gone)
        world.settle(15, seconds=60)
        assert world.running("old") == 4, "it goes as soon as it can be whole"


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a"), ("b", "c", "a")])
def test_who_preempts_in_one_queue_does_not_lose_its_turn_to_those_of_others(order: tuple[str, ...]) -> None:
    """preempt.go: preemptors of several queues share one list, and the order of a map decides who is forgotten."""
    config = configuration("enqueue", "allocate", "backfill", "preempt")
    world = World(nodes(3, cpu=4), config, [Queue(name) for name in order])
    for name in order:
        world.add(f"low-{name}", 4, min_member=1, queue=name)
    world.settle(2)
    assert all(world.running(f"low-{name}") == 4 for name in order)
    for name in order:
        world.add(f"high-{name}", 2, priority=10, queue=name, min_resources=None)
    decisions = world.cycle()
    assert {(each.group, each.by) for each in decisions.evictions} == {(f"low-{q}", f"high-{q}") for q in order}
    world.pass_time(1)
    world.settle(4)
    assert all((world.running(f"low-{name}"), world.running(f"high-{name}")) == (2, 2) for name in order)
    assert world.evictions == 6


@pytest.mark.parametrize("placed", range(4))
def test_what_a_gang_keeps_from_others_ends_whether_or_not_a_part_of_it_is_placed(placed: int) -> None:
    """YuniKorn: the time-out of placeholders begins with the first that is placed; before, a gang waits for ever."""
    world = World(nodes(4, cpu=1), configuration(inqueue_seconds=60.0, stale_seconds=60.0))
    group = world.add("part", 8, min_resources={"cpu": 4000})
    tasks = [
        replace(task, status=TaskStatus.RUNNING, node=f"n{index}", started=world.now) if index < placed else task
        for index, task in enumerate(group.tasks)
    ]
    world.groups["part"] = replace(group, tasks=tuple(tasks))
    world.cycle()
    world.add("other", 4, lasts=5)
    world.settle(4, seconds=10)
    assert (world.running("part"), world.running("other")) == (placed, 0)
    world.settle(6, seconds=10)
    assert world.phase("other") is GroupPhase.COMPLETED
    assert world.evictions == placed
