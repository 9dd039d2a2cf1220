"""Storage drivers and what they do with volumes (storage.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from homeport.kube.core.types.bases import StorageV1
from homeport.kube.core.types.meta import LabelSelector, ObjectMeta
from homeport.kube.core.types.persistent_volume import PersistentVolumeSpec
from homeport.kube.schema.fields import Int64, Quantity, Time, atomic_list, doc, map_list, set_list


class CSIDriver(StorageV1, frozen=True):
    """A storage driver."""

    spec: Annotated[CSIDriverSpec, doc("What the driver can and needs.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None


class CSIDriverSpec(StorageV1, frozen=True):
    """What a storage driver can and needs."""

    attach_required: Annotated[bool, doc("Whether volumes have to be attached to a node.")] = True
    pod_info_on_mount: Annotated[bool, doc("Whether the driver is told about the pod.")] = False
    volume_lifecycle_modes: Annotated[
        list[Literal["Ephemeral", "Persistent"]],
        doc("Sorts of volume that the driver has: Persistent, Ephemeral."),
        set_list(),
    ] = []
    storage_capacity: Annotated[bool, doc("Whether the scheduler looks at the driver's free capacity.")] = False
    fs_group_policy: Annotated[
        Literal["File", "None", "ReadWriteOnceWithFSType"],
        doc("When the owner of a volume's files is changed: ReadWriteOnceWithFSType, File or None."),
    ] = "ReadWriteOnceWithFSType"
    token_requests: Annotated[
        list[TokenRequest], doc("Tokens of the pod's service account that the driver gets."), atomic_list()
    ] = []
    requires_republish: Annotated[bool, doc("Whether volumes are published again and again.")] = False
    se_linux_mount: Annotated[bool, doc("Whether volumes can be mounted with SELinux options.")] = False
    node_allocatable_update_period_seconds: Annotated[
        Int64 | None, doc("Seconds between looks at how many volumes a node can take.")
    ] = None
    service_account_token_in_secrets: Annotated[bool | None, doc("Whether tokens are handed over as secrets.")] = None
    prevent_pod_scheduling_if_missing: Annotated[
        bool | None, doc("Whether pods with such volumes wait for a node that has the driver.")
    ] = None


class TokenRequest(StorageV1, frozen=True):
    """A token that a storage driver gets."""

    audience: Annotated[str, doc("Whom the token is for.")]
    expiration_seconds: Annotated[Int64 | None, doc("Seconds that the token is good for.")] = None


class CSINode(StorageV1, frozen=True):
    """The storage drivers on a node. Its name is the node's."""

    spec: Annotated[CSINodeSpec, doc("The drivers.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None


class CSINodeSpec(StorageV1, frozen=True):
    """The storage drivers on a node."""

    drivers: Annotated[list[CSINodeDriver], doc("The drivers."), map_list("name")]


class CSINodeDriver(StorageV1, frozen=True):
    """A storage driver on a node."""

    name: Annotated[str, doc("Name of the driver.")]
    node_id: Annotated[str, doc("Name that the driver has for the node.")] = msgspec.field(name="nodeID")
    topology_keys: Annotated[list[str], doc("Labels by which the driver tells places apart."), atomic_list()] = []
    allocatable: Annotated[VolumeNodeResources | None, doc("How many volumes the node can take.")] = None


class VolumeNodeResources(StorageV1, frozen=True):
    """How many volumes a node can take."""

    count: Annotated[int | None, doc("The number of volumes.")] = None


class CSIStorageCapacity(StorageV1, frozen=True):
    """How much storage there is for a class at a place."""

    storage_class_name: Annotated[str, doc("The storage class.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    node_topology: Annotated[LabelSelector | None, doc("Labels of the nodes at the place.")] = None
    capacity: Annotated[Quantity | None, doc("How much there is.")] = None
    maximum_volume_size: Annotated[Quantity | None, doc("How large a volume may be.")] = None


class VolumeAttachment(StorageV1, frozen=True):
    """A volume that is, or shall be, attached to a node."""

    spec: Annotated[VolumeAttachmentSpec, doc("The volume and the node.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    status: Annotated[VolumeAttachmentStatus | None, doc("The current state.")] = None


class VolumeAttachmentSpec(StorageV1, frozen=True):
    """Which volume is attached to which node."""

    attacher: Annotated[str, doc("The storage driver.")]
    source: Annotated[VolumeAttachmentSource, doc("The volume.")]
    node_name: Annotated[str, doc("The node.")]


class VolumeAttachmentSource(StorageV1, frozen=True):
    """The volume to attach."""

    persistent_volume_name: Annotated[str | None, doc("Name of a persistent volume.")] = None
    inline_volume_spec: Annotated[PersistentVolumeSpec | None, doc("The volume itself.")] = None


class VolumeAttachmentStatus(StorageV1, frozen=True):
    """What has become of an attachment."""

    attached: Annotated[bool, doc("Whether the volume is attached.", default=False)]
    attachment_metadata: Annotated[dict[str, str], doc("What the driver says of the attachment.")] = {}
    attach_error: Annotated[VolumeError | None, doc("What went wrong when attaching.")] = None
    detach_error: Annotated[VolumeError | None, doc("What went wrong when detaching.")] = None


class VolumeError(StorageV1, frozen=True):
    """What went wrong with a volume."""

    time: Annotated[Time | None, doc("When it went wrong.")] = None
    message: Annotated[str, doc("What went wrong.")] = ""
    error_code: Annotated[int | None, doc("The driver's code of the error.")] = None


class VolumeAttributesClass(StorageV1, frozen=True):
    """Settings of volumes that can be changed later."""

    driver_name: Annotated[str, doc("The storage driver.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    parameters: Annotated[dict[str, str], doc("The settings.")] = {}
