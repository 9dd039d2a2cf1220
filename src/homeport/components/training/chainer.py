"""ChainerJob (``kubeflow.org/v1alpha1``): a master that is a Job, and with worker sets the MPI cluster that it runs in.

A historical kind: Chainer's last release was in 2020, its operator's in 2018 (kubeflow/chainer-operator).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from homeport.components.training import chainer_gang, gang, policy
from homeport.components.training.chainer_objects import CONTAINER, GRANTS, NAME_LABEL, Shape
from homeport.components.training.defaults import malformation
from homeport.components.training.framework import Settings
from homeport.components.training.kinds import GROUP
from homeport.control.controller import Child, Controller, Desired, Note, Observed, Related
from homeport.kube import core, field, meta
from homeport.kube.core.types.batch import JobStatus
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.pod import PodTemplateSpec
from homeport.kube.errors import FieldError
from homeport.kube.kind import Column, Kind, Resource
from homeport.kube.meta import Object
from homeport.kube.schema.fields import Int64, Model, Time, doc, ref

RESOURCE = Resource(GROUP, "v1alpha1", "chainerjobs", "ChainerJob")


class ChainerModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "org.kubeflow.v1alpha1"


class MPIConfig(ChainerModel, frozen=True):
    """What the host file says of a pod."""

    slots: Annotated[int | None, doc("Processes for it: as many as it has GPUs if absent, or 1.", minimum=1)] = None


class MasterSpec(ChainerModel, frozen=True):
    """The pod that starts the training."""

    template: Annotated[
        dict[str, Any], doc("The pod, with a container named chainer."), ref(PodTemplateSpec, defaults=False)
    ]
    active_deadline_seconds: Annotated[Int64 | None, doc("Seconds that it may take.", minimum=1)] = None
    backoff_limit: Annotated[int | None, doc("How often it is tried again; 6 if absent.", minimum=0)] = None
    mpi_config: Annotated[MPIConfig | None, doc("What the host file says of the master.")] = None


class WorkerSetSpec(ChainerModel, frozen=True):
    """Workers that are alike."""

    template: Annotated[
        dict[str, Any], doc("Their pod, with a container named chainer."), ref(PodTemplateSpec, defaults=False)
    ]
    replicas: Annotated[int | None, doc("How many; 1 if absent.", minimum=0)] = None
    mpi_config: Annotated[MPIConfig | None, doc("What the host file says of each.")] = None


class ChainerJobSpec(ChainerModel, frozen=True):
    """The training that the user wants."""

    master: Annotated[MasterSpec, doc("The pod that starts the training.")]
    backend: Annotated[Literal["", "mpi"], doc("How processes talk to each other, if there are worker sets: mpi.")] = ""
    worker_sets: Annotated[dict[str, WorkerSetSpec] | None, doc("Workers by the name of their set.")] = None


class ChainerJobStatus(JobStatus, frozen=True):
    """The status of the master's Job, and the restarts of all replicas together."""

    __schema_prefix__: ClassVar[str] = "org.kubeflow.v1alpha1"

    gang_restarts: Annotated[int, doc("Restarts of all replicas together.")] = 0
    gang_start: Annotated[Time | None, doc("When the first of these attempts began.")] = None
    replaced: Annotated[list[str] | None, doc("UIDs of what goes before the next attempt begins.")] = None


