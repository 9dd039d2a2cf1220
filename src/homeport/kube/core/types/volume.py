"""Volumes of pods."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.meta import LabelSelector
from homeport.kube.core.types.references import LocalObjectReference
from homeport.kube.core.types.selectors import ObjectFieldSelector, ResourceFieldSelector
from homeport.kube.core.types.volume_backends import (
    AWSElasticBlockStoreVolumeSource,
    AzureDiskVolumeSource,
    AzureFileVolumeSource,
    CephFSVolumeSource,
    CinderVolumeSource,
    FCVolumeSource,
    FlexVolumeSource,
    FlockerVolumeSource,
    GCEPersistentDiskVolumeSource,
    GitRepoVolumeSource,
    GlusterfsVolumeSource,
    ISCSIVolumeSource,
    NFSVolumeSource,
    PhotonPersistentDiskVolumeSource,
    PortworxVolumeSource,
    QuobyteVolumeSource,
    RBDVolumeSource,
    ScaleIOVolumeSource,
    StorageOSVolumeSource,
    VsphereVirtualDiskVolumeSource,
)
from homeport.kube.core.types.volume_claim import PersistentVolumeClaimTemplate
from homeport.kube.schema.fields import Int64, Quantity, atomic_list, doc


class Volume(CoreV1, frozen=True):
    """A directory or device that the pod's containers may mount. Exactly one source may be set."""

    name: Annotated[str, doc("Name of the volume, unique in the pod; a DNS label.")]
    host_path: Annotated[HostPathVolumeSource | None, doc("A file or directory of the node.")] = None
    empty_dir: Annotated[EmptyDirVolumeSource | None, doc("An empty directory that lives as long as the pod.")] = None
    gce_persistent_disk: Annotated[
        GCEPersistentDiskVolumeSource | None,
        doc("A disk of Google Compute Engine. Deprecated in favour of its CSI driver."),
    ] = None
    aws_elastic_block_store: Annotated[
        AWSElasticBlockStoreVolumeSource | None, doc("A volume of AWS. Deprecated in favour of its CSI driver.")
    ] = None
    git_repo: Annotated[GitRepoVolumeSource | None, doc("A clone of a git repository. Deprecated.")] = None
    secret: Annotated[SecretVolumeSource | None, doc("A secret as files.")] = None
    nfs: Annotated[NFSVolumeSource | None, doc("An NFS export.")] = None
    iscsi: Annotated[ISCSIVolumeSource | None, doc("An iSCSI disk.")] = None
    glusterfs: Annotated[GlusterfsVolumeSource | None, doc("A GlusterFS volume. Deprecated.")] = None
    persistent_volume_claim: Annotated[PersistentVolumeClaimVolumeSource | None, doc("A volume by its claim.")] = None
    rbd: Annotated[RBDVolumeSource | None, doc("A Ceph block device. Deprecated.")] = None
    flex_volume: Annotated[FlexVolumeSource | None, doc("A volume of an exec based plugin. Deprecated.")] = None
    cinder: Annotated[
        CinderVolumeSource | None, doc("An OpenStack Cinder volume. Deprecated in favour of its CSI driver.")
    ] = None
    cephfs: Annotated[CephFSVolumeSource | None, doc("A Ceph file system. Deprecated.")] = None
    flocker: Annotated[FlockerVolumeSource | None, doc("A Flocker volume. Deprecated.")] = None
    downward_api: Annotated[DownwardAPIVolumeSource | None, doc("Facts about the pod as files.")] = msgspec.field(
        name="downwardAPI", default=None
    )
    fc: Annotated[FCVolumeSource | None, doc("A Fibre Channel volume.")] = None
    azure_file: Annotated[
        AzureFileVolumeSource | None, doc("A share of Azure Files. Deprecated in favour of its CSI driver.")
    ] = None
    config_map: Annotated[ConfigMapVolumeSource | None, doc("A config map as files.")] = None
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
    projected: Annotated[ProjectedVolumeSource | None, doc("Several sources in one directory.")] = None
    portworx_volume: Annotated[
        PortworxVolumeSource | None, doc("A Portworx volume. Deprecated in favour of its CSI driver.")
    ] = None
    scale_io: Annotated[ScaleIOVolumeSource | None, doc("A ScaleIO volume. Deprecated.")] = msgspec.field(
        name="scaleIO", default=None
    )
    storageos: Annotated[StorageOSVolumeSource | None, doc("A StorageOS volume. Deprecated.")] = None
    csi: Annotated[CSIVolumeSource | None, doc("A volume of a CSI driver.")] = None
    ephemeral: Annotated[EphemeralVolumeSource | None, doc("A claim made for the pod, and deleted with it.")] = None
    image: Annotated[ImageVolumeSource | None, doc("The content of an image or artifact.")] = None


