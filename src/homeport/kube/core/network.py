"""Ingresses, network policies and service addresses (networking.k8s.io/v1)."""

from __future__ import annotations

from homeport.kube import meta, names
from homeport.kube.core.columns import NONE, joined, selector_text
from homeport.kube.core.declare import TYPES, deferred, grouped
from homeport.kube.core.network_names import address_name
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE

_GROUP = "networking.k8s.io"
_SHOWN = 3
"""Hosts that a cell shows before it says how many more there are."""

_rule = deferred("homeport.kube.core.network_validation")


def _hosts(ingress: Object) -> str:
    rules = meta.spec(ingress).get("rules") or ()
    found = [rule["host"] for rule in rules if rule.get("host")]
    if not found:
        return "*"
    more = len(rules) - _SHOWN
    return ",".join(found[:_SHOWN]) + (f" + {more} more..." if more > 0 else "")


def _addresses(ingress: Object) -> str:
    found = (meta.status(ingress).get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(sorted({item.get("ip") or item.get("hostname") or "" for item in found} - {""}))


def _parameters(ingress_class: Object) -> str:
    found = meta.spec(ingress_class).get("parameters")
    if not found:
        return NONE
    kind = f"{found['kind']}.{found['apiGroup']}" if found.get("apiGroup") else found["kind"]
    return f"{kind}/{found['name']}"


def _parent(address: Object) -> str:
    """``services/default/kubernetes``, with the group where there is one."""
    ref = meta.spec(address).get("parentRef") or {}
    resource = ".".join(part for part in (ref.get("resource"), ref.get("group")) if part)
    return "/".join(part for part in (resource, ref.get("namespace"), ref.get("name")) if part)


def prepare_ingress(new: Object, old: Object | None) -> Object:
    return new if old is not None else {**new, "status": {"loadBalancer": {}}}


def prepare_network_policy(new: Object, old: Object | None) -> Object:
    """A policy is about connections to its pods, and with rules for them also about those from its pods."""
    spec = new.get("spec")
    if not isinstance(spec, dict):
        return new
    changes: Object = {}
    if spec.get("podSelector") is None:
        changes["podSelector"] = {}
    if not spec.get("policyTypes"):
        changes["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    return {**new, "spec": {**spec, **changes}} if changes else new


INGRESS = grouped(
    _GROUP,
    "ingresses",
    TYPES + "networking:Ingress",
    status=True,
    short_names=("ing",),
    columns=(
        Column("Class", "string", compute=lambda obj: meta.spec(obj).get("ingressClassName") or NONE),
        Column("Hosts", "string", compute=_hosts),
        Column("Address", "string", compute=_addresses),
        Column("Ports", "string", compute=lambda obj: "80, 443" if meta.spec(obj).get("tls") else "80"),
        AGE,
    ),
    prepare=prepare_ingress,
    validate=_rule("validate_ingress"),
)
INGRESS_CLASS = grouped(
    _GROUP,
    "ingressclasses",
    TYPES + "networking:IngressClass",
    namespaced=False,
    generation=True,
    columns=(
        Column("Controller", "string", ".spec.controller"),
        Column("Parameters", "string", compute=_parameters),
        AGE,
    ),
    validate=_rule("validate_ingress_class"),
)
NETWORK_POLICY = grouped(
    _GROUP,
    "networkpolicies",
    TYPES + "networking:NetworkPolicy",
    generation=True,
    short_names=("netpol",),
    columns=(
        Column("Pod-Selector", "string", compute=lambda obj: selector_text(meta.spec(obj).get("podSelector"))),
        AGE,
    ),
    prepare=prepare_network_policy,
    validate=_rule("validate_network_policy"),
)
IP_ADDRESS = grouped(
    _GROUP,
    "ipaddresses",
    TYPES + "networking:IPAddress",
    namespaced=False,
    short_names=("ip",),
    name_rule=address_name,
    columns=(Column("ParentRef", "string", compute=_parent), AGE),
    validate=_rule("validate_ip_address"),
)
SERVICE_CIDR = grouped(
    _GROUP,
    "servicecidrs",
    TYPES + "networking:ServiceCIDR",
    namespaced=False,
    status=True,
    generation=False,
    name_rule=names.dns1123_subdomain,
    columns=(Column("CIDRs", "string", compute=lambda obj: joined(meta.spec(obj).get("cidrs") or ())), AGE),
    validate=_rule("validate_service_cidr"),
)

KINDS = (INGRESS, INGRESS_CLASS, NETWORK_POLICY, IP_ADDRESS, SERVICE_CIDR)
