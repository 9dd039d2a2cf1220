"""Network policies as rules of nftables in the node's network: what a pod may send and take.

Rules are written whole, into one of two tables by turns, and the other goes in the same transaction in which the new
one's rules begin to hold: nothing is ever let through in between. Connections that exist go on, as with the usual
plug-ins: only their first packet is looked at.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

from homeport.node.sandbox import expr, hostlink, nft

_TABLES = ("homeport-policy-a", "homeport-policy-b")
_SOURCE_PRIORITY, _PRIORITY = -150, 0
_PROTOCOLS = {"TCP": expr.TCP, "UDP": expr.UDP, "SCTP": expr.SCTP}
_EVERY_PORT = (0, 65535)
Range = tuple[int, int]


def apply(message: dict[str, Any]) -> None:
    """Let these rules hold and no others. Raises OSError where the kernel can't."""
    connection = nft.Nft()
    try:
        if not message["pods"]:
            batch = nft.Batch(nft.IPV4)
            for table in _TABLES:
                batch.drop_table(table)
            connection.run(batch)
            return
        old, new = _TABLES if connection.has_table(_TABLES[0]) else reversed(_TABLES)
        connection.run(_rules(new, message))
        connection.run(_switch(new, old))
    finally:
        connection.close()


def _rules(table: str, message: dict[str, Any]) -> nft.Batch:
    """What no packet comes to yet: one chain for each list of rules and direction, and two maps from pods to them."""
    batch = nft.Batch(nft.IPV4)
    batch.renew(table)
    sets: dict[tuple[Range, ...], str] = {}
    used = sorted({(place, number) for pod in message["pods"].values() for place, number in enumerate(pod)
                   if number is not None})  # fmt: skip
    for place, number in used:
        chain = _chain(place, number)
        batch.chain(chain)
        for peers, ports in message["lists"][number]:
            known = None if peers is None else tuple((int(first), int(last)) for first, last in peers)
            if known == ():
                continue  # nobody
            match = b"" if known is None else _peer(batch, sets, known, is_source=place == 0)
            for port in [None] if ports is None else ports:
                batch.rule(chain, match, b"" if port is None else _port(*port), expr.RETURN)
        batch.rule(chain, expr.DROP)
    for place, name in enumerate(("ingress", "egress")):
        batch.set(name, nft.IP_ADDRESS, value=nft.VERDICT)
        elements = {
            ipaddress.IPv4Address(address).packed: expr.jump(_chain(place, pod[place]))
            for address, pod in message["pods"].items()
            if pod[place] is not None
        }
        if elements:
            batch.elements(name, elements)
    return batch


def _chain(place: int, number: int) -> str:
    return f"{'in' if place == 0 else 'out'}-{number}"


def _peer(batch: nft.Batch, sets: dict[tuple[Range, ...], str], ranges: tuple[Range, ...], *, is_source: bool) -> bytes:
    read = expr.ip_source() if is_source else expr.ip_destination()
    if len(ranges) == 1:
        first, last = (struct.pack(">I", number) for number in ranges[0])
        return read + (expr.equal(first) if first == last else expr.within(first, last))
    name = sets.get(ranges)
    if name is None:
        name = sets[ranges] = f"peers-{len(sets)}"
        batch.set(name, nft.IP_ADDRESS, interval=True)
        end = (1 << 32) - 1
        batch.ranges(
            name,
            [(struct.pack(">I", first), struct.pack(">I", last + 1) if last < end else None) for first, last in ranges],
        )
    return read + expr.lookup(name)


def _port(protocol: str, first: int, last: int) -> bytes:
    match = expr.protocol() + expr.equal(bytes([_PROTOCOLS[protocol]]))
    if (first, last) == _EVERY_PORT:
        return match
    low, high = struct.pack(">H", first), struct.pack(">H", last)
    return match + expr.destination_port() + (expr.equal(low) if low == high else expr.within(low, high))


def _switch(new: str, old: str) -> nft.Batch:
    """Let the packets come, and the other table go."""
    batch = nft.Batch(nft.IPV4)
    batch.table(new)
    # A pod can make packets in another's name: what comes by a link has to be from an address behind it.
    batch.base_chain("source", nft.FILTER, nft.PREROUTING, _SOURCE_PRIORITY)
    batch.rule("source", expr.input_name_begins("pod"), expr.route_back(), expr.equal(bytes(4)), expr.DROP)
    batch.base_chain("forward", nft.FILTER, nft.FORWARD, _PRIORITY)
    batch.rule("forward", expr.ct_state(), expr.has_bits(expr.CT_ESTABLISHED | expr.CT_RELATED), expr.ACCEPT)
    # The machine itself may reach every pod.
    batch.rule("forward", expr.input_name_begins(f"{hostlink.NAME}\0"), expr.ACCEPT)
    batch.rule("forward", expr.ip_source(), expr.dispatch("egress"))
    batch.rule("forward", expr.ip_destination(), expr.dispatch("ingress"))
    batch.drop_table(old)
    return batch
