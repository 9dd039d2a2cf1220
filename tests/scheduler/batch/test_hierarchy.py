"""Dominant resource fairness of a tree of queues (``drf`` with ``enableHierarchy``)."""

from __future__ import annotations

import numpy as np
import pytest
from batches import World, configuration, nodes
from msgspec.structs import replace

from homeport.scheduler.batch.configuration import Configuration, PluginOption
from homeport.scheduler.batch.model import Queue
from homeport.scheduler.batch.plugins.hierarchy import Tree


def hierarchical(*actions: str, **more: float) -> Configuration:
    stock = configuration(*actions, plugins=("overcommit", "drf", "predicates", "nodeorder"), **more)
    drf = PluginOption("drf", enabled=frozenset({"hierarchy"}))
    return replace(stock, tiers=(stock.tiers[0], tuple(drf if one.name == "drf" else one for one in stock.tiers[1])))


def queue(path: str, weights: str) -> Queue:
    return Queue(path.replace("/", "-"), hierarchy=path, hierarchy_weights=weights)


def placed(world: World) -> dict[str, int]:
    world.settle(3)
    return {key: world.running(key) for key in world.groups}


def test_what_nobody_else_wants_is_not_held_against_a_level() -> None:
    """Upstream's case "rescaling": the GPUs of one part of `eng` do not keep its other part from its CPUs."""
    queues = [queue("root/sci", "100/50"), queue("root/eng/dev", "100/50/50"), queue("root/eng/prod", "100/50/50")]
    world = World(nodes(1, cpu=10, gpu=10), hierarchical(), queues)
    world.add("sci", 10, min_member=1, queue="root-sci", min_resources=None)
    world.add("dev", 10, min_member=1, queue="root-eng-dev", min_resources=None)
    world.add("prod", 10, cpu=0, gpu=1, min_member=1, queue="root-eng-prod", min_resources=None)
    assert placed(world) == {"sci": 5, "dev": 5, "prod": 10}


def test_who_is_saturated_blocks_nobody() -> None:
    """Upstream's case "blocking nodes"."""
    queues = [queue(f"root/{name}", "100/25") for name in ("a", "b", "d")]
    queues += [queue("root/c/one", "100/25/50"), queue("root/c/two", "100/25/50")]
    world = World(nodes(1, cpu=30, gpu=30), hierarchical(), queues)
    for name in ("a", "b", "c-one"):
        world.add(name, 30, min_member=1, queue=f"root-{name}", min_resources=None)
    for name in ("c-two", "d"):
        world.add(name, 30, cpu=0, gpu=1, min_member=1, queue=f"root-{name}", min_resources=None)
    assert placed(world) == {"a": 10, "b": 10, "c-one": 10, "c-two": 15, "d": 15}


@pytest.mark.parametrize("by_annotation", [True, False])
def test_each_level_shares_by_its_own_weights(by_annotation: bool) -> None:
    """Three quarters for `a`, half of them for each below it, however many jobs want more."""
    if by_annotation:
        queues = [queue("root/a/x", "1/3/1"), queue("root/a/y", "1/3/1"), queue("root/b", "1/1")]
        names = ["root-a-x", "root-a-y", "root-b"]
    else:
        queues = [Queue("root"), Queue("a", weight=3, parent="root"), Queue("x", parent="a"), Queue("y", parent="a")]
        queues.append(Queue("b"))
        names = ["x", "y", "b"]
    world = World(nodes(2, cpu=12), hierarchical(), queues)
    for number in range(3):
        world.add(f"x{number}", 12, min_member=1, queue=names[0], min_resources=None)
    world.add("y", 24, min_member=1, queue=names[1], min_resources=None)
    world.add("b", 24, min_member=1, queue=names[2], min_resources=None)
    found = placed(world)
    assert (found["x0"] + found["x1"] + found["x2"], found["y"], found["b"]) == (9, 9, 6)


def test_what_others_do_not_want_is_used() -> None:
    world = World(nodes(1, cpu=8), hierarchical(), [queue("root/a", "1/1"), queue("root/b", "1/9")])
    world.add("a", 20, min_member=1, queue="root-a", min_resources=None)
    world.add("b", 1, queue="root-b", min_resources=None)
    assert placed(world) == {"a": 7, "b": 1}


def test_who_comes_later_takes_its_share_back_and_no_more() -> None:
    config = hierarchical("enqueue", "allocate", "reclaim")
    world = World(nodes(1, cpu=8), config, [queue("root/a", "1/1"), queue("root/b", "1/3")])
    world.add("a", 8, min_member=1, queue="root-a", min_resources=None)
    world.settle(2)
    assert world.running("a") == 8
    for number in range(8):
        world.add(f"b{number}", 1, queue="root-b", min_resources=None)
    world.settle(12)
    assert (world.running("a"), sum(world.running(f"b{number}") for number in range(8))) == (3, 5)
    before = world.evictions
    world.settle(12)
    assert world.evictions == before


def test_a_queue_without_jobs_and_weights_that_are_none() -> None:
    queues = [queue("root/a", "1/many"), queue("root/b", "1"), queue("c", "5")]
    world = World(nodes(1, cpu=9), hierarchical(), queues)
    for name in ("a", "b"):
        world.add(name, 9, min_member=1, queue=f"root-{name}", min_resources=None)
    found = placed(world)
    assert sorted(found.values()) == [4, 5]


def test_orders_follow_what_moves_at_any_level() -> None:
    """What is kept from one question to the next is what would be worked out anew."""
    random = np.random.default_rng(7)
    total, counted = np.array([100, 50, 40]), np.array([False, True, True])
    paths = [["a"], ["b", "x"], ["b", "y"], ["c", "x", "z"]]
    jobs = {f"{place}-{number}": random.integers(0, 12, 3) for place in range(4) for number in range(3)}
    held = {key: np.zeros(3, np.int64) for key in jobs}

    def built() -> tuple[Tree, list[tuple[float, ...]]]:
        tree = Tree(total, counted)
        found = [tree.node(path, [float(len(path))] * len(path)) for path in paths]
        for place, node in enumerate(found):
            own = [(key, held[key], wanted) for key, wanted in jobs.items() if key.startswith(f"{place}-")]
            tree.fill(node, own)
        return tree, [tree.order(node) for node in found]

    tree, _ = built()
    nodes_of = [tree.node(path, [1.0] * len(path)) for path in paths]
    for _ in range(60):
        key = str(random.choice(list(jobs)))
        change = random.integers(0, 5, 3) if random.random() < 0.7 else -held[key]
        held[key] = held[key] + change
        tree.move(key, change)
        if random.random() < 0.5:
            assert [tree.order(node) for node in nodes_of] == built()[1]
    assert [tree.order(node) for node in nodes_of] == built()[1]
