"""The structs of what a training job may change of its runtime's job set."""

from __future__ import annotations

from typing import Annotated

from homeport.components.trainer.runtimes import TrainerModel
from homeport.kube.core.types.container import EnvVar, VolumeMount
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.placement import Affinity, Toleration
from homeport.kube.core.types.pod import PodSchedulingGate
from homeport.kube.core.types.references import LocalObjectReference
from homeport.kube.core.types.security import PodSecurityContext, SecurityContext
from homeport.kube.core.types.volume import Volume
from homeport.kube.schema.fields import Int64, Time, atomic_list, doc, map_list

_FIXED = [{"rule": "self == oldSelf", "message": "field is immutable"}]


class ContainerPatch(TrainerModel, frozen=True):
    """What changes of one container."""

    name: Annotated[str, doc("A container that the runtime has.", min_length=1, max_length=253)]
    env: Annotated[
        list[EnvVar] | None,
        doc(
            "Variables. Those of node, dataset-initializer and model-initializer are set by trainer and initializer.",
            max_items=128,
        ),
        map_list("name"),
    ] = None
    volume_mounts: Annotated[
        list[VolumeMount] | None,
        doc("Volumes to mount.", max_items=128),
        map_list("name", patch="mountPath"),
    ] = None
    security_context: Annotated[SecurityContext | None, doc("Security settings of the container.")] = None


class PodSpecPatch(TrainerModel, frozen=True):
    """What changes of the pods."""

    service_account_name: Annotated[str | None, doc("The service account.", max_length=253, rules=_FIXED)] = None
    volumes: Annotated[list[Volume] | None, doc("Volumes.", max_items=128, rules=_FIXED), map_list("name")] = None
    init_containers: Annotated[
        list[ContainerPatch] | None, doc("Init containers.", max_items=64, rules=_FIXED), map_list("name")
    ] = None
    containers: Annotated[
        list[ContainerPatch] | None, doc("Containers.", max_items=64, rules=_FIXED), map_list("name")
    ] = None
    image_pull_secrets: Annotated[
        list[LocalObjectReference] | None, doc("Secrets for pulling.", max_items=64, rules=_FIXED), map_list("name")
    ] = None
    security_context: Annotated[PodSecurityContext | None, doc("Security settings of the pods.", rules=_FIXED)] = None
    node_selector: Annotated[dict[str, str] | None, doc("Labels that a node must have.")] = None
    affinity: Annotated[Affinity | None, doc("Which nodes suit best.")] = None
    tolerations: Annotated[
        list[Toleration] | None, doc("Taints that are put up with.", max_items=128), atomic_list()
    ] = None
    scheduling_gates: Annotated[
        list[PodSchedulingGate] | None, doc("What holds the pods back.", max_items=16), map_list("name")
    ] = None
    termination_grace_period_seconds: Annotated[
        Int64 | None, doc("Seconds that a pod has to end.", minimum=0, rules=_FIXED)
    ] = None


class PodTemplatePatch(TrainerModel, frozen=True):
    """What changes of the pod template."""

    metadata: Annotated[ObjectMeta | None, doc("Labels and annotations.")] = None
    spec: Annotated[PodSpecPatch | None, doc("The pods.")] = None


class JobSpecPatch(TrainerModel, frozen=True):
    """What changes of the jobs."""

    template: Annotated[PodTemplatePatch | None, doc("The pod template.")] = None


class JobTemplatePatch(TrainerModel, frozen=True):
    """What changes of the job template."""

    metadata: Annotated[ObjectMeta | None, doc("Labels and annotations.")] = None
    spec: Annotated[JobSpecPatch | None, doc("The jobs.")] = None


class ReplicatedJobPatch(TrainerModel, frozen=True):
    """What changes of one replicated job."""

    name: Annotated[str, doc("A replicated job that the runtime has.", min_length=1, max_length=253)]
    template: Annotated[JobTemplatePatch | None, doc("The job template.")] = None


class JobSetSpecPatch(TrainerModel, frozen=True):
    """What changes of the job set."""

    replicated_jobs: Annotated[
        list[ReplicatedJobPatch] | None, doc("The replicated jobs, by name.", max_items=100), map_list("name")
    ] = None


class JobSetTemplatePatch(TrainerModel, frozen=True):
    """What changes of the job set and its metadata."""

    metadata: Annotated[ObjectMeta | None, doc("Labels and annotations of the job set.")] = None
    spec: Annotated[JobSetSpecPatch | None, doc("The job set.")] = None


class TrainingRuntimeSpecPatch(TrainerModel, frozen=True):
    """What changes of the runtime."""

    template: Annotated[JobSetTemplatePatch | None, doc("The job set.")] = None


class RuntimePatch(TrainerModel, frozen=True):
    """Changes that one manager wants."""

    manager: Annotated[str, doc("Who wants them: a domain and a path.", min_length=1, max_length=253, rules=_FIXED)]
    time: Annotated[Time | None, doc("When they were last written. Set on admission.")] = None
    training_runtime_spec: Annotated[TrainingRuntimeSpecPatch | None, doc("The changes.")] = None
