"""Endpoints objects, for clients that know no slices yet. Pure.

Upstream: ``pkg/controller/endpoint`` and ``k8s.io/endpointslice``'s ``RepackSubsets``.
"""

from __future__ import annotations

from collections.abc import Iterable

from homeport.components.system.endpoints import facts
from homeport.components.system.endpoints.facts import Ports
from homeport.kube import meta
from homeport.kube.core.pod_state import is_ready
from homeport.kube.meta import Object

MOST = 1000
"""Addresses in one object."""
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGER_LABEL, MANAGER = "endpoints.kubernetes.io/managed-by", "endpoint-controller"


def subsets(service: Object, pods: Iterable[Object], family: str) -> tuple[list[Object], bool]:
    """The subsets, and whether there were too many addresses."""
    groups: dict[Ports, tuple[list[Object], list[Object]]] = {}
    publishes_all, without_ports = facts.publishes_all(service), not meta.spec(service).get("ports")
    for pod in sorted(pods, key=meta.uid):
        found = facts.addresses(pod, family)
        if not found or (meta.is_deleting(pod) and not publishes_all):
            continue
        ports = facts.ports(service, pod)
        if not ports and not without_ports:
            continue
        entry = facts.address(service, pod, found[0])
        ready = publishes_all or is_ready(pod)
        # One subset for each port would do as well; what has the same ports is put together.
        groups.setdefault(ports, ([], []))[0 if ready else 1].append(entry)
    result, room, is_over = [], MOST, False
    for ports, (ready_ones, others) in sorted(groups.items(), key=lambda item: _order(item[0])):
        subset: Object = {}
        for key, entries in (("addresses", ready_ones), ("notReadyAddresses", others)):
            entries.sort(key=lambda each: each["ip"])
            is_over = is_over or len(entries) > room
            if entries[:room]:
                subset[key] = entries[:room]
            room -= len(entries[:room])
        if not subset:
            continue
        if ports:
            subset["ports"] = [_port(*port) for port in ports]
        result.append(subset)
    return result, is_over


def _order(ports: Ports) -> list[tuple[str, str, int, str]]:
    return [(name, protocol, number or 0, application or "") for name, protocol, number, application in ports]


def _port(name: str, protocol: str, number: int | None, application: str | None) -> Object:
    port: Object = {"port": number, "protocol": protocol}
    if name:
        port["name"] = name
    if application is not None:
        port["appProtocol"] = application
    return port


def endpoints(service: Object, pods: Iterable[Object], known: Object | None) -> Object | None:
    """The object as it should be; None if `known` is that already."""
    families = meta.spec(service).get("ipFamilies") or ["IPv4"]
    found, is_over = subsets(service, pods, families[0])
    labels = {**meta.labels(service), MANAGER_LABEL: MANAGER}
    if facts.is_headless(service):
        labels[facts.HEADLESS] = ""
    else:
        labels.pop(facts.HEADLESS, None)
    before = meta.metadata(known) if known is not None else {}
    annotations = dict(before.get("annotations") or {})
    annotations.pop(OVER_CAPACITY, None)
    if is_over:
        annotations[OVER_CAPACITY] = "truncated"
    if (
        known is not None
        and (known.get("subsets") or []) == found
        and meta.labels(known) == labels
        and (before.get("annotations") or {}) == annotations
    ):
        return None
    metadata: Object = {
        **before,
        "name": meta.name(service),
        "namespace": meta.namespace(service),
        "labels": labels,
        "annotations": annotations,
    }
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": found}
