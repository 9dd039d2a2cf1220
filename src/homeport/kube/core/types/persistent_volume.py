"""Persistent volumes and their sources."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.placement import NodeSelector
from homeport.kube.core.types.references import ObjectReference, SecretReference
from homeport.kube.core.types.volume import HostPathVolumeSource
from homeport.kube.core.types.volume_backends import (
    AWSElasticBlockStoreVolumeSource,
    AzureDiskVolumeSource,
    AzureFileVolumeSource,
    CephFileSystem,
    CinderVolume,
    FCVolumeSource,
    FlexVolume,
    FlockerVolumeSource,
    GCEPersistentDiskVolumeSource,
    GlusterfsVolumeSource,
    ISCSIDisk,
    NFSVolumeSource,
    PhotonPersistentDiskVolumeSource,
    PortworxVolumeSource,
    QuobyteVolumeSource,
    RBDImage,
    VsphereVirtualDiskVolumeSource,
)
from homeport.kube.schema.fields import Quantity, Time, atomic_list, doc


class PersistentVolume(CoreV1, frozen=True):
    """A piece of storage with a life of its own."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[PersistentVolumeSpec | None, doc("The volume.")] = None
    status: Annotated[PersistentVolumeStatus | None, doc("The volume's state.")] = None


class PersistentVolumeSpec(CoreV1, frozen=True):
    """Kind, size and use of a persistent volume. Exactly one source may be set."""

    capacity: Annotated[dict[str, Quantity], doc("Size of the volume.")] = {}
    gce_persistent_disk: Annotated[
        GCEPersistentDiskVolumeSource | None,
        doc("A disk of Google Compute Engine. Deprecated in favour of its CSI driver."),
    ] = None
    aws_elastic_block_store: Annotated[
        AWSElasticBlockStoreVolumeSource | None, doc("A volume of AWS. Deprecated in favour of its CSI driver.")
    ] = None
    host_path: Annotated[HostPathVolumeSource | None, doc("A file or directory of the node.")] = None
    glusterfs: Annotated[GlusterfsPersistentVolumeSource | None, doc("A GlusterFS volume. Deprecated.")] = None
    nfs: Annotated[NFSVolumeSource | None, doc("An NFS export.")] = None
    rbd: Annotated[RBDPersistentVolumeSource | None, doc("A Ceph block device. Deprecated.")] = None
    iscsi: Annotated[ISCSIPersistentVolumeSource | None, doc("An iSCSI disk.")] = None
    cinder: Annotated[
        CinderPersistentVolumeSource | None, doc("An OpenStack Cinder volume. Deprecated in favour of its CSI driver.")
    ] = None
    cephfs: Annotated[CephFSPersistentVolumeSource | None, doc("A Ceph file system. Deprecated.")] = None
    fc: Annotated[FCVolumeSource | None, doc("A Fibre Channel volume.")] = None
    flocker: Annotated[FlockerVolumeSource | None, doc("A Flocker volume. Deprecated.")] = None
    flex_volume: Annotated[FlexPersistentVolumeSource | None, doc("A volume of an exec based plugin. Deprecated.")] = (
        None
    )
    azure_file: Annotated[
        AzureFilePersistentVolumeSource | None, doc("A share of Azure Files. Deprecated in favour of its CSI driver.")
    ] = None
    vsphere_volume: Annotated[
        VsphereVirtualDiskVolumeSource | None, doc("A virtual disk of vSphere. Deprecated in favour of its CSI driver.")
    ] = None
    quobyte: Annotated[QuobyteVolumeSource | None, doc("A Quobyte volume. Deprecated.")] = None
    azure_disk: Annotated[
        AzureDiskVolumeSource | None, doc("A data disk of Azure. Deprecated in favour of its CSI driver.")
    ] = None
    photon_persistent_disk: Annotated[
        PhotonPersistentDiskVolumeSource | None, doc("A disk of Photon Controller. Deprecated.")
    ] = None
    portworx_volume: Annotated[
        PortworxVolumeSource | None, doc("A Portworx volume. Deprecated in favour of its CSI driver.")
    ] = None
    scale_io: Annotated[ScaleIOPersistentVolumeSource | None, doc("A ScaleIO volume. Deprecated.")] = msgspec.field(
        name="scaleIO", default=None
    )
    local: Annotated[LocalVolumeSource | None, doc("A disk or directory of one node.")] = None
    storageos: Annotated[StorageOSPersistentVolumeSource | None, doc("A StorageOS volume. Deprecated.")] = None
    csi: Annotated[CSIPersistentVolumeSource | None, doc("A volume of a CSI driver.")] = None
    access_modes: Annotated[
        list[Literal["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]],
        doc("How the volume can be mounted: ReadWriteOnce, ReadOnlyMany, ReadWriteMany or ReadWriteOncePod."),
        atomic_list(),
    ] = []
    claim_ref: Annotated[ObjectReference | None, doc("The claim that the volume is bound to.")] = None
    persistent_volume_reclaim_policy: Annotated[
        Literal["Delete", "Recycle", "Retain"], doc("What becomes of the volume after its claim is deleted.")
    ] = "Retain"
    storage_class_name: Annotated[str, doc("Name of the storage class.")] = ""
    mount_options: Annotated[list[str], doc("Options to mount with."), atomic_list()] = []
    volume_mode: Annotated[Literal["Block", "Filesystem"], doc("Filesystem or Block.")] = "Filesystem"
    node_affinity: Annotated[VolumeNodeAffinity | None, doc("Nodes from which the volume can be reached.")] = None
    volume_attributes_class_name: Annotated[str | None, doc("Name of the volume attributes class.")] = None


class PersistentVolumeStatus(CoreV1, frozen=True):
    """State of a persistent volume."""

    phase: Annotated[
        Literal["Available", "Bound", "Failed", "Pending", "Released"] | None, doc("A one-word summary of the state.")
    ] = None
    message: Annotated[str, doc("Why, in words.")] = ""
    reason: Annotated[str, doc("Why, in one CamelCase word.")] = ""
    last_phase_transition_time: Annotated[Time | None, doc("When the phase last changed.")] = None


class VolumeNodeAffinity(CoreV1, frozen=True):
    """Nodes from which a volume can be reached."""

    required: Annotated[NodeSelector | None, doc("The nodes.")] = None


class LocalVolumeSource(CoreV1, frozen=True):
    """A disk or directory of one node."""

    path: Annotated[str, doc("Path on the node.")]
    fs_type: Annotated[str | None, doc("File system of the volume, such as ext4.")] = None


class CSIPersistentVolumeSource(CoreV1, frozen=True):
    """A volume of a CSI driver."""

    driver: Annotated[str, doc("Name of the driver.")]
    volume_handle: Annotated[str, doc("Name of the volume, as the driver knows it.")]
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""
    volume_attributes: Annotated[dict[str, str], doc("Settings for the driver.")] = {}
    controller_publish_secret_ref: Annotated[
        SecretReference | None, doc("Secret passed to the driver when it attaches the volume.")
    ] = None
    node_stage_secret_ref: Annotated[
        SecretReference | None, doc("Secret passed to the driver when it prepares the volume on a node.")
    ] = None
    node_publish_secret_ref: Annotated[
        SecretReference | None, doc("Secret passed to the driver when it mounts the volume.")
    ] = None
    controller_expand_secret_ref: Annotated[
        SecretReference | None, doc("Secret passed to the driver when it enlarges the volume.")
    ] = None
    node_expand_secret_ref: Annotated[
        SecretReference | None, doc("Secret passed to the driver when it enlarges the volume on a node.")
    ] = None


class ISCSIPersistentVolumeSource(ISCSIDisk, frozen=True):
    """An iSCSI disk."""

    secret_ref: Annotated[SecretReference | None, doc("Secret with the credentials.")] = None


class GlusterfsPersistentVolumeSource(GlusterfsVolumeSource, frozen=True):
    """A GlusterFS volume."""

    endpoints_namespace: Annotated[str | None, doc("Namespace of the endpoints object.")] = None


class RBDPersistentVolumeSource(RBDImage, frozen=True):
    """A Ceph block device."""

    secret_ref: Annotated[SecretReference | None, doc("Secret with the credentials.")] = None


class CephFSPersistentVolumeSource(CephFileSystem, frozen=True):
    """A Ceph file system."""

    secret_ref: Annotated[SecretReference | None, doc("Secret with the credentials.")] = None


class CinderPersistentVolumeSource(CinderVolume, frozen=True):
    """An OpenStack Cinder volume."""

    secret_ref: Annotated[SecretReference | None, doc("Secret with the credentials.")] = None


class FlexPersistentVolumeSource(FlexVolume, frozen=True):
    """A volume of an exec based plugin."""

    secret_ref: Annotated[SecretReference | None, doc("Secret with the credentials.")] = None


class AzureFilePersistentVolumeSource(AzureFileVolumeSource, frozen=True):
    """A share of Azure Files."""

    secret_namespace: Annotated[str | None, doc("Namespace of the secret.")] = None


class ScaleIOPersistentVolumeSource(CoreV1, frozen=True):
    """A ScaleIO volume."""

    gateway: Annotated[str, doc("Address of the gateway.")]
    system: Annotated[str, doc("Name of the storage system.")]
    secret_ref: Annotated[SecretReference, doc("Secret with the credentials.")]
    ssl_enabled: Annotated[bool, doc("Use TLS.")] = False
    protection_domain: Annotated[str, doc("Name of the protection domain.")] = ""
    storage_pool: Annotated[str, doc("Name of the storage pool.")] = ""
    storage_mode: Annotated[str, doc("ThickProvisioned or ThinProvisioned.")] = "ThinProvisioned"
    volume_name: Annotated[str, doc("Name of the volume.")] = ""
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = "xfs"
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False


class StorageOSPersistentVolumeSource(CoreV1, frozen=True):
    """A StorageOS volume."""

    volume_name: Annotated[str, doc("Name of the volume.")] = ""
    volume_namespace: Annotated[str, doc("Namespace of the volume in StorageOS.")] = ""
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False
    secret_ref: Annotated[ObjectReference | None, doc("Secret with the credentials.")] = None
