"""Tasks of a job together on nodes, or apart."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from batches import World, configuration, nodes
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from homeport.kube.scheduling.names import TASK_AFFINITY as AFFINITY
from homeport.kube.scheduling.names import TASK_ANTI_AFFINITY as ANTI_AFFINITY
from homeport.kube.scheduling.names import TASK_ORDER
from homeport.scheduler.batch.buckets import parse
from homeport.scheduler.batch.configuration import Configuration, PluginOption
from homeport.scheduler.batch.model import TaskStatus


def _config(**arguments: str) -> Configuration:
    stock = configuration()
    return replace(
        stock, tiers=(*stock.tiers, (PluginOption("task-topology", arguments or {"task-topology.weight": "10"}),))
    )


def _world(count: int, annotations: dict[str, str], *, cpu: int = 4, ps: int = 2, workers: int = 4) -> World:
    world = World(nodes(count, cpu=cpu), _config())
    _add(world, "g", annotations, ps=ps, workers=workers)
    return world


def _add(world: World, name: str, annotations: dict[str, str], *, ps: int, workers: int, **more: Any) -> None:
    shape = world.shape(cpu=1)
    tasks = (*world.tasks(name, ps, shape, "ps"), *world.tasks(name, workers, shape, "worker"))
    group = world.add(name, ps + workers, min_resources=None, annotations=annotations, **more)
    world.groups[name] = replace(group, tasks=tasks)


def _where(world: World, role: str, group: str = "g") -> Counter[str]:
    return Counter(task.node for task in world.groups[group].tasks if task.role == role and task.node)


def test_tasks_that_belong_together_share_nodes() -> None:
    """Two sets of a parameter server and two workers, though emptier nodes are there for each."""
    world = _world(6, {AFFINITY: "ps,worker", ANTI_AFFINITY: "ps"}, cpu=3)
    world.cycle()
    assert len(_where(world, "ps")) == 2
    assert set(_where(world, "worker")) == set(_where(world, "ps"))
    assert set(_where(world, "worker").values()) == {2}


def test_tasks_that_belong_apart_do_not_share_nodes() -> None:
    world = _world(6, {ANTI_AFFINITY: "ps,worker"}, cpu=16)
    world.cycle()
    assert not set(_where(world, "ps")) & set(_where(world, "worker"))


def test_a_task_that_belongs_apart_from_itself_spreads_and_one_that_does_not_gathers() -> None:
    world = _world(4, {ANTI_AFFINITY: "worker", AFFINITY: "ps"}, cpu=16, ps=4)
    world.cycle()
    assert len(_where(world, "worker")) == 4
    assert len(_where(world, "ps")) == 1


def test_what_is_already_there_draws_the_others() -> None:
    world = _world(4, {AFFINITY: "ps,worker"}, cpu=8)
    group = world.groups["g"]
    first = replace(group.tasks[0], status=TaskStatus.RUNNING, node="n2")
    world.groups["g"] = replace(group, tasks=(first, *group.tasks[1:]))
    world.cycle()
    assert set(world.where("g")) == {"n2"}


def test_wishes_are_no_limit() -> None:
    world = _world(2, {ANTI_AFFINITY: "worker"}, cpu=4, ps=0, workers=8)
    world.cycle()
    assert len(world.where("g")) == 8


def test_the_order_of_tasks_is_that_of_the_job() -> None:
    """With room for fewer than all, the task that is named first is placed first."""
    for first, second in (("ps", "worker"), ("worker", "ps")):
        world = World(nodes(1, cpu=2), _config())
        wishes = {AFFINITY: "ps,worker", TASK_ORDER: f"{first},{second}"}
        _add(world, "g", wishes, ps=2, workers=2, min_member=2)
        world.cycle()
        assert _where(world, first) == {"n0": 2}
        assert not _where(world, second)


@pytest.mark.parametrize("wrong", ["ps,chief", "ps,ps", "chief"])
def test_wishes_that_name_a_task_that_there_is_not_count_for_nothing(wrong: str) -> None:
    assert parse({AFFINITY: wrong}, frozenset({"ps", "worker"})) is None
    assert parse({AFFINITY: "ps,worker", TASK_ORDER: wrong}, frozenset({"ps", "worker"})) is None
    world = _world(2, {AFFINITY: wrong})
    world.cycle()
    assert len(world.where("g")) == 6


def test_nothing_said_is_nothing_wished() -> None:
    assert parse({"volcano.sh/other": "ps"}, frozenset({"ps"})) is None
    plain, other = World(nodes(3, cpu=4)), World(nodes(3, cpu=4), _config())
    for world in (plain, other):
        _add(world, "g", {}, ps=2, workers=4)
        world.cycle()
    assert plain.where("g") == other.where("g")


_sets = st.sampled_from(["", "ps", "worker", "ps,worker", "ps;worker", "ps,worker;ps"])


@settings(max_examples=25, derandomize=True)
@given(st.integers(1, 3), st.integers(0, 5), st.integers(0, 5), _sets, _sets, st.integers(1, 6))
def test_wishes_cost_nobody_a_place(count: int, ps: int, workers: int, together: str, apart: str, least: int) -> None:
    """As many pods have a node as without them, also after some were lost, and none more than there is room for."""
    annotations = {AFFINITY: together, ANTI_AFFINITY: apart}
    placed = []
    for wishes in ({}, annotations):
        world = World(nodes(count, cpu=3), _config())
        _add(world, "g", wishes, ps=ps, workers=workers, min_member=least)
        world.settle(2)
        world.lose("g", 2)
        world.settle(2)
        assert all(taken.get("cpu", 0) <= 3000 for taken in world.used().values())
        placed.append(len(world.where("g")))
    assert placed[0] == placed[1]
