"""What holds whatever the workload: random groups, played through the decisions with a clock of our own."""

from __future__ import annotations

from typing import Any

from batches import GPU, World, configuration, nodes
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from homeport.scheduler.batch.configuration import Configuration, PluginOption
from homeport.scheduler.batch.decide import decide
from homeport.scheduler.batch.model import GroupPhase, Queue, TaskStatus, from_json, to_json

_STOCK = configuration(inqueue_seconds=60.0, stale_seconds=60.0, reserve_seconds=30.0)
_ALL = configuration(
    "enqueue",
    "allocate",
    "backfill",
    "preempt",
    "reclaim",
    inqueue_seconds=60.0,
    stale_seconds=60.0,
    reserve_seconds=30.0,
)
_HIERARCHICAL = replace(
    _ALL,
    tiers=(
        _ALL.tiers[0],
        (
            PluginOption("overcommit"),
            PluginOption("drf", enabled=frozenset({"hierarchy"})),
            PluginOption("predicates"),
            PluginOption("nodeorder"),
        ),
    ),
)
_QUEUES = [Queue("a", weight=2), Queue("b", weight=1)]

groups = st.fixed_dictionaries(
    {
        "count": st.integers(1, 6),
        "cpu": st.integers(1, 4),
        "gpu": st.integers(0, 1),
        "queue": st.sampled_from(["a", "b"]),
        "priority": st.integers(0, 2),
        "gang": st.booleans(),
        "lasts": st.integers(1, 40),
        "after": st.integers(0, 20),
    }
)
workloads = st.lists(groups, min_size=1, max_size=12)


few = settings(max_examples=12, derandomize=True)
"""Each plays a hundred cycles or more. The same ones each time: a look for new ones is nobody else's surprise."""


def play(workload: list[dict[str, Any]], config: Configuration, *, lost: int = -1, steps: int = 200) -> World:
    """All groups come in their turn; the world goes on until nothing is left that could end, or for so many steps."""
    world = World(nodes(3, cpu=4, gpu=1), config, _QUEUES)
    for number, group in enumerate(workload):
        world.add(
            f"g{number}",
            group["count"],
            cpu=group["cpu"],
            gpu=group["gpu"],
            queue=group["queue"],
            priority=group["priority"],
            lasts=group["lasts"],
            min_member=group["count"] if group["gang"] else 1,
        )
        step(world)
        world.pass_time(group["after"])
        if lost == number:
            world.lose("g0", 1)
    able = {key for key in world.groups if steps and _can_run(world, key)}
    for _ in range(steps):
        step(world)
        if all(world.phase(key) is GroupPhase.COMPLETED for key in able):
            break
        world.pass_time(10)
    return world


def step(world: World) -> None:
    world.cycle()
    for node, taken in world.used().items():
        allocatable = next(each.allocatable for each in world.nodes if each.name == node)
        assert all(amount <= allocatable.get(resource, 0) for resource, amount in taken.items()), "given twice"


