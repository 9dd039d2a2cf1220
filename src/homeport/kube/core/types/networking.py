"""Ingresses, network policies and service addresses (networking.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from homeport.kube.core.types.bases import NetworkingV1
from homeport.kube.core.types.meta import Condition, LabelSelector, ObjectMeta
from homeport.kube.core.types.references import TypedLocalObjectReference
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import IntOrString, atomic_list, doc, map_list


class Ingress(NetworkingV1, frozen=True):
    """Leads HTTP requests from outside to services."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[IngressSpec | None, doc("Which requests go where.")] = None
    status: Annotated[IngressStatus | None, doc("The current state.")] = None


class IngressSpec(NetworkingV1, frozen=True):
    """Which requests go where."""

    ingress_class_name: Annotated[str | None, doc("The class of the ingress, which says what carries it out.")] = None
    default_backend: Annotated[IngressBackend | None, doc("Where requests go that no rule is for.")] = None
    tls: Annotated[list[IngressTLS], doc("Hosts that are served with TLS."), atomic_list()] = []
    rules: Annotated[list[IngressRule], doc("Which requests go where, host by host."), atomic_list()] = []


class IngressBackend(NetworkingV1, frozen=True):
    """Where requests go."""

    service: Annotated[IngressServiceBackend | None, doc("A service.")] = None
    resource: Annotated[TypedLocalObjectReference | None, doc("Another object in the same namespace.")] = None


class IngressServiceBackend(NetworkingV1, frozen=True):
    """A service that takes requests."""

    name: Annotated[str, doc("Name of the service.")]
    port: Annotated[ServiceBackendPort | None, doc("Port of the service.")] = None


class ServiceBackendPort(NetworkingV1, frozen=True):
    """A port of a service, by name or number."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    name: Annotated[str, doc("Name of the port.")] = ""
    number: Annotated[int, doc("Number of the port.")] = 0


class IngressTLS(NetworkingV1, frozen=True):
    """Hosts that are served with one certificate."""

    hosts: Annotated[list[str], doc("The hosts."), atomic_list()] = []
    secret_name: Annotated[str, doc("Secret with the certificate.")] = ""


class IngressRule(NetworkingV1, frozen=True):
    """Where requests to one host go."""

    host: Annotated[str, doc("The host; the first label may be *. Without it all hosts are meant.")] = ""
    http: Annotated[HTTPIngressRuleValue | None, doc("The rules for HTTP.")] = None


class HTTPIngressRuleValue(NetworkingV1, frozen=True):
    """Where HTTP requests go, path by path."""

    paths: Annotated[list[HTTPIngressPath], doc("The paths."), atomic_list()]


class HTTPIngressPath(NetworkingV1, frozen=True):
    """Where requests to one path go."""

    path_type: Annotated[
        Literal["Exact", "ImplementationSpecific", "Prefix"],
        doc("How the path is matched: Exact, Prefix or ImplementationSpecific."),
    ]
    backend: Annotated[IngressBackend, doc("Where the requests go.")]
    path: Annotated[str, doc("The path.")] = ""


class IngressStatus(NetworkingV1, frozen=True):
    """Where an ingress takes requests in."""

    load_balancer: Annotated[IngressLoadBalancerStatus | None, doc("State of the load balancer.")] = None


class IngressLoadBalancerStatus(NetworkingV1, frozen=True):
    """Where the load balancer takes requests in."""

    ingress: Annotated[list[IngressLoadBalancerIngress], doc("Where it takes requests in."), atomic_list()] = []


class IngressLoadBalancerIngress(NetworkingV1, frozen=True):
    """An address of the load balancer."""

    ip: Annotated[str, doc("The address.")] = ""
    hostname: Annotated[str, doc("Host name, for balancers that have one.")] = ""
    ports: Annotated[list[IngressPortStatus], doc("State of each port."), atomic_list()] = []


class IngressPortStatus(NetworkingV1, frozen=True):
    """State of a port of the load balancer."""

    port: Annotated[int, doc("The port.", default=0)]
    protocol: Annotated[str, doc("Protocol of the port.", default="")]
    error: Annotated[str | None, doc("What went wrong.")] = None


class IngressClass(NetworkingV1, frozen=True):
    """A sort of ingress, and what carries it out."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[IngressClassSpec | None, doc("What carries it out.")] = None


class IngressClassSpec(NetworkingV1, frozen=True):
    """What carries out the ingresses of a class."""

    controller: Annotated[str, doc("Name of the controller, such as example.com/ingress. It can't be changed.")] = ""
    parameters: Annotated[IngressClassParametersReference | None, doc("Settings for the controller.")] = None