class EmptyDirVolumeSource(CoreV1, frozen=True):
    """An empty directory that lives as long as the pod."""

    medium: Annotated[str, doc("Where the directory lives: empty for disk, Memory for a tmpfs.")] = ""
    size_limit: Annotated[Quantity | None, doc("The most that the directory may hold.")] = None
    mode: Annotated[int | None, doc("Permissions of the directory.")] = None


class HostPathVolumeSource(CoreV1, frozen=True):
    """A file or directory of the node."""

    path: Annotated[str, doc("Path on the node.")]
    type: Annotated[
        Literal["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"]
        | None,
        doc("What must be at the path, or is made there.", default=""),
    ] = None


class SecretVolumeSource(CoreV1, frozen=True):
    """A secret as files."""

    secret_name: Annotated[str, doc("Name of the secret.")] = ""
    items: Annotated[
        list[KeyToPath], doc("Entries to take and their paths; by default all, each at its own name."), atomic_list()
    ] = []
    default_mode: Annotated[int, doc("Permissions of the files, where an item says nothing else.")] = 420
    optional: Annotated[bool | None, doc("Whether it may be missing.")] = None
    default_user: Annotated[Int64 | None, doc("Owner of the files, where an item says nothing else.")] = None


class ConfigMapVolumeSource(CoreV1, frozen=True):
    """A config map as files."""

    name: Annotated[str, doc("Name of the config map.")] = ""
    items: Annotated[
        list[KeyToPath], doc("Entries to take and their paths; by default all, each at its own name."), atomic_list()
    ] = []
    default_mode: Annotated[int, doc("Permissions of the files, where an item says nothing else.")] = 420
    optional: Annotated[bool | None, doc("Whether it may be missing.")] = None
    default_user: Annotated[Int64 | None, doc("Owner of the files, where an item says nothing else.")] = None


class DownwardAPIVolumeSource(CoreV1, frozen=True):
    """Facts about the pod as files."""

    items: Annotated[list[DownwardAPIVolumeFile], doc("The files."), atomic_list()] = []
    default_mode: Annotated[int, doc("Permissions of the files, where an item says nothing else.")] = 420
    default_user: Annotated[Int64 | None, doc("Owner of the files, where an item says nothing else.")] = None


class DownwardAPIVolumeFile(CoreV1, frozen=True):
    """A fact about the pod as a file."""

    path: Annotated[str, doc("Path of the file in the volume.")]
    field_ref: Annotated[ObjectFieldSelector | None, doc("A field of the pod.")] = None
    resource_field_ref: Annotated[ResourceFieldSelector | None, doc("An amount of a container's resources.")] = None
    mode: Annotated[int | None, doc("Permissions of the file.")] = None
    user: Annotated[Int64 | None, doc("Owner of the file.")] = None


class ProjectedVolumeSource(CoreV1, frozen=True):
    """Several sources in one directory."""

    sources: Annotated[list[VolumeProjection], doc("What to put into the directory."), atomic_list()] = []
    default_mode: Annotated[int, doc("Permissions of the files, where an item says nothing else.")] = 420
    default_user: Annotated[Int64 | None, doc("Owner of the files, where an item says nothing else.")] = None


class VolumeProjection(CoreV1, frozen=True):
    """One source of a projected volume. Exactly one may be set."""

    secret: Annotated[SecretProjection | None, doc("A secret as files.")] = None
    downward_api: Annotated[DownwardAPIProjection | None, doc("Facts about the pod as files.")] = msgspec.field(
        name="downwardAPI", default=None
    )
    config_map: Annotated[ConfigMapProjection | None, doc("A config map as files.")] = None
    service_account_token: Annotated[
        ServiceAccountTokenProjection | None, doc("A token of the pod's service account.")
    ] = None
    cluster_trust_bundle: Annotated[ClusterTrustBundleProjection | None, doc("Certificates to trust.")] = None
    pod_certificate: Annotated[PodCertificateProjection | None, doc("A key and certificate made for the pod.")] = None


