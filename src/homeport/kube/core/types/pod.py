"""Pods and pod templates."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.container import Container, EphemeralContainer, ResourceRequirements
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.placement import Affinity, Toleration, TopologySpreadConstraint
from homeport.kube.core.types.pod_status import PodStatus
from homeport.kube.core.types.references import LocalObjectReference, ObjectReference
from homeport.kube.core.types.security import PodSecurityContext
from homeport.kube.core.types.volume import Volume
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import Int64, Quantity, atomic_list, atomic_map, doc, map_list


class Pod(CoreV1, frozen=True):
    """One or more containers that run together on one node and share network and volumes."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[PodSpec | None, doc("What to run.")] = None
    status: Annotated[PodStatus | None, doc("The pod's state.")] = None


class PodSpec(CoreV1, frozen=True):
    """What a pod runs, and how."""

    containers: Annotated[list[Container], doc("The containers to run. There must be at least one."), map_list("name")]
    volumes: Annotated[
        list[Volume], doc("Volumes that the containers may mount."), map_list("name", strategy="merge,retainKeys")
    ] = []
    init_containers: Annotated[
        list[Container],
        doc("Containers that run one by one before the others. With restartPolicy Always they stay beside them."),
        map_list("name"),
    ] = []
    ephemeral_containers: Annotated[
        list[EphemeralContainer],
        doc("Containers added for debugging through the ephemeralcontainers subresource."),
        map_list("name"),
    ] = []
    restart_policy: Annotated[Literal["Always", "OnFailure", "Never"], doc("When containers are restarted.")] = "Always"
    termination_grace_period_seconds: Annotated[Int64, doc("Seconds between the request to stop and the kill.")] = 30
    active_deadline_seconds: Annotated[
        Int64 | None, doc("Seconds after its start at which the pod is stopped and marked as failed.")
    ] = None
    dns_policy: Annotated[
        Literal["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], doc("How names are resolved.")
    ] = "ClusterFirst"
    node_selector: Annotated[dict[str, str], doc("Labels that the node must have."), atomic_map()] = {}
    service_account_name: Annotated[str, doc("The service account that the pod runs as.")] = ""
    service_account: Annotated[str, doc("Deprecated name of serviceAccountName.")] = ""
    automount_service_account_token: Annotated[
        bool | None, doc("Whether the service account's token is mounted into the containers.")
    ] = None
    node_name: Annotated[str, doc("The node that runs the pod. Set by the scheduler.")] = ""
    host_network: Annotated[bool, doc("Use the node's network.")] = False
    host_pid: Annotated[bool, doc("Use the node's process namespace.")] = msgspec.field(name="hostPID", default=False)
    host_ipc: Annotated[bool, doc("Use the node's IPC namespace.")] = msgspec.field(name="hostIPC", default=False)
    share_process_namespace: Annotated[bool | None, doc("Whether the containers see each other's processes.")] = None
    security_context: Annotated[PodSecurityContext | None, doc("Security settings for all containers.", default={})] = (
        None
    )
    image_pull_secrets: Annotated[
        list[LocalObjectReference], doc("Secrets with credentials for the image registries."), map_list("name")
    ] = []
    hostname: Annotated[str, doc("Host name of the pod; by default the pod's name.")] = ""
    subdomain: Annotated[
        str, doc("With hostname, gives the pod a name of the form hostname.subdomain.namespace.svc.")
    ] = ""
    affinity: Annotated[Affinity | None, doc("Where the pod may and would rather run.")] = None
    scheduler_name: Annotated[str, doc("The scheduler that places the pod.")] = "default-scheduler"
    tolerations: Annotated[list[Toleration], doc("Taints that the pod tolerates."), atomic_list()] = []
    host_aliases: Annotated[list[HostAlias], doc("Additional lines of the hosts file."), map_list("ip")] = []
    priority_class_name: Annotated[str, doc("Name of the pod's priority class.")] = ""
    priority: Annotated[int | None, doc("The pod's priority; taken from the priority class.")] = None
    dns_config: Annotated[PodDNSConfig | None, doc("DNS settings on top of those of dnsPolicy.")] = None
    readiness_gates: Annotated[
        list[PodReadinessGate],
        doc("Conditions that must be true, beside ready containers, for the pod to be ready."),
        atomic_list(),
    ] = []
    runtime_class_name: Annotated[str | None, doc("Runtime class to run the pod with.")] = None
    enable_service_links: Annotated[
        bool, doc("Whether containers get environment variables about the services of the namespace.")
    ] = True
    preemption_policy: Annotated[
        Literal["Never", "PreemptLowerPriority"] | None, doc("Whether the pod may preempt pods of lower priority.")
    ] = None
    overhead: Annotated[
        dict[str, Quantity], doc("Resources that running the pod takes beside those of its containers.")
    ] = {}
    topology_spread_constraints: Annotated[
        list[TopologySpreadConstraint],
        doc("How to spread pods over nodes, zones and the like."),
        map_list("topologyKey", "whenUnsatisfiable"),
    ] = []
    set_hostname_as_fqdn: Annotated[bool | None, doc("Use the fully qualified name as the host name.")] = msgspec.field(
        name="setHostnameAsFQDN", default=None
    )
    os: Annotated[PodOS | None, doc("The operating system that the pod is made for.")] = None
    host_users: Annotated[bool | None, doc("Whether to use the node's user namespace.")] = None
    scheduling_gates: Annotated[
        list[PodSchedulingGate],
        doc("Hold the pod back from being scheduled until the list is empty."),
        map_list("name"),
    ] = []
    resource_claims: Annotated[
        list[PodResourceClaim],
        doc("Claims of devices that containers may use."),
        map_list("name", strategy="merge,retainKeys"),
    ] = []
    resources: Annotated[ResourceRequirements | None, doc("Resources of the pod as a whole.")] = None
    hostname_override: Annotated[str | None, doc("The pod's host name, exactly as given here.")] = None
    scheduling_group: Annotated[PodSchedulingGroup | None, doc("The group to schedule this pod with.")] = None
    eviction_responders: Annotated[
        list[EvictionResponder], doc("Parties that act on a request to evict the pod."), map_list("name")
    ] = []


class PodTemplateSpec(CoreV1, frozen=True):
    """Metadata and spec of the pods to create."""

    metadata: Annotated[ObjectMeta | None, doc("Metadata of the pods.")] = None
    spec: Annotated[PodSpec | None, doc("Spec of the pods.")] = None


class PodTemplate(CoreV1, frozen=True):
    """A pod template stored on its own."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    template: Annotated[PodTemplateSpec | None, doc("The pods that are made from this template.")] = None


class Binding(CoreV1, frozen=True):
    """Assigns a pod to a node; written to the pod's binding subresource."""

    target: Annotated[ObjectReference, doc("The node to bind the pod to.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None


class HostAlias(CoreV1, frozen=True):
    """Additional line of the pod's hosts file."""

    ip: Annotated[str, doc("The address.")]
    hostnames: Annotated[list[str], doc("Names for the address."), atomic_list()] = []


class PodDNSConfig(CoreV1, frozen=True):
    """The pod's DNS settings, on top of those of dnsPolicy."""

    nameservers: Annotated[list[str], doc("Addresses of name servers."), atomic_list()] = []
    searches: Annotated[list[str], doc("Domains to search."), atomic_list()] = []
    options: Annotated[list[PodDNSConfigOption], doc("Options of the resolver."), atomic_list()] = []


class PodDNSConfigOption(CoreV1, frozen=True):
    """One option of the resolver."""

    name: Annotated[str, doc("Name of the option.")] = ""
    value: Annotated[str | None, doc("Value of the option.")] = None


class PodReadinessGate(CoreV1, frozen=True):
    """A condition that must be true for the pod to be ready."""

    condition_type: Annotated[str, doc("Type of the pod condition.")]


class PodOS(CoreV1, frozen=True):
    """The operating system that a pod is made for."""

    name: Annotated[str, doc("linux or windows.")]


class PodSchedulingGate(CoreV1, frozen=True):
    """Holds a pod back from being scheduled, while it is there."""

    name: Annotated[str, doc("Name of the gate.")]


class PodResourceClaim(CoreV1, frozen=True):
    """A claim of devices that containers of the pod may use. Exactly one source may be set."""

    name: Annotated[str, doc("Name by which containers refer to the claim.")]
    resource_claim_name: Annotated[str | None, doc("An existing claim.")] = None
    resource_claim_template_name: Annotated[str | None, doc("Template to make a claim from, for this pod.")] = None


class PodSchedulingGroup(CoreV1, frozen=True):
    """The group of pods to schedule this pod with."""

    pod_group_name: Annotated[str | None, doc("Name of the pod group.")] = None


class EvictionResponder(CoreV1, frozen=True):
    """A party that acts on a request to evict the pod."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    name: Annotated[str, doc("Name of the responder.")]
    priority: Annotated[int, doc("Responders with a higher priority act first.")]
