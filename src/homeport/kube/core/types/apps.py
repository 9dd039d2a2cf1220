"""Workloads whose pods are kept running (apps/v1)."""

from __future__ import annotations

from typing import Annotated, Literal

from homeport.kube.core.types.bases import AppsV1
from homeport.kube.core.types.meta import LabelSelector, ObjectMeta
from homeport.kube.core.types.pod import PodTemplateSpec
from homeport.kube.core.types.volume_claim import PersistentVolumeClaim
from homeport.kube.schema.fields import AnyObject, Int64, IntOrString, Time, atomic_list, doc, map_list


class Deployment(AppsV1, frozen=True):
    """Keeps a number of equal pods running and replaces them step by step when their template changes."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[DeploymentSpec | None, doc("The pods to run.")] = None
    status: Annotated[DeploymentStatus | None, doc("The current state.")] = None


class DeploymentSpec(AppsV1, frozen=True):
    """The pods that a deployment runs, and how it replaces them."""

    selector: Annotated[
        LabelSelector, doc("Labels of the deployment's pods; the template must have them. It can't be changed.")
    ]
    template: Annotated[PodTemplateSpec, doc("The pods. Their restart policy is always Always.")]
    replicas: Annotated[int, doc("How many pods to run.")] = 1
    strategy: Annotated[DeploymentStrategy | None, doc("How pods are replaced by new ones.")] = None
    min_ready_seconds: Annotated[
        int, doc("Seconds that a new pod has to stay ready before it counts as available.")
    ] = 0
    revision_history_limit: Annotated[int, doc("How many old replica sets are kept to go back to.")] = 10
    paused: Annotated[bool, doc("Whether changes of the template wait.")] = False
    progress_deadline_seconds: Annotated[
        int, doc("Seconds without progress after which the deployment counts as failed.")
    ] = 600


class DeploymentStrategy(AppsV1, frozen=True):
    """How a deployment replaces its pods."""

    type: Annotated[
        Literal["Recreate", "RollingUpdate"] | None, doc("Recreate (the old ones first go away) or RollingUpdate.")
    ] = None
    rolling_update: Annotated[RollingUpdateDeployment | None, doc("Settings for the type RollingUpdate.")] = None


class RollingUpdateDeployment(AppsV1, frozen=True):
    """How far a rolling update may go at a time."""

    max_unavailable: Annotated[
        IntOrString | None, doc("How many pods may be missing, as a number or a percentage.")
    ] = None
    max_surge: Annotated[
        IntOrString | None, doc("How many pods more than wanted there may be, as a number or a percentage.")
    ] = None


class DeploymentStatus(AppsV1, frozen=True):
    """What has become of a deployment."""

    observed_generation: Annotated[Int64, doc("The metadata.generation that this state is based on.")] = 0
    replicas: Annotated[int, doc("How many pods there are.")] = 0
    updated_replicas: Annotated[int, doc("How many of them are from the present template.")] = 0
    ready_replicas: Annotated[int, doc("How many of them are ready.")] = 0
    available_replicas: Annotated[int, doc("How many of them are available.")] = 0
    unavailable_replicas: Annotated[int, doc("How many more must become available.")] = 0
    terminating_replicas: Annotated[int | None, doc("How many pods are going away.")] = None
    conditions: Annotated[list[DeploymentCondition], doc("The current state, aspect by aspect."), map_list("type")] = []
    collision_count: Annotated[int | None, doc("How often the name of a new replica set was taken.")] = None


class DeploymentCondition(AppsV1, frozen=True):
    """One aspect of a deployment's state."""

    type: Annotated[str, doc("What the condition is about, in CamelCase.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    last_update_time: Annotated[Time | None, doc("When the condition was last looked at.")] = None
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why it changed, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why it changed, in words.")] = ""


class ReplicaSet(AppsV1, frozen=True):
    """Keeps a number of equal pods running."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[ReplicaSetSpec | None, doc("The pods to run.")] = None
    status: Annotated[ReplicaSetStatus | None, doc("The current state.")] = None


class ReplicaSetSpec(AppsV1, frozen=True):
    """The pods that a replica set runs."""

    selector: Annotated[
        LabelSelector, doc("Labels of the set's pods; the template must have them. It can't be changed.")
    ]
    replicas: Annotated[int, doc("How many pods to run.")] = 1
    min_ready_seconds: Annotated[
        int, doc("Seconds that a new pod has to stay ready before it counts as available.")
    ] = 0
    template: Annotated[PodTemplateSpec | None, doc("The pods. Their restart policy is always Always.")] = None


class ReplicaSetStatus(AppsV1, frozen=True):
    """What has become of a replica set."""

    replicas: Annotated[int, doc("How many pods there are.", default=0)]
    fully_labeled_replicas: Annotated[int, doc("How many of them have all labels of the template.")] = 0
    ready_replicas: Annotated[int, doc("How many of them are ready.")] = 0
    available_replicas: Annotated[int, doc("How many of them are available.")] = 0
    terminating_replicas: Annotated[int | None, doc("How many pods are going away.")] = None
    observed_generation: Annotated[Int64, doc("The metadata.generation that this state is based on.")] = 0
    conditions: Annotated[list[ReplicaSetCondition], doc("The current state, aspect by aspect."), map_list("type")] = []


class ReplicaSetCondition(AppsV1, frozen=True):
    """One aspect of a replica set's state."""

    type: Annotated[str, doc("What the condition is about, in CamelCase.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why it changed, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why it changed, in words.")] = ""


class StatefulSet(AppsV1, frozen=True):
    """Keeps pods with lasting names and volumes running."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[StatefulSetSpec | None, doc("The pods to run.")] = None
    status: Annotated[StatefulSetStatus | None, doc("The current state.")] = None


class StatefulSetSpec(AppsV1, frozen=True):
    """The pods that a stateful set runs, and how it replaces them."""

    selector: Annotated[
        LabelSelector, doc("Labels of the set's pods; the template must have them. It can't be changed.")
    ]
    template: Annotated[PodTemplateSpec, doc("The pods. Their restart policy is always Always.")]
    replicas: Annotated[int, doc("How many pods to run.")] = 1
    volume_claim_templates: Annotated[
        list[PersistentVolumeClaim], doc("Claims that every pod gets one of each of."), atomic_list()
    ] = []
    service_name: Annotated[str, doc("The headless service that gives the pods their DNS names.")] = ""
    pod_management_policy: Annotated[
        Literal["OrderedReady", "Parallel"],
        doc("Whether pods are made one after the other or all at once: OrderedReady or Parallel."),
    ] = "OrderedReady"
    update_strategy: Annotated[StatefulSetUpdateStrategy | None, doc("How pods are replaced by new ones.")] = None
    revision_history_limit: Annotated[int, doc("How many old revisions are kept to go back to.")] = 10
    min_ready_seconds: Annotated[
        int, doc("Seconds that a new pod has to stay ready before it counts as available.")
    ] = 0
    persistent_volume_claim_retention_policy: Annotated[
        StatefulSetPersistentVolumeClaimRetentionPolicy | None,
        doc("What becomes of the claims when pods go away for good."),
    ] = None
    ordinals: Annotated[StatefulSetOrdinals | None, doc("How the pods are numbered.")] = None


class StatefulSetUpdateStrategy(AppsV1, frozen=True):
    """How a stateful set replaces its pods."""

    type: Annotated[
        Literal["OnDelete", "Recreate", "RollingUpdate"] | None,
        doc("RollingUpdate or OnDelete (when somebody deletes them)."),
    ] = None
    rolling_update: Annotated[RollingUpdateStatefulSetStrategy | None, doc("Settings for the type RollingUpdate.")] = (
        None
    )


class RollingUpdateStatefulSetStrategy(AppsV1, frozen=True):
    """How far a rolling update may go."""

    partition: Annotated[int | None, doc("Pods with a lower number than this keep the old template.")] = None
    max_unavailable: Annotated[
        IntOrString | None, doc("How many pods may be missing, as a number or a percentage.")
    ] = None


class StatefulSetPersistentVolumeClaimRetentionPolicy(AppsV1, frozen=True):
    """What becomes of a stateful set's claims."""

    when_deleted: Annotated[Literal["Delete", "Retain"] | None, doc("When the set is deleted: Retain or Delete.")] = (
        None
    )
    when_scaled: Annotated[
        Literal["Delete", "Retain"] | None, doc("When the set becomes smaller: Retain or Delete.")
    ] = None


class StatefulSetOrdinals(AppsV1, frozen=True):
    """How a stateful set's pods are numbered."""

    start: Annotated[int, doc("The first number.")] = 0


class StatefulSetStatus(AppsV1, frozen=True):
    """What has become of a stateful set."""

    replicas: Annotated[int, doc("How many pods there are.", default=0)]
    observed_generation: Annotated[Int64, doc("The metadata.generation that this state is based on.")] = 0
    ready_replicas: Annotated[int, doc("How many of them are ready.")] = 0
    current_replicas: Annotated[int, doc("How many of them are of the current revision.")] = 0
    updated_replicas: Annotated[int, doc("How many of them are of the revision that is being rolled out.")] = 0
    current_revision: Annotated[str, doc("The revision that the pods had so far.")] = ""
    update_revision: Annotated[str, doc("The revision that is being rolled out.")] = ""
    collision_count: Annotated[int | None, doc("How often the name of a new revision was taken.")] = None
    conditions: Annotated[
        list[StatefulSetCondition], doc("The current state, aspect by aspect."), map_list("type")
    ] = []
    available_replicas: Annotated[int, doc("How many pods are available.")] = 0


class StatefulSetCondition(AppsV1, frozen=True):
    """One aspect of a stateful set's state."""

    type: Annotated[str, doc("What the condition is about, in CamelCase.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why it changed, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why it changed, in words.")] = ""


class DaemonSet(AppsV1, frozen=True):
    """Keeps a pod running on every node that fits."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[DaemonSetSpec | None, doc("The pods to run.")] = None
    status: Annotated[DaemonSetStatus | None, doc("The current state.")] = None


class DaemonSetSpec(AppsV1, frozen=True):
    """The pods that a daemon set runs, and how it replaces them."""

    selector: Annotated[
        LabelSelector, doc("Labels of the set's pods; the template must have them. It can't be changed.")
    ]
    template: Annotated[PodTemplateSpec, doc("The pods. Their restart policy is always Always.")]
    update_strategy: Annotated[DaemonSetUpdateStrategy | None, doc("How pods are replaced by new ones.")] = None
    min_ready_seconds: Annotated[
        int, doc("Seconds that a new pod has to stay ready before it counts as available.")
    ] = 0
    revision_history_limit: Annotated[int, doc("How many old revisions are kept to go back to.")] = 10


class DaemonSetUpdateStrategy(AppsV1, frozen=True):
    """How a daemon set replaces its pods."""

    type: Annotated[
        Literal["OnDelete", "RollingUpdate"] | None, doc("RollingUpdate or OnDelete (when somebody deletes them).")
    ] = None
    rolling_update: Annotated[RollingUpdateDaemonSet | None, doc("Settings for the type RollingUpdate.")] = None


class RollingUpdateDaemonSet(AppsV1, frozen=True):
    """How far a rolling update may go at a time."""

    max_unavailable: Annotated[
        IntOrString | None, doc("How many nodes may lack their pod, as a number or a percentage.")
    ] = None
    max_surge: Annotated[
        IntOrString | None, doc("How many nodes may have the old and the new pod, as a number or a percentage.")
    ] = None


class DaemonSetStatus(AppsV1, frozen=True):
    """What has become of a daemon set."""

    current_number_scheduled: Annotated[int, doc("How many nodes have a pod that they should have.", default=0)]
    number_misscheduled: Annotated[int, doc("How many nodes have a pod that they should not have.", default=0)]
    desired_number_scheduled: Annotated[int, doc("How many nodes should have a pod.", default=0)]
    number_ready: Annotated[int, doc("How many nodes have a pod that is ready.", default=0)]
    observed_generation: Annotated[Int64, doc("The metadata.generation that this state is based on.")] = 0
    updated_number_scheduled: Annotated[int, doc("How many nodes have a pod from the present template.")] = 0
    number_available: Annotated[int, doc("How many nodes have a pod that is available.")] = 0
    number_unavailable: Annotated[int, doc("How many nodes should have a pod that is available and have none.")] = 0
    collision_count: Annotated[int | None, doc("How often the name of a new revision was taken.")] = None
    conditions: Annotated[list[DaemonSetCondition], doc("The current state, aspect by aspect."), map_list("type")] = []


class DaemonSetCondition(AppsV1, frozen=True):
    """One aspect of a daemon set's state."""

    type: Annotated[str, doc("What the condition is about, in CamelCase.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why it changed, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why it changed, in words.")] = ""


class ControllerRevision(AppsV1, frozen=True):
    """A snapshot of a controller's settings to go back to. It can't be changed."""

    data: Annotated[AnyObject, doc("The settings.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    revision: Annotated[Int64, doc("Number of the snapshot.")] = 0
