"""What a network helper knows by name, kept in a file: the next helper answers from that till it is told anew."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterable
from typing import Any

from homeport.node.sandbox import record
from homeport.node.sandbox.loop import Loop
from homeport.node.sandbox.zone import Zone

CLUSTER_DOMAIN = "cluster.local"
_SAVE_SECONDS = 1.0


class Records:
    """Of the node whose directory that is; `server` is its name server's address. See :class:`Zone`."""

    def __init__(
        self,
        events: Loop,
        directory: str,
        networks: Iterable[ipaddress.IPv4Network],
        server: str,
        *,
        delay: float = _SAVE_SECONDS,
    ) -> None:
        """`delay` is how long what is new may wait to be written, in seconds."""
        self._loop = events
        self._delay = delay
        self._path = os.path.join(directory, "records.json")
        self._is_saving = False
        self.zone = Zone(CLUSTER_DOMAIN, networks, server)
        self._load()

    def _load(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as file:
                for name, addresses in json.load(file).items():
                    self.zone.set(name, addresses)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, AttributeError) as error:
            # The platform sends all of it again when it connects.
            print(f"{self._path} can't be read: {error}", flush=True)

    def update(self, message: dict[str, Any]) -> None:
        """As the platform says: names that are not known any more, and names with what they stand for."""
        if message.get("reset"):
            self.zone.clear()
        for name in message.get("remove", ()):
            self.zone.remove(name)
        for name, addresses in message.get("set", {}).items():
            self.zone.set(name, addresses)
        if not self._is_saving:
            self._is_saving = True
            self._loop.after(self._delay, self._save)

    def save(self) -> None:
        """Write down what waits to be."""
        if self._is_saving:
            self._save()

    def _save(self) -> None:
        self._is_saving = False
        try:
            record.write(self._path, dict(self.zone.records))
        except OSError as error:
            print(f"{self._path} can't be written: {error}", flush=True)
