"""Rules of ingresses, network policies and service addresses (upstream: ``pkg/apis/networking/validation``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence

from homeport.kube import field, meta, names
from homeport.kube.core import rules
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_IMMUTABLE = "field is immutable"
_BAD_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS = ("/..", "/.")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def validate_ingress(new: Object, old: Object | None) -> Iterator[FieldError]:
    if old is not None and new.get("spec") == old.get("spec") and new.get("status") != old.get("status"):
        yield from _ingress_status(meta.status(new))
        return
    spec = meta.spec(new)
    backend, found = spec.get("defaultBackend"), spec.get("rules") or ()
    if not found and backend is None:
        yield field.invalid("spec", found, "either `defaultBackend` or `rules` must be specified")
    if backend is not None:
        yield from _backend("spec.defaultBackend", backend)
    for index, item in enumerate(spec.get("tls") or ()):
        for place, host in enumerate(item.get("hosts") or ()):
            rule = names.wildcard_subdomain if "*" in host else names.dns1123_subdomain
            yield from rules.checked(f"spec.tls[{index}].hosts[{place}]", host, rule)
        if item.get("secretName"):
            yield from rules.checked(f"spec.tls[{index}].secretName", item["secretName"], names.dns1123_subdomain)
    for index, rule in enumerate(found):
        yield from _ingress_rule(f"spec.rules[{index}]", rule)
    name = spec.get("ingressClassName")
    if name is not None:
        yield from rules.checked("spec.ingressClassName", name, names.dns1123_subdomain)
        annotation = meta.annotations(new).get(_CLASS_ANNOTATION)
        if old is None and annotation is not None and annotation != name:
            yield field.invalid(
                f"metadata.annotations[{_CLASS_ANNOTATION}]",
                annotation,
                "must match `ingressClassName` when both are specified",
            )


def _ingress_rule(path: str, rule: Object) -> Iterator[FieldError]:
    host = rule.get("host") or ""
    if host:
        if _is_address(host):
            yield field.invalid(f"{path}.host", host, "must be a DNS name, not an IP address")
        else:
            check = names.wildcard_subdomain if "*" in host else names.dns1123_subdomain
            yield from rules.checked(f"{path}.host", host, check)
    http = rule.get("http")
    if http is None:
        return
    paths = http.get("paths") or ()
    if not paths:
        yield field.required(f"{path}.http.paths")
    for index, item in enumerate(paths):
        at = f"{path}.http.paths[{index}]"
        kind, where = item.get("pathType"), item.get("path") or ""
        if kind in ("Exact", "Prefix"):
            if not where.startswith("/"):
                yield field.invalid(f"{at}.path", where, "must be an absolute path")
            else:
                for bad in _BAD_PATHS:
                    if bad in where:
                        yield field.invalid(f"{at}.path", where, f"must not contain '{bad}'")
                for bad in _BAD_ENDS:
                    if where.endswith(bad):
                        yield field.invalid(f"{at}.path", where, f"cannot end with '{bad}'")
        elif where and not where.startswith("/"):
            yield field.invalid(f"{at}.path", where, "must be an absolute path")
        yield from _backend(f"{at}.backend", item.get("backend") or {})


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _backend(path: str, backend: Object) -> Iterator[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield field.invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        yield from _typed_reference(f"{path}.resource", resource)
    elif service is None:
        yield field.required(path, "resource or service backend is required")
    else:
        at = f"{path}.service"
        yield from rules.needed(f"{at}.name", service.get("name"), names.dns1035_label)
        port = service.get("port") or {}
        if port.get("name") and port.get("number"):
            yield field.invalid(at, "", "cannot set both port name & port number")
        elif port.get("name"):
            yield from rules.checked(f"{at}.port.name", port["name"], names.port_name)
        elif port.get("number"):
            yield from rules.port(f"{at}.port.number", port["number"])
        else:
            yield field.required(at, "port name or number is required")


def _typed_reference(path: str, ref: Object) -> Iterator[FieldError]:
    if ref.get("apiGroup"):
        yield from rules.checked(f"{path}.apiGroup", ref["apiGroup"], names.dns1123_subdomain)
    for name in ("kind", "name"):
        yield from rules.needed(f"{path}.{name}", ref.get(name), names.path_segment)


def _ingress_status(status: Object) -> Iterator[FieldError]:
    for index, item in enumerate((status.get("loadBalancer") or {}).get("ingress") or ()):
        at = f"status.loadBalancer.ingress[{index}]"
        if item.get("ip"):
            yield from rules.ip_address(f"{at}.ip", item["ip"])
        host = item.get("hostname")
        if host:
            yield from rules.checked(f"{at}.hostname", host, names.dns1123_subdomain)
            if _is_address(host):
                yield field.invalid(f"{at}.hostname", host, "must be a DNS name, not an IP address")


def validate_ingress_class(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    controller = spec.get("controller") or ""
    if len(controller) > 250:
        yield field.too_long("spec.controller", 250)
    yield from rules.domain_path("spec.controller", controller)
    found = spec.get("parameters")
    if found is not None:
        path = "spec.parameters"
        yield from _typed_reference(path, found)
        scope, namespace = found.get("scope"), found.get("namespace")
        if scope not in ("Cluster", "Namespace"):
            yield field.not_supported(f"{path}.scope", scope, ("Cluster", "Namespace"))
        if scope == "Namespace":
            if not namespace:
                yield field.required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")
            else:
                yield from rules.checked(f"{path}.namespace", namespace, names.dns1123_label)
        elif namespace is not None:
            yield field.forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'")
    if old is not None and meta.spec(old).get("controller") != spec.get("controller"):
        yield field.invalid("spec.controller", controller, _IMMUTABLE)


def validate_network_policy(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    yield from rules.label_selector("spec.podSelector", spec.get("podSelector"))
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            at = f"spec.{direction}[{index}]"
            for place, port in enumerate(rule.get("ports") or ()):
                yield from _policy_port(f"{at}.ports[{place}]", port)
            for place, peer in enumerate(rule.get(peers) or ()):
                yield from _peer(f"{at}.{peers}[{place}]", peer)
    types = spec.get("policyTypes") or ()
    if len(types) > 2:
        yield field.invalid("spec.policyTypes", types, "may not specify more than two policyTypes")


def _policy_port(path: str, port: Object) -> Iterator[FieldError]:
    protocol, number, end = port.get("protocol", "TCP"), port.get("port"), port.get("endPort")
    if protocol not in _PROTOCOLS:
        yield field.not_supported(f"{path}.protocol", protocol, _PROTOCOLS)
    if number is not None:
        yield from rules.port(f"{path}.port", number)
    if end is None:
        return
    if number is None:
        yield field.required(f"{path}.port", "must be specified when `endPort` is specified")
    elif isinstance(number, str):
        yield field.invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")
    else:
        if end < number:
            yield field.invalid(f"{path}.endPort", end, "must be greater than or equal to `port`")
        yield from rules.port(f"{path}.endPort", end)


def _peer(path: str, peer: Object) -> Iterator[FieldError]:
    pods, namespaces, block = peer.get("podSelector"), peer.get("namespaceSelector"), peer.get("ipBlock")
    yield from rules.label_selector(f"{path}.podSelector", pods)
    yield from rules.label_selector(f"{path}.namespaceSelector", namespaces)
    if block is None:
        if pods is None and namespaces is None:
            yield field.required(path, "must specify a peer")
        return
    if pods is not None or namespaces is not None:
        yield field.forbidden(path, "may not specify both ipBlock and another peer")
    outer = _network(block.get("cidr") or "")
    if not block.get("cidr"):
        yield field.required(f"{path}.ipBlock.cidr")
    elif outer is None:
        yield field.invalid(f"{path}.ipBlock.cidr", block["cidr"], _NOT_A_CIDR)
    for index, part in enumerate(block.get("except") or ()):
        inner = _network(part)
        at = f"{path}.ipBlock.except[{index}]"
        if inner is None:
            yield field.invalid(at, part, _NOT_A_CIDR)
        elif outer is not None and not _is_part(inner, outer):
            yield field.invalid(at, part, f"must be a strict subset of `cidr`, {block['cidr']}")


_NOT_A_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> _Network | None:
    if "/" not in text:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _is_part(inner: _Network, outer: _Network) -> bool:
    if inner.version != outer.version or inner.prefixlen <= outer.prefixlen:
        return False
    return outer.network_address <= inner.network_address <= outer.broadcast_address  # type: ignore[operator]


def validate_ip_address(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    ref = spec.get("parentRef")
    if ref is None:
        yield field.required("spec.parentRef")
    else:
        checks: Mapping[str, Callable[[str], Sequence[str]]] = {
            "group": names.dns1123_subdomain,
            "resource": names.path_segment,
            "name": names.path_segment,
            "namespace": names.path_segment,
        }
        for name, check in checks.items():
            value = ref.get(name)
            if value:
                for message in check(value):
                    yield field.invalid(f"spec.parentRef.{name}", value, message)
            elif name in ("resource", "name"):
                yield field.required(f"spec.parentRef.{name}")
    if old is not None and meta.spec(old).get("parentRef") != ref:
        yield field.invalid("spec.parentRef", ref, _IMMUTABLE)


def validate_service_cidr(new: Object, old: Object | None) -> Iterator[FieldError]:
    found = meta.spec(new).get("cidrs") or ()
    if not found:
        yield field.required("spec.cidrs", "at least one CIDR required")
    if len(found) > 2:
        words = "may only hold up to 2 values"
        yield field.invalid("spec", {"cidrs": found}, words)
    networks = [_network(text) for text in found]
    for index, (text, network) in enumerate(zip(found, networks, strict=True)):
        if network is None:
            yield field.invalid(f"spec.cidrs[{index}]", text, _NOT_A_CIDR)
        elif str(network) != text:
            yield field.invalid(f"spec.cidrs[{index}]", text, f'must be in canonical form ("{network}")')
    versions = [network.version for network in networks if network is not None]
    if len(versions) == 2 and versions[0] == versions[1]:
        words = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        yield field.invalid("spec", {"cidrs": found}, words)
    before = list(meta.spec(old or {}).get("cidrs") or ())
    if list(found[: len(before)]) != before:
        yield field.invalid("spec.cidrs", found, _IMMUTABLE)
