"""Where a pod or a service is, and a connection to it. For proxies, webhooks behind services, aggregated API servers.

The addresses of a service with a selector follow from its pods as they are now; those of one without are what somebody
wrote into its Endpoints or EndpointSlices (upstream: ``pkg/registry/core/service/storage`` ResourceLocation).
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from homeport.apiserver.context import Api
from homeport.kube.core.network_names import unmapped
from homeport.kube.errors import BadRequest, NotFound, ServiceUnavailable
from homeport.kube.meta import Object, is_condition_true, is_deleting, metadata, spec, status
from homeport.store.protocol import Key, Record

UNREACHED: Final = "error trying to reach service: "
"""How a proxy begins to say so."""
CONNECT_SECONDS = 10.0
_SERVICE_NAME = "kubernetes.io/service-name"
_SCHEMES = ("", "http", "https")


def reason(error: OSError) -> str:
    """Why a connection failed, in the system's words and no library's."""
    return (os.strerror(error.errno) if error.errno else str(error)).lower()


class Address(NamedTuple):
    host: str
    port: int


class Target(NamedTuple):
    """What a proxy's ``scheme:name:port`` says; scheme and port may be empty."""

    scheme: str
    name: str
    port: str


def parse_target(text: str, kind: str) -> Target:
    """``name``, ``name:port`` or ``scheme:name:port``. Raises BadRequest; `kind` is what the text names."""
    parts = text.split(":")
    scheme, name, port = "", parts[0], ""
    if len(parts) == 2:
        name, port = parts
    elif len(parts) == 3:
        scheme, name, port = parts
    if len(parts) > 3 or not name or scheme not in _SCHEMES:
        raise BadRequest(f'invalid {kind} request "{text}"')
    return Target(scheme, name, port)


def find_object(api: Api, resource: str, namespace: str, name: str) -> Object:
    """The committed object of a core resource. Raises NotFound."""
    record = api.store.get(Key(f"/{resource}", namespace, name))
    if record is None:
        raise NotFound.of("", resource, name)
    return decode(record)


def decode(record: Record) -> Object:
    """A record's object in the version that it is stored in; core resources have only one."""
    found: Object = msgspec.json.decode(record.value)
    return found


def pod_address(pod: Object, port: str, scheme: str = "") -> Address:
    """Where a pod's port is; by number or name, without either its first declared one, else the scheme's own.

    Raises BadRequest or ServiceUnavailable.
    """
    if not port:
        numbers = (p["containerPort"] for c in spec(pod).get("containers") or () for p in c.get("ports") or ())
        number = next(numbers, 443 if scheme == "https" else 80)
    elif port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        number = int(port)
    else:
        named = _container_port(pod, port)
        if named is None:
            raise BadRequest(f'pod "{metadata(pod)["name"]}" has no port named "{port}"')
        number = named
    return Address(_checked(status(pod).get("podIP") or "", spec(pod)), number)


def _checked(address: str, pod_spec: Mapping[str, Any] | None = None) -> str:
    """Raises BadRequest for an address that is none of a pod."""
    if not _is_allowed(address, pod_spec):
        raise BadRequest("address not allowed")
    return address


def _is_allowed(address: str, pod_spec: Mapping[str, Any] | None = None) -> bool:
    """The machine's own services are not to be reached by writing an address into an object."""
    if pod_spec is not None and pod_spec.get("hostNetwork") and address:
        return True
    try:
        parsed = unmapped(ipaddress.ip_address(address))
    except ValueError:
        return False
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified)


def service_addresses(api: Api, service: Object, port: str) -> list[Address]:
    """The ready addresses behind a service's port (its number or name; empty for the one without a name), in random
    order.

    Raises ServiceUnavailable in upstream's words if there is none.
    """
    name = metadata(service)["name"]
    declared = _service_port(service, port)
    found = list(_behind(api, service, declared))
    if not found:
        raise ServiceUnavailable(f'no endpoints available for service "{name}"')
    random.shuffle(found)
    return [Address(_checked(address.host), address.port) for address in found] if not _selector(service) else found


def _service_port(service: Object, port: str) -> Mapping[str, Any]:
    name = metadata(service)["name"]
    ports: Sequence[Mapping[str, Any]] = spec(service).get("ports") or ()
    if port.isascii() and port.isdigit():
        for declared in ports:
            if declared.get("port") == int(port):
                return declared
        raise ServiceUnavailable(f'no service port {int(port)} found for service "{name}"')
    for declared in ports:
        if (declared.get("name") or "") == port:
            return declared
    raise ServiceUnavailable(f'no endpoints available for service "{name}"')


