"""Volumes of particular storage systems, as pods name them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.references import LocalObjectReference
from homeport.kube.schema.fields import atomic_list, doc


class NFSVolumeSource(CoreV1, frozen=True):
    """An NFS export."""

    server: Annotated[str, doc("Host name or address of the server.")]
    path: Annotated[str, doc("Path of the export.")]
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False


class ISCSIDisk(CoreV1, frozen=True):
    """Where an iSCSI disk is, and how it is mounted."""

    target_portal: Annotated[str, doc("Address of the target, with its port if that is not the usual one.")]
    iqn: Annotated[str, doc("Name of the target.")]
    lun: Annotated[int, doc("Number of the logical unit.")]
    iscsi_interface: Annotated[str, doc("Interface to use.")] = "default"
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False
    portals: Annotated[list[str], doc("Further addresses of the target."), atomic_list()] = []
    chap_auth_discovery: Annotated[bool, doc("Authenticate for discovery with CHAP.")] = False
    chap_auth_session: Annotated[bool, doc("Authenticate for the session with CHAP.")] = False
    initiator_name: Annotated[str | None, doc("Name of the initiator.")] = None


class ISCSIVolumeSource(ISCSIDisk, frozen=True):
    """An iSCSI disk."""

    secret_ref: Annotated[LocalObjectReference | None, doc("Secret with the credentials.")] = None


class GlusterfsVolumeSource(CoreV1, frozen=True):
    """A GlusterFS volume."""

    endpoints: Annotated[str, doc("Name of the endpoints object with the servers.")]
    path: Annotated[str, doc("Path of the volume.")]
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False


class RBDImage(CoreV1, frozen=True):
    """Where a Ceph block device is, and how it is mounted."""

    monitors: Annotated[list[str], doc("Addresses of the Ceph monitors."), atomic_list()]
    image: Annotated[str, doc("Name of the RBD image.")]
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""
    pool: Annotated[str, doc("Name of the pool.")] = "rbd"
    user: Annotated[str, doc("Ceph user.")] = "admin"
    keyring: Annotated[str, doc("Path of the key ring.")] = "/etc/ceph/keyring"
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False


class RBDVolumeSource(RBDImage, frozen=True):
    """A Ceph block device."""

    secret_ref: Annotated[LocalObjectReference | None, doc("Secret with the credentials.")] = None


class CephFileSystem(CoreV1, frozen=True):
    """Where a Ceph file system is, and how it is mounted."""

    monitors: Annotated[list[str], doc("Addresses of the Ceph monitors."), atomic_list()]
    path: Annotated[str, doc("Path of the volume.")] = ""
    user: Annotated[str, doc("Ceph user.")] = ""
    secret_file: Annotated[str, doc("Path of the file with the user's key.")] = ""
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False


class CephFSVolumeSource(CephFileSystem, frozen=True):
    """A Ceph file system."""

    secret_ref: Annotated[LocalObjectReference | None, doc("Secret with the credentials.")] = None


class CinderVolume(CoreV1, frozen=True):
    """Which OpenStack Cinder volume is meant, and how it is mounted."""

    volume_id: Annotated[str, doc("Identifier of the volume.")] = msgspec.field(name="volumeID")
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False


class CinderVolumeSource(CinderVolume, frozen=True):
    """An OpenStack Cinder volume."""

    secret_ref: Annotated[LocalObjectReference | None, doc("Secret with the credentials.")] = None


class FlexVolume(CoreV1, frozen=True):
    """Which volume of an exec based plugin is meant, and how it is mounted."""

    driver: Annotated[str, doc("Name of the driver.")]
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False
    options: Annotated[dict[str, str], doc("Settings for the plugin.")] = {}


class FlexVolumeSource(FlexVolume, frozen=True):
    """A volume of an exec based plugin."""

    secret_ref: Annotated[LocalObjectReference | None, doc("Secret with the credentials.")] = None


class FlockerVolumeSource(CoreV1, frozen=True):
    """A Flocker volume."""

    dataset_name: Annotated[str, doc("Name of the dataset.")] = ""
    dataset_uuid: Annotated[str, doc("UUID of the dataset.")] = msgspec.field(name="datasetUUID", default="")


class FCVolumeSource(CoreV1, frozen=True):
    """A Fibre Channel volume."""

    target_wwns: Annotated[list[str], doc("World wide names of the targets."), atomic_list()] = msgspec.field(
        name="targetWWNs", default_factory=list
    )
    lun: Annotated[int | None, doc("Number of the logical unit.")] = None
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False
    wwids: Annotated[list[str], doc("World wide identifiers of the volume."), atomic_list()] = []


class GitRepoVolumeSource(CoreV1, frozen=True):
    """A clone of a git repository. Deprecated: clone in an init container."""

    repository: Annotated[str, doc("URL of the repository.")]
    revision: Annotated[str, doc("Commit to check out.")] = ""
    directory: Annotated[str, doc("Directory to clone into.")] = ""


class GCEPersistentDiskVolumeSource(CoreV1, frozen=True):
    """A persistent disk of Google Compute Engine."""

    pd_name: Annotated[str, doc("Name of the disk.")]
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""
    partition: Annotated[int, doc("Number of the partition to mount.")] = 0
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False


class AWSElasticBlockStoreVolumeSource(CoreV1, frozen=True):
    """A volume of AWS Elastic Block Store."""

    volume_id: Annotated[str, doc("Identifier of the volume.")] = msgspec.field(name="volumeID")
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""
    partition: Annotated[int, doc("Number of the partition to mount.")] = 0
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False


class AzureFileVolumeSource(CoreV1, frozen=True):
    """A share of Azure Files."""

    secret_name: Annotated[str, doc("Name of the secret with account and key.")]
    share_name: Annotated[str, doc("Name of the share.")]
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False


class AzureDiskVolumeSource(CoreV1, frozen=True):
    """A data disk of Azure."""

    disk_name: Annotated[str, doc("Name of the disk.")]
    disk_uri: Annotated[str, doc("URI of the disk.")] = msgspec.field(name="diskURI")
    caching_mode: Annotated[
        Literal["None", "ReadOnly", "ReadWrite"], doc("Caching of the host: None, ReadOnly or ReadWrite.")
    ] = "ReadWrite"
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = "ext4"
    read_only: Annotated[bool | None, doc("Mount the volume read-only.", default=False)] = None
    kind: Annotated[Literal["Dedicated", "Managed", "Shared"], doc("Shared, Dedicated or Managed.")] = "Shared"


class VsphereVirtualDiskVolumeSource(CoreV1, frozen=True):
    """A virtual disk of vSphere."""

    volume_path: Annotated[str, doc("Path of the disk.")]
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""
    storage_policy_name: Annotated[str, doc("Name of the storage policy.")] = ""
    storage_policy_id: Annotated[str, doc("Identifier of the storage policy.")] = msgspec.field(
        name="storagePolicyID", default=""
    )


class QuobyteVolumeSource(CoreV1, frozen=True):
    """A Quobyte volume."""

    registry: Annotated[str, doc("Addresses of the registry.")]
    volume: Annotated[str, doc("Name of the volume.")]
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False
    user: Annotated[str, doc("User to mount as.")] = ""
    group: Annotated[str, doc("Group to mount as.")] = ""
    tenant: Annotated[str, doc("Tenant that owns the volume.")] = ""


class PhotonPersistentDiskVolumeSource(CoreV1, frozen=True):
    """A persistent disk of Photon Controller."""

    pd_id: Annotated[str, doc("Identifier of the disk.")] = msgspec.field(name="pdID")
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""


class PortworxVolumeSource(CoreV1, frozen=True):
    """A Portworx volume."""

    volume_id: Annotated[str, doc("Identifier of the volume.")] = msgspec.field(name="volumeID")
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False


class ScaleIOVolumeSource(CoreV1, frozen=True):
    """A ScaleIO volume."""

    gateway: Annotated[str, doc("Address of the gateway.")]
    system: Annotated[str, doc("Name of the storage system.")]
    secret_ref: Annotated[LocalObjectReference, doc("Secret with the credentials.")]
    ssl_enabled: Annotated[bool, doc("Use TLS.")] = False
    protection_domain: Annotated[str, doc("Name of the protection domain.")] = ""
    storage_pool: Annotated[str, doc("Name of the storage pool.")] = ""
    storage_mode: Annotated[str, doc("ThickProvisioned or ThinProvisioned.")] = "ThinProvisioned"
    volume_name: Annotated[str, doc("Name of the volume.")] = ""
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = "xfs"
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False


class StorageOSVolumeSource(CoreV1, frozen=True):
    """A StorageOS volume."""

    volume_name: Annotated[str, doc("Name of the volume.")] = ""
    volume_namespace: Annotated[str, doc("Namespace of the volume in StorageOS.")] = ""
    fs_type: Annotated[str, doc("File system of the volume, such as ext4.")] = ""
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False
    secret_ref: Annotated[LocalObjectReference | None, doc("Secret with the credentials.")] = None
