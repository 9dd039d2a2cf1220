"""What an update of a service keeps of what the server gave it. Pure.

Upstream: ``pkg/registry/core/service``, ``strategy.go`` and ``storage/storage.go``.

A client that sends a service without its cluster IP or node ports does not mean to give them back; one that changes the
type does not mean to keep what only the former type has.
"""

from __future__ import annotations

from typing import Any

from homeport.kube.meta import Object


def has_cluster_ip(spec: Object) -> bool:
    return bool(spec.get("type", "ClusterIP") != "ExternalName")


def has_node_ports(spec: Object) -> bool:
    return spec.get("type") in ("NodePort", "LoadBalancer")


def needs_health_check(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def is_reached_from_outside(spec: Object) -> bool:
    return has_node_ports(spec) or (spec.get("type", "ClusterIP") == "ClusterIP" and bool(spec.get("externalIPs")))


def synchronised(spec: Object) -> Object:
    """Of a new service: ``clusterIPs`` follows ``clusterIP``."""
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        return {**spec, "clusterIPs": [spec["clusterIP"]]}
    return spec


def carried_over(new: Object, old: Object) -> Object:
    """The spec `new`, which is to replace `old`, with what it keeps and without what it loses."""
    changes: Object = {}
    _keep(new, old, changes)
    _match_addresses({**new, **changes}, old, changes)
    _drop({**new, **changes}, old, changes)
    if all(new.get(key) == value for key, value in changes.items()):
        return new
    return {key: value for key, value in {**new, **changes}.items() if value is not None}


def _keep(new: Object, old: Object, changes: Object) -> None:
    if has_cluster_ip(old) and has_cluster_ip(new):
        if not new.get("clusterIP") and old.get("clusterIP"):
            changes["clusterIP"] = old["clusterIP"]
        if not new.get("clusterIPs") and old.get("clusterIPs"):
            changes["clusterIPs"] = old["clusterIPs"]
    if has_node_ports(old) and has_node_ports(new):
        ports = _with_node_ports(new.get("ports") or [], old.get("ports") or [])
        if ports != (new.get("ports") or []):
            changes["ports"] = ports
    if needs_health_check(old) and needs_health_check(new) and not new.get("healthCheckNodePort"):
        changes["healthCheckNodePort"] = old.get("healthCheckNodePort") or None


def _with_node_ports(new: list[Object], old: list[Object]) -> list[Object]:
    """Ports without a node port get the one that the port of their name had, unless another port has it now."""
    used = _node_ports(old) & _node_ports(new)
    had = {port.get("name") or "": port.get("nodePort") or 0 for port in old}
    ports = []
    for port in new:
        number = had.get(port.get("name") or "", 0)
        if not port.get("nodePort") and number and number not in used:
            port = {**port, "nodePort": number}
        ports.append(port)
    return ports


def _node_ports(ports: list[Object]) -> set[int]:
    return {port["nodePort"] for port in ports if port.get("nodePort")}


def _match_addresses(new: Object, old: Object, changes: Object) -> None:
    """``clusterIPs`` follows ``clusterIP`` for clients that know only the latter."""
    address, former = new.get("clusterIP") or "", old.get("clusterIP") or ""
    addresses, formers = new.get("clusterIPs") or [], old.get("clusterIPs") or []
    if formers and not addresses and address == former:
        changes["clusterIPs"] = formers
    if address != former and addresses == formers:
        changes["clusterIPs"] = [address] if address else None


def _drop(new: Object, old: Object, changes: Object) -> None:
    """Fields of the former type that the client has left as they were."""

    def same(key: str) -> bool:
        return bool((new.get(key) or None) == (old.get(key) or None))

    dropped: list[str] = []
    if has_cluster_ip(old) and not has_cluster_ip(new):
        if same("clusterIPs"):
            dropped += ["clusterIP", "clusterIPs"]
        dropped += [key for key in ("ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy") if same(key)]
    ports: list[dict[str, Any]] = new.get("ports") or []
    if has_node_ports(old) and not has_node_ports(new) and _node_ports(old.get("ports") or []) >= _node_ports(ports):
        changes["ports"] = [{key: value for key, value in port.items() if key != "nodePort"} for port in ports]
    if needs_health_check(old) and not needs_health_check(new) and same("healthCheckNodePort"):
        dropped.append("healthCheckNodePort")
    if old.get("type") == "LoadBalancer" != new.get("type"):
        dropped += [key for key in ("allocateLoadBalancerNodePorts", "loadBalancerClass") if same(key)]
    if is_reached_from_outside(old) and not is_reached_from_outside(new) and same("externalTrafficPolicy"):
        dropped.append("externalTrafficPolicy")
    changes.update((key, None) for key in dropped if key in new)
