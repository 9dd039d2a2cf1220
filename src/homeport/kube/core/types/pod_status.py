"""The status of pods and their containers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.container import ResourceRequirements
from homeport.kube.core.types.signals import Signal
from homeport.kube.core.types.volume_claim import VolumeHealthCondition
from homeport.kube.schema.fields import Int64, Quantity, Time, atomic_list, doc, map_list, patch_list, set_list


class PodStatus(CoreV1, frozen=True):
    """What is known of a pod's state. It may lag behind."""

    observed_generation: Annotated[Int64, doc("The metadata.generation that this state is based on.")] = 0
    phase: Annotated[
        Literal["Failed", "Pending", "Running", "Succeeded", "Unknown"] | None,
        doc("Pending, Running, Succeeded, Failed or Unknown."),
    ] = None
    conditions: Annotated[list[PodCondition], doc("The current state, aspect by aspect."), map_list("type")] = []
    message: Annotated[str, doc("Why the pod is in this state, in words.")] = ""
    reason: Annotated[str, doc("Why the pod is in this state, in one CamelCase word.")] = ""
    nominated_node_name: Annotated[str, doc("Node on which pods are being preempted to make room for this one.")] = ""
    host_ip: Annotated[str, doc("Address of the node.")] = msgspec.field(name="hostIP", default="")
    host_ips: Annotated[list[HostIP], doc("Addresses of the node."), patch_list("ip")] = msgspec.field(
        name="hostIPs", default_factory=list
    )
    pod_ip: Annotated[str, doc("Address of the pod.")] = msgspec.field(name="podIP", default="")
    pod_ips: Annotated[list[PodIP], doc("Addresses of the pod, at most one per IP family."), map_list("ip")] = (
        msgspec.field(name="podIPs", default_factory=list)
    )
    start_time: Annotated[Time | None, doc("When the node accepted the pod, before any image was pulled.")] = None
    init_container_statuses: Annotated[list[ContainerStatus], doc("State of each init container."), atomic_list()] = []
    container_statuses: Annotated[list[ContainerStatus], doc("State of each container."), atomic_list()] = []
    qos_class: Annotated[str, doc("Quality of service class, by the containers' resources.")] = ""
    ephemeral_container_statuses: Annotated[
        list[ContainerStatus], doc("State of each ephemeral container."), atomic_list()
    ] = []
    resize: Annotated[str, doc("State of a change of resources. Deprecated in favour of conditions.")] = ""
    resource_claim_statuses: Annotated[
        list[PodResourceClaimStatus],
        doc("Claims made for the pod's resourceClaims."),
        map_list("name", strategy="merge,retainKeys"),
    ] = []
    extended_resource_claim_status: Annotated[
        PodExtendedResourceClaimStatus | None, doc("Claim made for the pod's extended resources.")
    ] = None
    allocated_resources: Annotated[dict[str, Quantity], doc("Resources that the node has set aside for the pod.")] = {}
    resources: Annotated[ResourceRequirements | None, doc("Resources of the pod as a whole, as they are in force.")] = (
        None
    )
    node_allocatable_resource_claim_statuses: Annotated[
        list[NodeAllocatableResourceClaimStatus],
        doc("What claims take of the node's allocatable resources."),
        map_list("resourceClaimName"),
    ] = []
    volume_health: Annotated[
        list[PodVolumeHealth], doc("Health of the pod's volumes."), map_list("name", patch=None)
    ] = []


class PodCondition(CoreV1, frozen=True):
    """One aspect of a pod's current state."""

    type: Annotated[str, doc("What the condition is about, such as Ready.")]
    status: Annotated[str, doc("Whether the condition holds: True, False or Unknown.")]
    observed_generation: Annotated[Int64, doc("The metadata.generation that this state is based on.")] = 0
    last_probe_time: Annotated[Time | None, doc("When it was last looked at.")] = None
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why, in words.")] = ""


class HostIP(CoreV1, frozen=True):
    """An address of the node."""

    ip: Annotated[str, doc("The address.")]


class PodIP(CoreV1, frozen=True):
    """An address of the pod."""

    ip: Annotated[str, doc("The address.")]


class ContainerStatus(CoreV1, frozen=True):
    """What is known of a container's state."""

    name: Annotated[str, doc("Name of the container.")]
    ready: Annotated[bool, doc("Whether the container is ready to serve.")]
    restart_count: Annotated[int, doc("How often the container was restarted.")]
    image: Annotated[str, doc("The image that runs.")]
    image_id: Annotated[str, doc("Identifier of the image that runs.")] = msgspec.field(name="imageID")
    state: Annotated[ContainerState | None, doc("The current state.")] = None
    last_state: Annotated[ContainerState | None, doc("The state before the last restart.")] = None
    container_id: Annotated[str, doc("Identifier of the container, as type://id.")] = msgspec.field(
        name="containerID", default=""
    )
    started: Annotated[bool | None, doc("Whether the container has started, as the startup probe says.")] = None
    allocated_resources: Annotated[
        dict[str, Quantity], doc("Resources that the node has set aside for the container.")
    ] = {}
    resources: Annotated[ResourceRequirements | None, doc("Resources that are in force.")] = None
    volume_mounts: Annotated[list[VolumeMountStatus], doc("The mounts as they are."), map_list("mountPath")] = []
    user: Annotated[ContainerUser | None, doc("User and groups of the first process.")] = None
    allocated_resources_status: Annotated[
        list[ResourceStatus], doc("Health of the devices that the container got."), map_list("name")
    ] = []
    stop_signal: Annotated[
        Signal | None,
        doc("Signal that stops the container."),
    ] = None


