"""The events about a cron job's jobs, in the words of kube-controller-manager."""

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
