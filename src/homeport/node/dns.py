"""The names that the cluster's DNS answers. Pure, and kept up to date piece by piece.

The names are those of the Kubernetes DNS specification, as CoreDNS answers them with its ``kubernetes`` plug-in
(``pods verified``): a service with addresses of its own has those; one without has its ready endpoints', and there is
no such name while it has none; one that stands for a name outside is an alias.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.environment import DOMAIN

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
Key = tuple[str, str]
"""Namespace and name."""
Contribution = Mapping[str, tuple[str, ...]]
"""Full name, without the final dot -> texts of records, as :mod:`homeport.node.sandbox.zone` reads them."""


class Port(msgspec.Struct, frozen=True):
    name: str
    protocol: str
    """In lower case."""
    number: int


class ServiceFacts(msgspec.Struct, frozen=True):
    """What matters to DNS about a service."""

    namespace: str
    name: str
    addresses: tuple[str, ...] = ()
    """Its own; none: it has those of its endpoints."""
    ports: tuple[Port, ...] = ()
    alias_of: str = ""


class Endpoint(msgspec.Struct, frozen=True):
    hostname: str
    """Empty: it is named by its address."""
    addresses: tuple[str, ...]


class SliceFacts(msgspec.Struct, frozen=True):
    """What matters to DNS about an EndpointSlice."""

    service: Key
    endpoints: tuple[Endpoint, ...]
    """Those that are ready."""
    ports: tuple[Port, ...]


def service_facts(service: Object) -> ServiceFacts:
    spec = meta.spec(service)
    namespace, name = meta.namespace(service), meta.name(service)
    if spec.get("type") == "ExternalName":
        alias = str(spec.get("externalName") or "").rstrip(".")
        return ServiceFacts(namespace, name, alias_of="" if _is_address(alias) else alias)
    addresses = tuple(a for a in (spec.get("clusterIPs") or (spec.get("clusterIP"),)) if a and _is_address(a))
    ports = tuple(_port(port) for port in spec.get("ports") or ())
    return ServiceFacts(namespace, name, addresses, ports)


def slice_facts(obj: Object) -> SliceFacts | None:
    """None for a slice that belongs to no service, or whose endpoints have no IP addresses."""
    service = meta.labels(obj).get(SERVICE_NAME_LABEL)
    if not service or obj.get("addressType") == "FQDN":
        return None
    endpoints = tuple(
        Endpoint(endpoint.get("hostname") or "", tuple(a for a in endpoint.get("addresses") or () if _is_address(a)))
        for endpoint in obj.get("endpoints") or ()
        # Unknown counts as ready.
        if (endpoint.get("conditions") or {}).get("ready") is not False
    )
    ports = tuple(_port(port) for port in obj.get("ports") or () if port.get("port") is not None)
    return SliceFacts((meta.namespace(obj), service), endpoints, ports)


def _port(port: Mapping[str, object]) -> Port:
    return Port(str(port.get("name") or ""), str(port.get("protocol") or "TCP").lower(), int(str(port["port"])))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Records:
    """Names and their records. Each change touches only the service or pod that it concerns."""

    def __init__(self) -> None:
        self._services: dict[Key, ServiceFacts] = {}
        self._slices: dict[Key, SliceFacts] = {}
        self._of_service: dict[Key, set[Key]] = {}
        """The slices of each service."""
        self._given: dict[object, Contribution] = {}
        """What each service and pod says."""
        self._sources: dict[str, dict[object, tuple[str, ...]]] = {}
        """Who says what of a name: two services may have the same pod behind them."""
        self._records: dict[str, tuple[str, ...]] = {}

    def snapshot(self) -> Contribution:
        return dict(self._records)

    def set_pod(self, uid: str, namespace: str, address: str) -> bool:
        """Note a pod's address, or none for one that has ended or has none yet. Says whether any answer changed."""
        name = f"{_dashed(address)}.{namespace}.pod.{DOMAIN}"
        return self._give(uid, {name: (address,)} if address else {})

    def set_service(self, namespace: str, name: str, facts: ServiceFacts | None) -> bool:
        """Note what is known of a service; None: it is gone. Says whether any answer changed."""
        key = (namespace, name)
        if facts is None:
            self._services.pop(key, None)
        else:
            self._services[key] = facts
        return self._answer(key)

    def set_slice(self, namespace: str, name: str, facts: SliceFacts | None) -> bool:
        """Note what is known of an EndpointSlice; None: it is gone. Says whether any answer changed."""
        key = (namespace, name)
        old = self._slices.pop(key, None)
        if old is not None:
            self._of_service[old.service].discard(key)
            if not self._of_service[old.service]:
                del self._of_service[old.service]
        if facts is not None:
            self._slices[key] = facts
            self._of_service.setdefault(facts.service, set()).add(key)
        concerned = {known.service for known in (old, facts) if known is not None}
        changes = [self._answer(service) for service in concerned]
        return any(changes)

    def _answer(self, key: Key) -> bool:
        facts = self._services.get(key)
        if facts is None:
            return self._give(key, {})
        slices = [self._slices[name] for name in sorted(self._of_service.get(key, ()))]
        return self._give(key, service_records(facts, slices))

    def _give(self, source: object, records: Contribution) -> bool:
        old = self._given.pop(source, {})
        if records:
            self._given[source] = records
        changed = False
        for name in old.keys() | records.keys():
            if old.get(name) != records.get(name):
                changed = self._put(name, source, records.get(name)) or changed
        return changed

    def _put(self, name: str, source: object, texts: tuple[str, ...] | None) -> bool:
        sources = self._sources.setdefault(name, {})
        sources.pop(source, None)
        if texts is not None:
            sources[source] = texts
        if not sources:
            del self._sources[name]
        merged = tuple(sorted({text for part in sources.values() for text in part}))
        if self._records.get(name, ()) == merged:
            return False
        if merged:
            self._records[name] = merged
        else:
            del self._records[name]
        return True


class _Names:
    """Names with their records, collected."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, None]] = {}

    def add(self, name: str, *texts: str) -> None:
        self._found.setdefault(name.lower(), {}).update(dict.fromkeys(texts))

    def all(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(texts) for name, texts in self._found.items()}


def service_records(service: ServiceFacts, slices: Iterable[SliceFacts]) -> dict[str, tuple[str, ...]]:
    """What is answered for a service with these endpoints."""
    base, names = f"{service.name}.{service.namespace}.svc.{DOMAIN}", _Names()
    if service.alias_of:
        return {base: (f"CNAME {service.alias_of}",)}
    for address in service.addresses:
        names.add(base, address)
        names.add(_pointer(address), f"PTR {base}")
    for port in service.ports if service.addresses else ():
        _add_port(names, base, port, base, service.addresses)
    for part in slices:
        for endpoint in part.endpoints:
            for address in endpoint.addresses:
                host = f"{endpoint.hostname or _dashed(address)}.{base}"
                names.add(host, address)
                if service.addresses:
                    continue
                names.add(base, address)
                names.add(_pointer(address), f"PTR {host}")
                for port in part.ports:
                    _add_port(names, base, port, host, (address,))
    return names.all()


def _add_port(names: _Names, base: str, port: Port, target: str, addresses: Iterable[str]) -> None:
    text = f"SRV {port.number} {target}"
    names.add(base, text)
    if port.name:
        names.add(f"_{port.name}._{port.protocol}.{base}", text, *addresses)


def _dashed(address: str) -> str:
    return address.replace(".", "-").replace(":", "-")


def _pointer(address: str) -> str:
    return ipaddress.ip_address(address).reverse_pointer
