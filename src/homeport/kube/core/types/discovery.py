"""EndpointSlices (discovery.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from homeport.kube.core.types.bases import DiscoveryV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.references import ObjectReference
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import atomic_list, doc, set_list


class EndpointSlice(DiscoveryV1, frozen=True):
    """Some of the endpoints behind a service."""

    address_type: Annotated[str, doc("IPv4, IPv6 or FQDN.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    endpoints: Annotated[list[Endpoint], doc("The endpoints."), atomic_list()] = []
    ports: Annotated[list[EndpointPort], doc("The ports of each endpoint."), atomic_list()] = []


class Endpoint(DiscoveryV1, frozen=True):
    """One endpoint: one or more addresses of one pod."""

    addresses: Annotated[list[str], doc("Addresses of the endpoint."), set_list()]
    conditions: Annotated[EndpointConditions | None, doc("State of the endpoint.")] = None
    hostname: Annotated[str | None, doc("Host name of the endpoint.")] = None
    target_ref: Annotated[ObjectReference | None, doc("The object behind the endpoint, usually a pod.")] = None
    deprecated_topology: Annotated[dict[str, str], doc("No longer used.")] = {}
    node_name: Annotated[str | None, doc("Node that the endpoint is on.")] = None
    zone: Annotated[str | None, doc("Zone that the endpoint is in.")] = None
    hints: Annotated[EndpointHints | None, doc("Who should use the endpoint.")] = None


class EndpointConditions(DiscoveryV1, frozen=True):
    """State of an endpoint."""

    ready: Annotated[bool | None, doc("Whether it can take new traffic.")] = None
    serving: Annotated[bool | None, doc("Whether it serves, even while it ends.")] = None
    terminating: Annotated[bool | None, doc("Whether it is about to end.")] = None


class EndpointHints(DiscoveryV1, frozen=True):
    """Who should use an endpoint."""

    for_zones: Annotated[list[ForZone], doc("Zones that should use the endpoint."), atomic_list()] = []
    for_nodes: Annotated[list[ForNode], doc("Nodes that should use the endpoint."), atomic_list()] = []


class EndpointPort(DiscoveryV1, frozen=True):
    """A port of the endpoints."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    name: Annotated[str | None, doc("Name of the port; as in the service.", default="")] = None
    protocol: Annotated[Literal["SCTP", "TCP", "UDP"], doc("Protocol of the port.")] = "TCP"
    port: Annotated[int | None, doc("Number of the port.")] = None
    app_protocol: Annotated[str | None, doc("Protocol of the application, such as kubernetes.io/h2c.")] = None


class ForZone(DiscoveryV1, frozen=True):
    """A zone that should use an endpoint."""

    name: Annotated[str, doc("Name of the zone.")]


class ForNode(DiscoveryV1, frozen=True):
    """A node that should use an endpoint."""

    name: Annotated[str, doc("Name of the node.")]
