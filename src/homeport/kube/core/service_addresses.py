"""Rules of what a service says about its addresses and its load balancer.

Upstream: ``ValidateServiceClusterIPsRelatedFields``, ``ValidateServiceUpdate``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from homeport.kube import field, names
from homeport.kube.core import rules
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_ADDRESSES, _FAMILIES, _POLICY = "spec.clusterIPs", "spec.ipFamilies", "spec.ipFamilyPolicy"
_RANGES_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
_ONLY_BALANCER = "may only be used when `type` is 'LoadBalancer'"
_NO_CHANGE = "may not change once set"


def address_errors(spec: Object) -> Iterator[FieldError]:
    """Of a service that is no ExternalName."""
    address, addresses = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if address and not addresses:
        yield field.required(_ADDRESSES)
    elif address and addresses[0] != address:
        yield field.invalid(_ADDRESSES, addresses, "first value must match `clusterIP`")
    elif addresses and not address:
        yield field.invalid(_ADDRESSES, addresses, "must be empty when `clusterIP` is not specified")
    families = spec.get("ipFamilies") or []
    for index, family in enumerate(families):
        if family in families[:index]:
            yield field.duplicate(f"{_FAMILIES}[{index}]", family)
    wrong = list(_misplaced(addresses))
    yield from wrong
    if len(addresses) > 2:
        yield field.invalid(_ADDRESSES, addresses, "may only hold up to 2 values")
    if wrong:
        return
    if len(addresses) > 1 and len({":" in each for each in addresses}) < 2:
        yield field.invalid(_ADDRESSES, addresses, "may specify no more than one IP for each IP family")
    if addresses == ["None"]:
        return
    for index, (one, family) in enumerate(zip(addresses, families, strict=False)):
        if (":" in one) != (family == "IPv6"):
            words = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            yield field.invalid(f"{_ADDRESSES}[{index}]", one, words)


def _misplaced(addresses: list[str]) -> Iterator[FieldError]:
    for index, address in enumerate(addresses):
        if index == 0 and address == "None":
            if len(addresses) > 1:
                yield field.invalid(_ADDRESSES, addresses, "'None' must be the first and only value")
        else:
            yield from rules.ip_address(f"{_ADDRESSES}[{index}]", address)


def update_errors(spec: Object, before: Object) -> Iterator[FieldError]:
    """What a service has stays, unless it becomes one that has none."""
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        yield from _changed_addresses(spec, before)
        yield from _changed_families(spec, before)
    if spec.get("type") == before.get("type") == "LoadBalancer":
        class_name = spec.get("loadBalancerClass")
        if class_name != before.get("loadBalancerClass"):
            yield field.invalid("spec.loadBalancerClass", class_name, _NO_CHANGE)


def _changed_addresses(spec: Object, before: Object) -> Iterator[FieldError]:
    old, new = before.get("clusterIPs") or [], spec.get("clusterIPs") or []
    if len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            if one != other:
                yield field.invalid(f"{_ADDRESSES}[{index}]", new, _NO_CHANGE)
        return
    if old and not new:
        yield field.invalid(f"{_ADDRESSES}[0]", new, "primary clusterIP can not be unset")
    elif old and old[0] != new[0]:
        yield field.invalid(f"{_ADDRESSES}[0]", new, _NO_CHANGE)
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        words = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        yield field.invalid(_POLICY, spec.get("ipFamilyPolicy"), words)


def _changed_families(spec: Object, before: Object) -> Iterator[FieldError]:
    if ["None"] in (spec.get("clusterIPs"), before.get("clusterIPs")):
        return
    old, new = before.get("ipFamilies") or [], spec.get("ipFamilies") or []
    if not new:
        return  # they are those of before: the server fills them in
    if len(old) == len(new):
        if old != new:
            yield field.invalid(f"{_FAMILIES}[0]", new, _NO_CHANGE)
        return
    if old and old[0] != new[0]:
        yield field.invalid(f"{_FAMILIES}[0]", new, _NO_CHANGE)
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        words = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        yield field.invalid(_POLICY, spec.get("ipFamilyPolicy"), words)


def balancer_errors(spec: Object, annotations: Mapping[str, str]) -> Iterator[FieldError]:
    is_balancer = spec.get("type") == "LoadBalancer"
    ranges = spec.get("loadBalancerSourceRanges") or []
    if ranges:
        if not is_balancer:
            yield field.forbidden("spec.LoadBalancerSourceRanges", _ONLY_BALANCER)
        for index, text in enumerate(ranges):
            if not _is_network(text.strip()):
                words = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
                yield field.invalid(f"spec.LoadBalancerSourceRanges[{index}]", text, words)
    elif _RANGES_ANNOTATION in annotations:
        path, text = f"metadata.annotations[{_RANGES_ANNOTATION}]", annotations[_RANGES_ANNOTATION]
        if not is_balancer:
            yield field.forbidden(path, _ONLY_BALANCER)
        elif text.strip() and not all(_is_network(part.strip()) for part in text.split(",")):
            words = "must be a list of IP ranges. For example, 10.240.0.0/24,10.250.0.0/24 "
            yield field.invalid(path, text, words)
    if spec.get("allocateLoadBalancerNodePorts") is not None and not is_balancer:
        yield field.forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_BALANCER)
    class_name = spec.get("loadBalancerClass")
    if class_name is not None:
        if is_balancer:
            yield from rules.checked("spec.loadBalancerClass", class_name, names.qualified_name)
        else:
            yield field.forbidden("spec.loadBalancerClass", _ONLY_BALANCER)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text
