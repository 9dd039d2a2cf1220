"""MPIJob of ``kubeflow.org/v2beta1``: its structs, defaults and rules. Upstream: mpi-operator 0.8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, Literal

from homeport.components.training import gang
from homeport.components.training.kinds import CleanPodPolicy, JobStatus, SchedulingPolicy
from homeport.kube import field, meta, names
from homeport.kube.core import validate_template
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.pod import PodTemplateSpec
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object
from homeport.kube.schema.fields import Int64, Model, doc, ref

MANAGERS = ("kubeflow.org/mpi-operator", "kueue.x-k8s.io/multikueue")
LAUNCHER, WORKER = "Launcher", "Worker"
SPECS = "mpiReplicaSpecs"
ROOT_SSH = "/root/.ssh"
_RESTART_POLICIES = ("Never", "OnFailure")
_DEFAULTS = {
    "slotsPerWorker": 1,
    "runLauncherAsWorker": False,
    "sshAuthMountPath": ROOT_SSH,
    "launcherCreationPolicy": "AtStartup",
    "mpiImplementation": "OpenMPI",
}


class MPIModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "org.kubeflow.v2beta1"


class RunPolicy(MPIModel, frozen=True):
    """How long the job may run and what is left of it; most of it is the launcher's Job's."""

    clean_pod_policy: Annotated[
        CleanPodPolicy | None,
        doc("Workers to delete when the job has ended: All, those that run or wait (Running), or None (if absent)."),
    ] = None
    ttl_seconds_after_finished: Annotated[
        int | None, doc("Seconds after its end at which the job is deleted. Kept if absent.")
    ] = None
    active_deadline_seconds: Annotated[Int64 | None, doc("Seconds that the launcher may take.")] = None
    backoff_limit: Annotated[int | None, doc("How often the launcher is tried again; 6 if absent.")] = None
    scheduling_policy: Annotated[SchedulingPolicy | None, doc("For gang scheduling.")] = None
    suspend: Annotated[bool, doc("True holds the job: no workers, and a launcher that waits.", default=False)] = False
    managed_by: Annotated[
        str | None,
        doc(
            "Which controller runs the job: kubeflow.org/mpi-operator (also if absent) or kueue.x-k8s.io/multikueue. "
            "Can't be changed."
        ),
    ] = None


class ReplicaSpec(MPIModel, frozen=True):
    """Replicas of one type."""

    template: Annotated[
        dict[str, Any],
        doc("The pod of each replica. Its restartPolicy is replaced by the one beside it."),
        ref(PodTemplateSpec, defaults=False),
    ]
    replicas: Annotated[int | None, doc("How many: 1 Launcher, at least 1 Worker.")] = None
    restart_policy: Annotated[
        str, doc("Never or OnFailure. OnFailure if absent for the Launcher, Never for Workers.")
    ] = ""


class MPIJobSpec(MPIModel, frozen=True):
    """The program that the user wants to run on several machines."""

    mpi_replica_specs: Annotated[dict[str, ReplicaSpec], doc("The replicas by type: Launcher, Worker.")]
    slots_per_worker: Annotated[int, doc("Processes for each worker, in the host file.")] = 1
    run_launcher_as_worker: Annotated[bool, doc("True runs processes in the launcher, too.", default=False)] = False
    run_policy: Annotated[RunPolicy | None, doc("How long the job may run and what is left of it.")] = None
    ssh_auth_mount_path: Annotated[str, doc("Where the keys for SSH are mounted.")] = ROOT_SSH
    launcher_creation_policy: Annotated[
        Literal["AtStartup", "WaitForWorkersReady"],
        doc("When the launcher starts: at once, or with all workers ready."),
    ] = "AtStartup"
    mpi_implementation: Annotated[
        Literal["OpenMPI", "Intel", "MPICH"], doc("Which MPI the images have; host file and variables depend on it.")
    ] = "OpenMPI"


class MPIJob(MPIModel, frozen=True):
    """A program that speaks MPI: a launcher that starts it by SSH, and workers that it runs in."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[MPIJobSpec | None, doc("The program that the user wants to run on several machines.")] = None
    status: Annotated[JobStatus | None, doc("What was last observed. Written by the controller.")] = None


