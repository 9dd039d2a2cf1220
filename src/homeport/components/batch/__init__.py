"""Work that ends: jobs and cron jobs (``batch/v1``).

What most runs never touch is not imported: the rules of a controller are when there is a first object of its kind.
"""

from __future__ import annotations

from homeport.components.batch.reports import of_jobs
from homeport.control import reports
from homeport.control.controller import Child, Claim, Controller, Desired, Observed
from homeport.kube import core
from homeport.kube.kind import Kind, imported
from homeport.kube.meta import Object, spec
from homeport.kube.selector import Selector, from_label_selector

KINDS: tuple[Kind, ...] = ()


def _sync_job(observed: Observed) -> Desired:
    desired: Desired = imported("homeport.components.batch.job.sync:sync")(observed)
    return desired


def _sync_cron_job(observed: Observed) -> Desired:
    desired: Desired = imported("homeport.components.batch.cronjob:sync")(observed)
    return desired


def _pods_of(job: Object) -> Selector:
    return from_label_selector(spec(job)["selector"])


JOB = Controller(
    name="job-controller",
    parent=core.JOB.resource,
    sync=_sync_job,
    children=(
        Child(
            core.POD.resource,
            "never",
            claim=Claim(_pods_of),
            gradual=True,
            tell=reports.of_pods,
            finalizer="batch.kubernetes.io/job-tracking",
        ),
    ),
    until_gone=True,
)
CRON_JOB = Controller(
    name="cronjob-controller",
    parent=core.CRON_JOB.resource,
    sync=_sync_cron_job,
    children=(Child(core.JOB.resource, "never", tell=of_jobs),),
)
CONTROLLERS: tuple[Controller, ...] = (JOB, CRON_JOB)

__all__ = ["CONTROLLERS", "CRON_JOB", "JOB", "KINDS"]
