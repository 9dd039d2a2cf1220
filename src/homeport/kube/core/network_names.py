"""Network addresses, and names that are such."""

from __future__ import annotations

import ipaddress


def address_name(value: str) -> list[str]:
    """The name of an IPAddress: the address itself, in the one form that is canonical."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [] if str(address) == value else [f'must be in canonical form ("{address}")']


def unmapped(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address that is reached by `address`: ``::ffff:127.0.0.1`` is the machine itself, too."""
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if inner is None else inner
