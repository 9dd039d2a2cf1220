"""A job set while it is drawn up of a runtime and a training job (upstream: ``runtime.Info`` and its ``PodSet``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import msgspec

from homeport.components.trainer import names
from homeport.control.freeze import thaw
from homeport.kube import jobset, meta, quantity
from homeport.kube.meta import Object
from homeport.kube.patch.strategic import strategic_merge_patch
from homeport.kube.schema import REF_PREFIX
from homeport.kube.schema.struct import Components, components, schema_name


class Unbuildable(Exception):
    """What is wrong with a runtime, or with a job together with its runtime, in the way of a sentence's rest."""


class PodSet(msgspec.Struct, eq=False):
    """The pods of one replicated job."""

    group: Object
    """The replicated job; it may be changed."""
    ancestor: str
    """Which step of the training job it is; empty for one that is none."""
    count: int
    least: int | None = None
    """How few of them training can go on with; None: all are needed."""

    @property
    def name(self) -> str:
        return str(self.group["name"])

    @property
    def pod(self) -> Object:
        """The pods' spec."""
        template = self.group["template"].setdefault("spec", {}).setdefault("template", {})
        found: Object = template.setdefault("spec", {})
        return found

    def container(self, name: str, *, init: bool = False) -> Object | None:
        """A container; with `init` also an init container, if no other has the name."""
        lists = ("containers", "initContainers") if init else ("containers",)
        return next((c for key in lists for c in self.pod.get(key) or () if c.get("name") == name), None)


class Draft:
    """All of it may be changed; the runtime and the job that it began as stay as they are."""

    def __init__(self, job: Object, runtime: Object) -> None:
        spec, template = meta.spec(runtime), meta.spec(runtime).get("template") or {}
        self.job = job
        self.name = meta.name(job)
        self.trainer: Object = thaw(meta.spec(job).get("trainer") or {})
        self.initializer: Object = thaw(meta.spec(job).get("initializer") or {})
        self.ml_policy: Object | None = thaw(spec["mlPolicy"]) if spec.get("mlPolicy") is not None else None
        self.gang: Object = spec.get("podGroupPolicy") or {}
        self.labels: dict[str, str] = dict(meta.labels(template))
        self.annotations: dict[str, str] = dict(meta.annotations(template))
        self.pod_labels: dict[str, str] = {}
        self.pod_annotations: dict[str, str] = {}
        self.job_set: Object = thaw(template.get("spec") or {})
        self._patch()
        self.sets = [self._pod_set(group) for group in self.job_set.get("replicatedJobs") or ()]
        self._set_resources()

    def _patch(self) -> None:
        order = {group["name"]: place for place, group in enumerate(self.job_set.get("replicatedJobs") or ())}
        for patch in meta.spec(self.job).get("runtimePatches") or ():
            template = (patch.get("trainingRuntimeSpec") or {}).get("template") or {}
            self.labels |= meta.labels(template)
            self.annotations |= meta.annotations(template)
            if template.get("spec"):
                schema, shared = _job_set_schema()
                self.job_set = thaw(strategic_merge_patch(self.job_set, thaw(template["spec"]), schema, shared))
        groups = self.job_set.get("replicatedJobs")
        if groups:
            groups.sort(key=lambda group: order.get(group["name"], len(order)))

    def _pod_set(self, group: Object) -> PodSet:
        group.setdefault("template", {})
        ancestor = meta.labels(group["template"]).get(names.ANCESTOR, "")
        given = meta.spec(group["template"]).get("parallelism")
        count = 1 if given is None else given
        if ancestor == names.TRAINER and self.ml_policy is not None and not self.has_policy("mpi"):
            count = self.ml_policy.get("numNodes") or 1
        return PodSet(group, ancestor, max(count, 1))

    def _set_resources(self) -> None:
        wanted = self.trainer.get("resourcesPerNode")
        if not wanted:
            return
        for pods in self.sets:
            if self.trains(pods):
                container = pods.container(names.NODE)
                if container is not None:
                    container["resources"] = _merged_resources(container.get("resources") or {}, wanted)

    def has_policy(self, name: str) -> bool:
        return self.ml_policy is not None and self.ml_policy.get(name) is not None

    def policy(self, name: str) -> Object:
        """The part of the runtime's ``mlPolicy`` for one framework."""
        return (self.ml_policy or {}).get(name) or {}

    def trains(self, pods: PodSet) -> bool:
        """Whether its pods train: also the nodes beside an MPI launcher that does."""
        if pods.ancestor == names.TRAINER:
            return self.ml_policy is not None
        return bool(self.policy("mpi").get("runLauncherAsNode")) and pods.name == names.NODE

    @property
    def trainer_set(self) -> PodSet | None:
        return next((pods for pods in self.sets if pods.ancestor == names.TRAINER), None)

    def set_named(self, name: str) -> PodSet | None:
        return next((pods for pods in self.sets if pods.name == name), None)

    @property
    def trainer_container(self) -> Object | None:
        found = self.trainer_set
        return None if found is None else found.container(names.NODE)

    def take_nodes(self) -> int:
        """Set the number of nodes that the job wants; the number there are."""
        found = self.trainer_set
        if found is None:
            return 1
        wanted = self.trainer.get("numNodes")
        if wanted is not None:
            found.count = wanted
        return found.count

    @property
    def resources(self) -> Object:
        """Of each node: the job's, else the runtime's."""
        if self.trainer.get("resourcesPerNode"):
            return dict(self.trainer["resourcesPerNode"])
        for pods in self.sets:
            if pods.name == names.NODE or pods.ancestor == names.TRAINER:
                container = pods.container(names.NODE)
                if container is not None and container.get("resources"):
                    return dict(container["resources"])
        return {}

    @property
    def gpus(self) -> int:
        """GPUs of each node."""
        resources = self.resources
        return _gpus(resources.get("requests")) or _gpus(resources.get("limits"))

    @property
    def cpus(self) -> int:
        """Whole CPUs of each node, rounded up; 0 if it has no such limit."""
        resources = self.resources
        for which in ("requests", "limits"):
            amount = (resources.get(which) or {}).get("cpu")
            if amount is not None and quantity.whole(amount):
                return quantity.whole(amount)
        return 0

    @property
    def subdomain(self) -> str:
        return str((self.job_set.get("network") or {}).get("subdomain") or self.name)

    def host(self, pods: PodSet, index: int, replica: int = 0) -> str:
        """Where a pod is found within the namespace."""
        return f"{self.name}-{pods.name}-{replica}-{index}.{self.subdomain}"

    def hosts(self, pods: PodSet) -> Iterator[str]:
        for replica in range(pods.group.get("replicas") or 1):
            for index in range(pods.count):
                yield self.host(pods, index, replica)

    @property
    def head(self) -> str:
        """Where the first node is found."""
        found = self.trainer_set
        return f"{self.name}-{names.NODE}-0-0.{self.subdomain}" if found is None else self.host(found, 0)


