"""Jobs and cron jobs that are refused, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.kube import core
from homeport.kube.meta import Object

INDEXED = {"completionMode": "Indexed", "completions": 3}


def job(name: str = "work", **spec: Any) -> Object:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}
    about = {"name": name, "namespace": "team", "uid": "u-1"}
    new = {"metadata": about, "spec": {"template": template, "completionMode": "NonIndexed", **spec}}
    return core.JOB.prepare({"apiVersion": "batch/v1", "kind": "Job", **new}, None)


def cron_job(**spec: Any) -> Object:
    inner = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}}
    new = {"metadata": {"name": "tick"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": inner}, **spec}}
    return core.CRON_JOB.prepare({"apiVersion": "batch/v1", "kind": "CronJob", **new}, None)


def told(new: Object, old: Object | None = None) -> str:
    kind = core.JOB if new["kind"] == "Job" else core.CRON_JOB
    return "; ".join(map(str, kind.validate(new, old)))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"completionMode": "Indexed", "parallelism": 1},
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        ({"maxFailedIndexes": 1}, "maxFailedIndexes: Invalid value: 1: requires indexed completion mode"),
        ({"backoffLimitPerIndex": 1}, "requires indexed completion mode"),
        (
            {**INDEXED, "backoffLimitPerIndex": 1, "maxFailedIndexes": 4},
            "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions",
        ),
        ({**INDEXED, "maxFailedIndexes": 1}, "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes"),
        (
            {"completionMode": "Indexed", "completions": 100_001, "backoffLimitPerIndex": 1},
            "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
        ),
        ({"managedBy": "example.com/" + "x" * 60}, "spec.managedBy: Too long: may not be more than 63"),
        (
            {**INDEXED, "successPolicy": {"rules": []}},
            "successPolicy.rules: Required value: at least one rules must be specified when the successPolicy",
        ),
        (
            {**INDEXED, "successPolicy": {"rules": [{}]}},
            "rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
        ),
        (
            {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "0-3"}]}},
            'error parsing succeededIndexes: too large index: "3"',
        ),
        (
            {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "2,1"}]}},
            "non-increasing order, previous: 2, current: 1",
        ),
        (
            {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "1-2-3"}]}},
            'the fragment "1-2-3" violates the pattern',
        ),
        (
            {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "x"}]}},
            'cannot convert string to integer for index: "x"',
        ),
        (
            {**INDEXED, "successPolicy": {"rules": [{"succeededCount": 4}]}},
            "must be less than or equal to 3 (the number of specified completions)",
        ),
        (
            {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "0,1", "succeededCount": 3}]}},
            "must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
        ),
        (
            {
                "podFailurePolicy": {
                    "rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [1]}}]
                }
            },
            'rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set',
        ),
        (
            {
                "podFailurePolicy": {
                    "rules": [{"action": "Count", "onPodConditions": [{"type": "a b", "status": "Maybe"}]}]
                }
            },
            'onPodConditions[0].status: Unsupported value: "Maybe"',
        ),
    ],
)
def test_jobs(spec: Any, words: str) -> None:
    assert words in told(job(**spec))


def test_names_of_indexed_jobs() -> None:
    name = "x" * 62
    words = f"will not able to create pod with invalid DNS label: {name}-2"
    assert words in told(job(name, **INDEXED))
    assert not told(job(name))


def test_what_never_changes() -> None:
    old = job(**INDEXED, parallelism=3)
    assert "can only be modified in tandem with spec.parallelism" in told(
        job(**{**INDEXED, "completions": 2}, parallelism=3), old
    )
    assert not told(job(**{**INDEXED, "completions": 2}, parallelism=2), old)
    plain = job(completions=3)
    assert "spec.completions: Invalid value: 2: field is immutable" in told(job(completions=2), plain)
    assert "spec.podFailurePolicy: Invalid value" in told(job(podFailurePolicy={"rules": []}), job())


def test_where_the_pods_of_a_suspended_job_go_may_change() -> None:
    changed = job(suspend=True)
    changed["spec"]["template"]["spec"]["nodeSelector"] = {"pool": "fast"}
    waiting = job(suspend=True)
    assert not told(changed, waiting)
    started = {**waiting, "status": {"startTime": "2026-01-01T12:00:00Z", "active": 1}}
    assert "spec.template: Invalid value" in told(changed, started)
    suspended = [{"type": "Suspended", "status": "True"}]
    stopped = {**waiting, "status": {"startTime": "2026-01-01T12:00:00Z", "conditions": suspended}}
    assert not told(changed, stopped)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"schedule": ""}, "spec.schedule: Required value"),
        ({"schedule": "61 * * * *"}, "end of range (61) above maximum (59): 61"),
        ({"schedule": "TZ=UTC * * * * *"}, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
        ({"timeZone": ""}, "timeZone must be nil or non-empty string"),
        ({"timeZone": "Local"}, "timeZone must be an explicit time zone as defined in"),
        ({"timeZone": "Middle/Earth"}, 'spec.timeZone: Invalid value: "Middle/Earth": unknown time zone Middle/Earth'),
        ({"startingDeadlineSeconds": -1}, "must be greater than or equal to 0"),
    ],
)
def test_cron_jobs(spec: Any, words: str) -> None:
    assert words in told(cron_job(**spec))


def test_a_zone_in_a_schedule_that_was_stored_before_this_was_refused() -> None:
    stored = cron_job(schedule="CRON_TZ=UTC * * * * *")
    assert not told(cron_job(schedule="CRON_TZ=UTC 1 * * * *"), stored)
    both = cron_job(schedule="CRON_TZ=UTC 1 * * * *", timeZone="UTC")
    assert "cannot use both timeZone field and TZ or CRON_TZ in schedule" in told(both, stored)
    wrong = told(cron_job(schedule="TZ=Middle/Earth 1 * * * *"), stored)
    assert "provided bad location Middle/Earth: unknown time zone Middle/Earth" in wrong
    assert "use timeZone field instead" in told(stored, cron_job())
