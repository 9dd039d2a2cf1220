"""What follows from nodes' conditions, as rules that hold whatever they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.components.system.nodes import health
from homeport.components.system.nodes.health import ZoneState
from homeport.kube.core import taints

TYPES = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable", "Other")
KEYS = (taints.NOT_READY, taints.UNREACHABLE, taints.MEMORY_PRESSURE, taints.UNSCHEDULABLE, "mine")
EFFECTS = ("NoSchedule", "NoExecute", "PreferNoSchedule")


def node(ready: str = "True", zone: str = "", **more: Any) -> Any:
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    return {"metadata": {"labels": labels | more}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


@st.composite
def nodes(draw: st.DrawFn) -> Any:
    conditions = draw(st.dictionaries(st.sampled_from(TYPES), st.sampled_from(["True", "False", "Unknown"])))
    present = draw(st.sets(st.tuples(st.sampled_from(KEYS), st.sampled_from(EFFECTS))))
    return {
        "metadata": {"name": "n"},
        "spec": {
            "unschedulable": draw(st.booleans()),
            "taints": [{"key": key, "effect": effect} for key, effect in sorted(present)],
        },
        "status": {"conditions": [{"type": type, "status": status} for type, status in conditions.items()]},
    }


def pairs(found: Any) -> list[tuple[str, str]]:
    return [(taint["key"], taint["effect"]) for taint in found]


@given(nodes(), st.booleans(), st.booleans())
def test_taints(node: Any, may_evict: bool, must_not_evict: bool) -> None:
    options = {"may_evict": may_evict, "must_not_evict": must_not_evict, "added": "t"}
    after = health.tainted(node, **options)
    assert len(pairs(after)) == len(set(pairs(after)))
    again = health.tainted({**node, "spec": {**node["spec"], "taints": after}}, **options)
    assert again == after, "what is done is done"
    before = node["spec"]["taints"]
    others = [taint for taint in before if taint["key"] == "mine" or taint["effect"] == "PreferNoSchedule"]
    assert [taint for taint in after if taint in others] == others, "others' taints stay"
    evicting = [(key, effect) for key, effect in pairs(after) if effect == "NoExecute" and key in KEYS[:2]]
    ready = health.readiness(node)
    if must_not_evict or ready in ("True", ""):
        assert evicting == []
    elif may_evict or {(key, "NoExecute") for key in KEYS[:2]} & set(pairs(before)):
        assert evicting == [(taints.UNREACHABLE if ready == "Unknown" else taints.NOT_READY, "NoExecute")]
    else:
        assert evicting == []
    assert ((taints.UNSCHEDULABLE, "NoSchedule") in pairs(after)) == node["spec"]["unschedulable"]


@pytest.mark.parametrize(
    ("ready", "expected"),
    [
        (["True"], ZoneState.NORMAL),
        (["False"], ZoneState.FULL),
        (["Unknown"] * 5, ZoneState.FULL),
        (["True", "Unknown"], ZoneState.NORMAL),
        (["True"] * 2 + ["Unknown"] * 3, ZoneState.PARTIAL),
        (["True"] * 4 + ["False"] * 4, ZoneState.NORMAL),
        (["True"] + ["False"] * 2, ZoneState.NORMAL),
    ],
)
def test_zones(ready: list[str], expected: ZoneState) -> None:
    states = health.zone_states([*map(node, ready), node("False", **{"node.kubernetes.io/exclude-disruption": ""})])
    assert states == {("", ""): expected}
    assert health.all_are_lost(states) == (expected is ZoneState.FULL)


def test_a_zone_that_is_lost_is_no_reason_to_keep_pods_there_while_another_is_well() -> None:
    states = health.zone_states([node("Unknown", "a"), node("True", "b")])
    assert states == {("", "a"): ZoneState.FULL, ("", "b"): ZoneState.NORMAL}
    assert not health.all_are_lost(states)
    assert health.rate(ZoneState.FULL, 1) == health.rate(ZoneState.NORMAL, 1) == 0.1
    assert health.rate(ZoneState.PARTIAL, 50) == 0
    assert health.rate(ZoneState.PARTIAL, 51) == 0.01
