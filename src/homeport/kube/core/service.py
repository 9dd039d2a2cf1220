"""Services, Endpoints and EndpointSlices."""

from __future__ import annotations

from typing import Any

from homeport.kube import meta, names
from homeport.kube.core.columns import NONE, UNSET, joined, labels_text
from homeport.kube.core.declare import core, grouped
from homeport.kube.core.pod_defaults import mapped, replaced
from homeport.kube.core.service_changes import carried_over, is_reached_from_outside, synchronised
from homeport.kube.core.service_validation import validate_endpoint_slice, validate_endpoints, validate_service
from homeport.kube.core.types.discovery import EndpointSlice
from homeport.kube.core.types.service import Endpoints, Service
from homeport.kube.kind import Column
from homeport.kube.meta import Object, dicts
from homeport.kube.table import AGE

_SHOWN = 3
"""Endpoints that a cell shows before it says how many more there are."""


def prepare_service(new: Object, old: Object | None) -> Object:
    """Defaults that depend on other fields (upstream: ``SetDefaults_Service``), and what an update keeps. Addresses,
    node ports and IP families are the API server's to give out."""
    given = new.get("spec")
    if not isinstance(given, dict):
        return new
    spec = synchronised(given) if old is None else carried_over(given, meta.spec(old))
    changes: Object = {}
    ports = mapped(spec.get("ports"), _service_port)
    if ports is not spec.get("ports"):
        changes["ports"] = ports
    kind = spec.get("type")
    if spec.get("sessionAffinity") == "ClientIP" and not spec.get("sessionAffinityConfig"):
        changes["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
    if spec.get("sessionAffinity") == "None" and "sessionAffinityConfig" in spec:
        spec = {key: value for key, value in spec.items() if key != "sessionAffinityConfig"}
    if is_reached_from_outside(spec) and not spec.get("externalTrafficPolicy"):
        changes["externalTrafficPolicy"] = "Cluster"
    if kind in ("ClusterIP", "NodePort", "LoadBalancer") and not spec.get("internalTrafficPolicy"):
        changes["internalTrafficPolicy"] = "Cluster"
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
        changes["allocateLoadBalancerNodePorts"] = True
    result = new if not changes and spec is given else {**new, "spec": {**spec, **changes}}
    return result if "status" in result else {**result, "status": {"loadBalancer": {}}}


def _service_port(port: Object) -> Object:
    return replaced(port, {"targetPort": port["port"]} if "port" in port and not port.get("targetPort") else {})


def _external_ip(service: Object) -> str:
    spec = meta.spec(service)
    external = list(spec.get("externalIPs") or ())
    kind = spec.get("type")
    if kind == "ExternalName":
        return spec.get("externalName") or NONE
    if kind == "LoadBalancer":
        ingress = (meta.status(service).get("loadBalancer") or {}).get("ingress") or ()
        found = sorted({i.get("ip") or i.get("hostname") for i in ingress if i.get("ip") or i.get("hostname")})
        return ",".join([*found, *external]) or "<pending>"
    return joined(external)


def _ports(service: Object) -> str:
    return joined(
        f"{port['port']}:{port['nodePort']}/{port.get('protocol', 'TCP')}"
        if port.get("nodePort")
        else f"{port['port']}/{port.get('protocol', 'TCP')}"
        for port in meta.spec(service).get("ports") or ()
    )


def _some(found: list[str]) -> str:
    if not found:
        return NONE
    more = len(found) - _SHOWN
    return ",".join(found[:_SHOWN]) + (f" + {more} more..." if more > 0 else "")


def _host_port(ip: str, port: Any) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _endpoints(obj: Object) -> str:
    found: list[str] = []
    for subset in dicts(obj.get("subsets")):
        addresses = [address["ip"] for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        found += [_host_port(ip, port["port"]) for port in ports for ip in addresses] if ports else addresses
    return _some(found)


def _slice_endpoints(obj: Object) -> str:
    return _some([address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()])


def _slice_ports(obj: Object) -> str:
    ports = obj.get("ports")
    if not ports:
        return UNSET
    return _some([str(port.get("port", "*")) for port in ports])


SERVICE = core(
    "services",
    Service,
    short_names=("svc",),
    categories=("all",),
    name_rule=names.dns1035_label,
    columns=(
        Column("Type", "string", compute=lambda obj: meta.spec(obj).get("type") or "ClusterIP"),
        Column("Cluster-IP", "string", compute=lambda obj: meta.spec(obj).get("clusterIP") or NONE),
        Column("External-IP", "string", compute=_external_ip),
        Column("Port(s)", "string", compute=_ports),
        AGE,
        Column("Selector", "string", priority=1, compute=lambda obj: labels_text(meta.spec(obj).get("selector"))),
    ),
    prepare=prepare_service,
    validate=validate_service,
)

ENDPOINTS = core(
    "endpoints",
    Endpoints,
    status=False,
    short_names=("ep",),
    columns=(Column("Endpoints", "string", compute=_endpoints), AGE),
    validate=validate_endpoints,
    warning="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
)

ENDPOINT_SLICE = grouped(
    "discovery.k8s.io",
    "endpointslices",
    EndpointSlice,
    generation=True,
    columns=(
        Column("AddressType", "string", ".addressType"),
        Column("Ports", "string", compute=_slice_ports),
        Column("Endpoints", "string", compute=_slice_endpoints),
        AGE,
    ),
    validate=validate_endpoint_slice,
)

KINDS = (SERVICE, ENDPOINTS, ENDPOINT_SLICE)
