"""What is particular about Volcano's cron jobs (upstream: ``pkg/controllers/cronjob``); the rest is every cron job's
(:mod:`homeport.cronjobs`).

Jobs that were terminated count as failed ones for ``failedJobsHistoryLimit``: upstream keeps all of them for ever.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from homeport import cronjobs
from homeport.components.volcano import JOB
from homeport.components.volcano.job.status import FINISHED
from homeport.control.controller import Deed, Desired, Note, Observed
from homeport.kube import meta
from homeport.kube.meta import Object

SCHEDULED = "volcano.sh/cronjob-scheduled-timestamp"
_ZONE = "is not officially supported. If set, the TimeZone field will be ignored during execution."


class _Words:
    """Of Volcano's controller."""

    def ended(self, job: Object, end: str) -> Note:
        return Note("Normal", "SawCompletedJob", f"Saw completed job: {meta.name(job)} in active, remove")

    def unexpected(self, job: Object) -> Note:
        words = f"Detected orphaned job forgotten or not managed by controller: {meta.name(job)}"
        return Note("Warning", "OrphanedJob", f"{words} (UID: {meta.uid(job)})")

    def gone(self, reference: Object) -> Note:
        words = f'Active job "{reference.get("name")}" no longer exists (UID: {reference.get("uid")})'
        return Note("Warning", "StaleReference", words)

    def zone_in_schedule(self, schedule: str) -> Note:
        return Note("Warning", "UnsupportedSchedule", f'CRON_TZ or TZ in the schedule "{schedule}" {_ZONE}')

    def unknown_zone(self, zone: str, error: ValueError) -> Note:
        return Note("Warning", "InvalidTimeZone", f'Invalid time zone "{zone}": {error}')

    def unreadable(self, schedule: str, error: ValueError) -> Note:
        return Note("Warning", "UnParseableCronJobSchedule", f"unparseable schedule for cronjob: {schedule}")

    def impossible(self, schedule: str, error: ValueError) -> Note:
        return Note("Warning", "InvalidSchedule", f"Error getting schedule time: {error}")

    def too_late(self, moment: datetime) -> Note:
        words = moment.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
        return Note("Warning", "MissSchedule", f"Missed scheduled time to start a job: {words}")

    def still_active(self) -> Note:
        words = "Skipping job creation because another job is already running"
        return Note("Warning", "ForbidConcurrent", words)

    def replaced(self) -> Note:
        return Note("Warning", "ReplaceConcurrent", "Replacing active job for CronJob")


def sync(observed: Observed) -> Desired:
    return cronjobs.sync(_JOBS, observed)


def report(deed: Deed) -> Note:
    """``Child.tell``."""
    job, cron = meta.name(deed.child), deed.parent
    if deed.verb == "create":
        if deed.error:
            return Note("Warning", "FailedCreate", f"Failed to create job: {deed.error}")
        return Note(
            "Normal", "SuccessfulCreate", f"Created job {job} for CronJob {meta.namespace(cron)}/{meta.name(cron)}"
        )
    if deed.error:
        return Note("Warning", "FailedDelete", f'Error deleting job "{job}": {deed.error}')
    return Note("Normal", "SuccessfulDelete", f'Deleted job "{job}"')


def _state(job: Object) -> Object:
    return meta.status(job).get("state") or {}


def _end(job: Object) -> str:
    phase = _state(job).get("phase")
    return str(phase) if phase in FINISHED else ""


def _ended_at(job: Object) -> str | None:
    return _state(job).get("lastTransitionTime")


def _age(job: Object) -> tuple[Any, ...]:
    return (meta.metadata(job).get("creationTimestamp") or "", meta.name(job))


_JOBS = cronjobs.Jobs(JOB.resource, SCHEDULED, _end, "Completed", _ended_at, _age, _Words())