class SecretProjection(CoreV1, frozen=True):
    """A secret in a projected volume."""

    name: Annotated[str, doc("Name of the secret.")] = ""
    items: Annotated[
        list[KeyToPath], doc("Entries to take and their paths; by default all, each at its own name."), atomic_list()
    ] = []
    optional: Annotated[bool | None, doc("Whether it may be missing.")] = None


class ConfigMapProjection(CoreV1, frozen=True):
    """A config map in a projected volume."""

    name: Annotated[str, doc("Name of the config map.")] = ""
    items: Annotated[
        list[KeyToPath], doc("Entries to take and their paths; by default all, each at its own name."), atomic_list()
    ] = []
    optional: Annotated[bool | None, doc("Whether it may be missing.")] = None


class DownwardAPIProjection(CoreV1, frozen=True):
    """Facts about the pod in a projected volume."""

    items: Annotated[list[DownwardAPIVolumeFile], doc("The files."), atomic_list()] = []


class ServiceAccountTokenProjection(CoreV1, frozen=True):
    """A token of the pod's service account in a projected volume."""

    path: Annotated[str, doc("Path of the file in the volume.")]
    audience: Annotated[str, doc("Who the token is meant for; by default the API server.")] = ""
    expiration_seconds: Annotated[Int64, doc("Seconds that the token is valid. A new one is written in time.")] = 3600
    user: Annotated[Int64 | None, doc("Owner of the file.")] = None


class ClusterTrustBundleProjection(CoreV1, frozen=True):
    """Certificates to trust in a projected volume."""

    path: Annotated[str, doc("Path of the file in the volume.")]
    name: Annotated[str | None, doc("Name of one bundle.")] = None
    signer_name: Annotated[str | None, doc("The signer.")] = None
    label_selector: Annotated[LabelSelector | None, doc("Bundles by their labels.")] = None
    optional: Annotated[bool | None, doc("Whether it may be missing.")] = None
    user: Annotated[Int64 | None, doc("Owner of the file.")] = None


class PodCertificateProjection(CoreV1, frozen=True):
    """A key and certificate made for the pod in a projected volume."""

    signer_name: Annotated[str, doc("The signer.")] = ""
    key_type: Annotated[str, doc("Kind of key to make.")] = ""
    max_expiration_seconds: Annotated[int | None, doc("The longest life of the certificate, in seconds.")] = None
    credential_bundle_path: Annotated[str, doc("Path of the file with key and certificates.")] = ""
    key_path: Annotated[str, doc("Path of the file with the key.")] = ""
    certificate_chain_path: Annotated[str, doc("Path of the file with the certificates.")] = ""
    user_annotations: Annotated[dict[str, str], doc("Keys and values passed on to the signer.")] = {}
    user: Annotated[Int64 | None, doc("Owner of the file.")] = None


class KeyToPath(CoreV1, frozen=True):
    """Maps an entry to a file."""

    key: Annotated[str, doc("The entry.")]
    path: Annotated[str, doc("Path of the file in the volume.")]
    mode: Annotated[int | None, doc("Permissions of the file.")] = None
    user: Annotated[Int64 | None, doc("Owner of the file.")] = None


class PersistentVolumeClaimVolumeSource(CoreV1, frozen=True):
    """A volume by its claim."""

    claim_name: Annotated[str, doc("Name of the claim.")]
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False


class EphemeralVolumeSource(CoreV1, frozen=True):
    """A claim made for the pod, and deleted with it."""

    volume_claim_template: Annotated[PersistentVolumeClaimTemplate | None, doc("The claim to make.")] = None


class ImageVolumeSource(CoreV1, frozen=True):
    """The content of an image or artifact."""

    reference: Annotated[str, doc("The image or artifact.")] = ""
    pull_policy: Annotated[Literal["Always", "IfNotPresent", "Never"] | None, doc("When the image is pulled.")] = None


class CSIVolumeSource(CoreV1, frozen=True):
    """An ephemeral volume of a CSI driver."""

    driver: Annotated[str, doc("Name of the driver.")]
    read_only: Annotated[bool | None, doc("Mount the volume read-only.")] = None
    fs_type: Annotated[str | None, doc("File system of the volume, such as ext4.")] = None
    volume_attributes: Annotated[dict[str, str], doc("Settings for the driver.")] = {}
    node_publish_secret_ref: Annotated[
        LocalObjectReference | None, doc("Secret passed to the driver when it mounts the volume.")
    ] = None
