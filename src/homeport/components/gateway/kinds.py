"""The declarations. Structs are imported when somebody first asks for an object of their kind."""

from __future__ import annotations

from homeport.kube.kind import Column, Kind, Resource

GROUP = "gateway.networking.k8s.io"
_APPROVAL = "https://github.com/kubernetes-sigs/gateway-api/pull/4530"
_AGE = Column("Age", "date", ".metadata.creationTimestamp")
_HOSTNAMES = Column("Hostnames", "string", ".spec.hostnames")


def _condition(name: str) -> Column:
    return Column(name, "string", f'.status.conditions[?(@.type=="{name}")].status')


def _kind(
    module: str,
    name: str,
    plural: str,
    columns: tuple[Column, ...],
    short_names: tuple[str, ...] = (),
    *,
    version: str = "v1",
    namespaced: bool = True,
    status: bool = True,
) -> Kind:
    return Kind(
        resource=Resource(GROUP, version, plural, name, namespaced),
        body=f"homeport.components.gateway.{module}:{name}",
        short_names=short_names,
        categories=("gateway-api",),
        columns=columns,
        subresources=frozenset({"status"} if status else ()),
        has_rules=True,
        approval=_APPROVAL,
    )


GATEWAY_CLASS = _kind(
    "gateways",
    "GatewayClass",
    "gatewayclasses",
    (
        Column("Controller", "string", ".spec.controllerName"),
        _condition("Accepted"),
        _AGE,
        Column("Description", "string", ".spec.description", priority=1),
    ),
    ("gc",),
    namespaced=False,
)
GATEWAY = _kind(
    "gateways",
    "Gateway",
    "gateways",
    (
        Column("Class", "string", ".spec.gatewayClassName"),
        Column("Address", "string", ".status.addresses[*].value"),
        _condition("Programmed"),
        _AGE,
    ),
    ("gtw",),
)
HTTP_ROUTE = _kind("http", "HTTPRoute", "httproutes", (_HOSTNAMES, _AGE))
GRPC_ROUTE = _kind("grpc", "GRPCRoute", "grpcroutes", (_HOSTNAMES, _AGE))
REFERENCE_GRANT = _kind(
    "grants", "ReferenceGrant", "referencegrants", (_AGE,), ("refgrant",), version="v1beta1", status=False
)

KINDS = (GATEWAY_CLASS, GATEWAY, HTTP_ROUTE, GRPC_ROUTE, REFERENCE_GRANT)
