"""Work that ends: jobs and cron jobs (batch/v1)."""

from __future__ import annotations

from datetime import datetime

from homeport.kube import meta
from homeport.kube.core.columns import NONE, selector_text
from homeport.kube.core.declare import TYPES, deferred, grouped
from homeport.kube.core.workloads import template_columns
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE, age, human_duration

_default = deferred("homeport.kube.core.job_defaults")
_rule = deferred("homeport.kube.core.job_validation")


def _state(job: Object) -> str:
    """One word for where a job is (upstream: ``printJob``)."""
    conditions = meta.status(job).get("conditions")
    for kind, word in (("Complete", "Complete"), ("Failed", "Failed")):
        if meta.holds(conditions, kind):
            return word
    if meta.is_deleting(job):
        return "Terminating"
    for kind, word in (
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if meta.holds(conditions, kind):
            return word
    return "Running"


def _completions(job: Object) -> str:
    spec, succeeded = meta.spec(job), meta.status(job).get("succeeded") or 0
    if spec.get("completions") is not None:
        return f"{succeeded}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(job: Object, now: datetime) -> str:
    status = meta.status(job)
    start, end = status.get("startTime"), status.get("completionTime")
    if not start:
        return ""
    return human_duration(((meta.parse_time(end) if end else now) - meta.parse_time(start)).total_seconds())


def _last_schedule(job: Object, now: datetime) -> str:
    last = meta.status(job).get("lastScheduleTime")
    return age(last, now) if last else NONE


def _job_spec(obj: Object) -> Object:
    return meta.spec(meta.spec(obj).get("jobTemplate") or {})


JOB = grouped(
    "batch",
    "jobs",
    TYPES + "batch:Job",
    status=True,
    categories=("all",),
    columns=(
        Column("Status", "string", compute=_state),
        Column("Completions", "string", compute=_completions),
        Column("Duration", "string", compute_at=_duration),
        AGE,
        *template_columns(),
        Column("Selector", "string", priority=1, compute=lambda obj: selector_text(meta.spec(obj).get("selector"))),
    ),
    prepare=_default("prepare_job"),
    validate=_rule("validate_job"),
)
CRON_JOB = grouped(
    "batch",
    "cronjobs",
    TYPES + "batch:CronJob",
    status=True,
    short_names=("cj",),
    categories=("all",),
    columns=(
        Column("Schedule", "string", ".spec.schedule"),
        Column("Timezone", "string", compute=lambda obj: meta.spec(obj).get("timeZone") or NONE),
        Column("Suspend", "string", compute=lambda obj: str(bool(meta.spec(obj).get("suspend")))),
        Column("Active", "integer", compute=lambda obj: len(meta.status(obj).get("active") or ())),
        Column("Last Schedule", "string", compute_at=_last_schedule),
        AGE,
        *template_columns(lambda obj: meta.spec(_job_spec(obj).get("template") or {})),
        Column("Selector", "string", priority=1, compute=lambda obj: selector_text(_job_spec(obj).get("selector"))),
    ),
    prepare=_default("prepare_cron_job"),
    validate=_rule("validate_cron_job"),
)

KINDS = (JOB, CRON_JOB)
