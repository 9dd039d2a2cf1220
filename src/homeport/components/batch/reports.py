"""The events about a cron job's jobs, in the words of kube-controller-manager, and about what makes up a job set."""

from __future__ import annotations

from homeport.control.controller import Deed, Note
from homeport.kube.meta import name


def of_jobs(deed: Deed) -> Note:
    made = deed.verb == "create"
    if deed.error:
        words = f"Error creating job: {deed.error}" if made else f"Deleted job: {deed.error}"
        return Note("Warning", "FailedCreate" if made else "FailedDelete", words)
    if made:
        return Note("Normal", "SuccessfulCreate", f"Created job {name(deed.child)}")
    return Note("Normal", "SuccessfulDelete", f"Deleted job {name(deed.child)}")


_REFUSED = {"Service": "HeadlessServiceCreationFailed", "PersistentVolumeClaim": "PVCCreationFailed"}


def of_job_sets(deed: Deed) -> Note | None:
    """Only what is refused is told of. A service or a claim that is there already serves as well."""
    kind = deed.child["kind"]
    if deed.verb != "create" or not deed.error:
        return None
    if kind == "Job":
        words = f'job "{name(deed.child)}" creation failed with error: {deed.error}'
        return Note("Warning", "JobCreationFailed", words)
    return None if deed.error.endswith("already exists") else Note("Warning", _REFUSED[kind], deed.error)