def prepare(new: Object, old: Object | None) -> Object:
    """``Kind.prepare``; what has not the right form is left alone."""
    spec = new.get("spec")
    if not isinstance(spec, dict):
        return new
    policy = spec.get("runPolicy") or {}
    result = _DEFAULTS | {key: value for key, value in spec.items() if value is not None and value != ""}
    if isinstance(policy, dict):
        given = {key: value for key, value in policy.items() if value is not None}
        result["runPolicy"] = {"cleanPodPolicy": "None", "suspend": False} | given
    if isinstance(spec.get(SPECS), dict):
        result[SPECS] = {type: _prepared(type, replicas) for type, replicas in spec[SPECS].items()}
    return new if result == spec else {**new, "spec": result}


def _prepared(type: str, replicas: Any) -> Any:
    if not isinstance(replicas, dict) or type not in (LAUNCHER, WORKER):
        return replicas
    defaults = (
        {"replicas": 1, "restartPolicy": "OnFailure"}
        if type == LAUNCHER
        else {
            "replicas": 0,
            "restartPolicy": "Never",
        }
    )
    return defaults | {key: value for key, value in replicas.items() if value is not None and value != ""}


def validate(new: Object, old: Object | None) -> Iterator[FieldError]:
    """``Kind.validate``, in the words of the operator."""
    yield from gang.complaints(new, old)
    if old is not None and new.get("spec") == old.get("spec"):
        return
    yield from check(new)
    for type, replicas in (meta.spec(new).get(SPECS) or {}).items():
        if type in (LAUNCHER, WORKER) and (replicas.get("template", {}).get("spec") or {}).get("containers"):
            yield from validate_template(replicas["template"], f"spec.{SPECS}[{type}].template")
    managers = [(meta.spec(job).get("runPolicy") or {}).get("managedBy") for job in (old, new) if job is not None]
    if managers[0] != managers[-1]:
        yield field.invalid("spec.runPolicy.managedBy", managers[-1], "field is immutable")


def check(job: Object) -> Iterator[FieldError]:
    """What makes a job with its defaults impossible to run."""
    spec = meta.spec(job)
    specs = spec.get(SPECS)
    yield from _name(job)
    if not specs:
        yield field.required(f"spec.{SPECS}", "must have replica specs")
        return
    yield from _replicas(specs)
    yield from _not_negative(spec, "spec", ("slotsPerWorker",))
    policy = spec.get("runPolicy") or {}
    counts = ("ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit")
    yield from _not_negative(policy, "spec.runPolicy", counts)
    manager = policy.get("managedBy")
    if manager is not None and manager not in MANAGERS:
        yield field.not_supported("spec.runPolicy.managedBy", manager, sorted(MANAGERS))


def _name(job: Object) -> Iterator[FieldError]:
    worker = (meta.spec(job).get(SPECS) or {}).get(WORKER) or {}
    last = f"{meta.name(job)}-worker-{max(worker.get('replicas') or 1, 1) - 1}"
    if complaints := names.dns1035_label(last):
        text = f'will not able to create pod and service with invalid DNS label "{last}": {", ".join(complaints)}'
        yield field.invalid("metadata.name", meta.name(job), text)


def _replicas(specs: Object) -> Iterator[FieldError]:
    if LAUNCHER not in specs:
        yield field.required(f"spec.{SPECS}[{LAUNCHER}]", f"must have {LAUNCHER} replica spec")
    for type in (LAUNCHER, WORKER):
        if type not in specs:
            continue
        path, spec = f"spec.{SPECS}[{type}]", specs[type]
        count, policy = spec.get("replicas"), spec.get("restartPolicy")
        if policy not in _RESTART_POLICIES:
            yield field.not_supported(f"{path}.restartPolicy", policy, _RESTART_POLICIES)
        if not (spec.get("template", {}).get("spec") or {}).get("containers"):
            yield field.required(f"{path}.template.spec.containers", "must define at least one container")
        if type == LAUNCHER and count != 1:
            yield field.invalid(f"{path}.replicas", count, "must be 1")
        if type == WORKER and count <= 0:
            yield field.invalid(f"{path}.replicas", count, "must be greater than or equal to 1")
    for type in specs:
        if type not in (LAUNCHER, WORKER):
            yield field.not_supported(f"spec.{SPECS}[{type}]", type, (LAUNCHER, WORKER))


def _not_negative(fields: Object, path: str, keys: Iterable[str]) -> Iterator[FieldError]:
    for key in keys:
        if (fields.get(key) or 0) < 0:
            yield field.invalid(f"{path}.{key}", fields[key], "must be greater than or equal to 0")
