"""Work that ends: jobs and cron jobs (``batch/v1``), and job sets (``jobset.x-k8s.io``).

What most runs never touch is not imported: the rules of a controller are when there is a first object of its kind.
"""

from __future__ import annotations

from homeport.components.batch.attention import job_matters, pod_matters
from homeport.components.batch.reports import of_job_sets, of_jobs
from homeport.control import reports
from homeport.control.controller import Child, Claim, Controller, Desired, Observed, Related
from homeport.kube import core, meta
from homeport.kube.admission import Hook, World
from homeport.kube.core.declare import deferred
from homeport.kube.kind import Column, Kind, Resource, imported
from homeport.kube.meta import Object, is_condition_true, is_deleting, labels, namespace, spec
from homeport.kube.selector import Selector, from_label_selector

_DISRUPTED = "DisruptionTarget"
_JOB_SET_RULES = deferred("homeport.components.batch.jobset.rules")
JOB_SET_KIND = Kind(
    resource=Resource("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet", namespaced=True),
    body="homeport.kube.jobset:JobSet",
    singular="jobset",
    columns=(
        Column("TerminalState", "string", ".status.terminalState", "Final state of JobSet"),
        Column("Restarts", "string", ".status.restarts", "Number of restarts"),
        Column("Completed", "string", '.status.conditions[?(@.type=="Completed")].status'),
        Column("Suspended", "string", ".spec.suspend", "JobSet suspended"),
        Column("Age", "date", ".metadata.creationTimestamp", "Time this JobSet was created"),
    ),
    prepare=_JOB_SET_RULES("prepare"),
    validate=_JOB_SET_RULES("validate"),
)
KINDS: tuple[Kind, ...] = (JOB_SET_KIND,)


def _sync_job(observed: Observed) -> Desired:
    desired: Desired = imported("homeport.components.batch.job.sync:sync")(observed)
    return desired


def _sync_cron_job(observed: Observed) -> Desired:
    desired: Desired = imported("homeport.components.batch.cronjob:sync")(observed)
    return desired


def _sync_job_set(observed: Observed) -> Desired:
    desired: Desired = imported("homeport.components.batch.jobset.sync:sync")(observed)
    return desired


def _place_job_set_pod(pod: Object, world: World) -> Object:
    placed: Object = imported("homeport.components.batch.jobset.placement:mutate")(pod, world)
    return placed


def _check_job_set_pod(pod: Object, old: Object | None, world: World) -> None:
    imported("homeport.components.batch.jobset.placement:validate")(pod, old, world)


def _job_set_of(claim: Object) -> tuple[tuple[str, str], ...]:
    """Whose claim it is, by its label: one that is to outlive its job set has no owner."""
    name = labels(claim).get("jobset.sigs.k8s.io/jobset-name")
    return ((namespace(claim), name),) if name else ()


def _job_set_of_placed(pod: Object) -> tuple[tuple[str, str], ...]:
    """Of a pod whose job wants a topology domain of its own."""
    return _job_set_of(pod) if "alpha.jobset.sigs.k8s.io/exclusive-topology" in meta.annotations(pod) else ()


def _is_elsewhere(old: Object, new: Object) -> bool:
    """Of such a pod: it has a node, is about to go, or says why."""
    return any(
        read(old) != read(new)
        for read in (lambda pod: spec(pod).get("nodeName"), is_deleting, lambda pod: is_condition_true(pod, _DISRUPTED))
    )


def _pods_of(job: Object) -> Selector:
    return from_label_selector(spec(job)["selector"])


def _is_ours(job: Object) -> bool:
    """Not one of another controller."""
    return spec(job).get("managedBy") in (None, "", "kubernetes.io/job-controller")


JOB = Controller(
    name="job-controller",
    parent=core.JOB.resource,
    sync=_sync_job,
    children=(
        Child(
            core.POD.resource,
            "never",
            claim=Claim(_pods_of, claims=_is_ours),
            gradual=True,
            tell=reports.of_pods,
            matters=pod_matters,
            finalizer="batch.kubernetes.io/job-tracking",
        ),
    ),
    until_gone=True,
)
CRON_JOB = Controller(
    name="cronjob-controller",
    parent=core.CRON_JOB.resource,
    sync=_sync_cron_job,
    children=(Child(core.JOB.resource, "never", tell=of_jobs, matters=job_matters),),
)
JOB_SET = Controller(
    name="jobset-controller",
    parent=JOB_SET_KIND.resource,
    sync=_sync_job_set,
    children=(
        # A job's name is free for its next run when all pods of the last one have gone.
        Child(core.JOB.resource, "never", tell=of_job_sets, foreground=True),
        Child(core.SERVICE.resource, "never", tell=of_job_sets),
        Child(core.PERSISTENT_VOLUME_CLAIM.resource, "never", tell=of_job_sets),
    ),
    related=(
        Related(core.PERSISTENT_VOLUME_CLAIM.resource, _job_set_of),
        Related(core.POD.resource, _job_set_of_placed, matters=_is_elsewhere),
        Related(core.NODE.resource, None, matters=meta.is_relabelled),
    ),
)
CONTROLLERS: tuple[Controller, ...] = (JOB, CRON_JOB, JOB_SET)
ADMISSION: tuple[Hook, ...] = (
    Hook(
        name="pods.jobset.x-k8s.io",
        resource=core.POD.resource,
        selector={"matchExpressions": [{"key": "jobset.sigs.k8s.io/jobset-name", "operator": "Exists"}]},
        mutate=_place_job_set_pod,
        validate=_check_job_set_pod,
        reads=(core.POD.resource, core.NODE.resource),
    ),
)

__all__ = ["ADMISSION", "CONTROLLERS", "CRON_JOB", "JOB", "JOB_SET", "JOB_SET_KIND", "KINDS"]
