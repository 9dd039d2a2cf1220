"""Services and Endpoints."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.meta import Condition, ObjectMeta
from homeport.kube.core.types.references import ObjectReference
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import IntOrString, atomic_list, atomic_map, doc, map_list


class Service(CoreV1, frozen=True):
    """A name and address for a set of pods."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[ServiceSpec | None, doc("The service.")] = None
    status: Annotated[ServiceStatus | None, doc("The service's state.")] = None


class ServiceSpec(CoreV1, frozen=True):
    """Which pods a service stands for, and how to reach it."""

    ports: Annotated[list[ServicePort], doc("Ports of the service."), map_list("port", "protocol")] = []
    selector: Annotated[
        dict[str, str],
        doc("Labels of the pods behind the service. Without it, somebody else writes the endpoints."),
        atomic_map(),
    ] = {}
    cluster_ip: Annotated[
        str, doc("Address of the service: given by the server, or None for a service without one.")
    ] = msgspec.field(name="clusterIP", default="")
    cluster_ips: Annotated[
        list[str], doc("Addresses of the service. The first is that of clusterIP."), atomic_list()
    ] = msgspec.field(name="clusterIPs", default_factory=list)
    type: Annotated[
        Literal["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], doc("How the service can be reached.")
    ] = "ClusterIP"
    external_ips: Annotated[list[str], doc("Further addresses that lead to the service."), atomic_list()] = (
        msgspec.field(name="externalIPs", default_factory=list)
    )
    session_affinity: Annotated[
        Literal["ClientIP", "None"], doc("Whether requests of a client go to the same pod: ClientIP or None.")
    ] = "None"
    load_balancer_ip: Annotated[str, doc("Address to ask the load balancer for. Deprecated.")] = msgspec.field(
        name="loadBalancerIP", default=""
    )
    load_balancer_source_ranges: Annotated[
        list[str], doc("Address ranges that may use the load balancer."), atomic_list()
    ] = []
    external_name: Annotated[str, doc("Name that an ExternalName service stands for.")] = ""
    external_traffic_policy: Annotated[
        Literal["Cluster", "Local"] | None,
        doc("Whether traffic from outside goes to pods on all nodes: Cluster or Local."),
    ] = None
    health_check_node_port: Annotated[int, doc("Port of the node's health check, with the policy Local.")] = 0
    publish_not_ready_addresses: Annotated[bool, doc("Give out the addresses of pods that are not ready, too.")] = False
    session_affinity_config: Annotated[SessionAffinityConfig | None, doc("Settings of the session affinity.")] = None
    ip_families: Annotated[list[Literal["IPv4", "IPv6"]], doc("IP families of the service."), atomic_list()] = []
    ip_family_policy: Annotated[
        Literal["PreferDualStack", "RequireDualStack", "SingleStack"] | None,
        doc("How many IP families the service has: SingleStack, PreferDualStack or RequireDualStack."),
    ] = None
    allocate_load_balancer_node_ports: Annotated[
        bool | None, doc("Whether a load balancer service gets node ports.")
    ] = None
    load_balancer_class: Annotated[str | None, doc("Which load balancer to use.")] = None
    internal_traffic_policy: Annotated[
        Literal["Cluster", "Local"] | None,
        doc("Whether traffic from inside goes to pods on all nodes: Cluster or Local."),
    ] = None
    traffic_distribution: Annotated[str | None, doc("Which endpoints are preferred.")] = None


class ServiceStatus(CoreV1, frozen=True):
    """State of a service."""

    load_balancer: Annotated[LoadBalancerStatus | None, doc("State of the load balancer.")] = None
    conditions: Annotated[list[Condition], doc("The current state, aspect by aspect."), map_list("type")] = []


class ServicePort(CoreV1, frozen=True):
    """A port of a service."""

    port: Annotated[int, doc("The port of the service.")]
    name: Annotated[str, doc("Name of the port; needed if there are several.")] = ""
    protocol: Annotated[Literal["SCTP", "TCP", "UDP"], doc("Protocol of the port.")] = "TCP"
    app_protocol: Annotated[str | None, doc("Protocol of the application, such as kubernetes.io/h2c.")] = None
    target_port: Annotated[
        IntOrString | None, doc("Number or name of the pods' port; by default the same as port.")
    ] = None
    node_port: Annotated[int, doc("Port on every node, for types NodePort and LoadBalancer.")] = 0


class SessionAffinityConfig(CoreV1, frozen=True):
    """Settings of the session affinity."""

    client_ip: Annotated[ClientIPConfig | None, doc("Settings for the affinity ClientIP.")] = msgspec.field(
        name="clientIP", default=None
    )


class ClientIPConfig(CoreV1, frozen=True):
    """Settings of session affinity by client address."""

    timeout_seconds: Annotated[int | None, doc("Seconds that a client stays with a pod.")] = None


class LoadBalancerStatus(CoreV1, frozen=True):
    """Where the load balancer takes traffic in."""

    ingress: Annotated[list[LoadBalancerIngress], doc("Where it takes traffic in."), atomic_list()] = []


class LoadBalancerIngress(CoreV1, frozen=True):
    """An address of the load balancer."""

    ip: Annotated[str, doc("The address.")] = ""
    hostname: Annotated[str, doc("Host name, for balancers that have one.")] = ""
    ip_mode: Annotated[str | None, doc("VIP or Proxy.")] = None
    ports: Annotated[list[PortStatus], doc("State of each port."), atomic_list()] = []


class PortStatus(CoreV1, frozen=True):
    """State of a port of the load balancer."""

    port: Annotated[int, doc("The port.")]
    protocol: Annotated[Literal["SCTP", "TCP", "UDP"], doc("Protocol of the port.")]
    error: Annotated[str | None, doc("What went wrong.")] = None


class Endpoints(CoreV1, frozen=True):
    """The addresses behind a service. Deprecated in favour of EndpointSlice."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    subsets: Annotated[list[EndpointSubset], doc("The addresses, in groups with the same ports."), atomic_list()] = []


class EndpointSubset(CoreV1, frozen=True):
    """Addresses that share a set of ports."""

    addresses: Annotated[list[EndpointAddress], doc("Addresses that are ready."), atomic_list()] = []
    not_ready_addresses: Annotated[list[EndpointAddress], doc("Addresses that are not ready."), atomic_list()] = []
    ports: Annotated[list[EndpointPort], doc("The ports."), atomic_list()] = []


class EndpointAddress(CoreV1, frozen=True):
    """One address."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    ip: Annotated[str, doc("The address.")]
    hostname: Annotated[str, doc("Host name of the endpoint.")] = ""
    node_name: Annotated[str | None, doc("Node that the endpoint is on.")] = None
    target_ref: Annotated[ObjectReference | None, doc("The object behind the endpoint, usually a pod.")] = None


class EndpointPort(CoreV1, frozen=True):
    """A port of the addresses."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    port: Annotated[int, doc("Number of the port.")]
    name: Annotated[str, doc("Name of the port; as in the service.")] = ""
    protocol: Annotated[Literal["SCTP", "TCP", "UDP"], doc("Protocol of the port.")] = "TCP"
    app_protocol: Annotated[str | None, doc("Protocol of the application, such as kubernetes.io/h2c.")] = None
