"""Which front ends services have, and what is behind each: what kube-proxy decides. Pure, and kept up to date piece by
piece.

Upstream: ``pkg/proxy/servicechangetracker.go``, ``endpointslicecache.go`` and ``topology.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.healthports import Health

ServiceKey = tuple[str, str]
"""Namespace and name."""
_SERVICE_NAME = "kubernetes.io/service-name"
_STICKY_SECONDS = 10800
_NOT_OURS = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")
"""Labels of services that are another proxy's, or nobody's."""
POD = "-"
"""In the place of a namespace: the front ends of a pod, which has ports of the machine."""
API: ServiceKey = ("", "")
"""Who has the API server's own port."""


class PortFacts(msgspec.Struct, frozen=True):
    name: str
    protocol: str
    port: int
    node_port: int


class ServiceFacts(msgspec.Struct, frozen=True):
    """What matters about a service that has a cluster IP."""

    address: str
    ports: tuple[PortFacts, ...]
    external: tuple[str, ...] = ()
    """Further addresses that lead to it."""
    balancers: tuple[str, ...] = ()
    """Addresses that its load balancer has."""
    published: bool = False
    """Whether this machine is its load balancer."""
    sources: tuple[str, ...] = ()
    """Networks that may use the load balancer."""
    sticky: int = 0
    local_inside: bool = False
    """Whether only pods of this node take traffic from inside."""
    local_outside: bool = False
    health_port: int = 0
    """Where load balancers ask whether there is a pod on this node; 0: nowhere."""


class EndpointFacts(msgspec.Struct, frozen=True, order=True):
    address: str
    port: int
    ready: bool
    serving: bool
    """Serving although it is about to end: the last resort."""
    local: bool


class SliceFacts(msgspec.Struct, frozen=True):
    service: ServiceKey
    endpoints: Mapping[tuple[str, str], tuple[EndpointFacts, ...]]
    """By name and protocol of the port."""


def service_facts(service: Object) -> ServiceFacts | None:
    """None for a service that nothing is balanced for."""
    if any(label in meta.labels(service) for label in _NOT_OURS):
        return None
    spec = meta.spec(service)
    address = spec.get("clusterIP") or ""
    if spec.get("type") == "ExternalName" or address in ("", "None") or ":" in address:
        return None
    sticky = 0
    if spec.get("sessionAffinity") == "ClientIP":
        config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        sticky = int(config.get("timeoutSeconds") or _STICKY_SECONDS)
    ingress = (meta.status(service).get("loadBalancer") or {}).get("ingress") or ()
    is_balancer = spec.get("type") == "LoadBalancer"
    return ServiceFacts(
        address=address,
        ports=tuple(
            PortFacts(
                port.get("name") or "", port.get("protocol") or "TCP", port["port"], int(port.get("nodePort") or 0)
            )
            for port in spec.get("ports") or ()
        ),
        external=tuple(each for each in spec.get("externalIPs") or () if ":" not in each),
        balancers=tuple(
            each["ip"]
            for each in (ingress if is_balancer else ())
            if each.get("ip") and ":" not in each["ip"] and each.get("ipMode") != "Proxy"
        ),
        published=is_published(service),
        sources=tuple(each.strip() for each in spec.get("loadBalancerSourceRanges") or () if ":" not in each),
        sticky=sticky,
        local_inside=spec.get("internalTrafficPolicy") == "Local",
        local_outside=spec.get("externalTrafficPolicy") == "Local",
        health_port=int(spec.get("healthCheckNodePort") or 0) if is_balancer else 0,
    )


def is_published(service: Object) -> bool:
    """Whether the service is to be reached at this machine's address: a load balancer that nobody else is asked for."""
    spec = meta.spec(service)
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass") and not meta.is_deleting(service)


def slice_facts(obj: Object, node_name: str) -> SliceFacts | None:
    """None for a slice that is about no service, or of another family."""
    service = meta.labels(obj).get(_SERVICE_NAME)
    if not service or obj.get("addressType") != "IPv4":
        return None
    found: dict[tuple[str, str], list[EndpointFacts]] = {}
    for port in obj.get("ports") or ():
        if not port.get("port"):
            continue
        place = found.setdefault((port.get("name") or "", port.get("protocol") or "TCP"), [])
        for endpoint in obj.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            ready = conditions.get("ready") is not False
            serving = conditions.get("serving")
            place += [
                EndpointFacts(
                    address,
                    port["port"],
                    ready,
                    ready if serving is None else bool(serving),
                    endpoint.get("nodeName") in (None, node_name),
                )
                for address in endpoint.get("addresses") or ()
            ]
    return SliceFacts((meta.namespace(obj), service), {key: tuple(endpoints) for key, endpoints in found.items()})


def targets(endpoints: list[EndpointFacts], *, local: bool) -> list[list[Any]]:
    """Those that take traffic: the ready ones; without any, those that serve although they are about to end."""
    candidates = [each for each in endpoints if each.local] if local else endpoints
    chosen = [each for each in candidates if each.ready] or [each for each in candidates if each.serving]
    return [list(place) for place in sorted({(each.address, each.port) for each in chosen})]