def _selector(service: Object) -> Mapping[str, str]:
    return spec(service).get("selector") or {}


def _behind(api: Api, service: Object, port: Mapping[str, Any]) -> Iterator[Address]:
    selector = _selector(service)
    if not selector:
        yield from _written(api, service, port.get("name") or "")
        return
    ready_only = not spec(service).get("publishNotReadyAddresses")
    records, _ = api.store.scan("/pods", metadata(service)["namespace"])
    for record in records:
        # The labels are kept decoded: only the pods that match are read.
        if any(record.labels.get(key) != value for key, value in selector.items()):
            continue
        pod: Object = msgspec.json.decode(record.value)
        if is_deleting(pod) or status(pod).get("phase") in ("Succeeded", "Failed"):
            continue
        if ready_only and not is_condition_true(pod, "Ready"):
            continue
        number = _target_port(pod, port)
        address = status(pod).get("podIP")
        if number is not None and address and _is_allowed(address, spec(pod)):
            yield Address(address, number)


def _target_port(pod: Object, port: Mapping[str, Any]) -> int | None:
    target = port.get("targetPort") or port.get("port")
    return target if isinstance(target, int) else _container_port(pod, str(target))


def _container_port(pod: Object, name: str) -> int | None:
    for container in (*(spec(pod).get("containers") or ()), *(spec(pod).get("initContainers") or ())):
        for declared in container.get("ports") or ():
            if declared.get("name") == name:
                return int(declared["containerPort"])
    return None


def _written(api: Api, service: Object, port: str) -> Iterator[Address]:
    """The addresses in a service's Endpoints and EndpointSlices."""
    namespace, name = metadata(service)["namespace"], metadata(service)["name"]
    records, _ = api.store.scan("discovery.k8s.io/endpointslices", namespace)
    slices = [record for record in records if record.labels.get(_SERVICE_NAME) == name]
    for record in slices:
        found: Object = msgspec.json.decode(record.value)
        numbers = [p.get("port") for p in found.get("ports") or () if (p.get("name") or "") == port]
        for endpoint in found.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                yield from (Address(a, int(n)) for a in endpoint.get("addresses") or () for n in numbers if n)
    old = api.store.get(Key("/endpoints", namespace, name)) if not slices else None
    for subset in msgspec.json.decode(old.value).get("subsets") or () if old is not None else ():
        numbers = [p.get("port") for p in subset.get("ports") or () if (p.get("name") or "") == port]
        yield from (Address(a["ip"], int(n)) for a in subset.get("addresses") or () for n in numbers if n)


async def open_service(
    api: Api,
    namespace: str,
    name: str,
    port: int | str,
    *,
    tls: ssl.SSLContext | None = None,
    server_hostname: str = "",
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to one of the pods behind a service; by its name if the service is an ExternalName.

    `port` is the service's own, by number or name. With `tls` the peer has to prove to be `server_hostname`, by default
    ``<name>.<namespace>.svc``. Raises NotFound, ServiceUnavailable (none is there or answers), ssl.SSLError.
    """
    try:
        service = find_object(api, "services", namespace, name)
    except NotFound as error:
        raise NotFound.of("", "service", name) from error  # upstream's cache of services speaks of one in the singular
    hostname = server_hostname or f"{name}.{namespace}.svc"
    if spec(service).get("type") == "ExternalName":
        external = Address(str(spec(service).get("externalName")), int(port))
        return await open_address(api, [external], tls=tls, server_hostname=hostname)
    return await open_address(api, service_addresses(api, service, str(port)), tls=tls, server_hostname=hostname)


async def open_address(
    api: Api, addresses: Sequence[Address], *, tls: ssl.SSLContext | None = None, server_hostname: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first of the addresses that answers. Raises ServiceUnavailable, and ssl.SSLError."""
    problem = "there is no address"
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await _open(api, address, tls, server_hostname)
        except ssl.SSLError:
            raise
        except TimeoutError:
            problem = f"dial tcp {address.host}:{address.port}: i/o timeout"
        except OSError as error:
            problem = f"dial tcp {address.host}:{address.port}: connect: {reason(error)}"
    raise ServiceUnavailable(UNREACHED + problem)


async def _open(
    api: Api, address: Address, tls: ssl.SSLContext | None, server_hostname: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    hostname = server_hostname if tls is not None else None
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return await asyncio.open_connection(address.host, address.port, ssl=tls, server_hostname=hostname)
    if api.node is None:
        raise ServiceUnavailable("no node connects this server with pods")
    connected = await api.node.dial(address.host, address.port)
    try:
        return await asyncio.open_connection(sock=connected, ssl=tls, server_hostname=hostname)
    except BaseException:
        connected.close()
        raise
