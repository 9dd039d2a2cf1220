"""Claims of persistent storage."""

from __future__ import annotations

from typing import Annotated, Literal

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.meta import LabelSelector, ObjectMeta
from homeport.kube.core.types.references import TypedLocalObjectReference, TypedObjectReference
from homeport.kube.schema.fields import Quantity, Time, atomic_list, doc, map_list


class PersistentVolumeClaim(CoreV1, frozen=True):
    """Asks for storage."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[PersistentVolumeClaimSpec | None, doc("What is asked for.")] = None
    status: Annotated[PersistentVolumeClaimStatus | None, doc("The claim's state.")] = None


class PersistentVolumeClaimSpec(CoreV1, frozen=True):
    """What storage is asked for."""

    access_modes: Annotated[
        list[Literal["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]],
        doc("How the volume can be mounted: ReadWriteOnce, ReadOnlyMany, ReadWriteMany or ReadWriteOncePod."),
        atomic_list(),
    ] = []
    selector: Annotated[LabelSelector | None, doc("Volumes to choose from, by their labels.")] = None
    resources: Annotated[VolumeResourceRequirements | None, doc("Size that is asked for.")] = None
    volume_name: Annotated[str, doc("The volume that the claim is bound to.")] = ""
    storage_class_name: Annotated[str | None, doc("Name of the storage class.")] = None
    volume_mode: Annotated[Literal["Block", "Filesystem"], doc("Filesystem or Block.")] = "Filesystem"
    data_source: Annotated[
        TypedLocalObjectReference | None, doc("What to fill the volume from: a snapshot or another claim.")
    ] = None
    data_source_ref: Annotated[
        TypedObjectReference | None, doc("What to fill the volume from: an object of any kind.")
    ] = None
    volume_attributes_class_name: Annotated[str | None, doc("Name of the volume attributes class.")] = None


class PersistentVolumeClaimStatus(CoreV1, frozen=True):
    """State of a claim."""

    phase: Annotated[Literal["Bound", "Lost", "Pending"] | None, doc("A one-word summary of the state.")] = None
    access_modes: Annotated[
        list[Literal["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]],
        doc("How the volume can be mounted."),
        atomic_list(),
    ] = []
    capacity: Annotated[dict[str, Quantity], doc("Size of the volume.")] = {}
    conditions: Annotated[
        list[PersistentVolumeClaimCondition], doc("The current state, aspect by aspect."), map_list("type")
    ] = []
    allocated_resources: Annotated[
        dict[str, Quantity], doc("Size set aside for the claim, also while it is being enlarged.")
    ] = {}
    allocated_resource_statuses: Annotated[
        dict[
            str,
            Literal[
                "ControllerResizeInProgress",
                "ControllerResizeInfeasible",
                "NodeResizeInProgress",
                "NodeResizeInfeasible",
                "NodeResizePending",
            ],
        ],
        doc("State of the enlargement."),
    ] = {}
    current_volume_attributes_class_name: Annotated[str | None, doc("The class that is in force.")] = None
    modify_volume_status: Annotated[ModifyVolumeStatus | None, doc("State of a change of the class.")] = None
    health_status: Annotated[VolumeHealthStatus | None, doc("Health of the volume.")] = None


class PersistentVolumeClaimCondition(CoreV1, frozen=True):
    """One aspect of a claim's current state."""

    type: Annotated[str, doc("What the condition is about.")]
    status: Annotated[str, doc("Whether the condition holds: True, False or Unknown.")]
    last_probe_time: Annotated[Time | None, doc("When it was last looked at.")] = None
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why, in words.")] = ""


class PersistentVolumeClaimTemplate(CoreV1, frozen=True):
    """Metadata and spec of the claim to create."""

    spec: Annotated[PersistentVolumeClaimSpec, doc("Spec of the claim.")]
    metadata: Annotated[ObjectMeta | None, doc("Labels and annotations of the claim.")] = None


class ModifyVolumeStatus(CoreV1, frozen=True):
    """State of a change of the volume's attributes class."""

    status: Annotated[Literal["InProgress", "Infeasible", "Pending"], doc("Pending, InProgress or Infeasible.")]
    target_volume_attributes_class_name: Annotated[str, doc("The class to change to.")] = ""


class VolumeResourceRequirements(CoreV1, frozen=True):
    """How much storage a volume needs and may have."""

    limits: Annotated[dict[str, Quantity], doc("The most of each resource that may be used.")] = {}
    requests: Annotated[
        dict[str, Quantity], doc("How much of each resource is needed at least. By default as much as the limits.")
    ] = {}


class VolumeHealthStatus(CoreV1, frozen=True):
    """Health of a volume."""

    health_conditions: Annotated[
        list[VolumeHealthCondition], doc("Health, aspect by aspect."), map_list("status", "reason")
    ] = []
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None


class VolumeHealthCondition(CoreV1, frozen=True):
    """One aspect of a volume's health."""

    status: Annotated[Literal["DataLoss", "Degraded", "Inaccessible"], doc("State of the volume.")]
    reason: Annotated[str, doc("Why, in one CamelCase word.")]
    message: Annotated[str, doc("Why, in words.")] = ""
