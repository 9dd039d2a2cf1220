"""Autoscalers that go by metrics (autoscaling/v2)."""

from __future__ import annotations

from typing import Annotated

from homeport.kube.core.types.bases import AutoscalingV2
from homeport.kube.core.types.meta import LabelSelector, ObjectMeta
from homeport.kube.schema.fields import Int64, Quantity, Time, atomic_list, doc, map_list


class HorizontalPodAutoscaler(AutoscalingV2, frozen=True):
    """Sets the number of replicas of a workload by metrics."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[HorizontalPodAutoscalerSpec | None, doc("The workload and the metrics.")] = None
    status: Annotated[HorizontalPodAutoscalerStatus | None, doc("The current state.")] = None


class HorizontalPodAutoscalerSpec(AutoscalingV2, frozen=True):
    """Which workload is scaled, how far and by what."""

    scale_target_ref: Annotated[
        CrossVersionObjectReference, doc("The workload, which must have the scale subresource.")
    ]
    max_replicas: Annotated[int, doc("The most replicas.")]
    min_replicas: Annotated[int, doc("The least replicas.")] = 1
    metrics: Annotated[
        list[MetricSpec], doc("The metrics; the one that asks for the most replicas counts."), atomic_list()
    ] = []
    behavior: Annotated[HorizontalPodAutoscalerBehavior | None, doc("How fast the number changes.")] = None


class CrossVersionObjectReference(AutoscalingV2, frozen=True):
    """Names an object of any kind in the same namespace."""

    kind: Annotated[str, doc("Kind of the object.")]
    name: Annotated[str, doc("Name of the object.")]
    api_version: Annotated[str, doc("Group and version of the object.")] = ""


class MetricSpec(AutoscalingV2, frozen=True):
    """One metric to scale by; which field is set goes by the type."""

    type: Annotated[str, doc("ContainerResource, External, Object, Pods or Resource.")]
    object: Annotated[ObjectMetricSource | None, doc("A metric of another object.")] = None
    pods: Annotated[PodsMetricSource | None, doc("A metric of each pod, averaged.")] = None
    resource: Annotated[ResourceMetricSource | None, doc("A resource of the pods.")] = None
    container_resource: Annotated[
        ContainerResourceMetricSource | None, doc("A resource of one container of the pods.")
    ] = None
    external: Annotated[ExternalMetricSource | None, doc("A metric from outside the cluster.")] = None


class ObjectMetricSource(AutoscalingV2, frozen=True):
    """A metric of another object."""

    described_object: Annotated[CrossVersionObjectReference, doc("The object.")]
    target: Annotated[MetricTarget, doc("The value to reach.")]
    metric: Annotated[MetricIdentifier, doc("The metric.")]


class PodsMetricSource(AutoscalingV2, frozen=True):
    """A metric of each pod, averaged."""

    metric: Annotated[MetricIdentifier, doc("The metric.")]
    target: Annotated[MetricTarget, doc("The value to reach.")]


class ResourceMetricSource(AutoscalingV2, frozen=True):
    """A resource of the pods."""

    name: Annotated[str, doc("The resource.")]
    target: Annotated[MetricTarget, doc("The value to reach.")]


class ContainerResourceMetricSource(AutoscalingV2, frozen=True):
    """A resource of one container of the pods."""

    name: Annotated[str, doc("The resource.")]
    target: Annotated[MetricTarget, doc("The value to reach.")]
    container: Annotated[str, doc("Name of the container.")]


class ExternalMetricSource(AutoscalingV2, frozen=True):
    """A metric from outside the cluster."""

    metric: Annotated[MetricIdentifier, doc("The metric.")]
    target: Annotated[MetricTarget, doc("The value to reach.")]


class MetricIdentifier(AutoscalingV2, frozen=True):
    """Names a metric."""

    name: Annotated[str, doc("Name of the metric.")]
    selector: Annotated[LabelSelector | None, doc("Labels of the metric.")] = None


class MetricTarget(AutoscalingV2, frozen=True):
    """The value that a metric shall have."""

    type: Annotated[str, doc("Utilization, Value or AverageValue.")]
    value: Annotated[Quantity | None, doc("The metric's value.")] = None
    average_value: Annotated[Quantity | None, doc("The average over the pods.")] = None
    average_utilization: Annotated[int | None, doc("The average over the pods, in per cent of what they request.")] = (
        None
    )


class HorizontalPodAutoscalerBehavior(AutoscalingV2, frozen=True):
    """How fast the number of replicas changes."""

    scale_up: Annotated[HPAScalingRules | None, doc("Rules for growing.")] = None
    scale_down: Annotated[HPAScalingRules | None, doc("Rules for shrinking.")] = None


class HPAScalingRules(AutoscalingV2, frozen=True):
    """How fast the number of replicas changes in one direction."""

    stabilization_window_seconds: Annotated[
        int | None, doc("Seconds to look back for a recommendation that asks for less change.")
    ] = None
    select_policy: Annotated[str | None, doc("Which of the policies counts: Max, Min or Disabled.")] = None
    policies: Annotated[list[HPAScalingPolicy], doc("How much may change in which time."), atomic_list()] = []
    tolerance: Annotated[Quantity | None, doc("Share by which a metric may be off its target without a change.")] = None


class HPAScalingPolicy(AutoscalingV2, frozen=True):
    """How much may change in which time."""

    type: Annotated[str, doc("Pods or Percent.")]
    value: Annotated[int, doc("How many pods, or how many per cent of them.")]
    period_seconds: Annotated[int, doc("The time in seconds.")]


class HorizontalPodAutoscalerStatus(AutoscalingV2, frozen=True):
    """What has become of an autoscaler."""

    desired_replicas: Annotated[int, doc("How many replicas there should be.", default=0)]
    observed_generation: Annotated[Int64 | None, doc("The metadata.generation that this state is based on.")] = None
    last_scale_time: Annotated[Time | None, doc("When the number of replicas was last changed.")] = None
    current_replicas: Annotated[int, doc("How many replicas there were when last looked at.")] = 0
    current_metrics: Annotated[list[MetricStatus], doc("The metrics when last looked at."), atomic_list()] = []
    conditions: Annotated[
        list[HorizontalPodAutoscalerCondition], doc("The current state, aspect by aspect."), map_list("type")
    ] = []


class HorizontalPodAutoscalerCondition(AutoscalingV2, frozen=True):
    """One aspect of an autoscaler's state."""

    type: Annotated[str, doc("What the condition is about, in CamelCase.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why it changed, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why it changed, in words.")] = ""
    observed_generation: Annotated[Int64 | None, doc("The metadata.generation that this state is based on.")] = None


