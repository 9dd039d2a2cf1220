"""Nodes."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema.fields import Int64, Quantity, Time, atomic_list, doc, map_list, set_list


class Node(CoreV1, frozen=True):
    """A machine that runs pods."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[NodeSpec | None, doc("The settings.")] = None
    status: Annotated[NodeStatus | None, doc("The node's state.")] = None


class NodeSpec(CoreV1, frozen=True):
    """Settings of a node."""

    pod_cidr: Annotated[str, doc("Address range of the node's pods.")] = msgspec.field(name="podCIDR", default="")
    pod_cidrs: Annotated[
        list[str], doc("Address ranges of the node's pods, one per IP family."), set_list(patch=True)
    ] = msgspec.field(name="podCIDRs", default_factory=list)
    provider_id: Annotated[str, doc("Identifier of the machine at its provider.")] = msgspec.field(
        name="providerID", default=""
    )
    unschedulable: Annotated[bool, doc("Place no new pods here.")] = False
    taints: Annotated[list[Taint], doc("The node's taints."), atomic_list()] = []
    config_source: Annotated[NodeConfigSource | None, doc("No longer used.")] = None
    external_id: Annotated[str, doc("No longer used.")] = msgspec.field(name="externalID", default="")
    pod_preemption_policy: Annotated[NodePodPreemptionPolicy | None, doc("How pods may be preempted here.")] = None


class NodeStatus(CoreV1, frozen=True):
    """State of a node."""

    capacity: Annotated[dict[str, Quantity], doc("Resources of the node.")] = {}
    allocatable: Annotated[dict[str, Quantity], doc("Resources that pods may use.")] = {}
    phase: Annotated[Literal["Pending", "Running", "Terminated"] | None, doc("No longer used.")] = None
    conditions: Annotated[list[NodeCondition], doc("The current state, aspect by aspect."), map_list("type")] = []
    addresses: Annotated[list[NodeAddress], doc("The node's addresses."), map_list("type")] = []
    daemon_endpoints: Annotated[NodeDaemonEndpoints | None, doc("Ports of the daemons.")] = None
    node_info: Annotated[NodeSystemInfo | None, doc("Facts about hardware and software.")] = None
    images: Annotated[list[ContainerImage], doc("Images that the node has."), atomic_list()] = []
    volumes_in_use: Annotated[list[str], doc("Volumes in use."), atomic_list()] = []
    volumes_attached: Annotated[list[AttachedVolume], doc("Volumes attached."), atomic_list()] = []
    config: Annotated[NodeConfigStatus | None, doc("No longer used.")] = None
    runtime_handlers: Annotated[list[NodeRuntimeHandler], doc("The node's runtime handlers."), atomic_list()] = []
    features: Annotated[NodeFeatures | None, doc("What the runtime can do.")] = None
    declared_features: Annotated[list[str], doc("Features that the node declares."), atomic_list()] = []


class NodeCondition(CoreV1, frozen=True):
    """One aspect of a node's current state."""

    type: Annotated[str, doc("What the condition is about, such as Ready.")]
    status: Annotated[str, doc("Whether the condition holds: True, False or Unknown.")]
    last_heartbeat_time: Annotated[Time | None, doc("When the node last reported it.")] = None
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why, in words.")] = ""


class NodeAddress(CoreV1, frozen=True):
    """An address of a node."""

    type: Annotated[str, doc("Hostname, InternalIP, ExternalIP, InternalDNS or ExternalDNS.")]
    address: Annotated[str, doc("The address.")]


class NodeDaemonEndpoints(CoreV1, frozen=True):
    """Ports of the daemons on a node."""

    kubelet_endpoint: Annotated[DaemonEndpoint | None, doc("The node agent.")] = None


class DaemonEndpoint(CoreV1, frozen=True):
    """Port of one daemon."""

    port: Annotated[int, doc("Number of the port.")] = msgspec.field(name="Port")


