"""Rules of services and endpoint slices (upstream: ``ValidateService``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from homeport.kube import field, meta, names
from homeport.kube.core import rules
from homeport.kube.core.network_names import unmapped
from homeport.kube.core.service_addresses import address_errors, balancer_errors, update_errors
from homeport.kube.core.service_changes import is_reached_from_outside, needs_health_check
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_MAX_AFFINITY_SECONDS = 86400
_KUBELET_PORT = 10250
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_MAX_ADDRESSES = 100
_LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))


def validate_service(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    if old is not None:
        yield from update_errors(spec, meta.spec(old))
    kind = spec.get("type", "ClusterIP")
    headless = spec.get("clusterIPs") == ["None"]
    ports = spec.get("ports") or []
    if not ports and not headless and kind != "ExternalName":
        yield field.required("spec.ports")
    if kind in ("LoadBalancer", "NodePort"):
        for index, port in enumerate(ports):
            if kind == "LoadBalancer" and port["port"] == _KUBELET_PORT:
                words = f"may not expose port {_KUBELET_PORT} externally since it is used by kubelet"
                yield field.invalid(f"spec.ports[{index}]", _KUBELET_PORT, words)
        if headless:
            yield field.invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        yield from _external_name(spec)
    else:
        yield from address_errors(spec)
    yield from _ports(ports)
    yield from rules.labels("spec.selector", spec.get("selector"))
    yield from _affinity(spec)
    for index, external in enumerate(spec.get("externalIPs") or ()):
        yield from _endpoint_address(f"spec.externalIPs[{index}]", external)
    if kind == "ClusterIP":
        for index, port in enumerate(ports):
            if port.get("nodePort"):
                words = "may not be used when `type` is 'ClusterIP'"
                yield field.forbidden(f"spec.ports[{index}].nodePort", words)
    yield from balancer_errors(spec, meta.annotations(new))
    yield from _traffic(spec)


def _external_name(spec: Object) -> Iterator[FieldError]:
    for key in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(key):
            yield field.forbidden(f"spec.{key}", "may not be set for ExternalName services")
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        yield field.required("spec.externalName")
    else:
        yield from rules.checked("spec.externalName", name, names.dns1123_subdomain)


def _traffic(spec: Object) -> Iterator[FieldError]:
    policy = spec.get("externalTrafficPolicy")
    if policy and not is_reached_from_outside(spec):
        words = "may only be set for externally-accessible services"
        yield field.invalid("spec.externalTrafficPolicy", policy, words)
    port = spec.get("healthCheckNodePort")
    if port and not needs_health_check(spec):
        words = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield field.invalid("spec.healthCheckNodePort", port, words)
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        yield field.not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS)


def _ports(ports: list[Object]) -> Iterator[FieldError]:
    seen_names: set[str] = set()
    seen_ports: set[tuple[str, int]] = set()
    seen_node_ports: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        name = port.get("name")
        if not name:
            if len(ports) > 1:
                yield field.required(f"{at}.name")
        else:
            yield from rules.checked(f"{at}.name", name, names.dns1123_label)
            if name in seen_names:
                yield field.duplicate(f"{at}.name", name)
            seen_names.add(name)
        yield from rules.port(f"{at}.port", port["port"])
        target = port.get("targetPort")
        if target is not None:
            yield from rules.port(f"{at}.targetPort", target)
        protocol = port.get("protocol", "TCP")
        if (protocol, port["port"]) in seen_ports:
            yield field.duplicate(at, {"protocol": protocol, "port": port["port"]})
        seen_ports.add((protocol, port["port"]))
        node_port = port.get("nodePort")
        if node_port:
            yield from rules.port(f"{at}.nodePort", node_port)
            if (protocol, node_port) in seen_node_ports:
                yield field.duplicate(f"{at}.nodePort", node_port)
            seen_node_ports.add((protocol, node_port))


def _affinity(spec: Object) -> Iterator[FieldError]:
    config = spec.get("sessionAffinityConfig")
    path = "spec.sessionAffinityConfig"
    if spec.get("sessionAffinity") == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None:
            yield field.required(path, "when session affinity type is ClientIP")
        elif not 0 < seconds <= _MAX_AFFINITY_SECONDS:
            words = f"must be greater than 0 and less than {_MAX_AFFINITY_SECONDS}"
            yield field.invalid(f"{path}.clientIP.timeoutSeconds", seconds, words)
    elif config:
        yield field.forbidden(path, "must not be set when session affinity is None")


def validate_endpoint_slice(new: Object, old: Object | None) -> Iterator[FieldError]:
    kind = new.get("addressType")
    if kind not in _ADDRESS_TYPES:
        yield field.not_supported("addressType", kind, _ADDRESS_TYPES)
    if old is not None and old.get("addressType") != kind:
        yield field.invalid("addressType", kind, "field is immutable")
    for index, endpoint in enumerate(new.get("endpoints") or ()):
        at = f"endpoints[{index}]"
        addresses = endpoint.get("addresses") or []
        if not addresses:
            yield field.required(f"{at}.addresses", "must contain at least 1 address")
        elif len(addresses) > _MAX_ADDRESSES:
            yield field.too_many(f"{at}.addresses", len(addresses), _MAX_ADDRESSES)
        for place, address in enumerate(addresses):
            if kind in ("IPv4", "IPv6"):
                yield from _endpoint_address(f"{at}.addresses[{place}]", address, kind)
        if endpoint.get("hostname"):
            yield from rules.checked(f"{at}.hostname", endpoint["hostname"], names.dns1123_label)
    yield from rules.distinct("ports", new.get("ports") or ())


def validate_endpoints(new: Object, old: Object | None) -> Iterator[FieldError]:
    for index, subset in enumerate(new.get("subsets") or ()):
        at = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield field.required(at, "must specify `addresses` or `notReadyAddresses`")
        for group in ("addresses", "notReadyAddresses"):
            for place, address in enumerate(subset.get(group) or ()):
                yield from _endpoint_address(f"{at}.{group}[{place}].ip", address.get("ip") or "")
                if address.get("hostname"):
                    path = f"{at}.{group}[{place}].hostname"
                    yield from rules.checked(path, address["hostname"], names.dns1123_label)
        ports = subset.get("ports") or ()
        for place, port in enumerate(ports):
            if port.get("name"):
                yield from rules.checked(f"{at}.ports[{place}].name", port["name"], names.dns1123_label)
            elif len(ports) > 1:
                yield field.required(f"{at}.ports[{place}].name")
            for message in names.port_number(port.get("port", 0)):
                yield field.invalid(f"{at}.ports[{place}].port", port.get("port", 0), message)


def _endpoint_address(path: str, value: str, kind: str = "IP") -> Iterator[FieldError]:
    """An address of a pod or of something else outside of the machine: never one by which whoever connects would reach
    what is its own (upstream: ``ValidateNonSpecialIP``)."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        address = None
    if address is None or kind not in ("IP", f"IPv{address.version}"):
        words = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        yield field.invalid(path, value, words if kind == "IP" else f"must be a valid {kind} address")
        return
    address = unmapped(address)
    if address.is_unspecified:
        yield field.invalid(path, value, "may not be unspecified (0.0.0.0 or ::)")
    if address.is_loopback:
        yield field.invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        yield field.invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if any(address.version == part.version and address in part for part in _LINK_LOCAL_MULTICAST):
        yield field.invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
