"""Kubeflow Trainer v2 (``trainer.kubeflow.org``): training jobs that are made of a runtime, and run as job sets.

What a platform without training jobs never touches is not imported: the rules and structs are with the first object.
To add a framework: one module in :mod:`homeport.components.trainer.policies`, one entry in its tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from homeport import mpi
from homeport.client.client import Client
from homeport.components.trainer.names import CLUSTER_RUNTIMES, JOB_SETS, JOBS, RUNTIMES, shortened
from homeport.components.trainer.settings import Reporting, Settings
from homeport.control.controller import Child, Controller, Deed, Desired, Note, Observed, Related, Verb
from homeport.kube import core, meta
from homeport.kube.admission import Hook
from homeport.kube.core.declare import deferred
from homeport.kube.kind import Column, Kind, imported
from homeport.kube.meta import Object
from homeport.kube.scheduling import COSCHEDULING_POD_GROUP, VOLCANO_POD_GROUP
from homeport.kube.wire import Request, Response

_AGE = Column("Age", "date", ".metadata.creationTimestamp")
_RULES = deferred("homeport.components.trainer.rules")
_PACKAGE = "homeport.components.trainer"

TRAIN_JOB = Kind(
    resource=JOBS,
    body=f"{_PACKAGE}.jobs:TrainJob",
    singular="trainjob",
    columns=(Column("State", "string", ".status.conditions[-1:].type"), _AGE),
    subresources=frozenset({"status", "scale"}),
    scale_paths=(".spec.trainer.numNodes", ".status.nodes", ".status.selector"),
    validate=_RULES("validate_job"),
    has_rules=True,
)
TRAINING_RUNTIME = Kind(
    resource=RUNTIMES,
    body=f"{_PACKAGE}.runtimes:TrainingRuntime",
    singular="trainingruntime",
    subresources=frozenset(),
    validate=_RULES("validate_runtime"),
    has_rules=True,
)
CLUSTER_TRAINING_RUNTIME = Kind(
    resource=CLUSTER_RUNTIMES,
    body=f"{_PACKAGE}.runtimes:ClusterTrainingRuntime",
    singular="clustertrainingruntime",
    subresources=frozenset(),
    validate=_RULES("validate_cluster_runtime"),
    has_rules=True,
)
KINDS: tuple[Kind, ...] = (
    TRAIN_JOB,
    TRAINING_RUNTIME,
    CLUSTER_TRAINING_RUNTIME,
)


def _sync(settings: Settings, observed: Observed) -> Desired:
    desired: Desired = imported(f"{_PACKAGE}.sync:sync")(settings.reporting, observed)
    return desired


def _sync_coscheduling(observed: Observed) -> Desired:
    desired: Desired = imported(f"{_PACKAGE}.gang:coscheduling")(observed)
    return desired


def _sync_volcano(observed: Observed) -> Desired:
    desired: Desired = imported(f"{_PACKAGE}.gang:volcano")(observed)
    return desired


def _sync_runtime(observed: Observed) -> Desired:
    desired: Desired = imported(f"{_PACKAGE}.inuse:sync")(observed)
    return desired


def _refusals(deed: Deed) -> Note | None:
    if deed.verb == "delete" or not deed.error:
        return None
    what = f"{deed.child['kind']} {meta.name(deed.child)!r}"
    return Note(
        "Warning",
        "TrainJobResourcesCreationFailed",
        f"TrainJob resources reconciliation failed: {what}: {shortened(deed.error)}",
    )


def _spec_matters(old: Object, new: Object) -> bool:
    return old.get("spec") != new.get("spec")


def _job_of(config_map: Object) -> tuple[tuple[str, str], ...]:
    """Whose snapshot it is."""
    owner = meta.controller_of(config_map)
    return ((meta.namespace(config_map), owner["name"]),) if owner and owner.get("kind") == TRAIN_JOB.kind else ()


def _job_of_pod(pod: Object) -> tuple[tuple[str, str], ...]:
    """Whose pod it may be: a job set has its job's name."""
    name = meta.labels(pod).get("jobset.sigs.k8s.io/jobset-name")
    return ((meta.namespace(pod), name),) if name else ()


