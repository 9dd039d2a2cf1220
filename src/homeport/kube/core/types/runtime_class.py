"""Ways to run pods (node.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated

from homeport.kube.core.types.bases import NodeV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.placement import Toleration
from homeport.kube.schema.fields import Quantity, atomic_list, atomic_map, doc


class RuntimeClass(NodeV1, frozen=True):
    """A way to run pods."""

    handler: Annotated[str, doc("Name by which the node knows the way. It can't be changed.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    overhead: Annotated[Overhead | None, doc("What running a pod this way costs beside its containers.")] = None
    scheduling: Annotated[Scheduling | None, doc("Where pods of the class can run.")] = None


class Overhead(NodeV1, frozen=True):
    """What running a pod costs beside its containers."""

    pod_fixed: Annotated[dict[str, Quantity], doc("Amount of each resource.")] = {}


class Scheduling(NodeV1, frozen=True):
    """Where pods of a class can run."""

    node_selector: Annotated[dict[str, str], doc("Labels of the nodes."), atomic_map()] = {}
    tolerations: Annotated[list[Toleration], doc("Taints of nodes that the pods put up with."), atomic_list()] = []
