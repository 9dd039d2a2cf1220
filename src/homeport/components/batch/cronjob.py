"""What should be of a cron job, by what is seen of it and its jobs (upstream: ``pkg/controller/cronjob``).

A job is named after its moment, and what the status says of it is read off the job once it is there. So a moment is
neither forgotten nor comes twice, whatever happens in between.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import msgspec

from homeport.components.batch.job import conditions as at
from homeport.control.controller import Desired, Note, Observed
from homeport.kube import cron, meta
from homeport.kube.cron import Schedule
from homeport.kube.meta import Object

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_MANY = 100
"""Missed moments after which the user is warned."""
_PADDING = 0.1
"""Seconds that the next sync comes late, lest a clock set back a little makes it early."""
_UNSUPPORTED = (
    'CRON_TZ or TZ used in schedule "{}" is not officially supported, see '
    "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)
_TOO_MANY = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"


def sync(observed: Observed) -> Desired:
    return _Round(observed).desired()


class _Moments(msgspec.Struct, frozen=True):
    """Which moments have passed since the last one that was served."""

    since: datetime
    latest: datetime | None = None
    missed: int = 0
    """About how many, 0 if it is only the latest one."""


class _Round:
    def __init__(self, observed: Observed) -> None:
        self._cron, self._now = observed.parent, observed.now
        self._spec, self._status = meta.spec(self._cron), dict(meta.status(self._cron))
        jobs = observed.children.get("Job", {})
        self._jobs = [jobs[name] for name in sorted(jobs)]
        self._active: list[Object] = list(self._status.get("active") or ())
        self._notes: list[Note] = []
        self._gone: set[str] = set()
        self._made: list[Object] = []

    def desired(self) -> Desired:
        self._clean_up()
        self._look()
        self._replace()
        delay = self._schedule()
        if self._active:
            self._status["active"] = self._active
        else:
            self._status.pop("active", None)
        return Desired(
            status=self._status,
            children=tuple(self._made),
            keep=frozenset(("Job", meta.name(job)) for job in self._jobs if meta.name(job) not in self._gone),
            notes=tuple(self._notes),
            requeue_after=delay,
        )

    def _clean_up(self) -> None:
        """Delete the oldest jobs of those that have ended, by what the history limits say."""
        for type, field in ((at.COMPLETE, "successfulJobsHistoryLimit"), (at.FAILED, "failedJobsHistoryLimit")):
            limit = self._spec.get(field)
            ended = [job for job in self._jobs if (at.finish(job) or {}).get("type") == type]
            if limit is not None and len(ended) > limit:
                for job in sorted(ended, key=_started)[: len(ended) - limit]:
                    self._delete(job)

    def _delete(self, job: Object) -> None:
        self._gone.add(meta.name(job))
        self._forget(meta.uid(job))

    def _forget(self, uid: str) -> None:
        self._active = [reference for reference in self._active if reference.get("uid") != uid]

    def _look(self) -> None:
        """Bring the status up to what is seen of the jobs."""
        known = {reference.get("uid") for reference in self._active}
        for job in self._jobs:
            self._take(job, meta.uid(job) in known)
        there = {meta.uid(job) for job in self._jobs}
        for reference in self._active:
            if reference.get("uid") not in there:
                self._note("Normal", "MissingJob", f"Active job went missing: {reference.get('name')}")
                self._forget(reference.get("uid") or "")

    def _take(self, job: Object, known: bool) -> None:
        ended, scheduled = at.finish(job), self._scheduled(job)
        last = self._status.get("lastScheduleTime")
        is_new = scheduled is not None and (last is None or scheduled > meta.parse_time(last))
        if is_new and scheduled is not None:
            self._status["lastScheduleTime"] = meta.timestamp(scheduled)
        if ended is None:
            if known:
                return
            if is_new:
                self._active = [*self._active, _reference(job)]
            else:
                words = f"Saw a job that the controller did not create or forgot: {meta.name(job)}"
                self._note("Warning", "UnexpectedJob", words)
            return
        if known:
            self._forget(meta.uid(job))
            words = f"Saw completed job: {meta.name(job)}, condition: {ended['type']}"
            self._note("Normal", "SawCompletedJob", words)
        done = meta.status(job).get("completionTime")
        best = self._status.get("lastSuccessfulTime")
        if ended["type"] == at.COMPLETE and done and (not best or meta.parse_time(done) > meta.parse_time(best)):
            self._status["lastSuccessfulTime"] = done

    def _replace(self) -> None:
        """Where each job takes the place of the last one: end what another has taken the place of."""
        if self._spec.get("concurrencyPolicy") != "Replace":
            return
        running = [(moment, job) for job in self._jobs if not at.is_finished(job) and (moment := self._scheduled(job))]
        latest = max((moment for moment, _ in running), default=None)
        for moment, job in running:
            if moment != latest:
                self._delete(job)

    def _scheduled(self, job: Object) -> datetime | None:
        """The moment for which this controller made the job; None for one that somebody else made."""
        text = meta.annotations(job).get(SCHEDULED)
        if not text:
            return None
        try:
            moment = meta.parse_time(text)
        except ValueError:
            return None
        return moment if meta.name(job) == self._name(moment) else None

    def _name(self, moment: datetime) -> str:
        return f"{meta.name(self._cron)}-{int(moment.timestamp()) // 60}"

    def _schedule(self) -> float | None:
        """Make the job whose moment has come; gives the seconds until the next one."""
        zone: tzinfo = UTC
        named = self._spec.get("timeZone")
        if named is not None:
            try:
                zone = cron.zone(named)
            except ValueError as error:
                self._note("Warning", "UnknownTimeZone", f'invalid timeZone: "{named}": {error}')
                return None
        if self._spec.get("suspend"):
            return None
        text = self._spec["schedule"]
        if "TZ" in text:
            self._note("Warning", "UnsupportedSchedule", _UNSUPPORTED.format(text))
        try:
            schedule = cron.parse(text)
        except ValueError as error:
            self._note("Warning", "UnparseableSchedule", f'unparseable schedule: "{text}" : {error}')
            return None
        try:
            passed = self._passed(schedule, zone, by_deadline=True)
        except ValueError as error:
            self._note("Warning", "InvalidSchedule", f"invalid schedule: {text} : {error}")
            return None
        if passed.latest is not None:
            if passed.missed > _MANY:
                self._note("Warning", "TooManyMissedTimes", _TOO_MANY)
            self._serve(passed.latest, zone)
        return self._until_next(schedule, zone)

    def _serve(self, moment: datetime, zone: tzinfo) -> None:
        deadline, name = self._spec.get("startingDeadlineSeconds"), self._name(moment)
        if deadline is not None and moment + timedelta(seconds=deadline) < self._now:
            words = moment.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
            self._note("Warning", "MissSchedule", f"Missed scheduled time to start a job: {words}")
            return
        last = self._status.get("lastScheduleTime")
        if any(reference.get("name") == name for reference in self._active) or (
            last is not None and meta.parse_time(last) == moment
        ):
            return
        policy = self._spec.get("concurrencyPolicy")
        if policy == "Forbid" and self._active:
            words = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._note("Normal", "JobAlreadyActive", words)
            return
        if policy == "Replace":
            uids = {reference.get("uid") for reference in self._active}
            for job in self._jobs:
                if meta.uid(job) in uids:
                    self._delete(job)
        self._made.append(self._job(name, moment.astimezone(zone)))

    def _job(self, name: str, moment: datetime) -> Object:
        template = self._spec["jobTemplate"]
        about = template.get("metadata") or {}
        text = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
        metadata: dict[str, Any] = {"name": name, "annotations": {**(about.get("annotations") or {}), SCHEDULED: text}}
        if about.get("labels"):
            metadata["labels"] = about["labels"]
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": meta.spec(template)}

    def _passed(self, schedule: Schedule, zone: tzinfo, *, by_deadline: bool) -> _Moments:
        """Raises ValueError for a schedule that names no moment (upstream: ``mostRecentScheduleTime``)."""
        now = self._now
        since = meta.parse_time(self._status.get("lastScheduleTime") or meta.metadata(self._cron)["creationTimestamp"])
        deadline = self._spec.get("startingDeadlineSeconds")
        if by_deadline and deadline is not None:
            since = max(since, now - timedelta(seconds=deadline))
        first = schedule.after(since, zone)
        second = first and schedule.after(first, zone)
        if first is None or second is None:
            raise ValueError("time difference between two schedules is less than 1 second")
        if now < first:
            return _Moments(since)
        if now < second:
            return _Moments(since, first)
        # About as many moments as intervals of this length have passed; from a little before, the exact latest one.
        interval = second - first
        missed = (now - first) // interval + 1
        latest, moment = None, schedule.after(first + (missed - 2) * interval, zone)
        while moment is not None and moment <= now:
            latest, moment = moment, schedule.after(moment, zone)
        return _Moments(since, latest, missed)

    def _until_next(self, schedule: Schedule, zone: tzinfo) -> float | None:
        passed = self._passed(schedule, zone, by_deadline=False)
        start = passed.latest or (self._now if passed.missed else passed.since)
        following = schedule.after(start, zone)
        return None if following is None else max(0.0, (following - self._now).total_seconds()) + _PADDING

    def _note(self, type: Any, reason: str, message: str) -> None:
        self._notes.append(Note(type, reason, message))


def _started(job: Object) -> tuple[Any, ...]:
    start = meta.status(job).get("startTime")
    return (start is None, start or "", meta.name(job))


def _reference(job: Object) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": meta.name(job),
        "namespace": meta.namespace(job),
        "resourceVersion": meta.resource_version(job),
        "uid": meta.uid(job),
    }
