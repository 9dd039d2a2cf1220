"""What a pod is to a service: an address with ports and conditions. Pure.

Upstream: ``staging/src/k8s.io/endpointslice/utils.go`` and ``pkg/controller/endpoint``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from homeport.kube import meta
from homeport.kube.core.pod_state import is_ready
from homeport.kube.meta import Object

Ports = tuple[tuple[str, str, int | None, str | None], ...]
"""Name, protocol, number and application protocol of each, sorted: what endpoints of one slice have in common."""

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SERVICE_NAME = "kubernetes.io/service-name"
HEADLESS = "service.kubernetes.io/headless"
SLICE_CONTROLLER = "endpointslice-controller.k8s.io"
MIRROR_CONTROLLER = "endpointslicemirroring-controller.k8s.io"
_ZONE = "topology.kubernetes.io/zone"
_ENDED = ("Succeeded", "Failed")


def is_headless(service: Object) -> bool:
    return meta.spec(service).get("clusterIP") in ("None", "", None)


def publishes_all(service: Object) -> bool:
    return bool(meta.spec(service).get("publishNotReadyAddresses"))


def addresses(pod: Object, family: str) -> list[str]:
    """The pod's addresses of a family (``IPv4`` or ``IPv6``)."""
    status = meta.status(pod)
    found = [entry.get("ip") or "" for entry in status.get("podIPs") or ()] or [status.get("podIP") or ""]
    return [address for address in found if address and (":" in address) == (family == "IPv6")]


def has_address(pod: Object) -> bool:
    """Whether the pod can be behind any service: it has an address and has not ended."""
    status = meta.status(pod)
    return status.get("phase") not in _ENDED and bool(status.get("podIP") or status.get("podIPs"))


def relevant(pod: Object) -> tuple[Any, ...]:
    """Everything about a pod that endpoints are made of. As long as it stays the same, so do they."""
    spec, status = meta.spec(pod), meta.status(pod)
    return (
        meta.uid(pod),
        meta.labels(pod),
        meta.is_deleting(pod),
        status.get("podIP"),
        status.get("podIPs"),
        status.get("phase") in _ENDED,
        is_ready(pod),
        spec.get("nodeName"),
        spec.get("hostname"),
        spec.get("subdomain"),
    )


def ports(service: Object, pod: Object) -> Ports:
    """The service's ports as the pod has them; those that it does not have by name are left out."""
    found = []
    for port in meta.spec(service).get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        number = _number(port.get("targetPort") or port["port"], protocol, pod)
        if number:
            found.append((port.get("name") or "", protocol, number, port.get("appProtocol")))
    return tuple(sorted(found, key=_order))


def _order(port: tuple[str, str, int | None, str | None]) -> tuple[str, str, int, str]:
    return port[0], port[1], port[2] or 0, port[3] or ""


def _number(target: int | str, protocol: str, pod: Object) -> int:
    if isinstance(target, int):
        return target
    for container in _port_owners(pod):
        for port in container.get("ports") or ():
            if port.get("name") == target and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return int(target) if target.isdecimal() else 0


def _port_owners(pod: Object) -> Iterator[Object]:
    spec = meta.spec(pod)
    yield from spec.get("containers") or ()
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            yield container


def _hostname(service: Object, pod: Object) -> str:
    spec = meta.spec(pod)
    return str(spec.get("hostname") or "") if spec.get("subdomain") == meta.name(service) else ""


def target(pod: Object) -> Object:
    return {"kind": "Pod", "namespace": meta.namespace(pod), "name": meta.name(pod), "uid": meta.uid(pod)}


def endpoint(service: Object, pod: Object, found: list[str], node: Object | None) -> Object:
    """The pod in a slice, with those addresses; `node` is the one that it runs on."""
    serving, terminating = is_ready(pod), meta.is_deleting(pod)
    ready = publishes_all(service) or (serving and not terminating)
    result: Object = {
        "addresses": found,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": target(pod),
    }
    if node_name := meta.spec(pod).get("nodeName"):
        result["nodeName"] = node_name
    if hostname := _hostname(service, pod):
        result["hostname"] = hostname
    if node is not None and (zone := meta.labels(node).get(_ZONE)):
        result["zone"] = zone
    return result


def address(service: Object, pod: Object, found: str) -> Object:
    """The pod in an Endpoints object."""
    result: Object = {"ip": found, "targetRef": target(pod)}
    if node_name := meta.spec(pod).get("nodeName"):
        result["nodeName"] = node_name
    if hostname := _hostname(service, pod):
        result["hostname"] = hostname
    return result


def slice_ports(found: Ports) -> list[Object]:
    """As a slice has them."""
    result = []
    for name, protocol, number, application in found:
        port: Object = {"name": name, "protocol": protocol}
        if number is not None:
            port["port"] = number
        if application is not None:
            port["appProtocol"] = application
        result.append(port)
    return result


def ports_of_slice(obj: Mapping[str, Any]) -> Ports:
    found = [
        (port.get("name") or "", port.get("protocol") or "TCP", port.get("port"), port.get("appProtocol"))
        for port in obj.get("ports") or ()
    ]
    return tuple(sorted(found, key=_order))
