"""Whatever pods do, and wherever the controller is killed: each pod is counted once, and every job comes to its end."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.components.batch.job import indexes
from homeport.kube import core, meta
from homeport.kube.meta import Object

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["run", "succeed", "succeed", "fail", "evict", "delete", "reap", "wait", "suspend", "scale", "crash"]
        ),
        st.integers(0, 7),
    ),
    max_size=30,
)


@st.composite
def specs(draw: st.DrawFn) -> Object:
    spec: Object = {"parallelism": draw(st.integers(1, 4)), "backoffLimit": draw(st.sampled_from([0, 2, 1000]))}
    if draw(st.booleans()):
        spec["completions"] = draw(st.integers(1, 6))
    if draw(st.booleans()):
        spec |= {"completionMode": "Indexed", "completions": draw(st.integers(1, 6))}
        if draw(st.booleans()):
            spec["backoffLimitPerIndex"] = draw(st.integers(0, 2))
        if draw(st.booleans()):
            spec["successPolicy"] = {"rules": [{"succeededCount": draw(st.integers(1, spec["completions"]))}]}
    if draw(st.booleans()):
        spec["podReplacementPolicy"] = draw(st.sampled_from(["Failed", "TerminatingOrFailed"]))
    if draw(st.booleans()):
        spec["activeDeadlineSeconds"] = draw(st.integers(1, 300))
    return spec


class Ledger:
    """What the world saw of each pod."""

    def __init__(self, w: Any) -> None:
        self.w = w
        self.ended: dict[str, str] = {}
        """UID -> phase at its end, of pods that had the finalizer then."""

    def look(self) -> None:
        for pod in self.w.pods.values():
            if core.has_ended(pod) and "batch.kubernetes.io/job-tracking" in pod["metadata"]["finalizers"]:
                self.ended.setdefault(meta.uid(pod), pod["status"]["phase"])


def play(w: Any, action: str, number: int, crash: type[Exception]) -> None:
    names = sorted(w.pods)
    name = names[number % len(names)] if names else ""
    active = w.active()
    if action == "wait":
        w.wait(number * 30)
    elif action == "suspend":
        w.change(spec={"suspend": not w.job["spec"]["suspend"]})
    elif action == "scale":
        w.change(spec={"parallelism": number % 4 + 1})
    elif action == "reap":
        w.reap()
    elif action == "delete" and name:
        w.delete(name)
    elif action == "crash":
        with contextlib.suppress(crash):
            w.sync(survives=number % 4, status_first=number > 3)
    elif active and action in ("run", "succeed", "fail"):
        getattr(w, action)(active[number % len(active)])
    elif active and action == "evict":
        gone = [{"type": "DisruptionTarget", "status": "True"}]
        w.fail(active[number % len(active)], reason="Evicted", containerStatuses=[], conditions=gone)


def check(w: Any, ledger: Ledger) -> None:
    status, spec = w.status, w.job["spec"]
    true = w.true
    assert not {"Complete", "Failed"} <= set(true)
    assert "Complete" not in true or "SuccessCriteriaMet" in true
    assert "Failed" not in true or "FailureTarget" in true
    assert ("completionTime" in status) == ("Complete" in true)
    uncounted = [uid for uids in status.get("uncountedTerminatedPods", {}).values() for uid in uids]
    assert len(uncounted) == len(set(uncounted))
    done = sum(phase == "Succeeded" for phase in ledger.ended.values())
    assert (status.get("succeeded") or 0) <= done
    if spec["completionMode"] == "Indexed":
        assert indexes.total(indexes.parse(status.get("completedIndexes", ""), 100)) == (status.get("succeeded") or 0)
        assert (status.get("succeeded") or 0) <= spec["completions"]
    if not w.is_over and not w.failures:
        assert status.get("active", 0) == len(w.active())
        if spec.get("completions") is not None or not status.get("succeeded"):
            assert len(w.active()) <= spec["parallelism"]
    if w.is_over:
        assert not w.active()
        assert not any("batch.kubernetes.io/job-tracking" in pod["metadata"]["finalizers"] for pod in w.pods.values())


@given(specs(), STEPS)
@settings(max_examples=120, deadline=None)
def test_what_holds_at_every_moment(world: Any, crash: Any, spec: Object, steps: list[tuple[str, int]]) -> None:
    w = world(**spec)
    ledger = Ledger(w)
    if not steps or steps[0][0] != "crash":
        w.settle()
    for action, number in steps:
        play(w, action, number, crash)
        ledger.look()
        if action in ("crash", "run", "wait"):
            continue
        w.settle()
        check(w, ledger)
    w.change(spec={"suspend": False})
    for _ in range(40):
        w.settle()
        check(w, ledger)
        if w.is_over:
            break
        w.reap()
        w.wait(360)
        w.settle()
        w.succeed()
        ledger.look()
    assert w.is_over, w.status
    failed, done = w.status.get("failed") or 0, w.status.get("succeeded") or 0
    if spec.get("completionMode") != "Indexed" and w.condition("Complete"):
        assert done >= (spec.get("completions") or 1)
    # Each pod that ended is in one counter, once; one deleted before its end may be in one too.
    assert failed + done <= len(w.pods) + len(w.gone)
    before = w.status
    for action, number in (("delete", 0), ("reap", 0), ("wait", 7), ("scale", 3), ("succeed", 1)):
        play(w, action, number, crash)
        w.settle()
    assert w.status == before, "a job that has ended never changes"


@given(st.integers(1, 5), st.lists(st.integers(0, 6), min_size=1, max_size=30), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_success_is_counted_wherever_the_controller_is_killed(
    world: Any, crash: Any, completions: int, crashes: list[int], status_first: bool
) -> None:
    w = world(parallelism=completions, completions=completions)
    for survives in crashes:
        with contextlib.suppress(crash):
            w.sync(survives=survives, status_first=status_first)
        if w.active():
            w.succeed(w.active()[0])
    for _ in range(20):
        w.settle()
        w.succeed()
    assert w.true == ["SuccessCriteriaMet", "Complete"]
    assert w.status["succeeded"] == completions
    assert len(w.pods) == completions, "and no pod was made twice"


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.integers(1, 45))
def test_indexes_are_those_of_sets(one: set[int], other: set[int], completions: int) -> None:
    intervals = indexes.with_indexes((), one)
    text = indexes.text(intervals)
    below = {index for index in one if index < completions}
    assert indexes.parse(text, 100) == intervals
    assert indexes.total(indexes.parse(text, completions)) == len(below)
    assert indexes.total(indexes.merged(intervals, indexes.with_indexes((), other))) == len(one | other)
    assert indexes.overlap(intervals, indexes.with_indexes((), other)) == len(one & other)
    assert list(indexes.missing(intervals, completions)) == [i for i in range(completions) if i not in one]
    assert all(indexes.has(intervals, index) == (index in one) for index in range(45))


@pytest.mark.parametrize(
    ("found", "text"), [([], ""), ([0], "0"), ([0, 1], "0,1"), ([0, 1, 2], "0-2"), ([1, 3, 4, 5, 7], "1,3-5,7")]
)
def test_the_form_of_indexes(found: list[int], text: str) -> None:
    assert indexes.text(indexes.with_indexes((), found)) == text
    assert indexes.parse(f"x,,{text},4-", 100) == indexes.parse(text, 100)