class Frontends:
    """All front ends (as :mod:`homeport.node.sandbox.frontends` reads them) of all services."""

    def __init__(self, host: str, api: int | None = None) -> None:
        """`host` is the address of this machine that load balancers have, `api` the API server's port there: that is no
        service's, not while the server is away either, or it could not come back."""
        self._host = host
        self._reserved = frozenset() if api is None else frozenset({f"tcp {host} {api}", f"tcp * {api}"})
        self._services: dict[ServiceKey, ServiceFacts] = {}
        self._slices: dict[ServiceKey, SliceFacts] = {}
        self._slices_of: dict[ServiceKey, set[ServiceKey]] = {}
        self._given: dict[ServiceKey, dict[str, dict[str, Any]]] = {}
        self._claims: dict[str, dict[ServiceKey, None]] = {}
        """Who has a front end, the first first: more than one service where two name the same external address."""
        self.all: dict[str, dict[str, Any]] = {}

    def set_service(self, key: ServiceKey, facts: ServiceFacts | None) -> dict[str, dict[str, Any] | None]:
        """Note a service; None: it is gone. The front ends that changed, None for those that have gone."""
        if self._services.get(key) == facts:
            return {}
        if facts is None:
            self._services.pop(key, None)
        else:
            self._services[key] = facts
        return self._update(key)

    def set_slice(self, key: ServiceKey, facts: SliceFacts | None) -> dict[str, dict[str, Any] | None]:
        """As `set_service`, of a slice."""
        old = self._slices.get(key)
        if old == facts:
            return {}
        changed: dict[str, dict[str, Any] | None] = {}
        if old is not None:
            del self._slices[key]
            self._slices_of[old.service].discard(key)
            if not self._slices_of[old.service]:
                del self._slices_of[old.service]
        if facts is not None:
            self._slices[key] = facts
            self._slices_of.setdefault(facts.service, set()).add(key)
        for service in {each.service for each in (old, facts) if each is not None}:
            changed.update(self._update(service))
        return changed

    def set_host_ports(self, uid: str, new: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
        """As `set_service`, of a pod that has ports of the machine (:func:`homeport.node.hostports.frontends`)."""
        return self._give((POD, uid), new)

    def _update(self, key: ServiceKey) -> dict[str, dict[str, Any] | None]:
        facts = self._services.get(key)
        return self._give(key, dict(self._frontends(key, facts)) if facts is not None else {})

    def _give(self, key: ServiceKey, new: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
        old = self._given.pop(key, {})
        new = {text: value for text, value in new.items() if text not in self._reserved}
        if new:
            self._given[key] = new
        for text in old.keys() - new.keys():
            del self._claims[text][key]
            if not self._claims[text]:
                del self._claims[text]
        for text in new.keys() - old.keys():
            self._claims.setdefault(text, {})[key] = None
        changed: dict[str, dict[str, Any] | None] = {}
        for text in old.keys() | new.keys():
            value = self._given[owner][text] if (owner := self._owner(text)) is not None else None
            if value == self.all.get(text):
                continue
            changed[text] = value
            if value is None:
                del self.all[text]
            else:
                self.all[text] = value
        return changed

    def health(self) -> dict[int, Health]:
        """What is to be said at which port about services whose load balancers ask."""
        found = {}
        for key, facts in self._services.items():
            if facts.health_port:
                ready = {
                    each.address
                    for name in self._slices_of.get(key, ())
                    for endpoints in self._slices[name].endpoints.values()
                    for each in endpoints
                    if each.local and each.ready
                }
                found[facts.health_port] = Health(*key, len(ready))
        return found

    def published_by(self, key: ServiceKey) -> Mapping[str, ServiceKey]:
        """The front ends at this machine's address that the load balancer of a service is to have, and who has each."""
        facts = self._services.get(key)
        if facts is None or not facts.published:
            return {}
        return self._owners(f"{port.protocol.lower()} {self._host} {port.port}" for port in facts.ports)

    def node_ports_of(self, key: ServiceKey) -> Mapping[str, ServiceKey]:
        """As `published_by`, of the node ports of a service."""
        facts = self._services.get(key)
        ports = facts.ports if facts is not None else ()
        return self._owners(f"{port.protocol.lower()} * {port.node_port}" for port in ports if port.node_port)

    def _owners(self, texts: Iterable[str]) -> dict[str, ServiceKey]:
        return {text: owner for text in texts if (owner := self._owner(text)) is not None}

    def _owner(self, text: str) -> ServiceKey | None:
        """Who has a front end: the API server; a pod whose port it is; else the service that had it first."""
        if text in self._reserved:
            return API
        return min(self._claims.get(text, ()), key=lambda key: key[0] != POD, default=None)

    def _frontends(self, key: ServiceKey, facts: ServiceFacts) -> Iterator[tuple[str, dict[str, Any]]]:
        for port in facts.ports:
            endpoints = [
                each
                for name in self._slices_of.get(key, ())
                for each in self._slices[name].endpoints.get((port.name, port.protocol), ())
            ]
            protocol = port.protocol.lower()
            inside: dict[str, Any] = {"to": targets(endpoints, local=facts.local_inside)}
            outside: dict[str, Any] = {"to": targets(endpoints, local=facts.local_outside)}
            if facts.sticky:
                inside["sticky"] = outside["sticky"] = facts.sticky
            yield f"{protocol} {facts.address} {port.port}", inside
            if port.node_port:
                yield f"{protocol} * {port.node_port}", {**outside, "published": True}
            for address in facts.external:
                yield f"{protocol} {address} {port.port}", outside
            for address in facts.balancers:
                yield f"{protocol} {address} {port.port}", outside
            if facts.published:
                limited = {"sources": list(facts.sources)} if facts.sources else {}
                yield f"{protocol} {self._host} {port.port}", {**outside, **limited, "published": True}