def _can_run(world: World, key: str) -> bool:
    """Whether it fits when nobody else is there."""
    alone = World(world.nodes, world.config, world.queues)
    group = world.groups[key]
    shape = world.shapes[group.tasks[0].shape]
    amounts = dict(shape.demand.requests)
    alone.add(key, group.min_member, cpu=amounts["cpu"] // 1000, gpu=amounts.get(GPU, 0), queue=group.queue)
    return bool(alone.cycle().binds)


@few
@given(workloads, st.booleans())
def test_gangs_start_whole_and_nothing_is_given_twice_and_nobody_starves(
    workload: list[dict[str, Any]], hierarchical: bool
) -> None:
    world = play(workload, _HIERARCHICAL if hierarchical else _STOCK)
    for key, group in world.groups.items():
        started = sum(task.status is not TaskStatus.PENDING for task in group.tasks)
        assert started == 0 or started >= group.min_member
        assert not _can_run(world, key) or world.phase(key) is GroupPhase.COMPLETED, f"{key} starves"


@few
@given(workloads, st.booleans())
def test_preempting_and_reclaiming_come_to_an_end(workload: list[dict[str, Any]], hierarchical: bool) -> None:
    config = _HIERARCHICAL if hierarchical else _ALL
    world = play([{**group, "lasts": 10_000} for group in workload], config, steps=0)
    world.settle(25)
    before = world.evictions
    world.settle(15)
    assert world.evictions == before
    for group in world.groups.values():
        running = sum(task.status.holds for task in group.tasks)
        assert running == 0 or running >= group.min_member


@few
@given(workloads)
def test_a_gang_that_loses_a_member_is_whole_again_or_holds_nothing(workload: list[dict[str, Any]]) -> None:
    world = play([{**group, "lasts": 10_000} for group in workload], _STOCK, lost=len(workload) - 1, steps=0)
    world.settle(20, seconds=10)
    for group in world.groups.values():
        running = sum(task.status.holds for task in group.tasks)
        assert running == 0 or running >= group.min_member


@few
@given(workloads)
def test_nothing_is_idle_that_a_single_waiting_pod_could_use(workload: list[dict[str, Any]]) -> None:
    """Work is conserved: of groups of one pod none waits in the queue while a node has room for it."""
    world = World(nodes(3, cpu=4, gpu=1), configuration(reserve_seconds=1e9), _QUEUES)
    for number, group in enumerate(workload):
        more = {"cpu": group["cpu"], "gpu": group["gpu"], "queue": group["queue"], "priority": group["priority"]}
        world.add(f"g{number}", 1, min_resources=None, **more)
    world.cycle()
    used = world.used()
    for group in world.groups.values():
        if group.tasks[0].status is TaskStatus.PENDING:
            wanted = dict(world.shapes[group.tasks[0].shape].demand.requests)
            for node in world.nodes:
                left = {name: amount - used[node.name].get(name, 0) for name, amount in node.allocatable.items()}
                assert any(left.get(resource, 0) < amount for resource, amount in wanted.items())


@few
@given(workloads)
def test_deciding_anew_from_a_saved_snapshot_gives_the_same(workload: list[dict[str, Any]]) -> None:
    """Neither the cache nor the way to a file and back makes a difference."""
    world = World(nodes(3, cpu=4, gpu=1), _ALL, _QUEUES)
    for number, group in enumerate(workload):
        world.add(f"g{number}", group["count"], cpu=group["cpu"], queue=group["queue"], lasts=group["lasts"])
        snapshot = world.snapshot()
        with_cache = world.cycle()
        assert decide(from_json(to_json(snapshot)), world.config, world.now) == with_cache
        unexplained = decide(snapshot, world.config, world.now, explains=False)
        assert unexplained == replace(with_cache, explanations={})
        world.pass_time(group["after"])


@few
@given(workloads, st.sampled_from(["proportion", "capacity"]))
def test_queues_may_name_the_root_or_nobody(workload: list[dict[str, Any]], plugin: str) -> None:
    """It is the same: what is part of nothing is part of the root."""
    told = []
    for parent in ("", "root"):
        queues = [
            Queue("a", weight=2, parent=parent, capability={"cpu": 9000}, deserved={"cpu": 6000}),
            Queue("b", parent=parent, deserved={"cpu": 4000}, guarantee={"cpu": 2000}),
            Queue("root", reclaimable=False),
        ]
        config = replace(_ALL, tiers=configuration(plugins=("drf", "predicates", plugin, "nodeorder")).tiers)
        world = World(nodes(3, cpu=4, gpu=1), config, queues)
        decided = []
        for number, group in enumerate(workload):
            more = {key: group[key] for key in ("cpu", "gpu", "queue", "priority", "lasts")}
            world.add(f"g{number}", group["count"], min_member=group["count"] if group["gang"] else 1, **more)
            for _ in range(3):
                found = world.cycle()
                decided.append((found.binds, found.evictions, found.nominations, found.groups))
            world.pass_time(group["after"])
        told.append(decided)
    assert told[0] == told[1]
