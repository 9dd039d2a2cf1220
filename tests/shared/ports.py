"""Ports for programs that must be told where to listen: they can't be left to choose one themselves and say which."""

from __future__ import annotations

import random
import socket

# Above what machines' own services use and below node ports and the range of outgoing connections: of that one, any
# connection that somebody opens may have a port by the time that a program wants to listen there.
_RANGE = (10_000, 29_999)


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of this machine that nobody has, at any of its addresses. `kind`: the type of socket that it is for."""
    while True:
        port = random.randint(*_RANGE)
        with socket.socket(type=kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port


def free_ports(count: int) -> list[int]:
    """Several, each another."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)
