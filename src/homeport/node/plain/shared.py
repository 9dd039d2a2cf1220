"""What leads to hosts of the cluster where all pods of a node have one address: of the machine's, and by its ports."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
from typing import Any

from homeport.node.plain.addressing import Networks
from homeport.node.plain.doors import Doors
from homeport.node.plain.rewriting import Place
from homeport.node.plain.tables import PUBLISHED

RELAYS = "relays.json"
"""Of the helper: by ``<cluster IP>:<port>`` the machine's port that leads to the service."""
_DOMAIN = ".svc.cluster.local"


class Shared:
    """For the pod with that uid, in that namespace, called so; `directory` is the node's."""

    def __init__(self, directory: str, networks: Networks, uid: str, namespace: str, name: str) -> None:
        self._directory = directory
        self._networks = networks
        self._uid = uid
        self._namespace = namespace
        self._own = f"{namespace}/{name}"
        self._doors = Doors(directory)

    def register(self, address: str) -> None:
        """The pod is there. Raises OSError."""
        self._doors.register(self._uid, self._own, address)

    def look_up(self, host: str, port: int, is_sure: bool) -> Place | None:
        """See :data:`rewriting.Lookup`. Raises OSError if there is no port left."""
        here = str(self._networks.real.network_address)
        if host in ("localhost", "127.0.0.1"):
            return here, self._doors.open(self._uid, self._own, port)
        if host == "0.0.0.0":
            return host, self._doors.open(self._uid, self._own, port)
        with contextlib.suppress(ValueError):
            return self._behind(ipaddress.IPv4Address(host), port, "")
        full = host.rstrip(".").removesuffix(".cluster.local").removesuffix(".svc")
        full = full if "." in full else f"{full}.{self._namespace}"
        addresses = self._addresses(f"{full}{_DOMAIN}")
        if not addresses and not is_sure:
            return None
        label, namespace = full.split(".", 1)[0], full.rsplit(".", 1)[-1]
        name = f"{namespace}/{label}"
        return self._behind(addresses[0], port, name) if addresses else (here, self._door(name, port))

    def _behind(self, address: ipaddress.IPv4Address, port: int, name: str) -> Place | None:
        here = str(self._networks.real.network_address)
        if address in self._networks.services:
            relay = self._read(RELAYS).get(f"{address}:{port}")
            if relay is None and address == self._networks.services.network_address + 1:
                relay = self._read(PUBLISHED).get(str(port))
            return None if relay is None else (here, int(relay))
        if address in self._networks.pods and (found := self._doors.name_of(str(address)) or name):
            return here, self._door(found, port)
        return None

    def _door(self, name: str, port: int) -> int:
        return self._doors.open(self._uid, name, port)

    def _addresses(self, name: str) -> list[ipaddress.IPv4Address]:
        found = []
        for text in self._read("records.json").get(name, ()):
            with contextlib.suppress(ValueError):
                found.append(ipaddress.IPv4Address(text))
        return found

    def _read(self, name: str) -> dict[str, Any]:
        """A table of the node; empty if there is none."""
        with (
            contextlib.suppress(OSError, ValueError),
            open(os.path.join(self._directory, name), encoding="utf-8") as file,
        ):
            content: dict[str, Any] = json.load(file)
            return content
        return {}