def _is_news(old: Object, new: Object) -> bool:
    """Whether a pod has failed, or the first of an elastic job's nodes has succeeded."""
    news: bool = imported(f"{_PACKAGE}.causes:is_news")(old, new)
    return news or bool(imported(f"{_PACKAGE}.elastic:has_ended_first")(old, new))


def _has_authority(settings: Settings) -> bool:
    """Whether jobs get a config map with the authority of reports, which is changed when that is."""
    return settings.reporting is not None and settings.reporting.bundle is not None


_PATCH: frozenset[Verb] = frozenset({"patch"})
_COSCHEDULING = Controller(
    name="trainjob-coscheduling",
    parent=TRAIN_JOB.resource,
    sync=_sync_coscheduling,
    children=(Child(COSCHEDULING_POD_GROUP.resource),),
    related=(Related(core.CONFIG_MAP.resource, _job_of),),
)
_VOLCANO = Controller(
    name="trainjob-volcano",
    parent=TRAIN_JOB.resource,
    sync=_sync_volcano,
    children=(Child(VOLCANO_POD_GROUP.resource),),
    related=(Related(core.CONFIG_MAP.resource, _job_of),),
)


def controllers(settings: Settings) -> tuple[Controller, ...]:
    """The controllers, under an operator's settings."""
    jobs = Controller(
        name="trainjob-controller",
        parent=TRAIN_JOB.resource,
        sync=partial(_sync, settings),
        children=(
            Child(core.CONFIG_MAP.resource, "never", tell=_refusals, patched=_has_authority(settings)),
            Child(core.SECRET.resource, "never", complete=mpi.with_keys, tell=_refusals),
            Child(JOB_SETS, tell=_refusals),
            Child(core.HORIZONTAL_POD_AUTOSCALER.resource, tell=_refusals, optional=True),
        ),
        related=(
            Related(CLUSTER_TRAINING_RUNTIME.resource, None, matters=_spec_matters),
            Related(TRAINING_RUNTIME.resource, None, matters=_spec_matters),
            Related(core.POD.resource, _job_of_pod, matters=_is_news),
        ),
    )
    runtimes = tuple(
        Controller(
            name=f"{kind.singular}-controller",
            parent=kind.resource,
            sync=_sync_runtime,
            until_gone=True,
            on_parent=_PATCH,
        )
        for kind in (TRAINING_RUNTIME, CLUSTER_TRAINING_RUNTIME)
    )
    return (jobs, _COSCHEDULING, _VOLCANO, *runtimes)


def progress_reports(client: Client) -> Callable[[Request], Coroutine[Any, Any, Response] | None]:
    """Takes what training says of its progress (:mod:`homeport.components.trainer.reports`); None: it is no such
    request."""
    made: list[Any] = []  # with the first report, for which alone it is imported

    def answer(request: Request) -> Coroutine[Any, Any, Response] | None:
        if not request.path.startswith(f"/apis/{JOBS.group}/"):
            return None
        if not made:
            made.append(imported(f"{_PACKAGE}.reports:Reports")(client))
        answering: Coroutine[Any, Any, Response] | None = made[0].answer(request)
        return answering

    return answer


CONTROLLERS: tuple[Controller, ...] = controllers(Settings())
ADMISSION: tuple[Hook, ...] = (
    Hook(
        name="trainjob.trainer.kubeflow.org",
        resource=JOBS,
        operations=("CREATE", "UPDATE"),
        mutate=_RULES("complete_job"),
        validate=_RULES("judge_job"),
        reads=(JOBS, RUNTIMES, CLUSTER_RUNTIMES, JOB_SETS, core.PRIORITY_CLASS.resource),
    ),
    Hook(
        name="clustertrainingruntime.trainer.kubeflow.org",
        resource=CLUSTER_RUNTIMES,
        validate=_RULES("warn_of_cluster_runtime"),
    ),
)

__all__ = [
    "ADMISSION",
    "CLUSTER_TRAINING_RUNTIME",
    "CONTROLLERS",
    "KINDS",
    "TRAINING_RUNTIME",
    "TRAIN_JOB",
    "Reporting",
    "Settings",
    "controllers",
    "progress_reports",
]
