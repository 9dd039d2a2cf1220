"""Volcano's cron jobs: which job is made when, what the status says of it, and the events and rules, in upstream's
words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volcano_world import task

import support
from homeport.components import volcano
from homeport.control import definitions
from homeport.control.controller import Deed, Note, Observed
from homeport.control.diff import merged, plan
from homeport.control.freeze import freeze
from homeport.control.informer import Informers
from homeport.control.manager import Manager
from homeport.control.testing import check_conformance, observed
from homeport.kube import meta
from homeport.kube.errors import Forbidden, Invalid
from homeport.kube.meta import Object

START = datetime(2026, 1, 1, 12, 0, 20, tzinfo=UTC)
MINUTE = int(START.timestamp()) // 60
CRON_JOBS, JOBS = volcano.CRON_JOB.resource, volcano.JOB.resource


def cron_job(name: str = "tick", **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": "tick"}, "annotations": {"note": "x"}}, "spec": {"tasks": [task()]}}
    known = {"schedule": "* * * * *", "jobTemplate": template, **spec}
    return volcano.CRON_JOB.new(name, "default", spec=known)


class World:
    """Plays the runtime, and the controller of jobs."""

    def __init__(self, **spec: Any) -> None:
        filled = {"concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1, **spec}
        made = cron_job(**filled)
        self.cron = {**made, "metadata": {**made["metadata"], "uid": "u-1", "creationTimestamp": meta.timestamp(START)}}
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

    def going(self) -> list[str]:
        return [name for name, job in self.jobs.items() if not meta.status(job)]

    def sync(self, survives: int | None = None) -> bool:
        """Whether anything was written. `survives`: the controller is killed after so many writes."""
        seen = Observed(freeze(self.cron), {"Job": freeze(self.jobs)}, {}, self.now)
        desired = volcano.CRON_JOBS.sync(seen)
        todo = plan(volcano.CRON_JOBS, seen, desired)
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
        name = meta.name(job)
        assert name not in self.jobs
        self.made.append(name)
        stamp = {"uid": f"uid-{name}", "creationTimestamp": meta.timestamp(self.now)}
        self.jobs[name] = {**job, "metadata": {**job["metadata"], **stamp}}

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

    def end(self, name: str, phase: str = "Completed") -> World:
        state = {"phase": phase, "lastTransitionTime": meta.timestamp(self.now)}
        self.jobs[name] = {**self.jobs[name], "status": {"state": state}}
        return self.settle()


def test_a_job_for_each_moment() -> None:
    w = World().settle()
    assert not w.jobs
    assert w.requeue_after == pytest.approx(40.1)
    w.wait()
    name = f"tick-{MINUTE + 1}"
    job = w.jobs[name]
    assert (job["apiVersion"], job["kind"], meta.labels(job)) == (JOBS.api_version, "Job", {"app": "tick"})
    stamp = {"volcano.sh/cronjob-scheduled-timestamp": "2026-01-01T12:01:00Z"}
    assert meta.annotations(job) == {"note": "x", **stamp}
    assert meta.spec(job) == {"tasks": [task()]}
    assert w.status["lastScheduleTime"] == "2026-01-01T12:01:00Z"
    (active,) = w.status["active"]
    assert (active["apiVersion"], active["kind"], active["uid"]) == (JOBS.api_version, "Job", f"uid-{name}")
    w.end(name)
    assert "active" not in w.status
    assert w.status["lastSuccessfulTime"] == meta.timestamp(w.now)
    assert w.events == [Note("Normal", "SawCompletedJob", f"Saw completed job: {name} in active, remove")]
    w.wait()
    assert w.made == [name, f"tick-{MINUTE + 2}"]


def test_jobs_side_by_side_one_after_the_other_or_one_for_another() -> None:
    allow, forbid, replace = (World(concurrencyPolicy=policy).settle() for policy in ("Allow", "Forbid", "Replace"))
    for w in (allow, forbid, replace):
        w.wait().wait()
    assert len(allow.active()) == 2
    assert forbid.made == [f"tick-{MINUTE + 1}"]
    words = "Skipping job creation because another job is already running"
    assert forbid.events[-1] == Note("Warning", "ForbidConcurrent", words)
    assert replace.active() == [f"tick-{MINUTE + 2}"]
    assert replace.deleted == [f"tick-{MINUTE + 1}"]
    assert Note("Warning", "ReplaceConcurrent", "Replacing active job for CronJob") in replace.events
    forbid.end(f"tick-{MINUTE + 1}", "Failed")
    assert forbid.active() == [f"tick-{MINUTE + 2}"], "it is made up for"


def test_an_aborted_job_has_not_ended() -> None:
    w = World(concurrencyPolicy="Forbid").settle().wait()
    w.end(f"tick-{MINUTE + 1}", "Aborted").wait()
    assert w.active() == [f"tick-{MINUTE + 1}"]


def test_history() -> None:
    w = World(successfulJobsHistoryLimit=2, failedJobsHistoryLimit=1).settle()
    for number, phase in enumerate(("Failed", "Terminated", "Completed", "Completed", "Completed"), 1):
        w.wait()
        w.end(f"tick-{MINUTE + number}", phase)
    assert sorted(w.jobs) == [f"tick-{MINUTE + number}" for number in (2, 4, 5)]


def test_missed_moments_a_deadline_and_suspension() -> None:
    w = World().settle().wait(3600 * 3)
    assert w.made == [f"tick-{MINUTE + 180}"], "of many only the latest"
    assert "TooManyMissedTimes" in [note.reason for note in w.events]
    w = World(schedule="0 * * * *", startingDeadlineSeconds=60).settle().wait(3600 + 120)
    assert not w.made
    w = World(suspend=True).settle()
    assert w.requeue_after is None
    assert not w.wait(600).made


def test_a_time_zone() -> None:
    w = World(schedule="30 18 * * *", timeZone="Asia/Kolkata").settle().wait()
    (job,) = w.jobs.values()
    assert meta.annotations(job)["volcano.sh/cronjob-scheduled-timestamp"] == "2026-01-01T18:30:00+05:30"
    assert w.status["lastScheduleTime"] == "2026-01-01T13:00:00Z"


def test_jobs_that_go_missing_or_come_from_elsewhere() -> None:
    w = World().settle().wait()
    del w.jobs[f"tick-{MINUTE + 1}"]
    w.settle()
    words = f'Active job "tick-{MINUTE + 1}" no longer exists (UID: uid-tick-{MINUTE + 1})'
    assert Note("Warning", "StaleReference", words) in w.events
    assert not w.active()
    assert w.made == [f"tick-{MINUTE + 1}"], "and it is not made again"
    about = {"name": "tick-manual", "namespace": "default", "uid": "m"}
    w.jobs["tick-manual"] = {"apiVersion": JOBS.api_version, "kind": "Job", "metadata": about, "spec": {}}
    w.sync()
    words = "Detected orphaned job forgotten or not managed by controller: tick-manual (UID: m)"
    assert w.events[-1] == Note("Warning", "OrphanedJob", words)


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        (
            {"schedule": "0 0 31 2 *"},
            "InvalidSchedule",
            "Error getting schedule time: time difference between two schedules is less than 1 second",
        ),
        (
            {"timeZone": "Middle/Earth"},
            "InvalidTimeZone",
            'Invalid time zone "Middle/Earth": unknown time zone Middle/Earth',
        ),
        ({"schedule": "* *"}, "UnParseableCronJobSchedule", "unparseable schedule for cronjob: * *"),
    ],
)
def test_what_can_not_be_scheduled(spec: Any, reason: str, message: str) -> None:
    """Where no webhook has refused it."""
    w = World(**spec).settle()
    assert w.events == [Note("Warning", reason, message)]
    assert w.requeue_after is None


def test_the_words_about_jobs() -> None:
    (child,) = volcano.CRON_JOBS.children
    assert child.tell is not None
    parent, job = cron_job(), volcano.JOB.new("tick-1", "default")
    told = [child.tell(Deed(verb, parent, job, error)) for verb in ("create", "delete") for error in ("", "no")]  # type: ignore[arg-type]
    assert told == [
        Note("Normal", "SuccessfulCreate", "Created job tick-1 for CronJob default/tick"),
        Note("Warning", "FailedCreate", "Failed to create job: no"),
        Note("Normal", "SuccessfulDelete", 'Deleted job "tick-1"'),
        Note("Warning", "FailedDelete", 'Error deleting job "tick-1": no'),
    ]


def test_the_rules_of_every_controller() -> None:
    late = World().cron
    late["metadata"]["creationTimestamp"] = "2025-12-31T23:58:30Z"
    for parent in (World(suspend=True).cron, late):
        check_conformance(volcano.CRON_JOBS, observed(volcano.CRON_JOBS, parent))


@given(
    st.sampled_from(["Allow", "Forbid", "Replace"]),
    st.lists(st.tuples(st.sampled_from(["wait", "end", "fail", "crash", "lose"]), st.integers(0, 8)), max_size=25),
)
@settings(max_examples=50, deadline=None)
def test_no_moment_is_served_twice(policy: str, steps: list[tuple[str, int]]) -> None:
    w = World(concurrencyPolicy=policy).settle()
    for action, number in steps:
        running = w.going()
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
            w.end(running[number % len(running)], "Completed" if action == "end" else "Failed")
        assert len(w.made) == len(set(w.made))
        assert sorted(w.active()) == sorted(w.going())
        if policy != "Allow":
            assert len(w.going()) <= 1


# -- on a server


@pytest.fixture
async def served() -> AsyncIterator[support.World]:
    async with support.world(volcano.KINDS, hooks=volcano.ADMISSION) as made:
        yield made


async def test_defaults_and_columns(served: support.World) -> None:
    made = await served.client.create(CRON_JOBS, cron_job())
    known = {key: value for key, value in made["spec"].items() if key not in ("schedule", "jobTemplate")}
    limits = {"successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1}
    assert known == {"concurrencyPolicy": "Allow", "suspend": False, **limits}
    (definition,) = definitions.manifests((volcano.CRON_JOB,))
    assert definition["spec"]["names"]["shortNames"] == ["cronvcjob", "cronvj"]
    columns = definition["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [one["name"] for one in columns] == ["Schedule", "Timezone", "Suspend", "Last Schedule", "Age"]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (cron_job(schedule=""), "schedule is required, but got empty"),
        (cron_job(schedule="* *"), "schedule is not a valid cron expression: expected exactly 5 fields, found 2"),
        (cron_job(schedule="TZ=UTC * * * * *"), "schedule should not contain TZ or CRON_TZ, TZ should only be set in"),
        (cron_job(timeZone=""), "timeZone must be nil or non-empty string, got empty string"),
        (cron_job(timeZone="Local"), "timeZone can't be Local, and must be defined in"),
        (cron_job(timeZone="Middle/Earth"), "invalid timeZone"),
        (cron_job(timeZone="../etc"), "unknown timeZone invalid timeZone"),
        (
            cron_job("a" * 53),
            r"cronJob name must be no more than 52 characters to accommodate job name suffix \(max 63",
        ),
        (cron_job("a" * 53, schedule=""), "got empty; cronJob name must be no more than 52"),
        (cron_job(jobTemplate={"spec": {}}), "spec.jobTemplate.spec: No task specified in job spec"),
        (cron_job(jobTemplate={"spec": {"tasks": [task(), task()]}}), "spec.jobTemplate.spec: duplicated task name"),
    ],
)
async def test_what_is_refused(served: support.World, wrong: Object, text: str) -> None:
    with pytest.raises(Forbidden, match=text):
        await served.client.create(CRON_JOBS, wrong)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"concurrencyPolicy": "Never"}, "spec.concurrencyPolicy: Unsupported value"),
        ({"failedJobsHistoryLimit": -1}, "spec.failedJobsHistoryLimit: Invalid value: -1"),
        ({"startingDeadlineSeconds": -1}, "spec.startingDeadlineSeconds: Invalid value: -1"),
    ],
)
async def test_what_has_not_the_right_form(served: support.World, spec: Any, text: str) -> None:
    with pytest.raises(Invalid, match=text):
        await served.client.create(CRON_JOBS, cron_job(**spec))


async def test_a_change_is_judged_and_all_else_is_not(served: support.World) -> None:
    await served.client.create(CRON_JOBS, cron_job())
    await served.client.patch(
        CRON_JOBS, "tick", "default", {"metadata": {"labels": {"a": "b"}}, "spec": {"suspend": True}}
    )
    with pytest.raises(Forbidden, match="valid cron expression"):
        await served.client.patch(CRON_JOBS, "tick", "default", {"spec": {"schedule": "x"}})


async def test_jobs_are_made_and_go_when_there_are_too_many(served: support.World) -> None:
    ahead = timedelta()

    def now() -> datetime:
        return datetime.now(UTC) + ahead

    informers = Informers(served.client)
    manager = Manager(served.client, (volcano.CRON_JOBS,), informers=informers, now=now)
    async with support.running(informers.run(), manager.run()):
        await manager.ready.wait()
        await served.client.create(CRON_JOBS, cron_job(schedule="0 3 * * *", successfulJobsHistoryLimit=1))
        made: list[str] = []
        for _ in range(3):
            ahead += timedelta(days=1)
            manager.look_again()

            async def another() -> bool:
                found = [meta.name(one) for one in (await served.client.list(JOBS, "default")).items]
                return bool(set(found) - set(made))

            await served.eventually(another)
            jobs = (await served.client.list(JOBS, "default")).items
            (new,) = [one for one in jobs if meta.name(one) not in made]
            made.append(meta.name(new))
            assert (meta.controller_of(new) or {})["kind"] == "CronJob"
            assert meta.spec(new)["schedulerName"] == "volcano"  # the rules of jobs hold for it
            state = {"state": {"phase": "Completed", "lastTransitionTime": meta.timestamp(now())}}
            await served.client.patch(JOBS, made[-1], "default", {"status": state}, subresource="status")

            async def counted() -> bool:
                status = meta.status(await served.client.get(CRON_JOBS, "tick", "default"))
                return bool(status.get("lastScheduleTime")) and not status.get("active")

            await served.eventually(counted)

        async def one_is_left() -> bool:
            return [meta.name(one) for one in (await served.client.list(JOBS, "default")).items] == made[-1:]

        await served.eventually(one_is_left)
