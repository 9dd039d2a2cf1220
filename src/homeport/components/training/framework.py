"""A training framework is a value: what TFJob, PyTorchJob and their like differ in, and nothing else.

:mod:`~homeport.components.training.job` turns a :class:`Framework` into a controller; the same code runs all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from homeport.components.training.kinds import ReplicaSpec, RestartPolicy, RunPolicy, TrainingModel
from homeport.control.controller import Child
from homeport.kube.errors import FieldError
from homeport.kube.kind import Resource
from homeport.kube.meta import Object


class Settings(msgspec.Struct, frozen=True):
    """What an operator may set for all jobs."""

    cluster_domain: str = ""
    """Appended to the host names in ``TF_CONFIG`` (``CUSTOM_CLUSTER_DOMAIN`` of the Training Operator); for example
    ``cluster.local`` gives ``<pod>.<namespace>.svc.cluster.local``."""
    kubectl_delivery_image: str = "mpioperator/kubectl-delivery:latest"
    """Gives launchers of MPIJobs (v1) the ``kubectl`` by which they start processes in the workers
    (``--mpi-kubectl-delivery-image`` of the Training Operator)."""
    gang_scheduler: Literal["none", "volcano", "scheduler-plugins"] | None = None
    """Who places all pods of a job together (``--gang-scheduler-name`` of the Training Operator). With ``none``, only
    jobs that ask for it have that; None: no job can have it, for servers that know no pod groups."""


class Replica(msgspec.Struct, frozen=True):
    """One replica of a job: a pod and its service, both named `name`."""

    type: str
    index: int
    name: str

    @property
    def role(self) -> str:
        """The type in lower case, as names and labels have it."""
        return self.type.lower()

    def __str__(self) -> str:
        return f"{self.type} replica {self.index}"


class Job(msgspec.Struct, frozen=True):
    """A job with its defaults set, as the frameworks' functions see it."""

    framework: Framework
    name: str
    namespace: str
    spec: Any
    """The framework's own spec struct."""
    run_policy: RunPolicy
    replicas: Mapping[str, ReplicaSpec]
    """By canonical type, in the framework's order; ``replicas`` and ``restart_policy`` of each are set."""
    settings: Settings
    gang_restart: bool = False
    """A replica that fails takes the others with it: all restart together."""

    def count(self, type: str) -> int:
        """How many replicas of `type` the job asks for."""
        spec = self.replicas.get(type)
        return spec.replicas or 0 if spec else 0

    @property
    def total(self) -> int:
        return sum(self.count(type) for type in self.replicas)

    def host(self, type: str, index: int) -> str:
        """Name of a replica's pod and service; resolves within the namespace."""
        return self.framework.child_name(self.name, type, index)

    def port(self, type: str) -> int:
        """The port on which replicas of `type` meet: the container port with the framework's port name."""
        for port in self.main(type).get("ports") or ():
            if port.get("name") == self.framework.port_name:
                return int(port["containerPort"])
        return self.framework.port

    def main(self, type: str) -> Object:
        """The container that trains, in the template of `type`; empty if there is none."""
        spec = self.replicas.get(type)
        containers = (spec.template.get("spec") or {}).get("containers") or () if spec else ()
        return next((c for i, c in enumerate(containers) if self.framework.is_main(i, c)), {})

    def first(self, *types: str) -> str | None:
        """The first of `types` that the job has replicas of."""
        return next((type for type in types if self.count(type)), None)


class Decision(msgspec.Struct, frozen=True):
    """Which replicas decide that a job has succeeded, and that it runs."""

    types: tuple[str, ...]
    rule: Literal["all", "first", "any"] = "all"
    """All replicas of `types`, only the one with index 0, or any one of them."""


Environment = Callable[[Replica], Sequence[Object]]
"""From a replica to the variables (``EnvVar`` objects) that the framework needs there."""


def variables(values: Mapping[str, object]) -> list[Object]:
    """``EnvVar`` objects; values become text."""
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def _no_errors(spec: Any, replicas: Mapping[str, ReplicaSpec]) -> Iterable[FieldError]:
    return ()


def _same_spec(spec: Object) -> Object:
    return spec


def _tolerates_none(job: Job, type: str) -> bool:
    return False


