"""When probes run, and what their results mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.node.pod import Member, Role
from homeport.node.probes import Kind, Watch, fold, plan, specs_of, watch

FAILS, WORKS, BROKEN = False, True, None


def member(role: Role = Role.MAIN, **probes: dict[str, Any]) -> Member:
    spec = {name: {"tcpSocket": {"port": 80}, "periodSeconds": 10, **probe} for name, probe in probes.items()}
    return Member("main", role, {"name": "main", **spec})


def begun(*, attempt: int = 0, started: bool = False, ready: bool = False, **probes: dict[str, Any]) -> Watch:
    return watch(specs_of(member(**probes)), attempt, 0.0, started=started, ready=ready)


def run(state: Watch, kind: Kind, results: list[bool | None], now: float = 0.0) -> Watch:
    """Let a probe run as soon as it is due, once for each result."""
    for result in results:
        state, kinds, wake = plan(state, now, deleting=False)
        while kind not in kinds:
            assert wake is not None
            now = wake
            state, kinds, wake = plan(state, now, deleting=False)
        state = fold(state, kind, result, now)
        for other in set(kinds) - {kind}:
            state = fold(state, other, BROKEN, now)
    return state


def test_without_results_a_container_with_probes_is_neither_started_nor_ready() -> None:
    health = begun(startupProbe={}, readinessProbe={}, livenessProbe={}).health
    assert (health.started, health.ready, health.failed) == (False, False, "")
    health = begun(livenessProbe={}).health
    assert (health.started, health.ready, health.failed) == (True, True, "")


@pytest.mark.parametrize(
    ("results", "ready"),
    [
        ([FAILS], False),
        ([WORKS], False),
        ([WORKS, WORKS], True),
        ([WORKS, FAILS, WORKS], False),
        ([WORKS, BROKEN, WORKS], True),
        ([WORKS, WORKS, FAILS, FAILS], True),
        ([WORKS, WORKS, FAILS, FAILS, FAILS], False),
        ([WORKS, WORKS, FAILS, FAILS, WORKS, FAILS], True),
    ],
)
def test_thresholds_of_readiness(results: list[bool | None], ready: bool) -> None:
    state = begun(readinessProbe={"successThreshold": 2, "failureThreshold": 3})
    assert run(state, "readiness", results).health.ready is ready


def test_a_failed_liveness_probe_is_asked_no_more() -> None:
    state = run(begun(livenessProbe={"failureThreshold": 2}), "liveness", [WORKS, FAILS])
    assert state.health.failed == ""
    state = run(state, "liveness", [FAILS], 20.0)
    assert state.health.failed == "liveness"
    assert plan(state, 1000.0, deleting=False)[1:] == ((), None)


def test_others_wait_for_the_startup_probe_and_then_go_on_at_once() -> None:
    state = begun(startupProbe={"failureThreshold": 30}, readinessProbe={}, livenessProbe={"initialDelaySeconds": 40})
    state, kinds, _ = plan(state, 0.0, deleting=False)
    assert kinds == ("startup",)
    state = fold(state, "startup", WORKS, 3.0)
    assert state.health.started
    state, kinds, wake = plan(state, 3.0, deleting=False)
    assert (kinds, wake) == (("readiness",), 40.0)
    assert plan(state, 40.0, deleting=False)[1] == ("liveness",)


def test_a_failed_startup_probe() -> None:
    state = run(begun(startupProbe={"failureThreshold": 1}), "startup", [FAILS])
    assert (state.health.failed, state.health.started) == ("startup", False)


def test_delays_and_periods() -> None:
    state = begun(readinessProbe={"initialDelaySeconds": 5, "periodSeconds": 3})
    state, kinds, wake = plan(state, 1.0, deleting=False)
    assert (kinds, wake) == ((), 5.0)
    state, kinds, _ = plan(state, 5.0, deleting=False)
    assert kinds == ("readiness",)
    assert plan(state, 9.0, deleting=False)[1:] == ((), None), "it still runs"
    state = fold(state, "readiness", WORKS, 9.5)
    assert plan(state, 9.5, deleting=False)[1] == ("readiness",), "its time has come meanwhile"


def test_of_a_pod_that_is_deleted_only_readiness_is_asked() -> None:
    state = begun(readinessProbe={}, livenessProbe={})
    assert plan(state, 0.0, deleting=True)[1] == ("readiness",)
    assert plan(begun(startupProbe={}), 0.0, deleting=True)[1:] == ((), None)


def test_what_was_known_before_is_not_taken_back() -> None:
    state = begun(startupProbe={}, readinessProbe={}, started=True, ready=True)
    assert (state.health.started, state.health.ready) == (True, True)
    assert plan(state, 0.0, deleting=False)[1] == ("readiness",)
    assert run(state, "readiness", [FAILS] * 3).health.ready is False


def test_init_and_ephemeral_containers_have_no_probes() -> None:
    assert specs_of(member(Role.INIT, readinessProbe={})) == ()
    assert specs_of(member(Role.EPHEMERAL, readinessProbe={})) == ()
    assert len(specs_of(member(Role.SIDECAR, readinessProbe={}))) == 1


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_order_of_results(data: st.DataObject) -> None:
    """One run of a probe at a time, nothing else before the startup probe, failures are for good, and time goes on."""
    kinds = data.draw(st.sets(st.sampled_from(["startup", "readiness", "liveness"]), min_size=1))
    probes = {
        f"{kind}Probe": {
            "initialDelaySeconds": data.draw(st.integers(0, 5)),
            "periodSeconds": data.draw(st.integers(1, 5)),
            "failureThreshold": data.draw(st.integers(1, 3)),
            "successThreshold": data.draw(st.integers(1, 3)) if kind == "readiness" else 1,
        }
        for kind in sorted(kinds)
    }
    state, now, deleting = begun(**probes), 0.0, False
    running: set[Kind] = set()
    for _ in range(data.draw(st.integers(1, 40))):
        before = state.health
        state, begin, wake = plan(state, now, deleting=deleting)
        assert state.health == before, "planning decides nothing"
        assert not running & set(begin), "one at a time"
        if "startup" in kinds and not before.started:
            assert set(begin) <= {"startup"}
        running |= set(begin)
        assert wake is None or wake > now
        assert running or wake is not None or deleting or before.failed or before.started, "somebody looks again"
        if running and data.draw(st.booleans()):
            kind = data.draw(st.sampled_from(sorted(running)))
            running.discard(kind)
            state = fold(state, kind, data.draw(st.sampled_from([FAILS, WORKS, BROKEN])), now)
        else:
            now = wake if wake is not None and data.draw(st.booleans()) else now + 0.5
            deleting = deleting or data.draw(st.integers(0, 9)) == 0
        if before.failed:
            assert state.health.failed
        if before.started:
            assert state.health.started
        assert not (state.health.ready and not state.health.started)
