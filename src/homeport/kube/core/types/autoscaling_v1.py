"""Autoscalers in their first form, which knows only the processor, and the scale of a workload (autoscaling/v1)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from homeport.kube.core.types.bases import AutoscalingV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import Int64, Time, doc


class HorizontalPodAutoscaler(AutoscalingV1, frozen=True):
    """Sets the number of replicas of a workload by how busy the processors are."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[HorizontalPodAutoscalerSpec | None, doc("The workload and the target.")] = None
    status: Annotated[HorizontalPodAutoscalerStatus | None, doc("The current state.")] = None


class HorizontalPodAutoscalerSpec(AutoscalingV1, frozen=True):
    """Which workload is scaled, and how far."""

    scale_target_ref: Annotated[
        CrossVersionObjectReference, doc("The workload, which must have the scale subresource.")
    ]
    max_replicas: Annotated[int, doc("The most replicas.")]
    min_replicas: Annotated[int, doc("The least replicas.")] = 1
    target_cpu_utilization_percentage: Annotated[
        int | None, doc("The processor time to reach, in per cent of what the pods request.")
    ] = msgspec.field(name="targetCPUUtilizationPercentage", default=None)


class CrossVersionObjectReference(AutoscalingV1, frozen=True):
    """Names an object of any kind in the same namespace."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    kind: Annotated[str, doc("Kind of the object.")]
    name: Annotated[str, doc("Name of the object.")]
    api_version: Annotated[str, doc("Group and version of the object.")] = ""


class HorizontalPodAutoscalerStatus(AutoscalingV1, frozen=True):
    """What has become of an autoscaler."""

    current_replicas: Annotated[int, doc("How many replicas there were when last looked at.", default=0)]
    desired_replicas: Annotated[int, doc("How many replicas there should be.", default=0)]
    observed_generation: Annotated[Int64 | None, doc("The metadata.generation that this state is based on.")] = None
    last_scale_time: Annotated[Time | None, doc("When the number of replicas was last changed.")] = None
    current_cpu_utilization_percentage: Annotated[
        int | None, doc("The processor time when last looked at, in per cent of what the pods request.")
    ] = msgspec.field(name="currentCPUUtilizationPercentage", default=None)


class Scale(AutoscalingV1, frozen=True):
    """The number of replicas of a workload."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[ScaleSpec | None, doc("How many replicas there should be.")] = None
    status: Annotated[ScaleStatus | None, doc("How many replicas there are.")] = None


class ScaleSpec(AutoscalingV1, frozen=True):
    """How many replicas there should be."""

    replicas: Annotated[int, doc("The number of replicas.")] = 0


class ScaleStatus(AutoscalingV1, frozen=True):
    """How many replicas there are."""

    replicas: Annotated[int, doc("The number of replicas.", default=0)]
    selector: Annotated[str, doc("Labels of the pods, as a query writes them.")] = ""
