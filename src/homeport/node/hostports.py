"""Ports of the machine that pods have (``hostPort``), as front ends of their own, and those that pods on the
machine's network are about to bind themselves."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from typing import Any

from homeport.kube import meta
from homeport.kube.meta import Object

_KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
_EVERYWHERE = ("", "0.0.0.0", "::")


def frontends(pod: Object, address: str, gateway: str, api: int | None = None) -> dict[str, dict[str, Any]]:
    """What :mod:`homeport.node.sandbox.frontends` reads. None for a pod on the machine's network, which binds its ports
    itself, or without an address. `api` is the API server's own port, which is nobody else's: not while it is away
    either, or it could not come back."""
    spec = meta.spec(pod)
    if not address or spec.get("hostNetwork"):
        return {}
    found: dict[str, dict[str, Any]] = {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        for port in container.get("ports") or ():
            if not port.get("hostPort") or (port.get("protocol") or "TCP") not in _KINDS or _is_apis(port, api):
                continue
            where = port.get("hostIP") or ""
            if where not in _EVERYWHERE and not _is_ipv4(where):
                continue
            value: dict[str, Any] = {"to": [[address, port["containerPort"]]]}
            if where in _EVERYWHERE:
                value["published"] = True
            elif where != gateway:
                value |= {"published": True, "exact": True}
            protocol = (port.get("protocol") or "TCP").lower()
            found[f"{protocol} {'*' if where in _EVERYWHERE else where} {port['hostPort']}"] = value
    return found


def _is_apis(port: Mapping[str, Any], api: int | None) -> bool:
    return port.get("hostPort") == api and (port.get("protocol") or "TCP") == "TCP"


def _is_ipv4(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False


def describe(text: str) -> str:
    """A front end, in the words of an event."""
    protocol, address, port = text.split(" ")
    where = "" if address == "*" else f" of {address}"
    return f"host port {port}/{protocol.upper()}{where}"


def reserved_ports(container: Mapping[str, Any], api: int | None) -> list[str]:
    """The ports of the machine that a container asks for and the API server has."""
    found = [port for port in container.get("ports") or () if port.get("hostPort") and _is_apis(port, api)]
    return [f"host port {port['hostPort']}/TCP can't be had: it is the API server's own" for port in found]


def unserved_ports(container: Mapping[str, Any]) -> list[str]:
    """The ports of the machine that a container asks for and the node serves for nobody."""
    found = []
    for port in container.get("ports") or ():
        protocol, where = port.get("protocol") or "TCP", port.get("hostIP") or ""
        if port.get("hostPort") and (protocol not in _KINDS or not (where in _EVERYWHERE or _is_ipv4(where))):
            text = f"{protocol.lower()} {'*' if where in _EVERYWHERE else where} {port['hostPort']}"
            found.append(f"{describe(text)} can't be had: this node serves TCP and UDP at IPv4 addresses")
    return found


def taken_ports(container: Mapping[str, Any]) -> list[str]:
    """What is in the way of the ports that a container on the machine's own network declares."""
    found = []
    for port in container.get("ports") or ():
        kind = _KINDS.get(port.get("protocol") or "TCP")
        if kind is None or not port.get("containerPort"):
            continue
        address = port.get("hostIP") if _is_ipv4(port.get("hostIP") or "") else ""
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port["containerPort"]))
                if kind == socket.SOCK_STREAM:
                    probe.listen(1)
            except OSError as error:
                text = f"{(port.get('protocol') or 'TCP').lower()} {address or '*'} {port['containerPort']}"
                found.append(f"{describe(text)} can't be had: {os.strerror(error.errno or 0).lower()}")
    return found
