"""IP addresses and networks: ``ip(...)``, ``cidr(...)`` (Kubernetes 1.30)."""

from __future__ import annotations

import ipaddress
from typing import Any

from homeport.kube.cel.functions import Library
from homeport.kube.cel.values import EvaluationError, Opaque

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Address(Opaque):
    """An IP address."""

    __slots__ = ("value",)
    type_name = "net.IP"

    def __init__(self, value: _Address) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


class Network(Opaque):
    """A network: an address and the length of its prefix."""

    __slots__ = ("address", "bits")
    type_name = "net.CIDR"

    def __init__(self, address: _Address, bits: int) -> None:
        self.address = address
        self.bits = bits

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and (self.address, self.bits) == (other.address, other.bits)

    __hash__ = None  # type: ignore[assignment]

    @property
    def masked(self) -> _Address:
        shift = self.address.max_prefixlen - self.bits
        return type(self.address)(int(self.address) >> shift << shift)

    def holds(self, address: _Address) -> bool:
        return address.version == self.address.version and Network(address, self.bits).masked == self.masked


LIBRARY = Library()
_function, _member = LIBRARY.function, LIBRARY.member


def _parse_address(text: str) -> _Address:
    if "%" in text:
        raise EvaluationError(f'IP address "{text}" with zone value is not allowed')
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise EvaluationError(f'IP Address "{text}" parse error during conversion from string: {error}') from error
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return address


def _parse_network(text: str) -> Network:
    words = f'network address parse error during conversion from string: "{text}"'
    head, slash, bits = text.partition("/")
    if not slash or not (bits.isascii() and bits.isdigit()) or len(bits) > 3 or (bits[0] == "0" and len(bits) > 1):
        raise EvaluationError(words)
    try:
        address = _parse_address(head)
    except EvaluationError as error:
        raise EvaluationError(f"{words}: {error}") from error
    if int(bits) > address.max_prefixlen:
        raise EvaluationError(words)
    return Network(address, int(bits))


@_function("ip(string): net.IP", cost=lambda text: len(text) // 10)
def _ip(text: str) -> Address:
    return Address(_parse_address(text))


@_function("isIP(string): bool", cost=lambda text: len(text) // 10)
def _is_ip(text: str) -> bool:
    try:
        _parse_address(text)
    except EvaluationError:
        return False
    return True


@_function("ip.isCanonical(string): bool", cost=lambda text: len(text) // 10)
def _is_canonical(text: str) -> bool:
    return str(_parse_address(text)) == text


@_function("string(net.IP): string")
def _address_text(address: Address) -> str:
    return str(address.value)


@_member("family(net.IP): int")
def _family(address: Address) -> int:
    return address.value.version


@_member("isUnspecified(net.IP): bool")
def _is_unspecified(address: Address) -> bool:
    return address.value.is_unspecified


@_member("isLoopback(net.IP): bool")
def _is_loopback(address: Address) -> bool:
    return address.value.is_loopback


_LOCAL_MULTICAST = {4: ipaddress.ip_network("224.0.0.0/24"), 6: ipaddress.ip_network("ff02::/16")}


@_member("isLinkLocalMulticast(net.IP): bool")
def _is_local_multicast(address: Address) -> bool:
    return address.value in _LOCAL_MULTICAST[address.value.version]


@_member("isLinkLocalUnicast(net.IP): bool")
def _is_local_unicast(address: Address) -> bool:
    return address.value.is_link_local


@_member("isGlobalUnicast(net.IP): bool")
def _is_global(address: Address) -> bool:
    value = address.value
    everyone = value.version == 4 and int(value) == 2**32 - 1
    return not (everyone or value.is_unspecified or value.is_loopback or value.is_multicast or value.is_link_local)


@_function("cidr(string): net.CIDR", cost=lambda text: len(text) // 10)
def _cidr(text: str) -> Network:
    return _parse_network(text)


@_function("isCIDR(string): bool", cost=lambda text: len(text) // 10)
def _is_cidr(text: str) -> bool:
    try:
        _parse_network(text)
    except EvaluationError:
        return False
    return True


@_function("string(net.CIDR): string")
def _network_text(network: Network) -> str:
    return f"{network.address}/{network.bits}"


@_member("containsIP(net.CIDR, net.IP): bool", "containsIP(net.CIDR, string): bool")
def _contains_ip(network: Network, address: Any) -> bool:
    return network.holds(_parse_address(address) if isinstance(address, str) else address.value)


@_member("containsCIDR(net.CIDR, net.CIDR): bool", "containsCIDR(net.CIDR, string): bool")
def _contains_cidr(network: Network, other: Any) -> bool:
    if isinstance(other, str):
        other = _parse_network(other)
    return bool(other.bits >= network.bits and network.holds(other.address))


@_member("ip(net.CIDR): net.IP")
def _network_ip(network: Network) -> Address:
    return Address(network.address)


@_member("masked(net.CIDR): net.CIDR")
def _masked(network: Network) -> Network:
    return Network(network.masked, network.bits)


@_member("prefixLength(net.CIDR): int")
def _prefix_length(network: Network) -> int:
    return network.bits
