"""What should be of a cron job, by what is seen of it and its jobs, whatever kind of jobs it makes (upstream:
``pkg/controller/cronjob`` of Kubernetes, from which Volcano has its own). Pure.

A job is named after its moment, and what the status says of it is read off the job once it is there. So a moment is
neither forgotten nor comes twice, whatever happens in between.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Protocol

import msgspec

from homeport.control.controller import Desired, Note, Observed
from homeport.kube import cron, meta
from homeport.kube.cron import Schedule
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

_MANY = 100
"""Missed moments after which the user is warned."""
_TOO_MANY = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
_PADDING = 0.1
"""Seconds that the next sync comes late, lest a clock set back a little makes it early."""


class Words(Protocol):
    """What a controller says in events."""

    def ended(self, job: Object, end: str) -> Note:
        """A job that was active has ended."""

    def unexpected(self, job: Object) -> Note:
        """A job goes on that is not this controller's."""

    def gone(self, reference: Object) -> Note:
        """An active job is no longer there."""

    def zone_in_schedule(self, schedule: str) -> Note:
        """The schedule names a time zone, which has a field of its own."""

    def unknown_zone(self, zone: str, error: ValueError) -> Note:
        """There is no such time zone."""

    def unreadable(self, schedule: str, error: ValueError) -> Note:
        """The schedule can't be read."""

    def impossible(self, schedule: str, error: ValueError) -> Note:
        """The schedule names no moment."""

    def too_late(self, moment: datetime) -> Note:
        """The deadline for starting a job has passed."""

    def still_active(self) -> Note:
        """No job is made: one is active, and there may be one only."""

    def replaced(self) -> Note | None:
        """The active jobs make place for another one. None: nothing is said."""


class Jobs(msgspec.Struct, frozen=True):
    """The kind of jobs that a kind of cron jobs makes."""

    resource: Resource
    scheduled: str
    """The annotation with the moment for which a job was made."""
    end: Callable[[Object], str]
    """How a job has ended, in one word; empty: it has not."""
    succeeded: str
    """The end that is a success. All others are failures."""
    ended_at: Callable[[Object], str | None]
    """When a job succeeded."""
    age: Callable[[Object], tuple[Any, ...]]
    """What the oldest of the jobs that have ended have least of."""
    words: Words


def sync(jobs: Jobs, observed: Observed) -> Desired:
    """What should be of a cron job that makes such jobs."""
    return _Round(jobs, observed).desired()


class _Moments(msgspec.Struct, frozen=True):
    """Which moments have passed since the last one that was served."""

    since: datetime
    latest: datetime | None = None
    missed: int = 0
    """About how many, 0 if it is only the latest one."""


class _Round:
    def __init__(self, kind: Jobs, observed: Observed) -> None:
        self._kind, self._words = kind, kind.words
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
        done = [(job, end == self._kind.succeeded) for job in self._jobs if (end := self._kind.end(job))]
        for success, field in ((True, "successfulJobsHistoryLimit"), (False, "failedJobsHistoryLimit")):
            limit = self._spec.get(field)
            ended = [job for job, has_succeeded in done if has_succeeded is success]
            if limit is not None and len(ended) > limit:
                for job in sorted(ended, key=self._kind.age)[: len(ended) - limit]:
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
                self._notes.append(self._words.gone(reference))
                self._forget(reference.get("uid") or "")

    def _take(self, job: Object, known: bool) -> None:
        end, scheduled = self._kind.end(job), self._scheduled(job)
        last = self._status.get("lastScheduleTime")
        is_new = scheduled is not None and (last is None or scheduled > meta.parse_time(last))
        if is_new and scheduled is not None:
            self._status["lastScheduleTime"] = meta.timestamp(scheduled)
        if not end:
            if known:
                return
            if is_new:
                self._active = [*self._active, self._reference(job)]
            else:
                self._notes.append(self._words.unexpected(job))
            return
        if known:
            self._forget(meta.uid(job))
            self._notes.append(self._words.ended(job, end))
        done = self._kind.ended_at(job) if end == self._kind.succeeded else None
        best = self._status.get("lastSuccessfulTime")
        if done and (not best or meta.parse_time(done) > meta.parse_time(best)):
            self._status["lastSuccessfulTime"] = done

    def _replace(self) -> None:
        """Where each job takes the place of the last one: end what another has taken the place of."""
        if self._spec.get("concurrencyPolicy") != "Replace":
            return
        running = [(moment, job) for job in self._jobs if not self._kind.end(job) and (moment := self._scheduled(job))]
        latest = max((moment for moment, _ in running), default=None)
        for moment, job in running:
            if moment != latest:
                self._delete(job)

    def _scheduled(self, job: Object) -> datetime | None:
        """The moment for which this controller made the job; None for one that somebody else made."""
        text = meta.annotations(job).get(self._kind.scheduled)
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
                self._notes.append(self._words.unknown_zone(named, error))
                return None
        if self._spec.get("suspend"):
            return None
        text = self._spec["schedule"]
        if "TZ" in text:
            self._notes.append(self._words.zone_in_schedule(text))
        try:
            schedule = cron.parse(text)
        except ValueError as error:
            self._notes.append(self._words.unreadable(text, error))
            return None
        try:
            passed = self._passed(schedule, zone, by_deadline=True)
        except ValueError as error:
            self._notes.append(self._words.impossible(text, error))
            return None
        if passed.latest is not None:
            if passed.missed > _MANY:
                self._notes.append(Note("Warning", "TooManyMissedTimes", _TOO_MANY))
            self._serve(passed.latest, zone)
        return self._until_next(schedule, zone)

    def _serve(self, moment: datetime, zone: tzinfo) -> None:
        deadline, name = self._spec.get("startingDeadlineSeconds"), self._name(moment)
        if deadline is not None and moment + timedelta(seconds=deadline) < self._now:
            self._notes.append(self._words.too_late(moment))
            return
        last = self._status.get("lastScheduleTime")
        if any(reference.get("name") == name for reference in self._active) or (
            last is not None and meta.parse_time(last) == moment
        ):
            return
        policy = self._spec.get("concurrencyPolicy")
        if policy == "Forbid" and self._active:
            self._notes.append(self._words.still_active())
            return
        if policy == "Replace" and self._active:
            if (note := self._words.replaced()) is not None:
                self._notes.append(note)
            uids = {reference.get("uid") for reference in self._active}
            for job in self._jobs:
                if meta.uid(job) in uids:
                    self._delete(job)
        self._made.append(self._job(name, moment.astimezone(zone)))

    def _job(self, name: str, moment: datetime) -> Object:
        template = self._spec["jobTemplate"]
        about = template.get("metadata") or {}
        text = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
        metadata: dict[str, Any] = {
            "name": name,
            "annotations": {**(about.get("annotations") or {}), self._kind.scheduled: text},
        }
        if about.get("labels"):
            metadata["labels"] = about["labels"]
        resource = self._kind.resource
        return {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": metadata,
            "spec": meta.spec(template),
        }

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

    def _reference(self, job: Object) -> Object:
        return {
            "apiVersion": self._kind.resource.api_version,
            "kind": self._kind.resource.kind,
            "name": meta.name(job),
            "namespace": meta.namespace(job),
            "resourceVersion": meta.resource_version(job),
            "uid": meta.uid(job),
        }
