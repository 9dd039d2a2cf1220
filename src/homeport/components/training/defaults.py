"""Defaults of training jobs that a schema can't express, and the typed view of a job that has them.

Both the API server (through ``Kind.prepare``) and ``sync`` set them: on a cluster a job may be stored without.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from homeport.components.training import gang
from homeport.components.training.framework import Framework, Job, Settings
from homeport.components.training.kinds import ReplicaSpec, RunPolicy
from homeport.kube import meta
from homeport.kube.errors import Permanent
from homeport.kube.meta import Object


class Malformed(Permanent):
    """The job's spec has not the form that its schema demands: the field at `path` is wrong in the way `text` says."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}")
        self.path, self.text = path, text


def prepare(framework: Framework, new: Object, old: Object | None) -> Object:
    """``Kind.prepare``. A spec that stays as it is has its defaults."""
    return new if old is not None and new.get("spec") == old.get("spec") else with_defaults(framework, new)


def with_defaults(framework: Framework, job: Object) -> Object:
    """The job with its defaults set; the very same object if it has them. What has not the right form is left alone."""
    spec = job.get("spec")
    if not isinstance(spec, dict):
        return job
    result = framework.default(_common(framework, spec))
    return job if result == spec else {**job, "spec": result}


def _common(framework: Framework, spec: Object) -> Object:
    result = dict(spec)
    policy = spec.get("runPolicy") or {}
    if isinstance(policy, dict):
        # MPIJobs have the field beside the policy, too.
        clean = spec.get("cleanPodPolicy") or "None"
        result["runPolicy"] = {"cleanPodPolicy": clean, "suspend": False} | _without_nulls(policy)
    replicas = spec.get(framework.replicas_field)
    if isinstance(replicas, dict):
        result[framework.replicas_field] = _replicas(framework, replicas)
    return result


def _replicas(framework: Framework, replicas: Object) -> Object:
    result: Object = {}
    # A key in another spelling wins over the canonical one: that one was stored before, this one was written just now.
    for type in sorted(replicas, key=lambda key: framework.canonical(key) != key):
        spec, canonical = replicas[type], framework.canonical(type)
        if isinstance(spec, dict):
            spec = {
                "replicas": framework.default_replicas.get(canonical, 1),
                "restartPolicy": framework.restart_policy,
            } | {key: value for key, value in spec.items() if value is not None and value != ""}
        result[canonical] = spec
    ordered = {type: result.pop(type) for type in framework.types if type in result}
    return ordered | result


def _without_nulls(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if value is not None}


def view(framework: Framework, job: Object, settings: Settings) -> Job:
    """The typed view of a stored job, with defaults.

    Raises Malformed for a spec that its schema would have refused.
    """
    spec = with_defaults(framework, job).get("spec")
    if spec is None:  # upstream's schemas don't require it
        spec = {framework.replicas_field: {}}
    path = "spec"
    try:
        typed: Any = msgspec.convert(_clean(spec), framework.spec)
        replicas: dict[str, ReplicaSpec] = getattr(typed, snake_case(framework.replicas_field)) or {}
        for type, replica_spec in replicas.items():
            path = f"{framework.replicas_path}[{type}].template"
            msgspec.convert(replica_spec.template, _Template)
    except msgspec.ValidationError as error:
        raise Malformed(*_spell(path, str(error))) from None
    policy: RunPolicy = typed.run_policy or RunPolicy()
    together = gang.is_asked_for(job)
    return Job(framework, meta.name(job), meta.namespace(job), typed, policy, replicas, settings, together)


def malformation(spec: Any, struct: type[msgspec.Struct]) -> str:
    """In which way a stored spec has not the form that its schema demands; empty if it has."""
    try:
        msgspec.convert(spec, struct)
    except msgspec.ValidationError as error:
        return ": ".join(_spell("spec", str(error)))
    return ""


def _clean(spec: Any) -> Any:
    """Without the nulls that Go clients write for absent fields, two levels deep."""
    if not isinstance(spec, dict):
        return spec
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in spec.items()
        if value is not None
    }


class _Port(msgspec.Struct, rename="camel"):
    container_port: int
    name: str | None = None
    protocol: str | None = None


class _Variable(msgspec.Struct):
    name: str


class _Container(msgspec.Struct):
    name: str
    image: str | None = None
    ports: list[_Port] | None = None
    env: list[_Variable] | None = None


class _PodSpec(msgspec.Struct):
    containers: list[_Container] | None = None


class _Metadata(msgspec.Struct):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Template(msgspec.Struct):
    """As much of a pod template as these controllers read."""

    spec: _PodSpec | None = None
    metadata: _Metadata | None = None


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])[A-Z]", lambda match: "_" + match[0].lower(), name)


def _spell(path: str, message: str) -> tuple[str, str]:
    """msgspec's complaint as a field error has it: path and text."""
    text, _, where = message.partition(" - at `")
    where = where.rstrip("`").removeprefix("$")
    return path + where, f"Invalid value: {text[:1].lower()}{text[1:]}"
