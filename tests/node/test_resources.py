"""Requests and limits as the kubelet understands them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from homeport.node import resources
from homeport.node.pod import members
from homeport.node.runtime import Limits

GIB = 1 << 30


def container(name: str, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> Any:
    return {"name": name, "resources": {"requests": requests or {}, "limits": limits or {}}}


def pod(*mains: Any, init: tuple[Any, ...] = (), **spec: Any) -> Any:
    return {"spec": {"containers": list(mains), "initContainers": list(init), **spec}}


def test_what_a_pod_needs_room_for() -> None:
    sidecar = container("s", {"cpu": "200m", "memory": "1Gi"}) | {"restartPolicy": "Always"}
    made = pod(
        container("a", {"cpu": "500m"}, {"memory": "1Gi"}),
        container("b", {"cpu": "1"}, {"nvidia.com/gpu": "2"}),
        init=(container("early", {"cpu": "1650m"}), sidecar, container("late", {"cpu": "1600m", "memory": "3Gi"})),
        overhead={"cpu": "50m"},
    )
    assert resources.pod_requests(made) == {
        "cpu": Decimal("1.85"),  # late beside the sidecar, and the overhead
        "memory": 4 * GIB,
        "nvidia.com/gpu": 2,
    }
    assert resources.pod_requests(pod(container("a", {"cpu": "1"}), resources={"requests": {"cpu": "3"}})) == {"cpu": 3}


def test_limits_of_a_container() -> None:
    made = pod(container("a", {"cpu": "250m"}, {"cpu": "1500m", "memory": "64Mi"}), container("b"))
    first, second = (resources.container_limits(made, member) for member in members(made))
    assert first == Limits(memory=64 << 20, cpu_shares=256, cpu_quota=150_000)
    assert second == Limits(cpu_shares=2)
    (tiny,) = members(pod(container("a", limits={"cpu": "1m"})))
    assert resources.container_limits({}, tiny) == Limits(cpu_shares=2, cpu_quota=1000)


def test_limits_of_a_pod() -> None:
    """One of whose containers has no limit has none itself."""
    both = pod(container("a", limits={"cpu": "1", "memory": "1Gi"}), container("b", limits={"cpu": "2"}))
    assert resources.sandbox_limits(both, 50) == Limits(cpu_shares=3072, cpu_quota=300_000, pids=50)
    said = pod(container("a"), resources={"limits": {"memory": "1Gi"}})
    assert resources.sandbox_limits(said) == Limits(memory=GIB, cpu_shares=2)


@pytest.mark.parametrize(
    ("requests", "limits", "priority", "score"),
    [
        ({}, {}, 0, 1000),
        ({}, {"cpu": "1", "memory": "1Gi"}, 0, -997),
        ({"memory": "4Gi"}, {}, 0, 750),
        ({"cpu": "1"}, {}, 0, 999),
        ({"memory": "16Gi"}, {}, 0, 3),
        ({}, {}, 2_000_001_000, -997),
    ],
)
def test_who_ends_first(requests: dict[str, str], limits: dict[str, str], priority: int, score: int) -> None:
    made = pod(container("a", requests, limits), priority=priority)
    (member,) = members(made)
    assert resources.oom_score(made, member, 16 * GIB) == score


def test_a_sidecar_outlives_whom_it_serves() -> None:
    sidecar = container("s", {"memory": "1Gi"}) | {"restartPolicy": "Always"}
    made = pod(container("a", {"memory": "8Gi"}), init=(sidecar,))
    assert {m.name: resources.oom_score(made, m, 16 * GIB) for m in members(made)} == {"s": 500, "a": 500}
