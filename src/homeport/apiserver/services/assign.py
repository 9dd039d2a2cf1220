"""What a service gets of the cluster's addresses and ports.

Upstream: ``pkg/registry/core/service/storage/alloc.go``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterable

from homeport.apiserver.services.families import with_families
from homeport.apiserver.services.pools import AddressPool, Full, Outside, PortPool, Taken
from homeport.kube import field
from homeport.kube.core.service_changes import has_node_ports, needs_health_check
from homeport.kube.errors import FieldError, InternalError, Invalid
from homeport.kube.meta import Object, name
from homeport.kube.meta import spec as spec_of


def holdings(service: Object) -> tuple[set[str], set[int]]:
    """The cluster IPs and the node ports that a stored service has."""
    spec = spec_of(service)
    addresses: Iterable[str] = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    ports = {int(port["nodePort"]) for port in spec.get("ports") or () if port.get("nodePort")}
    if needs_health_check(spec) and spec.get("healthCheckNodePort"):
        ports.add(int(spec["healthCheckNodePort"]))
    if spec.get("type") == "ExternalName":
        addresses = ()
    return {address for address in addresses if address not in ("", "None")}, ports


class Assigner:
    """Takes from the pools for one service; `holder` is who has what is taken."""

    def __init__(self, addresses: AddressPool, ports: PortPool, holder: Hashable) -> None:
        self._addresses = addresses
        self._ports = ports
        self._holder = holder
        self._kept: tuple[set[str], set[int]] = (set(), set())
        """What the stored service has stays allowed, even if the ranges are others now."""
        self.taken_addresses: list[int] = []
        self.taken_ports: list[int] = []

    def assign(self, new: Object, old: Object | None) -> Object:
        """`new`, which is valid, with everything that it needs. Raises Invalid or InternalError."""
        spec, before = spec_of(new), spec_of(old) if old is not None else None
        self._kept = holdings(old) if old is not None else (set(), set())
        if spec.get("type") != "ExternalName":
            spec, errors = with_families(spec, before)
            if errors:
                raise _invalid(new, errors)
            spec = self._with_address(new, spec)
        spec = self._with_ports(new, spec, before)
        return new if spec is new.get("spec") else {**new, "spec": spec}

    # Addresses.

    def _with_address(self, service: Object, spec: Object) -> Object:
        address = spec.get("clusterIP") or ""
        if address == "None":
            return spec
        if address:
            self._take_address(service, spec, address)
            return spec
        try:
            number = self._addresses.pick(self._holder)
        except Full:
            raise InternalError("Internal error occurred: failed to allocate a serviceIP: range is full") from None
        self.taken_addresses.append(number)
        given = str(ipaddress.IPv4Address(number))
        return {**spec, "clusterIP": given, "clusterIPs": [given]}

    def _take_address(self, service: Object, spec: Object, address: str) -> None:
        try:
            number = self._addresses.number_of(address)
            self._addresses.take(number, self._holder)
        except Outside as error:
            if address in self._kept[0]:
                return  # the range was another one when it was given out
            detail = str(error)
        except Taken:
            detail = "provided IP is already allocated"
        else:
            self.taken_addresses.append(number)
            return
        words = f"failed to allocate IP {address}: {detail}"
        raise _invalid(service, [field.invalid("spec.clusterIPs", spec.get("clusterIPs") or [address], words)])

    # Ports.

    def _with_ports(self, service: Object, spec: Object, before: Object | None) -> Object:
        if has_node_ports(spec):
            spec = self._with_node_ports(service, spec, before)
        if needs_health_check(spec):
            spec = self._with_health_check(spec)
        return spec

    def _with_node_ports(self, service: Object, spec: Object, before: Object | None) -> Object:
        wants = spec.get("type") == "NodePort" or spec.get("allocateLoadBalancerNodePorts") is not False
        ports: list[Object] = list(spec.get("ports") or ())
        given: dict[int, int] = {}
        """Port of the service -> node port: two protocols of one port share it."""
        requested: dict[int, int] = {}
        for port in ports:
            if port.get("nodePort"):
                requested.setdefault(port["port"], port["nodePort"])
        if before is not None:
            requested = {}  # as upstream, protocols share a node port only in a new service
        for index, port in enumerate(ports):
            number = port.get("nodePort") or 0
            if not number and not wants:
                continue
            if not number:
                number = given.get(port["port"]) or requested.get(port["port"]) or 0
            if number:
                self._take_port(service, f"spec.ports[{index}].nodePort", number)
            else:
                number = self._pick_port("failed to allocate a nodePort: range is full")
            if before is None:
                given.setdefault(port["port"], number)
            if port.get("nodePort") != number:
                ports[index] = {**port, "nodePort": number}
        return spec if ports == (spec.get("ports") or []) else {**spec, "ports": ports}

    def _with_health_check(self, spec: Object) -> Object:
        port = spec.get("healthCheckNodePort") or 0
        if not port:
            port = self._pick_port("failed to allocate a HealthCheck NodePort 0: range is full")
            return {**spec, "healthCheckNodePort": port}
        problem = self._port_problem(port)
        if problem:
            words = f"failed to allocate requested HealthCheck NodePort {port}: {problem}"
            raise InternalError(f"Internal error occurred: {words}")
        return spec

    def _take_port(self, service: Object, path: str, port: int) -> None:
        problem = self._port_problem(port)
        if problem:
            raise _invalid(service, [field.invalid(path, port, problem)])

    def _port_problem(self, port: int) -> str:
        """Why the port can't be had; empty once it is taken."""
        try:
            self._ports.check(port)
            self._ports.take(port, self._holder)
        except Outside as error:
            return "" if port in self._kept[1] else str(error)
        except Taken:
            return "provided port is already allocated"
        self.taken_ports.append(port)
        return ""

    def _pick_port(self, problem: str) -> int:
        try:
            port = self._ports.pick(self._holder)
        except Full:
            raise InternalError(f"Internal error occurred: {problem}") from None
        self.taken_ports.append(port)
        return port


def _invalid(service: Object, errors: list[FieldError]) -> Invalid:
    return Invalid.of("", "Service", name(service), errors)
