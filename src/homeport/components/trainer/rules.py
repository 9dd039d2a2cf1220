"""Rules of training jobs and runtimes that a schema can't express, worded as Kubeflow Trainer's webhooks word them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from homeport.components.trainer import elastic, names, snapshot
from homeport.components.trainer.draft import Draft
from homeport.components.trainer.jobs import OVERRIDES_REMEDY
from homeport.components.trainer.names import CLUSTER_RUNTIMES, JOB_SETS, JOBS, RUNTIMES
from homeport.components.trainer.policies import policy_of
from homeport.kube import core, field, meta
from homeport.kube.admission import Refusal, World
from homeport.kube.core import rules
from homeport.kube.errors import ApiError, FieldError
from homeport.kube.meta import Object

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_NAME_LENGTH = 63
_DEPRECATED = (
    "is deprecated and will be removed in a future release of Kubeflow Trainer. See runtime deprecation policy: "
    "https://trainer.kubeflow.org/en/latest/operator-guides/runtime.html#runtime-deprecation-policy"
)
_PATCHES = "spec.runtimePatches"
_QUEUE = "scheduling.volcano.sh/queue-name"
_SYSTEM_CLASSES = ("system-cluster-critical", "system-node-critical")


def validate_job(new: Object, old: Object | None) -> Iterator[FieldError]:
    if old is None:
        name = meta.name(new)
        if not _NAME.fullmatch(name):
            yield field.invalid("metadata.name", name, "metadata.name must match RFC 1035 DNS label format")
        if len(name) > _NAME_LENGTH:
            yield field.invalid("metadata.name", name, "metadata.name must be no more than 63 characters")
    if meta.spec(new).get("podTemplateOverrides") and new.get("spec") != (old or {}).get("spec"):
        yield field.forbidden("spec.podTemplateOverrides", OVERRIDES_REMEDY)


def validate_runtime(new: Object, old: Object | None) -> Iterator[FieldError]:
    if old is None:
        yield from _replicated_jobs(new)


def validate_cluster_runtime(new: Object, old: Object | None) -> Iterator[FieldError]:
    if old is None or new.get("spec") != old.get("spec"):
        yield from _replicated_jobs(new)


def _replicated_jobs(runtime: Object) -> Iterator[FieldError]:
    template = meta.spec(runtime).get("template") or {}
    for index, group in enumerate(meta.spec(template).get("replicatedJobs") or ()):
        path = f"spec.template.spec.replicatedJobs[{index}]"
        ancestor = meta.labels(group.get("template") or {}).get(names.ANCESTOR)
        if ancestor not in names.CONTAINERS:
            continue
        if group.get("replicas", 1) != 1:
            yield field.invalid(f"{path}.replicas", group["replicas"], "always must be 1")
        containers = _containers(group)
        if not any(each.get("name") == names.CONTAINERS[ancestor] for each in containers):
            words = f"must contain the required container for the ancestor: {ancestor}"
            yield field.invalid(f"{path}.template.spec.template.spec.containers", containers, words)


def _containers(group: Object) -> list[Object]:
    pod = meta.spec(meta.spec(group.get("template") or {}).get("template") or {})
    return list(pod.get("containers") or ())


def complete_job(job: Object, world: World) -> Object:
    """With the time in each patch that is new or has changed, and with the whole of its elastic policy."""
    stored = world.get(JOBS, meta.namespace(job), meta.name(job))
    ref = (job.get("spec") or {}).get("runtimeRef") if isinstance(job.get("spec"), dict) else None
    runtime = _runtime(job, world) if stored is None and isinstance(ref, dict) else None
    return elastic.completed(_with_dates(job, stored or {}, world), stored, runtime)


def _with_dates(job: Object, stored: Object, world: World) -> Object:
    spec = job.get("spec")
    patches = spec.get("runtimePatches") if isinstance(spec, dict) else None
    if not isinstance(patches, list) or not all(isinstance(patch, dict) for patch in patches):
        return job
    former = {patch["manager"]: patch for patch in meta.spec(stored).get("runtimePatches") or ()}
    now = meta.timestamp(world.now())
    dated = [_dated(patch, former.get(patch.get("manager", "")), now) for patch in patches]
    return job if dated == patches else {**job, "spec": {**meta.spec(job), "runtimePatches": dated}}


def _dated(patch: Object, former: Object | None, now: str) -> Object:
    if former is None:
        return patch if patch.get("time") else {**patch, "time": now}
    same = {**patch, "time": None} == {**former, "time": None}
    if same:
        return {**patch, "time": former["time"]} if former.get("time") else patch
    return {**patch, "time": now}


def warn_of_cluster_runtime(runtime: Object, old: Object | None, world: World) -> Iterator[str]:
    if old is None and _is_deprecated(runtime):
        yield f'ClusterTrainingRuntime "{meta.name(runtime)}" {_DEPRECATED}'


def _is_deprecated(runtime: Object) -> bool:
    return meta.labels(runtime).get(names.SUPPORT) == "deprecated"


def judge_job(job: Object, old: Object | None, world: World) -> list[str]:
    """What only the runtime shows; gives warnings. A spec that stays the same is not judged again, so that a job whose
    runtime has gone can be finished. Raises Refusal."""
    if old is not None and elastic.only_scaled(job, old):
        return []
    refused = snapshot.unsupported(job)
    if refused:
        raise Refusal(refused)
    warnings: list[str] = []
    errors = [str(error) for error in _errors(job, old, world, warnings)]
    if errors:
        raise Refusal(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
    return warnings


def _errors(job: Object, old: Object | None, world: World, warnings: list[str]) -> Iterator[FieldError]:
    ref, (_, kind, name) = meta.spec(job).get("runtimeRef"), snapshot.reference(job)
    is_cluster = kind == names.CLUSTER_RUNTIME
    resource = CLUSTER_RUNTIMES if is_cluster else RUNTIMES
    runtime = _runtime(job, world)
    if runtime is None:
        called = kind[0].lower() + kind[1:]
        missing = f'{resource.qualified} "{name}" not found'
        words = f"{missing}: specified {called} must be created before the TrainJob is created"
        yield field.invalid("spec.runtimeRef", ref, words)
        return
    if is_cluster and _is_deprecated(runtime):
        warnings.append(f'Referenced ClusterTrainingRuntime "{name}" {_DEPRECATED}')
    unpatched = Draft({**job, "spec": {**meta.spec(job), "runtimePatches": []}}, runtime)
    yield from _initializers(unpatched, ref)
    complaints = list(_patches(job, old, world, unpatched))
    yield from complaints
    if complaints:
        return  # they can't be applied
    try:
        draft = Draft(job, runtime)
    except ApiError as error:
        yield field.invalid(_PATCHES, meta.spec(job).get("runtimePatches"), error.message)
        return
    if not draft.has_policy("torch"):
        yield from elastic.complaints(draft)
    yield from policy_of(draft).validate(draft)
    if draft.gang.get("volcano") is not None:
        yield from _volcano(world, draft)


def _runtime(job: Object, world: World) -> Object | None:
    _, kind, name = snapshot.reference(job)
    if kind == names.CLUSTER_RUNTIME:
        return world.get(CLUSTER_RUNTIMES, "", name)
    return world.get(RUNTIMES, meta.namespace(job), name)


def _initializers(draft: Draft, ref: Any) -> Iterator[FieldError]:
    for part, step in (("dataset", names.DATASET), ("model", names.MODEL)):
        if draft.initializer.get(part) is None:
            continue
        pods = draft.set_named(step)
        container = None if pods is None else pods.container(step, init=True)
        if pods is None:
            words = f"must have {step} job when trainJob is configured with input {part}Config"
        elif container is None:
            words = f"must have container with name - {step} in the {step} job"
        elif not any(each.get("name") == names.INITIALIZER_VOLUME for each in container.get("volumeMounts") or ()):
            words = (
                f"must have volumeMount with name - {names.INITIALIZER_VOLUME} in container {step} of the {step} job"
            )
        else:
            continue
        yield field.invalid("spec.runtimeRef", ref, words)


def _patches(job: Object, old: Object | None, world: World, draft: Draft) -> Iterator[FieldError]:
    patches = meta.spec(job).get("runtimePatches") or []
    if old is not None and (meta.spec(old).get("runtimePatches") or []) != patches:
        yield from _changed(job, old, world)
    known = {pods.name: _container_names(pods.pod) for pods in draft.sets}
    for index, patch in enumerate(patches):
        yield from rules.domain_path(f"{_PATCHES}[{index}].manager", patch["manager"])
        template = (patch.get("trainingRuntimeSpec") or {}).get("template") or {}
        for group in (template.get("spec") or {}).get("replicatedJobs") or ():
            if group["name"] not in known:
                words = "must not have replicated job that doesn't exist in the runtime job template"
                yield field.invalid(f"{_PATCHES}[{index}]", group["name"], words)
                continue
            pod = meta.spec(meta.spec(group.get("template") or {}).get("template") or {})
            yield from _container_patches(f"{_PATCHES}[{index}]", group["name"], pod, known[group["name"]])


def _container_names(pod: Object) -> frozenset[str]:
    return frozenset(each["name"] for key in ("initContainers", "containers") for each in pod.get(key) or ())


def _container_patches(path: str, job: str, pod: Object, known: frozenset[str]) -> Iterator[FieldError]:
    for each in pod.get("initContainers") or ():
        if each["name"] not in known:
            words = f"must not have initContainer that doesn't exist in the runtime job {job}"
            yield field.invalid(path, each["name"], words)
    for each in pod.get("containers") or ():
        if each["name"] not in known:
            words = f"must not have container that doesn't exist in the runtime job {job}"
            yield field.invalid(path, each["name"], words)
        elif each.get("env") and each["name"] in names.CONTAINERS.values():
            words = f"must not have envs for the {names.DATASET}, {names.MODEL}, {names.NODE} containers"
            yield field.invalid(path, each["name"], words)


def _changed(job: Object, old: Object, world: World) -> Iterator[FieldError]:
    """Patches change only while no pod of the job runs."""
    if not meta.spec(old).get("suspend") and not meta.spec(job).get("suspend"):
        words = "RuntimePatches can only be modified when the TrainJob is suspended before or after the update"
        yield field.forbidden(_PATCHES, words)
        return
    job_set = world.get(JOB_SETS, meta.namespace(job), meta.name(job))
    for counted in meta.status(job_set or {}).get("replicatedJobsStatus") or ():
        if counted.get("active"):
            words = (
                f"RuntimePatches cannot be modified when the JobSet's ReplicatedJob {counted['name']} is still active"
            )
            yield field.forbidden(_PATCHES, words)


def _volcano(world: World, draft: Draft) -> Iterator[FieldError]:
    if draft.annotations.get(_QUEUE) == "":
        yield field.invalid(f"spec.annotations[{_QUEUE}]", "", "Volcano queue name must not be empty")
    for pods in draft.sets:
        wanted = pods.pod.get("priorityClassName")
        if wanted in _SYSTEM_CLASSES:
            return
        if wanted is not None and world.get(core.PRIORITY_CLASS.resource, "", wanted) is None:
            missing = f'{core.PRIORITY_CLASS.resource.qualified} "{wanted}" not found'
            words = f'PriorityClass "{wanted}" doesn\'t exist: {missing}'
            yield field.invalid("spec.templateSpec.priorityClassName", wanted, words)