def upsert(items: list[Any], new: Iterable[Object], *keys: str) -> None:
    """Put each of `new` in the place of the first item that has one of its `keys` in common with it, or at the end."""
    for item in new:
        same = (n for n, old in enumerate(items) if any(key in item and old.get(key) == item[key] for key in keys))
        place = next(same, None)
        if place is None:
            items.append(item)
        else:
            items[place] = item


def set_env(container: Object, variables: Iterable[Object]) -> None:
    upsert(container.setdefault("env", []), variables, "name")


def open_port(container: Object) -> None:
    upsert(container.setdefault("ports", []), [{"containerPort": names.PORT}], "containerPort")


def variable(name: str, value: object) -> Object:
    return {"name": name, "value": str(value)}


def index_variable(name: str) -> Object:
    """A variable with the pod's index in its job."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": names.INDEX_FIELD}}}


def _gpus(amounts: Any) -> int:
    return next((quantity.whole(amount) for key, amount in sorted((amounts or {}).items()) if "gpu" in key.lower()), 0)


def _merged_resources(base: Object, wanted: Object) -> Object:
    merged: Object = {key: thaw(value) for key, value in base.items()}
    for key in ("limits", "requests"):
        if wanted.get(key):
            merged[key] = {**(merged.get(key) or {}), **wanted[key]}
    if wanted.get("claims"):
        merged.setdefault("claims", [])
        upsert(merged["claims"], thaw(wanted["claims"]), "name")
    return merged


@cache
def _job_set_schema() -> tuple[Object, Components]:
    """The schema of job sets, by which patches are merged."""
    shared = components((), (jobset.JobSetSpec,))
    return {"$ref": REF_PREFIX + schema_name(jobset.JobSetSpec)}, shared
