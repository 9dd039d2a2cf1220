"""What ``metrics.k8s.io`` says of nodes and pods (upstream: ``k8s.io/metrics``). Nothing of it is stored."""

from __future__ import annotations

from typing import Annotated, ClassVar

from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema.fields import Duration, Model, Quantity, Time, atomic_list, doc


class MetricsV1beta1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.metrics.pkg.apis.metrics.v1beta1"


class NodeMetrics(MetricsV1beta1, frozen=True):
    """What a node uses."""

    timestamp: Annotated[Time, doc("When the usage was measured: the end of the interval.")]
    window: Annotated[Duration, doc("How long the interval is over which the usage was measured.")]
    usage: Annotated[dict[str, Quantity], doc("CPU and memory in use.")]
    metadata: Annotated[ObjectMeta | None, doc("The node's name and labels.")] = None


class PodMetrics(MetricsV1beta1, frozen=True):
    """What the containers of a pod use."""

    timestamp: Annotated[Time, doc("When the usage was measured: the end of the interval.")]
    window: Annotated[Duration, doc("How long the interval is over which the usage was measured.")]
    containers: Annotated[list[ContainerMetrics], doc("The usage of each container."), atomic_list()]
    metadata: Annotated[ObjectMeta | None, doc("The pod's name, namespace and labels.")] = None


class ContainerMetrics(MetricsV1beta1, frozen=True):
    """What a container uses."""

    name: Annotated[str, doc("The container's name in its pod.")]
    usage: Annotated[dict[str, Quantity], doc("CPU and memory in use.")]