class ChainerJob(ChainerModel, frozen=True):
    """A training with Chainer, on one machine or (with worker sets) on several."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[ChainerJobSpec | None, doc("The training that the user wants.")] = None
    status: Annotated[ChainerJobStatus | None, doc("The status of the master's Job.")] = None


def prepare(new: Object, old: Object | None) -> Object:
    """``Kind.prepare``; what has not the right form is left alone."""
    spec = new.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("master"), dict):
        return new
    sets = spec.get("workerSets")
    master = _named(spec["master"])
    result = {**spec, "master": _never_restarted(master)}
    if isinstance(sets, dict) and sets:
        result["master"] = _with_slots(result["master"])
        result["backend"] = spec.get("backend") or "mpi"
        result["workerSets"] = {
            name: _with_slots(_named(_counted(workers))) if isinstance(workers, dict) else workers
            for name, workers in sets.items()
        }
    return new if result == spec else {**new, "spec": result}


def _pod(part: Object) -> Object:
    """The pod's spec in a part's template; empty if there is none of the right form."""
    template = part.get("template")
    spec = template.get("spec") if isinstance(template, dict) else None
    return spec if isinstance(spec, dict) else {}


def _with_pod(part: Object, **fields: Any) -> Object:
    return {**part, "template": {**part["template"], "spec": {**_pod(part), **fields}}}


def _counted(workers: Object) -> Object:
    return workers if workers.get("replicas") is not None else {**workers, "replicas": 1}


def _named(part: Object) -> Object:
    """A lone container without a name is the one that trains."""
    containers = _pod(part).get("containers")
    lone = containers[0] if isinstance(containers, list) and len(containers) == 1 else None
    if not isinstance(lone, dict) or lone.get("name"):
        return part
    return _with_pod(part, containers=[{**lone, "name": CONTAINER}])


def _never_restarted(master: Object) -> Object:
    spec = _pod(master)
    return master if spec.get("restartPolicy") or not spec else _with_pod(master, restartPolicy="Never")


def _with_slots(part: Object) -> Object:
    given = part.get("mpiConfig") or {}
    if not isinstance(given, dict) or given.get("slots") is not None:
        return part
    containers = [c for c in _pod(part).get("containers") or () if isinstance(c, dict)]
    main: Object = next((c for c in containers if c.get("name") == CONTAINER), {})
    gpus = str(((main.get("resources") or {}).get("limits") or {}).get("nvidia.com/gpu", ""))
    return {**part, "mpiConfig": {**given, "slots": int(gpus) if gpus.isdecimal() and int(gpus) else 1}}


def validate(new: Object, old: Object | None) -> Iterator[FieldError]:
    """``Kind.validate``. Without a spec there is nothing to judge: the controller says that it is missing."""
    yield from gang.complaints(new, old)
    if new.get("spec") and (old is None or new.get("spec") != old.get("spec")):
        yield from check(new)


def check(job: Object) -> Iterator[FieldError]:
    """What makes a job impossible to run. The operator had no such rules: its jobs waited for ever."""
    spec = meta.spec(job)
    sets = spec.get("workerSets") or {}
    parts = {"spec.master": spec["master"], **{f"spec.workerSets[{name}]": sets[name] for name in sets}}
    for path, part in parts.items():
        where = f"{path}.template.spec"
        if not any(c.get("name") == CONTAINER for c in _pod(part).get("containers") or ()):
            yield field.required(f"{where}.containers", f"must have at least one container with name {CONTAINER}")
        if path == "spec.master" and _pod(part).get("restartPolicy") not in ("Never", "OnFailure"):
            policies = ("Never", "OnFailure")
            yield field.not_supported(f"{where}.restartPolicy", _pod(part).get("restartPolicy"), policies)


def sync(settings: Settings, observed: Observed) -> Desired:
    """What should be of a job: all its objects as long as the master's Job goes on, then no workers any more."""
    parent = prepare(observed.parent, None)
    if meta.is_deleting(parent):
        return policy.leave(observed)
    malformed = malformation(parent.get("spec"), ChainerJobSpec)
    if complaints := [malformed] if malformed else [str(error) for error in check(parent)]:
        return Desired(
            keep=policy.leave(observed).keep, notes=(Note("Warning", "FailedSynced", "; ".join(complaints)),)
        )
    shape = Shape(parent, settings)
    if gang.is_asked_for(parent):
        return chainer_gang.sync(shape, observed)
    master = observed.child("Job", shape.master_name)
    status = meta.status(master or {})
    is_done = any(meta.holds(status.get("conditions"), type) for type in ("Complete", "Failed"))
    children = [*shape.access(), *shape.cluster(running=not is_done)]
    keep = frozenset({("Job", shape.master_name)}) if master is not None else frozenset()
    if master is None:
        children.append(shape.master())
    changed = status != meta.status(observed.parent)
    return Desired(status=dict(status) if changed else None, children=tuple(children), keep=keep)


KIND = Kind(
    resource=RESOURCE,
    body=ChainerJob,
    singular="chainerjob",
    short_names=("chj", "chjs", "chjob", "chjobs"),
    categories=("all",),
    columns=(
        Column("State", "string", ".status.conditions[-1:].type", "The last condition of the master's Job."),
        Column("Age", "date", ".metadata.creationTimestamp", "Time since the job was created."),
    ),
    prepare=prepare,
    validate=validate,
)


def controller(settings: Settings) -> Controller:
    kinds = (core.SERVICE_ACCOUNT, core.ROLE, core.ROLE_BINDING, core.CONFIG_MAP, core.STATEFUL_SET)
    return Controller(
        name="chainerjob-controller",
        parent=RESOURCE,
        sync=partial(sync, settings),
        children=(*(Child(kind.resource) for kind in kinds), Child(core.JOB.resource, "never")),
        related=(Related(core.POD.resource, _job_of),),
        grants=GRANTS,
    )


def _job_of(pod: Object) -> tuple[tuple[str, str], ...]:
    """The job that a pod belongs to, which the master's Job or a stateful set owns."""
    name = meta.labels(pod).get(NAME_LABEL)
    return ((meta.namespace(pod), name),) if name else ()
