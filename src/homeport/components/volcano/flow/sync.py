"""What should be of a job flow and its jobs (upstream: ``pkg/controllers/jobflow``).

What a job has come to is kept in the job flow's status: a job that was complete is not made again when its time to live
is over or somebody deletes it, and what waits for it goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.components.volcano.flow.merging import patched
from homeport.components.volcano.job.status import FINISHED
from homeport.control.controller import Deed, Desired, Note, Observed
from homeport.kube import meta
from homeport.kube.meta import Object

BY_TEMPLATE, BY_FLOW = "volcano.sh/createdByJobTemplate", "volcano.sh/createdByJobFlow"
_LISTS = {
    "Pending": "pendingJobs",
    "Running": "runningJobs",
    "Failed": "failedJobs",
    "Completed": "completedJobs",
    "Terminated": "terminatedJobs",
}
_NAMED = ("Completing", "Terminating")
"""Phases that are in no list, and are not unknown either."""
_HISTORY = 50
"""Phases of a job that are remembered."""


def sync(observed: Observed) -> Desired:
    flow, jobs = observed.parent, observed.children.get("Job", {})
    keep = frozenset(("Job", name) for name in jobs)
    if meta.is_deleting(flow):
        return Desired(keep=keep)
    phase = _phase_of(flow)
    if phase == "Succeed" and meta.spec(flow).get("jobRetainPolicy") == "delete":
        return Desired()
    records = _records(observed)
    status = _status(observed, records)
    after = status["state"]["phase"] = _next(phase or "Pending", status, len(_flows(flow)))
    made, notes = _missing(observed, records) if after in ("Pending", "Running") else ([], [])
    return Desired(
        status=None if status == meta.status(flow) else status,
        children=tuple(made),
        keep=keep,
        notes=tuple(notes),
    )


def report(deed: Deed) -> Note | None:
    """``Child.tell``."""
    name = meta.name(deed.child)
    if deed.verb != "create":
        return None
    if deed.error:
        return Note("Warning", "FailedCreate", f"Failed to create job {name}: {deed.error}")
    return Note("Normal", "Created", f"create a job named {name}!")


def sync_template(observed: Observed) -> Desired:
    """What should be of a job template: it tells which jobs were made from it."""
    template = observed.parent
    names = sorted(meta.name(job) for job in observed.related.get("Job", {}).values())
    status = {"jobDependsOnList": names} if names else {}
    return Desired(status=None if status == meta.status(template) else status)


def _phase_of(flow: Object) -> str:
    return str((meta.status(flow).get("state") or {}).get("phase") or "")


def _flows(flow: Object) -> dict[str, Object]:
    return {one["name"]: one for one in meta.spec(flow).get("flows") or ()}


def _job_name(flow: Object, name: str) -> str:
    return f"{meta.name(flow)}-{name}"


def _job_phase(job: Object) -> str:
    return str((meta.status(job).get("state") or {}).get("phase") or "")


def _records(observed: Observed) -> dict[str, Object]:
    """What is known of each job, in the order of the flows: as it is seen, or as it was when it had ended."""
    flow, jobs = observed.parent, observed.children.get("Job", {})
    before = {one.get("name"): one for one in meta.status(flow).get("jobStatusList") or ()}
    result = {}
    for name in (_job_name(flow, one) for one in _flows(flow)):
        last = before.get(name)
        if name in jobs:
            result[name] = _record(jobs[name], last or {}, meta.timestamp(observed.now))
        elif last is not None and last.get("state") in FINISHED:
            result[name] = last
    return result


def _record(job: Object, last: Object, now: str) -> Object:
    phase, status = _job_phase(job), meta.status(job)
    history = [dict(one) for one in last.get("runningHistories") or ()]
    if phase and (not history or history[-1].get("state") != phase):
        if history:
            history[-1]["endTimestamp"] = now
        history.append({"startTimestamp": now, "state": phase})
    created = meta.metadata(job)["creationTimestamp"]
    ended = (status.get("state") or {}).get("lastTransitionTime") if phase in FINISHED else None
    return _without_nothing(
        name=meta.name(job),
        state=phase,
        startTimestamp=created,
        endTimestamp=ended,
        restartCount=status.get("retryCount"),
        runningHistories=history[-_HISTORY:],
    )


def _without_nothing(**fields: Any) -> Object:
    return {key: value for key, value in fields.items() if value}


def _status(observed: Observed, records: Mapping[str, Object]) -> Object:
    lists: dict[str, list[str]] = {}
    for name, record in records.items():
        phase = record.get("state") or ""
        if phase not in _NAMED:
            lists.setdefault(_LISTS.get(phase, "unKnowJobs"), []).append(name)
    jobs = observed.children.get("Job", {})
    conditions = {
        name: _without_nothing(
            phase=_job_phase(jobs[name]),
            createTime=meta.metadata(jobs[name])["creationTimestamp"],
            runningDuration=meta.status(jobs[name]).get("runningDuration"),
            taskStatusCount=meta.status(jobs[name]).get("taskStatusCount"),
        )
        for name in records
        if name in jobs
    }
    told = _without_nothing(**lists, jobStatusList=list(records.values()), conditions=conditions)
    return {**told, "state": {}}


def _next(phase: str, status: Object, total: int) -> str:
    """The phase that follows; a job flow that has ended stays as it is."""
    completed, failed = len(status.get("completedJobs") or ()), status.get("failedJobs")
    if phase == "Pending":
        if failed or (status.get("terminatedJobs") and not (completed or status.get("runningJobs"))):
            return "Failed"
        if not completed and not status.get("runningJobs"):
            return "Pending"
        phase = "Running"
    if phase == "Running":
        if completed == total:
            return "Succeed"
        if failed or status.get("terminatedJobs"):
            return "Failed"
    return phase


def _missing(observed: Observed, records: Mapping[str, Object]) -> tuple[list[Object], list[Note]]:
    """The jobs whose turn it is, and why others can't be made."""
    flow, place = observed.parent, meta.namespace(observed.parent)
    made, notes = [], []
    for name, one in _flows(flow).items():
        job_name = _job_name(flow, name)
        targets = (one.get("dependsOn") or {}).get("targets") or ()
        before = [records.get(_job_name(flow, target), {}).get("state") for target in targets]
        if job_name in records or any(phase != "Completed" for phase in before):
            continue
        template = observed.related.get("JobTemplate", {}).get(f"{place}/{name}")
        if template is None:
            words = f'Failed to create job {job_name}: jobtemplate.flow.volcano.sh "{name}" not found'
            notes.append(Note("Warning", "FailedCreate", words))
            continue
        marks = {BY_TEMPLATE: f"{place}.{name}", BY_FLOW: f"{place}.{meta.name(flow)}"}
        made.append(
            {
                "apiVersion": "batch.volcano.sh/v1alpha1",
                "kind": "Job",
                "metadata": {"name": job_name, "labels": marks, "annotations": dict(marks)},
                "spec": patched(meta.spec(template), (one.get("patch") or {}).get("jobSpec") or {}),
            }
        )
    return made, notes
