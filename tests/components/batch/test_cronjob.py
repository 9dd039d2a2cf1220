"""Cron jobs: which job is made when, what the status says of it, and the events, in upstream's words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.components.batch import CRON_JOB
from homeport.control.controller import Note, Observed
from homeport.control.diff import merged, plan
from homeport.control.freeze import freeze
from homeport.control.testing import check_conformance, observed
from homeport.kube import core, meta
from homeport.kube.meta import Object

START = datetime(2026, 1, 1, 12, 0, 20, tzinfo=UTC)
MINUTE = int(START.timestamp()) // 60


def cron_job(**spec: Any) -> Object:
    new = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick", "namespace": "team", "uid": "u-1", "creationTimestamp": meta.timestamp(START)},
        "spec": {
            "schedule": "* * * * *",
            "concurrencyPolicy": "Allow",
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": {"labels": {"app": "tick"}, "annotations": {"note": "x"}},
                "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}},
            },
            **spec,
        },
    }
    return core.CRON_JOB.prepare(new, None)


class World:
    def __init__(self, **spec: Any) -> None:
        self.cron = cron_job(**spec)
        self.jobs: dict[str, Object] = {}
        self.now = START
        self.events: list[Note] = []
        self.made: list[str] = []
        self.deleted: list[str] = []
        self.requeue_after: float | None = None

    @property
    def status(self) -> Object:
        return meta.status(self.cron)

    def active(self) -> list[str]:
        return [reference["name"] for reference in self.status.get("active") or ()]

    def reasons(self) -> list[str]:
        return [note.reason for note in self.events]

    def sync(self, survives: int | None = None) -> bool:
        """Whether anything was written. `survives`: the controller is killed after so many writes."""
        seen = Observed(freeze(self.cron), {"Job": freeze(self.jobs)}, {}, self.now)
        desired = CRON_JOB.sync(seen)
        todo = plan(CRON_JOB, seen, desired)
        steps: list[Any] = [lambda item=item: self._create(item.object) for item in todo.creates]
        if todo.status:
            steps.append(lambda: self._store(todo.status or {}))
        steps += [lambda item=item: self._delete(meta.name(item.object)) for item in todo.deletes]
        for step in steps[:survives]:
            step()
        if survives is None:
            self.events += desired.notes
            self.requeue_after = desired.requeue_after
        return bool(steps)

    def settle(self) -> World:
        for _ in range(8):
            if not self.sync():
                return self
        raise AssertionError("the controller doesn't come to rest")

    def _create(self, job: Object) -> None:
        assert meta.name(job) not in self.jobs
        self.made.append(meta.name(job))
        self.jobs[meta.name(job)] = {**job, "metadata": {**job["metadata"], "uid": f"uid-{meta.name(job)}"}}

    def _store(self, patch: Object) -> None:
        self.cron = merged(self.cron, {"status": patch})

    def _delete(self, name: str) -> None:
        self.deleted.append(name)
        del self.jobs[name]

    def wait(self, seconds: float | None = None) -> World:
        """Until the next sync, if no time is given."""
        if seconds is None:
            assert self.requeue_after is not None
            seconds = self.requeue_after
        self.now += timedelta(seconds=seconds)
        return self.settle()

    def end(self, name: str, type: str = "Complete") -> World:
        moment = meta.timestamp(self.now)
        condition = {"type": type, "status": "True", "lastTransitionTime": moment}
        done = {"completionTime": moment} if type == "Complete" else {}
        self.jobs[name] = {**self.jobs[name], "status": {"startTime": moment, "conditions": [condition], **done}}
        return self.settle()


def test_a_job_for_each_moment() -> None:
    w = World().settle()
    assert not w.jobs
    assert w.requeue_after == pytest.approx(40.1)
    w.wait()
    name = f"tick-{MINUTE + 1}"
    assert list(w.jobs) == [name]
    job = w.jobs[name]
    assert meta.labels(job) == {"app": "tick"}
    assert meta.annotations(job) == {
        "note": "x",
        "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T12:01:00Z",
    }
    assert meta.spec(job) == meta.spec(w.cron)["jobTemplate"]["spec"]
    assert w.status["lastScheduleTime"] == "2026-01-01T12:01:00Z"
    assert w.status["active"] == [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": name,
            "namespace": "team",
            "resourceVersion": "",
            "uid": f"uid-{name}",
        }
    ]
    w.end(name)
    assert "active" not in w.status
    assert w.status["lastSuccessfulTime"] == meta.timestamp(w.now)
    assert w.events == [Note("Normal", "SawCompletedJob", f"Saw completed job: {name}, condition: Complete")]
    w.wait()
    assert w.made == [name, f"tick-{MINUTE + 2}"]


def test_jobs_side_by_side_one_after_the_other_or_one_for_another() -> None:
    allow, forbid, replace = (World(concurrencyPolicy=policy).settle() for policy in ("Allow", "Forbid", "Replace"))
    for w in (allow, forbid, replace):
        w.wait().wait()
    assert len(allow.active()) == 2
    assert forbid.made == [f"tick-{MINUTE + 1}"]
    assert forbid.events[-1] == Note(
        "Normal",
        "JobAlreadyActive",
        "Not starting job because prior execution is running and concurrency policy is Forbid",
    )
    assert replace.active() == [f"tick-{MINUTE + 2}"]
    assert replace.deleted == [f"tick-{MINUTE + 1}"]
    forbid.end(f"tick-{MINUTE + 1}")
    assert forbid.active() == [f"tick-{MINUTE + 2}"], "it is made up for"


def test_only_the_latest_missed_moment_is_made_up_for() -> None:
    w = World().settle()
    w.wait(3600 * 3)
    assert w.made == [f"tick-{MINUTE + 180}"]
    words = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
    assert Note("Warning", "TooManyMissedTimes", words) in w.events
    assert w.requeue_after == pytest.approx(40.1)


def test_a_moment_that_is_too_long_ago() -> None:
    w = World(schedule="0 * * * *", startingDeadlineSeconds=60).settle()
    w.wait(3600 + 120)
    assert not w.made
    assert not w.events, "it lies before what the deadline lets the controller look at"
    w = World(schedule="0 * * * *", startingDeadlineSeconds=10).settle()
    w.wait(3585)
    assert w.made


def test_suspended() -> None:
    w = World(suspend=True).settle()
    assert w.requeue_after is None
    w.wait(600)
    assert not w.made


def test_history() -> None:
    w = World(successfulJobsHistoryLimit=2, failedJobsHistoryLimit=1).settle()
    for number in range(1, 6):
        w.wait()
        w.end(f"tick-{MINUTE + number}", "Failed" if number in (1, 2) else "Complete")
    assert sorted(w.jobs) == [f"tick-{MINUTE + number}" for number in (2, 4, 5)]


def test_jobs_that_go_missing_or_come_from_elsewhere() -> None:
    w = World().settle()
    w.wait()
    del w.jobs[f"tick-{MINUTE + 1}"]
    w.settle()
    assert Note("Normal", "MissingJob", f"Active job went missing: tick-{MINUTE + 1}") in w.events
    assert not w.active()
    assert w.made == [f"tick-{MINUTE + 1}"], "and it is not made again"
    about = {"name": "tick-manual", "namespace": "team", "uid": "m"}
    w.jobs["tick-manual"] = {"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": {}}
    w.sync()
    words = "Saw a job that the controller did not create or forgot: tick-manual"
    assert w.events[-1] == Note("Warning", "UnexpectedJob", words)
    assert not w.active()


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        (
            {"schedule": "0 0 31 2 *"},
            "InvalidSchedule",
            "invalid schedule: 0 0 31 2 * : time difference between two schedules is less than 1 second",
        ),
        (
            {"timeZone": "Middle/Earth"},
            "UnknownTimeZone",
            'invalid timeZone: "Middle/Earth": unknown time zone Middle/Earth',
        ),
        (
            {"schedule": "* *"},
            "UnparseableSchedule",
            'unparseable schedule: "* *" : expected exactly 5 fields, found 2: [* *]',
        ),
    ],
)
def test_what_can_not_be_scheduled(spec: Any, reason: str, message: str) -> None:
    w = World(**spec).settle()
    assert w.events == [Note("Warning", reason, message)]
    assert w.requeue_after is None


def test_a_time_zone() -> None:
    w = World(schedule="30 18 * * *", timeZone="Asia/Kolkata").settle()
    w.wait()
    (job,) = w.jobs.values()
    stamp = meta.annotations(job)["batch.kubernetes.io/cronjob-scheduled-timestamp"]
    assert stamp == "2026-01-01T18:30:00+05:30"
    assert w.status["lastScheduleTime"] == "2026-01-01T13:00:00Z"


def test_a_zone_in_the_schedule() -> None:
    """As clusters of before 1.29 have stored it: it counts, and the user is told to write it elsewhere."""
    world = World(schedule="TZ=Asia/Tokyo 30 21 * * *")
    world.sync()
    (told,) = world.events
    assert (told.type, told.reason) == ("Warning", "UnsupportedSchedule")
    assert told.message.startswith('CRON_TZ or TZ used in schedule "TZ=Asia/Tokyo 30 21 * * *" is not officially')
    assert 1770 < (world.requeue_after or 0) < 1790  # from 12:00:20 to 12:30 in UTC


def test_the_rules_of_every_controller() -> None:
    late = cron_job()
    late["metadata"]["creationTimestamp"] = "2025-12-31T23:58:30Z"
    for parent in (cron_job(suspend=True), late):
        check_conformance(CRON_JOB, observed(CRON_JOB, parent))


@given(
    st.sampled_from(["Allow", "Forbid", "Replace"]),
    st.sampled_from(["* * * * *", "*/5 * * * *", "@every 90s"]),
    st.lists(
        st.tuples(st.sampled_from(["wait", "end", "fail", "crash", "crash", "lose"]), st.integers(0, 8)), max_size=25
    ),
)
@settings(max_examples=80, deadline=None)
def test_no_moment_is_served_twice(policy: str, schedule: str, steps: list[tuple[str, int]]) -> None:
    w = World(concurrencyPolicy=policy, schedule=schedule).settle()
    for action, number in steps:
        running = [name for name, job in w.jobs.items() if not meta.status(job)]
        if action == "wait":
            w.wait(number * 37)
        elif action == "crash":
            w.now += timedelta(seconds=number * 20)
            w.sync(survives=number % 3)
            w.settle()
        elif action == "lose" and running:
            del w.jobs[running[number % len(running)]]
            w.settle()
        elif running and action in ("end", "fail"):
            w.end(running[number % len(running)], "Complete" if action == "end" else "Failed")
        assert len(w.made) == len(set(w.made))
        going = [name for name, job in w.jobs.items() if not meta.status(job)]
        assert sorted(w.active()) == sorted(going)
        if policy != "Allow":
            assert len(going) <= 1
