"""Rules of training jobs that a schema can't express, worded as the Training Operator's webhooks word them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from homeport.components.training import gang
from homeport.components.training.defaults import Malformed, view
from homeport.components.training.framework import Framework, Job, Settings
from homeport.components.training.kinds import MANAGERS, ReplicaSpec
from homeport.components.training.policy import run_policy
from homeport.kube import field, names
from homeport.kube.core import validate_template
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

NAME_LENGTH = 63
"""Most characters of a service's name, and of a host name."""


def validate(framework: Framework, new: Object, old: Object | None) -> Iterator[FieldError]:
    """``Kind.validate``. A spec that stays the same is not judged again: a status can be written whatever the spec."""
    yield from gang.complaints(new, old)
    if old is not None and new.get("spec") == old.get("spec"):
        return
    try:
        job = view(framework, new, Settings())
    except Malformed as error:
        yield FieldError(error.path, "FieldValueInvalid", error.text)
        return
    complaints = list(check(job))
    yield from complaints
    yield from _templates(job, {error.path for error in complaints})
    if old is not None:
        yield from _unchanged(new, old)


def check(job: Job) -> Iterator[FieldError]:
    """What makes a job impossible to run."""
    framework = job.framework
    yield from _name(job)
    manager = job.run_policy.managed_by
    if manager is not None and manager not in MANAGERS:
        yield field.not_supported("spec.runPolicy.managedBy", manager, MANAGERS)
    if not job.replicas:
        yield field.required(framework.replicas_path, "must be required")
    for type, spec in job.replicas.items():
        path = f"{framework.replicas_path}[{type}]"
        if type not in framework.types:
            yield field.not_supported(path, type, framework.types)
        else:
            yield from _replica(framework, path, type, spec)
    if job.replicas and not job.total:
        yield field.invalid(framework.replicas_path, 0, "must ask for at least one replica")
    yield from _masters(job)
    yield from framework.validate(job.spec, job.replicas)


def _name(job: Job) -> Iterator[FieldError]:
    complaints = names.dns1035_label(job.name)
    if complaints:
        yield field.invalid("metadata.name", job.name, "should match: " + ",".join(complaints))
        return
    children = [job.host(type, count - 1) for type in job.replicas if (count := job.count(type))]
    longest = max(children, key=len, default="")
    if len(longest) > NAME_LENGTH:
        room = NAME_LENGTH - (len(longest) - len(job.name))
        yield field.invalid(
            "metadata.name",
            job.name,
            f"must be no more than {room} characters: the name of its replica {longest} must fit into {NAME_LENGTH}",
        )


def _replica(framework: Framework, path: str, type: str, spec: ReplicaSpec) -> Iterator[FieldError]:
    # `replicas` is there: the defaults are set.
    least = min(framework.min_replicas, framework.default_replicas.get(type, 1))
    if (spec.replicas or 0) < least:
        yield field.forbidden(f"{path}.replicas", f"must be at least {least}")
    containers_path = f"{path}.template.spec.containers"
    containers = (spec.template.get("spec") or {}).get("containers") or ()
    if not containers:
        yield field.required(containers_path, "must be specified")
    for index, container in enumerate(containers):
        if not container.get("image"):
            yield field.required(f"{containers_path}[{index}].image", "must be required")
    if framework.container and not any(container.get("name") == framework.container for container in containers):
        yield field.required(containers_path, f"must have at least one container with name {framework.container}")


def _templates(job: Job, told: set[str]) -> Iterator[FieldError]:
    """What is wrong with the pod templates by themselves, but for paths that were `told` of, or inside of which."""
    for type, spec in job.replicas.items():
        for error in validate_template(spec.template, f"{job.framework.replicas_path}[{type}].template"):
            if not any(path == error.path or path.startswith(error.path + ".") for path in told):
                yield error


def _masters(job: Job) -> Iterator[FieldError]:
    framework = job.framework
    if not framework.single_master:
        return
    masters = [type for type in framework.masters if type in job.replicas]
    if len(masters) > 1:
        roles = " or ".join(framework.masters)
        yield field.forbidden(framework.replicas_path, f"must not have more than 1 {roles} role")
    for type in masters:
        if job.count(type) > 1:
            yield field.forbidden(f"{framework.replicas_path}[{type}].replicas", "must be 1")


def _unchanged(new: Object, old: Object) -> Iterator[FieldError]:
    before, after = run_policy(old), run_policy(new)
    if before.get("managedBy") != after.get("managedBy"):
        yield field.invalid("spec.runPolicy.managedBy", after.get("managedBy"), "field is immutable")
    queues = [_queue(before), _queue(after)]
    if queues[0] != queues[1]:
        path = "spec.runPolicy.schedulingPolicy.queue"
        yield field.invalid(path, queues[1], f"{path} is immutable")


def _queue(policy: Mapping[str, object]) -> object:
    scheduling = policy.get("schedulingPolicy")
    return scheduling.get("queue", "") if isinstance(scheduling, dict) else None
