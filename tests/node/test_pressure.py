"""When a node is short of something, and whose pods end then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from homeport.node import pressure
from homeport.node.pressure import DEFAULT_THRESHOLDS, Crossing, Footprint, Level

MIB, GIB = 1 << 20, 1 << 30
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pod(name: str, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, **spec: Any) -> Any:
    container = {"name": "main", "resources": {"requests": requests or {}, "limits": limits or {}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


@pytest.mark.parametrize(
    ("signal", "capacity", "available", "least"),
    [
        ("memory.available", 8 * GIB, 100 * MIB - 1, 100 * MIB),
        ("nodefs.available", 100 * GIB, GIB - 1, GIB),
        ("nodefs.inodesFree", 1000, 19, 20),
        ("pid.available", 32768, 1637, 1638),
    ],
)
def test_thresholds(signal: Any, capacity: int, available: int, least: int) -> None:
    found = pressure.crossings({signal: Level(capacity, available)}, DEFAULT_THRESHOLDS)
    assert found == [Crossing(signal, least, available)]
    assert pressure.crossings({signal: Level(capacity, available + 1)}, DEFAULT_THRESHOLDS) == []


def test_what_has_no_limit_is_never_short() -> None:
    assert pressure.crossings({"nodefs.inodesFree": Level(0, 0)}, DEFAULT_THRESHOLDS) == []
    assert pressure.crossings({"pid.available": Level(10, 0)}, {}) == []


def test_a_condition_stays_for_a_while() -> None:
    found = [Crossing("memory.available", 2, 1)]
    held = pressure.pressures(found, {}, NOW)
    assert held == {"MemoryPressure": NOW}
    assert pressure.pressures([], held, NOW + timedelta(minutes=4)) == held
    assert pressure.pressures([], held, NOW + timedelta(minutes=5)) == {}
    made = {c["type"]: (c["status"], c["reason"]) for c in pressure.conditions(held)}
    assert made["MemoryPressure"] == ("True", "KubeletHasInsufficientMemory")
    assert made["DiskPressure"] == ("False", "KubeletHasNoDiskPressure")


def test_who_ends_first() -> None:
    within = Footprint(pod("within", {"memory": "1Gi"}), 900 * MIB)
    beyond = Footprint(pod("beyond", {"memory": "100Mi"}), 150 * MIB)
    far = Footprint(pod("far", {"memory": "100Mi"}), 500 * MIB)
    important = Footprint(pod("important", priority=1000), 2 * GIB)
    system = Footprint(pod("system", priority=2_000_000_000), 2 * GIB)
    order = [f.pod["metadata"]["name"] for f in pressure.ranked([within, important, system, beyond, far], "memory")]
    assert order == ["far", "beyond", "important", "within"]


def test_what_an_evicted_pod_is_told() -> None:
    crossing = Crossing("memory.available", 100 * MIB, 50 * MIB)
    verdict = pressure.eviction(crossing, Footprint(pod("p", {"memory": "8Mi"}), 9 * MIB, {"main": 9 * MIB}))
    assert (verdict.reason, verdict.disrupts) == ("Evicted", True)
    assert verdict.message == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container main was using 9Mi, request is 8Mi, has larger consumption of memory. "
    )


def test_local_storage() -> None:
    limited = pod("p", limits={"ephemeral-storage": "10Mi"})
    assert pressure.limits_storage(limited)
    assert not pressure.limits_storage(pod("q"))
    assert pressure.storage_verdict(limited, {"main": 10 * MIB}, {}) is None
    over = pressure.storage_verdict(limited, {"main": 11 * MIB}, {})
    assert over is not None
    assert over.message == "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. "
    two = pod("p", limits={"ephemeral-storage": "10Mi"})
    two["spec"]["containers"].append({"name": "other", "resources": {"limits": {"ephemeral-storage": "90Mi"}}})
    over = pressure.storage_verdict(two, {"main": 11 * MIB}, {})
    assert over is not None
    assert over.message == 'Container main exceeded its local ephemeral storage limit "10Mi". '
    sized = pod("p", volumes=[{"name": "v", "emptyDir": {"sizeLimit": "5Mi"}}, {"name": "w", "emptyDir": {}}])
    assert pressure.limits_storage(sized)
    assert pressure.storage_verdict(sized, {"main": 99 * MIB}, {"v": 5 * MIB, "w": 99 * MIB}) is None
    over = pressure.storage_verdict(sized, {}, {"v": 5 * MIB + 1})
    assert over is not None
    assert over.message == 'Usage of EmptyDir volume "v" exceeds the limit "5Mi". '