class MetricStatus(AutoscalingV2, frozen=True):
    """A metric when last looked at."""

    type: Annotated[str, doc("ContainerResource, External, Object, Pods or Resource.", default="")]
    object: Annotated[ObjectMetricStatus | None, doc("A metric of another object.")] = None
    pods: Annotated[PodsMetricStatus | None, doc("A metric of each pod, averaged.")] = None
    resource: Annotated[ResourceMetricStatus | None, doc("A resource of the pods.")] = None
    container_resource: Annotated[
        ContainerResourceMetricStatus | None, doc("A resource of one container of the pods.")
    ] = None
    external: Annotated[ExternalMetricStatus | None, doc("A metric from outside the cluster.")] = None


class ObjectMetricStatus(AutoscalingV2, frozen=True):
    """A metric of another object."""

    metric: Annotated[MetricIdentifier, doc("The metric.")]
    current: Annotated[MetricValueStatus, doc("The value.")]
    described_object: Annotated[CrossVersionObjectReference, doc("The object.")]


class PodsMetricStatus(AutoscalingV2, frozen=True):
    """A metric of each pod, averaged."""

    metric: Annotated[MetricIdentifier, doc("The metric.")]
    current: Annotated[MetricValueStatus, doc("The value.")]


class ResourceMetricStatus(AutoscalingV2, frozen=True):
    """A resource of the pods."""

    name: Annotated[str, doc("The resource.", default="")]
    current: Annotated[MetricValueStatus, doc("The value.")]


class ContainerResourceMetricStatus(AutoscalingV2, frozen=True):
    """A resource of one container of the pods."""

    name: Annotated[str, doc("The resource.", default="")]
    current: Annotated[MetricValueStatus, doc("The value.")]
    container: Annotated[str, doc("Name of the container.", default="")]


class ExternalMetricStatus(AutoscalingV2, frozen=True):
    """A metric from outside the cluster."""

    metric: Annotated[MetricIdentifier, doc("The metric.")]
    current: Annotated[MetricValueStatus, doc("The value.")]


class MetricValueStatus(AutoscalingV2, frozen=True):
    """The value of a metric."""

    value: Annotated[Quantity | None, doc("The metric's value.")] = None
    average_value: Annotated[Quantity | None, doc("The average over the pods.")] = None
    average_utilization: Annotated[int | None, doc("The average over the pods, in per cent of what they request.")] = (
        None
    )
