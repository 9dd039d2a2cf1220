"""Shares between users over time."""

from __future__ import annotations

from batches import World, configuration, nodes

from homeport.scheduler.batch.model import GroupPhase

_FAIR = configuration(plugins=("overcommit", "fair-share", "predicates", "proportion"))


def test_who_has_used_less_lately_is_first() -> None:
    world = World(nodes(1, cpu=4), _FAIR)
    world.add("a0", 4, user="a", lasts=100)
    world.settle(2)
    world.settle(2, seconds=60)
    world.cycle()
    assert world.phase("a0") is GroupPhase.COMPLETED
    world.add("a1", 4, user="a")
    world.pass_time(1)
    world.add("b1", 4, user="b")
    world.settle(1)
    assert (world.running("a1"), world.running("b1")) == (0, 4)


def test_what_was_used_long_ago_is_forgotten() -> None:
    world = World(nodes(1, cpu=4), _FAIR)
    world.add("a0", 4, user="a", lasts=100)
    world.settle(2)
    world.settle(2, seconds=60)
    world.settle(2, seconds=3600)
    halved = world.carried.usage["a"]
    assert 10 < halved < 100
    world.settle(30, seconds=3600)
    assert world.carried.usage == {}
