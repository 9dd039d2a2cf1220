"""Rollouts of leader-worker sets, step by step: figures, and that none stops or goes too far."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.components.workloads.leaderworker import shape
from homeport.components.workloads.leaderworker.rollout import Group, Step, step
from homeport.kube.meta import Object

OLD, NEW, COMING = Group(ready=True, updated=False), Group(ready=True, updated=True), Group(ready=False, updated=True)
BROKEN = Group(ready=False, updated=False)


def wanted(replicas: int, surge: int | str, unavailable: int | str, partition: int = 0) -> Object:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable, "partition": partition}
    strategy = {"rollingUpdateConfiguration": rolling}
    return {"spec": {"replicas": replicas, "rolloutStrategy": strategy, "leaderWorkerTemplate": {"size": 2}}}


def leaders(replicas: int, partition: int, noted: int | None = None) -> Object:
    return {
        "metadata": {"annotations": {shape.REPLICAS: str(replicas if noted is None else noted)}},
        "spec": {"replicas": replicas, "updateStrategy": {"rollingUpdate": {"partition": partition}}},
    }


@pytest.mark.parametrize(
    ("parent", "present", "states", "changed", "expected"),
    [
        # The first one.
        (wanted(3, 0, 1), None, [], False, Step(0, 3)),
        (wanted(3, 0, 1, 2), None, [], False, Step(2, 3)),
        # A new template: nothing is replaced before there are as many as there may be.
        (wanted(3, 0, 1), leaders(3, 0), [OLD] * 3, True, Step(3, 3)),
        (wanted(4, 2, 1), leaders(4, 0), [OLD] * 4, True, Step(4, 6)),
        (wanted(4, "50%", 1), leaders(4, 0), [OLD] * 4, True, Step(4, 6)),
        (wanted(2, 2, 1), leaders(2, 0), [OLD] * 2, True, Step(2, 3)),
        # More groups at the same time: they come first, and no surge on top.
        (wanted(3, 1, 0), leaders(2, 0), [OLD] * 2, False, Step(0, 3)),
        (wanted(3, 1, 0), leaders(2, 0), [OLD] * 2, True, Step(2, 3)),
        # Step by step.
        (wanted(3, 0, 1), leaders(3, 3), [OLD] * 3, False, Step(2, 3)),
        (wanted(3, 0, 1), leaders(3, 2), [OLD, OLD, COMING], False, Step(2, 3)),
        (wanted(3, 0, 1), leaders(3, 2), [OLD, OLD, NEW], False, Step(1, 3)),
        (wanted(4, 0, 2), leaders(4, 4), [OLD] * 4, False, Step(2, 4)),
        # With extra groups: as many old ones go as new ones are ready, and the extra ones last.
        (wanted(2, 1, 0), leaders(3, 2, noted=2), [OLD, OLD, COMING], False, Step(2, 3)),
        (wanted(2, 1, 0), leaders(3, 2, noted=2), [OLD, OLD, NEW], False, Step(1, 3)),
        (wanted(2, 1, 0), leaders(3, 1, noted=2), [OLD, NEW, NEW], False, Step(0, 3)),
        (wanted(2, 1, 0), leaders(3, 0, noted=2), [NEW, NEW, NEW], False, Step(0, 2)),
        (wanted(4, 3, 2), leaders(7, 0, noted=4), [NEW, *[COMING] * 4, NEW, NEW], False, Step(0, 6)),
        # Groups that are lost anyway are no reason to wait.
        (wanted(3, 0, 1), leaders(3, 3), [OLD, OLD, BROKEN], False, Step(2, 3)),
        (wanted(3, 0, 1), leaders(3, 3), [BROKEN, OLD, OLD], False, Step(3, 3)),  # but they count as unavailable
        (wanted(3, 0, 1), leaders(3, 3), [BROKEN, BROKEN, BROKEN], False, Step(2, 3)),
        # It is over, or held.
        (wanted(3, 0, 1), leaders(3, 0), [NEW] * 3, False, Step(0, 3)),
        (wanted(3, 0, 1, 2), leaders(3, 2), [OLD, OLD, NEW], False, Step(2, 3)),
        # Fewer groups in the middle of it.
        (wanted(2, 0, 1), leaders(4, 3, noted=4), [OLD, OLD, OLD, NEW], False, Step(2, 2)),
    ],
)
def test_one_step(parent: Object, present: Object | None, states: list[Group], changed: bool, expected: Step) -> None:
    assert step(parent, present, states, changed=changed) == expected


@settings(max_examples=200, deadline=None)
@given(
    replicas=st.integers(1, 6),
    surge=st.integers(0, 4),
    unavailable=st.integers(0, 4),
    held=st.integers(0, 3),
    order=st.randoms(use_true_random=False),
)
def test_a_rollout_comes_to_its_end_and_keeps_enough_groups(
    replicas: int, surge: int, unavailable: int, held: int, order: object
) -> None:
    if not surge and not unavailable:
        unavailable = 1
    parent = wanted(replicas, surge, unavailable, held)
    states, sets, changed = [OLD] * replicas, leaders(replicas, 0), True
    for _ in range(60):
        now = step(parent, sets, states, changed=changed)
        changed = False
        assert replicas <= now.replicas <= replicas + min(surge, replicas)
        sets = leaders(now.replicas, now.partition, noted=replicas)
        before = list(states)
        # The stateful set: all that is above the partition gets the new template, and what lacks is made.
        states = [_replaced(state, number, now) for number, state in enumerate(states[: now.replicas])]
        states += [COMING] * (now.replicas - len(states))
        ready = sum(state.ready for state in states)
        assert ready >= replicas - unavailable, f"{before} became {states} by {now}"
        coming = [number for number, state in enumerate(states) if not state.ready]
        if coming:
            number = order.choice(coming)  # type: ignore[attr-defined]
            states[number] = states[number]._replace(ready=True)
        elif states == before and now.partition == held:
            break
    else:
        raise AssertionError("it does not come to its end")
    assert [state.updated for state in states[:replicas]] == [number >= held for number in range(replicas)]
    assert held or len(states) == replicas


def _replaced(state: Group, number: int, now: Step) -> Group:
    return COMING if number >= now.partition and not state.updated else state
