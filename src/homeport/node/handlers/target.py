"""Whom a handler is about: a container that runs, and how it is reached."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Any

import msgspec

from homeport.node.runtime import Runtime, Sandbox

LONGEST_OUTPUT = 10 << 10
"""Bytes that are read of what a command or a server says."""


class Result(msgspec.Struct, frozen=True):
    """How a check has ended; the text is what the user is told."""

    success: bool
    text: str = ""
    warning: bool = False
    """It succeeded in a way that somebody should look at."""


class Unanswerable(Exception):
    """A check that can't be carried out, such as one of a port that no container has; the text says why."""


class Target(msgspec.Struct, frozen=True):
    container: str
    spec: Mapping[str, Any]
    """The container's part of the manifest."""
    sandbox: Sandbox
    runtime: Runtime
    address: str
    """The pod's."""

    def port(self, wanted: int | str) -> int:
        """A port by its number or name. Raises Unanswerable."""
        if isinstance(wanted, str):
            for port in self.spec.get("ports") or ():
                if port.get("name") == wanted:
                    wanted = int(port["containerPort"])
                    break
            else:
                if not wanted.isdigit():
                    raise Unanswerable(f"couldn't find port: {wanted!r} in container {self.container}")
        number = int(wanted)
        if not 0 < number < 65536:
            raise Unanswerable(f"invalid port number: {number}")
        return number

    async def dial(self, host: str, port: int) -> socket.socket:
        """A connection, non-blocking; `host` may be a name that this machine knows. Raises OSError."""
        address = await _address_of(host)
        return await self.runtime.dial(address, port)


async def _address_of(host: str) -> str:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return host
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return str(found[0][4][0])


def explain(error: OSError, what: str) -> str:
    """A failed connection in the words that people search for (Go's)."""
    # Event loops have texts of their own for what the kernel said.
    known = error.errno is not None and error.errno > 0
    reason = os.strerror(error.errno) if known and error.errno is not None else str(error)
    return f"{what}: {reason.lower()}"


def joined(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
