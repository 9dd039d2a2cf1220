"""Replication controllers and the state of a cluster's components."""

from __future__ import annotations

from typing import Annotated

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.pod import PodTemplateSpec
from homeport.kube.schema.fields import Int64, Time, atomic_map, doc, map_list


class ReplicationController(CoreV1, frozen=True):
    """Keeps a number of equal pods running. Deployments do it better."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[ReplicationControllerSpec | None, doc("The pods to run.")] = None
    status: Annotated[ReplicationControllerStatus | None, doc("The current state.")] = None


class ReplicationControllerSpec(CoreV1, frozen=True):
    """The pods that a replication controller runs."""

    replicas: Annotated[int, doc("How many pods to run.")] = 1
    min_ready_seconds: Annotated[
        int, doc("Seconds that a new pod has to stay ready before it counts as available.")
    ] = 0
    selector: Annotated[
        dict[str, str], doc("Labels of the controller's pods; by default those of the template."), atomic_map()
    ] = {}
    template: Annotated[PodTemplateSpec | None, doc("The pods. Their restart policy is always Always.")] = None


class ReplicationControllerStatus(CoreV1, frozen=True):
    """What has become of a replication controller."""

    replicas: Annotated[int, doc("How many pods there are.", default=0)]
    fully_labeled_replicas: Annotated[int, doc("How many of them have all labels of the template.")] = 0
    ready_replicas: Annotated[int, doc("How many of them are ready.")] = 0
    available_replicas: Annotated[int, doc("How many of them are available.")] = 0
    observed_generation: Annotated[Int64, doc("The metadata.generation that this state is based on.")] = 0
    conditions: Annotated[
        list[ReplicationControllerCondition], doc("The current state, aspect by aspect."), map_list("type")
    ] = []


class ReplicationControllerCondition(CoreV1, frozen=True):
    """One aspect of a replication controller's state."""

    type: Annotated[str, doc("What the condition is about, in CamelCase.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why it changed, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why it changed, in words.")] = ""


class ComponentStatus(CoreV1, frozen=True):
    """The state of a component of the cluster. Deprecated."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    conditions: Annotated[list[ComponentCondition], doc("What is known of the component."), map_list("type")] = []


class ComponentCondition(CoreV1, frozen=True):
    """What is known of a component."""

    type: Annotated[str, doc("Always Healthy.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    message: Annotated[str, doc("What the component says.")] = ""
    error: Annotated[str, doc("What went wrong.")] = ""
