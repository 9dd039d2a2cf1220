"""How many replicas metrics ask for, and how many there may be at once."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.components.system.autoscaling import limits, replicas
from homeport.components.system.autoscaling.limits import History, Moment
from homeport.components.system.autoscaling.replicas import Sample, Tolerances, Uncomputable
from homeport.kube.meta import Object, timestamp

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
LONG_AGO = NOON - timedelta(hours=2)
MINUTE = timedelta(minutes=1)


def pod(
    name: str,
    *,
    ready: bool = True,
    phase: str = "Running",
    began: datetime = LONG_AGO,
    turned: datetime | None = None,
    asks: str = "1",
) -> Object:
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": timestamp(turned or began)}
    container = {"name": "main", "resources": {"requests": {"cpu": asks}}}
    return {
        "metadata": {"name": name},
        "spec": {"containers": [container]},
        "status": {"phase": phase, "startTime": timestamp(began), "conditions": [condition]},
    }


def samples(*values: int | None) -> dict[str, Sample]:
    """Of pods p0, p1, ...; None for one that nobody measured."""
    return {f"p{index}": Sample(value, NOON, MINUTE) for index, value in enumerate(values) if value is not None}


def scaled(
    pods: list[Object], used: list[int | None], target: int, current: int | None = None, resource: str = "cpu"
) -> replicas.Answer:
    def asked() -> dict[str, int]:
        return replicas.requests(pods, resource)

    now = len(pods) if current is None else current
    return replicas.by_utilization(pods, samples(*used), asked, target, now, resource, Tolerances(), NOON)


def ready(count: int) -> list[Object]:
    return [pod(f"p{index}") for index in range(count)]


_STARTING = {"began": NOON - MINUTE, "ready": False}


@pytest.mark.parametrize(
    ("pods", "used", "target", "wanted"),
    [
        (ready(3), [300, 500, 700], 30, 5),
        (ready(3), [100, 300, 500], 50, 2),
        (ready(3), [1010, 1030, 1020], 100, 3),  # within a tenth
        (ready(5), [100, 300, 500, 250, 250], 50, 3),
        # Those who start count as idle where there would be more, and not at all where there would be fewer.
        ([pod("p0"), pod("p1", **_STARTING), pod("p2")], [900, 100, 900], 50, 4),
        ([pod("p0", **_STARTING), pod("p1", **_STARTING), pod("p2")], [100, 100, 600], 30, 3),
        ([pod("p0"), pod("p1", phase="Pending")], [900, None], 50, 2),
        ([pod("p0"), pod("p1", phase="Pending")], [100, None], 50, 1),
        # Of whom nothing is known counts as idle, or as fully busy.
        (ready(2), [1000, None], 30, 4),
        (ready(4), [100, 200, None, None], 100, 3),
        (ready(2), [450, None], 50, 2),
        ([pod("p0"), pod("p1", phase="Failed")], [400, None], 20, 2),
    ],
)
def test_by_utilization(pods: list[Object], used: list[int | None], target: int, wanted: int) -> None:
    assert scaled(pods, used, target).replicas == wanted


def test_what_the_status_says() -> None:
    assert scaled(ready(3), [300, 500, 700], 30) == replicas.Answer(5, 500, 50)


@pytest.mark.parametrize(
    ("began", "turned", "is_ready", "counts"),
    [
        (timedelta(minutes=1), timedelta(minutes=1), False, False),
        (timedelta(minutes=4), timedelta(minutes=3), True, True),
        (timedelta(minutes=4), timedelta(seconds=30), True, False),  # not yet one window of metrics
        (timedelta(minutes=9), timedelta(minutes=2), False, True),  # was ready before
        (timedelta(minutes=9), timedelta(minutes=9) - timedelta(seconds=20), False, False),  # never was
    ],
)
def test_pods_that_start(began: timedelta, turned: timedelta, is_ready: bool, counts: bool) -> None:
    one = pod("p0", began=NOON - began, turned=NOON - turned, ready=is_ready)
    groups = replicas.grouped([one], samples(100), "cpu", NOON)
    assert (groups.ready, groups.unready) == ((1, frozenset()) if counts else (0, {"p0"}))
    assert replicas.grouped([one], samples(100), "memory", NOON).ready == 1


def test_what_nobody_can_say() -> None:
    with pytest.raises(Uncomputable, match="no pods returned by selector"):
        scaled([], [], 50, 1)
    with pytest.raises(Uncomputable, match="did not receive metrics for any ready pods"):
        scaled([pod("p0", phase="Pending")], [100], 50)
    silent = pod("p0")
    del silent["spec"]["containers"][0]["resources"]
    with pytest.raises(Uncomputable, match="missing request for cpu in container main of Pod p0"):
        scaled([silent], [100], 50)


def test_requests_of_pods_sidecars_and_containers() -> None:
    one = pod("p")
    one["spec"]["initContainers"] = [
        {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "250m"}}},
        {"name": "init", "resources": {"requests": {"cpu": "9"}}},
    ]
    assert replicas.requests([one], "cpu") == {"p": 1250}
    assert replicas.requests([one], "cpu", "main") == {"p": 1000}
    one["spec"]["resources"] = {"requests": {"cpu": "2"}}
    assert replicas.requests([one], "cpu") == {"p": 2000}


def test_values_that_all_share() -> None:
    same, pods = Tolerances(), [pod("p0"), pod("p1"), pod("p2", ready=False)]
    assert replicas.by_total(pods, 40_000, 20_000, 3, same) == 4
    assert replicas.by_total(pods, 21_000, 20_000, 3, same) == 3
    assert replicas.by_total([], 41_000, 20_000, 0, same) == 3
    assert replicas.by_share(41_000, 10_000, 3, same) == replicas.Answer(5, 13_667)
    assert replicas.by_share(31_000, 10_000, 3, same) == replicas.Answer(3, 10_334)
    assert replicas.by_share(31_000, 10_000, 0, same).replicas == 4


_use = st.one_of(st.none(), st.integers(0, 4000))
_state = st.sampled_from(["ready", "starting", "Pending", "Failed"])


@given(st.lists(st.tuples(_use, _state), min_size=1, max_size=12), st.integers(1, 200))
def test_who_is_not_known_never_makes_a_change_larger(pods: list[tuple[int | None, str]], target: int) -> None:
    made = [
        pod(f"p{index}", phase=state if state[0].isupper() else "Running", **(_STARTING if state == "starting" else {}))
        for index, (_, state) in enumerate(pods)
    ]
    used = [use for use, _ in pods]
    known = [use for use, state in pods if state == "ready" and use is not None]
    try:
        answer = scaled(made, used, target, len(made))
    except Uncomputable:
        assert not known
        return
    alone = sum(known) * 100 // (1000 * len(known)) / target
    if 0.9 <= alone <= 1.1:
        assert answer.replicas == len(made)
    elif alone > 1.1:
        # By what is used, not by `alone`: of more pods, less of the per cent is lost by rounding.
        assert answer.replicas <= max(len(made), math.ceil(sum(known) / (10 * target)))
    else:
        assert answer.replicas <= len(made)


# How many there may be at once.

PODS = {"type": "Pods", "value": 4, "periodSeconds": 60}
PERCENT = {"type": "Percent", "value": 50, "periodSeconds": 60}


def spec(least: int = 1, most: int = 100, **behavior: Any) -> Object:
    usual = {"selectPolicy": "Max", "policies": [PODS, PERCENT]}
    both = {"scaleUp": usual, "scaleDown": {**usual, "stabilizationWindowSeconds": 0}}
    rules = {direction: {**both[direction], **behavior.get(direction, {})} for direction in both}
    return {"minReplicas": least, "maxReplicas": most} | ({"behavior": rules} if behavior else {})


def ago(seconds: float) -> datetime:
    return NOON - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("spec", "current", "wanted", "given", "reason"),
    [
        (spec(), 3, 3, 3, "DesiredWithinRange"),
        (spec(), 3, 9, 6, "ScaleUpLimit"),
        (spec(), 1, 9, 4, "ScaleUpLimit"),
        (spec(most=5), 3, 9, 5, "TooManyReplicas"),
        (spec(least=2), 3, 1, 2, "TooFewReplicas"),
        (spec(scaleUp={}), 10, 30, 15, "ScaleUpLimit"),
        (spec(scaleUp={"selectPolicy": "Min"}), 10, 30, 14, "ScaleUpLimit"),
        (spec(scaleUp={"selectPolicy": "Disabled"}), 10, 30, 10, "ScaleUpLimit"),
        (spec(most=12, scaleUp={}), 10, 30, 12, "TooManyReplicas"),
        (spec(scaleDown={}), 10, 1, 5, "ScaleDownLimit"),
        (spec(scaleDown={"selectPolicy": "Min"}), 10, 1, 6, "ScaleDownLimit"),
        (spec(scaleDown={"selectPolicy": "Disabled"}), 10, 1, 10, "ScaleDownLimit"),
        (spec(least=7, scaleDown={}), 10, 1, 7, "TooFewReplicas"),
        (spec(scaleDown={}), 10, 8, 8, "DesiredWithinRange"),
    ],
)
def test_how_many_at_once(spec: Object, current: int, wanted: int, given: int, reason: str) -> None:
    decision = limits.decide(spec, current, wanted, History(), NOON)
    assert (decision.replicas, decision.limited.reason) == (given, reason)
    assert decision.is_limited == (given != wanted)
    assert decision.stabilized.reason == "ReadyForNewScale"


def test_what_was_changed_lately_counts() -> None:
    up = History(changes=(Moment(6, ago(70)), Moment(3, ago(30))))
    # A minute ago there were 9: 4 or half of them may come, 3 have.
    assert limits.decide(spec(scaleUp={}), 12, 50, up, NOON).replicas == 14
    down = History(changes=(Moment(-3, ago(30)),))
    assert limits.decide(spec(scaleDown={}), 9, 1, down, NOON).replicas == 6
    assert limits.decide(spec(scaleDown={}), 5, 1, History(changes=(Moment(-7, ago(9)),)), NOON).replicas == 5


@pytest.mark.parametrize(
    ("spec", "age", "wanted", "given", "reason"),
    [
        (spec(), 299, 2, 8, "ScaleDownStabilized"),
        (spec(), 301, 2, 2, "ReadyForNewScale"),
        (spec(scaleDown={"stabilizationWindowSeconds": 60}), 59, 6, 8, "ScaleDownStabilized"),
        (spec(scaleDown={"stabilizationWindowSeconds": 60}), 61, 6, 6, "ReadyForNewScale"),
        (spec(scaleUp={"stabilizationWindowSeconds": 60}), 59, 12, 8, "ScaleUpStabilized"),
        (spec(scaleUp={"stabilizationWindowSeconds": 60}), 61, 12, 12, "ReadyForNewScale"),
        (spec(scaleUp={}), 1, 12, 12, "ReadyForNewScale"),
    ],
)
def test_recommendations_of_before(spec: Object, age: float, wanted: int, given: int, reason: str) -> None:
    decision = limits.decide(spec, 8, wanted, History((Moment(8, ago(age)),)), NOON)
    assert (decision.replicas, decision.stabilized.reason) == (given, reason)


def test_tolerances() -> None:
    assert limits.tolerances(spec()) == (0.1, 0.1)
    assert limits.tolerances(spec(scaleUp={"tolerance": "50m"}, scaleDown={"tolerance": "0"})) == (0.0, 0.05)


_policy = st.fixed_dictionaries(
    {"type": st.sampled_from(["Pods", "Percent"]), "value": st.integers(1, 100), "periodSeconds": st.integers(1, 1800)}
)
_rules = st.fixed_dictionaries(
    {
        "selectPolicy": st.sampled_from(["Max", "Min", "Disabled"]),
        "policies": st.lists(_policy, min_size=1, max_size=3),
        "stabilizationWindowSeconds": st.integers(0, 3600),
    }
)
_moments = st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 60)), max_size=6)


_changes = st.lists(st.tuples(st.integers(0, 4000), st.integers(-20, 20)), max_size=4)
_behavior = st.one_of(st.none(), st.fixed_dictionaries({"scaleUp": _rules, "scaleDown": _rules}))


@given(_behavior, st.integers(1, 50), st.integers(0, 50), st.integers(1, 100), st.integers(1, 200), _moments, _changes)
def test_no_limit_is_passed(
    behavior: Object | None,
    least: int,
    more: int,
    current: int,
    wanted: int,
    recommended: list[tuple[int, int]],
    changes: list[tuple[int, int]],
) -> None:
    """For what the metrics ask: within the bounds, not past it, and never in the other direction."""
    current = min(max(current, least), least + more)
    asked: Object = {"minReplicas": least, "maxReplicas": least + more}
    if behavior is not None:
        asked["behavior"] = behavior
    history = History(
        tuple(Moment(number, ago(age)) for age, number in sorted(recommended, reverse=True)),
        tuple(Moment(number, ago(age)) for age, number in sorted(changes, reverse=True)),
    )
    decision = limits.decide(asked, current, wanted, history, NOON)
    assert least <= decision.replicas <= least + more
    if wanted > current:
        assert current <= decision.replicas or behavior is None
        assert decision.replicas <= max(wanted, *(number for _, number in recommended), current)
    elif wanted < current:
        assert decision.replicas >= min(wanted, current) or decision.replicas == least + more
        assert behavior is None or decision.replicas <= max(current, wanted)
    if behavior is None:
        assert decision.replicas <= max(2 * current, 4, least)


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 5)), max_size=40))
def test_history_forgets_only_what_says_nothing(steps: list[tuple[int, int]]) -> None:
    kept, full, now = History(), [], NOON
    for seconds, number in steps:
        now += timedelta(seconds=seconds)
        kept = kept.recommending(number, now)
        full.append(Moment(number, now))
        for window in (0, 60, 300, 3600):
            after = now - timedelta(seconds=window)
            lately = {each.number for each in full if each.at > after}
            assert {each.number for each in kept.recommendations if each.at > after} == lately
    assert len(kept.recommendations) <= len(steps)