class NodeSystemInfo(CoreV1, frozen=True):
    """Facts about a node's hardware and software."""

    machine_id: Annotated[str, doc("Identifier of the machine.")] = msgspec.field(name="machineID")
    system_uuid: Annotated[str, doc("UUID of the machine.")] = msgspec.field(name="systemUUID")
    boot_id: Annotated[str, doc("Identifier of the boot.")] = msgspec.field(name="bootID")
    kernel_version: Annotated[str, doc("Version of the kernel.")]
    os_image: Annotated[str, doc("The operating system's name and version.")]
    container_runtime_version: Annotated[str, doc("Name and version of the runtime.")]
    kubelet_version: Annotated[str, doc("Version of the node agent.")]
    kube_proxy_version: Annotated[str, doc("Version of the service proxy. Deprecated.")]
    operating_system: Annotated[str, doc("Operating system, such as linux.")]
    architecture: Annotated[str, doc("Processor architecture, such as amd64.")]
    swap: Annotated[NodeSwapStatus | None, doc("Swap space.")] = None


class NodeSwapStatus(CoreV1, frozen=True):
    """Swap space of a node."""

    capacity: Annotated[Int64 | None, doc("Swap space in bytes.")] = None


class NodeConfigSource(CoreV1, frozen=True):
    """Where a node takes its configuration from. No longer used."""

    config_map: Annotated[ConfigMapNodeConfigSource | None, doc("No longer used.")] = None


class NodeConfigStatus(CoreV1, frozen=True):
    """State of a node's configuration. No longer used."""

    assigned: Annotated[NodeConfigSource | None, doc("No longer used.")] = None
    active: Annotated[NodeConfigSource | None, doc("No longer used.")] = None
    last_known_good: Annotated[NodeConfigSource | None, doc("No longer used.")] = None
    error: Annotated[str, doc("What went wrong.")] = ""


class ConfigMapNodeConfigSource(CoreV1, frozen=True):
    """A config map with a node's configuration. No longer used."""

    namespace: Annotated[str, doc("Namespace of the config map.")]
    name: Annotated[str, doc("Name of the config map.")]
    kubelet_config_key: Annotated[str, doc("The entry to use.")]
    uid: Annotated[str, doc("UID of the config map.")] = ""
    resource_version: Annotated[str, doc("Opaque version of the object. It changes with every write.")] = ""


class NodePodPreemptionPolicy(CoreV1, frozen=True):
    """How pods on a node may be preempted."""

    disable_resize_preemption: Annotated[
        list[str], doc("Never preempt pods to make room for a resize."), set_list()
    ] = []


class NodeRuntimeHandler(CoreV1, frozen=True):
    """A runtime handler of a node."""

    name: Annotated[str, doc("Name of the handler; empty for the default one.")] = ""
    features: Annotated[NodeRuntimeHandlerFeatures | None, doc("What the handler can do.")] = None


class NodeRuntimeHandlerFeatures(CoreV1, frozen=True):
    """What a runtime handler can do."""

    recursive_read_only_mounts: Annotated[bool | None, doc("Whether it can make mounts read-only recursively.")] = None
    user_namespaces: Annotated[bool | None, doc("Whether it can use user namespaces.")] = None


class NodeFeatures(CoreV1, frozen=True):
    """What a node's runtime can do."""

    supplemental_groups_policy: Annotated[
        bool | None, doc("Whether the policy of supplemental groups is honoured.")
    ] = None


class ContainerImage(CoreV1, frozen=True):
    """An image that a node has."""

    names: Annotated[list[str], doc("The image's names."), atomic_list()] = []
    size_bytes: Annotated[Int64, doc("Size in bytes.")] = 0


class AttachedVolume(CoreV1, frozen=True):
    """A volume attached to a node."""

    name: Annotated[str, doc("Name of the volume.")]
    device_path: Annotated[str, doc("Path of the device.")]


class Taint(CoreV1, frozen=True):
    """Keeps pods that do not tolerate it off a node."""

    key: Annotated[str, doc("Key of the taint.")]
    effect: Annotated[
        Literal["NoExecute", "NoSchedule", "PreferNoSchedule"],
        doc("Effect of the taint: NoSchedule, PreferNoSchedule or NoExecute."),
    ]
    value: Annotated[str, doc("Value of the taint.")] = ""
    time_added: Annotated[Time | None, doc("When the taint was added.")] = None