def _no_objects(job: Job, pods: Mapping[str, Object]) -> Iterable[Object]:
    return ()


def _nothing_ignored(job: Object) -> bool:
    return False


def _same_pod(job: Job, replica: Replica, spec: Object) -> Object:
    return spec


class Framework(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Everything that is particular to one kind of training job."""

    resource: Resource
    body: type[TrainingModel]
    """Struct of the whole object."""
    spec: type[TrainingModel]
    """Struct of its ``spec``."""
    replicas_field: str
    """Field of the spec that holds the replicas by type, such as ``tfReplicaSpecs``."""
    types: tuple[str, ...]
    """Canonical replica types, in the order in which pods are made."""
    container: str
    """Name of the container that trains; each pod must have it. Empty: the first one trains."""
    port_name: str
    port: int
    """The port by which replicas meet; added to the container if it has no port of that name. No name: no port."""
    restart_policy: RestartPolicy
    """For replicas that don't say."""
    decide: Callable[[Job], Decision]
    environment: Callable[[Job], Environment]
    """Called once a sync; what it returns is called for each pod to make. What all pods share belongs in the former."""
    all_containers: bool = False
    """True sets the variables in every container of a pod, False in the one that trains."""
    masters: tuple[str, ...] = ()
    """Types whose pods bear the label ``job-role: master``; worker 0 does, in a job that has none of them."""
    single_master: bool = True
    """Whether a job may have only one replica of these types in all."""
    min_replicas: int = 1
    """The fewest replicas that a type in the spec may ask for."""
    default_replicas: Mapping[str, int] = msgspec.field(default_factory=dict)
    """By type, where that isn't 1."""
    tolerates: Callable[[Job, str], bool] = _tolerates_none
    """True if a failed replica of that type doesn't fail the job."""
    default: Callable[[Object], Object] = _same_spec
    """Sets the framework's own defaults in a spec whose common ones are set. Doesn't change its argument."""
    validate: Callable[[Any, Mapping[str, ReplicaSpec]], Iterable[FieldError]] = _no_errors
    """The framework's own rules, for the spec struct and the replicas by canonical type."""
    unindexed: frozenset[str] = frozenset()
    """Types of which there is one, named without an index (``<job>-launcher``)."""
    services: bool = True
    """A headless service for each replica."""
    shape_pod: Callable[[Job, Replica, Object], Object] = _same_pod
    """The last word on a pod's spec: mounts, init containers, a default command. Doesn't change its argument."""
    children: tuple[Child, ...] = ()
    """Further kinds of objects that the job owns, besides pods and services."""
    objects: Callable[[Job, Mapping[str, Object]], Iterable[Object]] = _no_objects
    """These objects, from the job and its pods by name."""
    grants: tuple[Object, ...] = ()
    """The rules of roles among them (``Controller.grants``)."""
    scale_paths: tuple[str, str, str] | None = None
    ignores: Callable[[Object], bool] = _nothing_ignored
    """Jobs that another controller runs, though they are of this kind."""
    marks_evictions: bool = False
    """A job that an eviction failed says so in its condition's reason (``MPIJobEvicted``)."""

    def is_main(self, index: int, container: Object) -> bool:
        """Whether the container at `index` of a pod is the one that trains."""
        return container.get("name") == self.container if self.container else index == 0

    @property
    def kind(self) -> str:
        return self.resource.kind

    @property
    def operator(self) -> str:
        """Name of the controller, and value of the label ``training.kubeflow.org/operator-name``."""
        return f"{self.kind.lower()}-controller"

    @property
    def replicas_path(self) -> str:
        return f"spec.{self.replicas_field}"

    def reason(self, event: str) -> str:
        """A condition's reason, such as ``TFJobRunning``."""
        return self.kind + event

    def child_name(self, job: str, type: str, index: int) -> str:
        return f"{job}-{type.lower()}" if type in self.unindexed else f"{job}-{type.lower()}-{index}"

    def canonical(self, type: str) -> str:
        """`type` in the framework's own spelling; unchanged if the framework doesn't know it."""
        lower = type.lower()
        return next((known for known in self.types if known.lower() == lower), type)

    def is_master(self, job: Job, replica: Replica) -> bool:
        if job.first(*self.masters):
            return replica.type in self.masters
        return replica.type == "Worker" and replica.index == 0