class IngressClassParametersReference(NetworkingV1, frozen=True):
    """Settings for an ingress controller."""

    kind: Annotated[str, doc("Kind of the object.")]
    name: Annotated[str, doc("Name of the object.")]
    api_group: Annotated[str | None, doc("API group of the object; empty for the core group.")] = None
    scope: Annotated[str, doc("Whether the object is in a namespace: Cluster or Namespace.")] = "Cluster"
    namespace: Annotated[str | None, doc("Namespace of the object.")] = None


class NetworkPolicy(NetworkingV1, frozen=True):
    """Which connections pods may take part in."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[NetworkPolicySpec | None, doc("The pods and the connections.")] = None


class NetworkPolicySpec(NetworkingV1, frozen=True):
    """Which connections are allowed for which pods."""

    pod_selector: Annotated[LabelSelector | None, doc("Labels of the pods that the policy is about.")] = None
    ingress: Annotated[
        list[NetworkPolicyIngressRule], doc("Connections to the pods that are allowed."), atomic_list()
    ] = []
    egress: Annotated[
        list[NetworkPolicyEgressRule], doc("Connections from the pods that are allowed."), atomic_list()
    ] = []
    policy_types: Annotated[
        list[Literal["Egress", "Ingress"]], doc("Which directions the policy is about: Ingress, Egress."), atomic_list()
    ] = []


class NetworkPolicyIngressRule(NetworkingV1, frozen=True):
    """Connections to pods that are allowed."""

    ports: Annotated[list[NetworkPolicyPort], doc("Ports of the pods; without any, all are meant."), atomic_list()] = []
    from_: Annotated[
        list[NetworkPolicyPeer],
        doc("Where the connections come from; without any, everywhere is meant."),
        atomic_list(),
    ] = []


class NetworkPolicyEgressRule(NetworkingV1, frozen=True):
    """Connections from pods that are allowed."""

    ports: Annotated[
        list[NetworkPolicyPort], doc("Ports that the connections lead to; without any, all are meant."), atomic_list()
    ] = []
    to: Annotated[
        list[NetworkPolicyPeer], doc("Where the connections lead; without any, everywhere is meant."), atomic_list()
    ] = []


class NetworkPolicyPort(NetworkingV1, frozen=True):
    """Ports that connections may lead to."""

    protocol: Annotated[Literal["SCTP", "TCP", "UDP"], doc("TCP, UDP or SCTP.")] = "TCP"
    port: Annotated[IntOrString | None, doc("Number or name of the port; without it all ports are meant.")] = None
    end_port: Annotated[int | None, doc("Last port of a range that begins with port.")] = None


class NetworkPolicyPeer(NetworkingV1, frozen=True):
    """Who may be at the other end of a connection."""

    pod_selector: Annotated[LabelSelector | None, doc("Labels of pods.")] = None
    namespace_selector: Annotated[LabelSelector | None, doc("Labels of namespaces.")] = None
    ip_block: Annotated[IPBlock | None, doc("Addresses.")] = None


class IPBlock(NetworkingV1, frozen=True):
    """A range of addresses."""

    cidr: Annotated[str, doc("The range.")]
    except_: Annotated[list[str], doc("Parts of the range that are left out."), atomic_list()] = []


class IPAddress(NetworkingV1, frozen=True):
    """An address that an object has. Its name is the address."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[IPAddressSpec | None, doc("Whose address it is.")] = None


class IPAddressSpec(NetworkingV1, frozen=True):
    """Whose address it is."""

    parent_ref: Annotated[ParentReference | None, doc("The object that has the address. It can't be changed.")] = None


class ParentReference(NetworkingV1, frozen=True):
    """The object that has an address."""

    group: Annotated[str, doc("API group of the object.")] = ""
    resource: Annotated[str, doc("Resource of the object.")] = ""
    namespace: Annotated[str, doc("Namespace of the object.")] = ""
    name: Annotated[str, doc("Name of the object.")] = ""


class ServiceCIDR(NetworkingV1, frozen=True):
    """Ranges that services get their addresses from."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[ServiceCIDRSpec | None, doc("The ranges.")] = None
    status: Annotated[ServiceCIDRStatus | None, doc("The current state.")] = None


class ServiceCIDRSpec(NetworkingV1, frozen=True):
    """Ranges that services get their addresses from."""

    cidrs: Annotated[list[str], doc("The ranges, one for each IP family."), atomic_list()] = []


class ServiceCIDRStatus(NetworkingV1, frozen=True):
    """What has become of the ranges."""

    conditions: Annotated[list[Condition], doc("The current state, aspect by aspect."), map_list("type")] = []
