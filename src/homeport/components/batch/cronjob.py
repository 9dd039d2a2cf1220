"""What is particular about cron jobs of ``batch/v1``; the rest is every cron job's (:mod:`homeport.cronjobs`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from homeport import cronjobs
from homeport.components.batch.job import conditions as at
from homeport.control.controller import Desired, Note, Observed
from homeport.kube import core, meta
from homeport.kube.meta import Object

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_UNSUPPORTED = (
    'CRON_TZ or TZ used in schedule "{}" is not officially supported, see '
    "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)
_ACTIVE = "Not starting job because prior execution is running and concurrency policy is Forbid"


class _Words:
    """Of kube-controller-manager."""

    def ended(self, job: Object, end: str) -> Note:
        return Note("Normal", "SawCompletedJob", f"Saw completed job: {meta.name(job)}, condition: {end}")

    def unexpected(self, job: Object) -> Note:
        words = f"Saw a job that the controller did not create or forgot: {meta.name(job)}"
        return Note("Warning", "UnexpectedJob", words)

    def gone(self, reference: Object) -> Note:
        return Note("Normal", "MissingJob", f"Active job went missing: {reference.get('name')}")

    def zone_in_schedule(self, schedule: str) -> Note:
        return Note("Warning", "UnsupportedSchedule", _UNSUPPORTED.format(schedule))

    def unknown_zone(self, zone: str, error: ValueError) -> Note:
        return Note("Warning", "UnknownTimeZone", f'invalid timeZone: "{zone}": {error}')

    def unreadable(self, schedule: str, error: ValueError) -> Note:
        return Note("Warning", "UnparseableSchedule", f'unparseable schedule: "{schedule}" : {error}')

    def impossible(self, schedule: str, error: ValueError) -> Note:
        return Note("Warning", "InvalidSchedule", f"invalid schedule: {schedule} : {error}")

    def too_late(self, moment: datetime) -> Note:
        words = moment.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
        return Note("Warning", "MissSchedule", f"Missed scheduled time to start a job: {words}")

    def still_active(self) -> Note:
        return Note("Normal", "JobAlreadyActive", _ACTIVE)

    def replaced(self) -> None:
        return None


def _end(job: Object) -> str:
    return str((at.finish(job) or {}).get("type") or "")


def _ended_at(job: Object) -> str | None:
    return meta.status(job).get("completionTime")


def _age(job: Object) -> tuple[Any, ...]:
    start = meta.status(job).get("startTime")
    return (start is None, start or "", meta.name(job))


_JOBS = cronjobs.Jobs(core.JOB.resource, SCHEDULED, _end, at.COMPLETE, _ended_at, _age, _Words())


def sync(observed: Observed) -> Desired:
    return cronjobs.sync(_JOBS, observed)