class ContainerState(CoreV1, frozen=True):
    """A container's state. At most one member is set; none means waiting."""

    waiting: Annotated[ContainerStateWaiting | None, doc("Set while the container waits.")] = None
    running: Annotated[ContainerStateRunning | None, doc("Set while the container runs.")] = None
    terminated: Annotated[ContainerStateTerminated | None, doc("Set after the container has ended.")] = None


class ContainerStateWaiting(CoreV1, frozen=True):
    """The container does not run yet."""

    reason: Annotated[str, doc("Why, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why, in words.")] = ""


class ContainerStateRunning(CoreV1, frozen=True):
    """The container runs."""

    started_at: Annotated[Time | None, doc("When it started.")] = None


class ContainerStateTerminated(CoreV1, frozen=True):
    """The container has ended."""

    exit_code: Annotated[int, doc("Exit code.")]
    signal: Annotated[int, doc("Signal that ended it.")] = 0
    reason: Annotated[str, doc("Why, in one CamelCase word.")] = ""
    message: Annotated[str, doc("The container's final message.")] = ""
    started_at: Annotated[Time | None, doc("When it started.")] = None
    finished_at: Annotated[Time | None, doc("When it ended.")] = None
    container_id: Annotated[str, doc("Identifier of the container, as type://id.")] = msgspec.field(
        name="containerID", default=""
    )


class ContainerUser(CoreV1, frozen=True):
    """The identity that a container's first process got."""

    linux: Annotated[LinuxContainerUser | None, doc("Identity on Linux.")] = None


class LinuxContainerUser(CoreV1, frozen=True):
    """Linux user and groups of a process."""

    uid: Annotated[Int64, doc("User ID.")]
    gid: Annotated[Int64, doc("Group ID.")]
    supplemental_groups: Annotated[list[Int64], doc("Further group IDs."), atomic_list()] = []


class VolumeMountStatus(CoreV1, frozen=True):
    """A volume mount as it is."""

    name: Annotated[str, doc("Name of the volume.")]
    mount_path: Annotated[str, doc("Path in the container.")]
    read_only: Annotated[bool, doc("Whether the mount is read-only.")] = False
    recursive_read_only: Annotated[str | None, doc("Whether mounts below are read-only too.")] = None
    volume_status: Annotated[VolumeStatus | None, doc("State of the volume.")] = None


class VolumeStatus(CoreV1, frozen=True):
    """State of a mounted volume, by the volume's kind."""

    image: Annotated[ImageVolumeStatus | None, doc("State of an image volume.")] = None


class ImageVolumeStatus(CoreV1, frozen=True):
    """State of an image volume."""

    image_ref: Annotated[str, doc("Identifier of the image that is mounted.")] = ""


class ResourceStatus(CoreV1, frozen=True):
    """Health of the devices that a container got."""

    name: Annotated[str, doc("Name of the resource.")]
    resources: Annotated[list[ResourceHealth], doc("Health of each device."), map_list("resourceID", patch=None)] = []


class ResourceHealth(CoreV1, frozen=True):
    """Health of one device."""

    resource_id: Annotated[str, doc("Identifier of the device.")] = msgspec.field(name="resourceID")
    health: Annotated[str, doc("Healthy, Unhealthy or Unknown.")] = ""
    message: Annotated[str | None, doc("Why, in words.")] = None


class PodResourceClaimStatus(CoreV1, frozen=True):
    """The resource claim made for an entry of the pod's resourceClaims."""

    name: Annotated[str, doc("Name of the entry of resourceClaims.")]
    resource_claim_name: Annotated[str | None, doc("Name of the resource claim.")] = None


class PodExtendedResourceClaimStatus(CoreV1, frozen=True):
    """The resource claim made for the pod's extended resources."""

    request_mappings: Annotated[
        list[ContainerExtendedResourceRequest],
        doc("Which request stands for which extended resource of which container."),
        atomic_list(),
    ]
    resource_claim_name: Annotated[str, doc("Name of the resource claim.")]


class ContainerExtendedResourceRequest(CoreV1, frozen=True):
    """Maps an extended resource of a container to a request of a claim."""

    container_name: Annotated[str, doc("Name of the container.")]
    resource_name: Annotated[str, doc("Name of the extended resource.")]
    request_name: Annotated[str, doc("Name of the request in the claim.")]


class NodeAllocatableResourceClaimStatus(CoreV1, frozen=True):
    """What a resource claim takes of the node's allocatable resources."""

    resource_claim_name: Annotated[str, doc("Name of the resource claim.")]
    containers: Annotated[list[str], doc("Containers that use the claim."), set_list()] = []
    mapping: Annotated[list[NodeAllocatableMappedResources], doc("Amounts taken."), map_list("name")] = []
    overhead: Annotated[list[NodeAllocatableOverheadResources], doc("Overhead taken."), map_list("name")] = []


class NodeAllocatableMappedResources(CoreV1, frozen=True):
    """An amount of one of the node's resources."""

    name: Annotated[str, doc("Name of the resource.")]
    quantity: Annotated[Quantity, doc("The amount.")]


class NodeAllocatableOverheadResources(CoreV1, frozen=True):
    """Overhead in one of the node's resources."""

    name: Annotated[str, doc("Name of the resource.")]
    per_pod: Annotated[Quantity | None, doc("Overhead for the pod.")] = None
    per_container: Annotated[Quantity | None, doc("Overhead for each container.")] = None


class PodVolumeHealth(CoreV1, frozen=True):
    """Health of one of the pod's volumes."""

    name: Annotated[str, doc("Name of the volume.")]
    health_conditions: Annotated[
        list[VolumeHealthCondition], doc("Health, aspect by aspect."), map_list("status", "reason")
    ] = []
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
