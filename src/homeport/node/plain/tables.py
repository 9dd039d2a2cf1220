"""What all pods of a node look up, in small files that are replaced as a whole: whoever needs one reads it again when
it has changed. So services go on while the platform is away."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from homeport.node.sandbox.frontends import Frontend, Target, parse_backend, parse_frontend
from homeport.node.sandbox.handover import Chooser

SERVICES, PUBLISHED, DNS = "services.json", "published.json", "dns.json"


class _File:
    """The content of a file of JSON, or `nothing` while there is none that can be read."""

    def __init__(self, path: str, changed: Callable[[Any], None]) -> None:
        self._path = path
        self._changed = changed
        self._seen: tuple[int, int, int] | None = None

    def look(self) -> None:
        try:
            status = os.stat(self._path)
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen == self._seen:
                return
            with open(self._path, encoding="utf-8") as file:
                content = json.load(file)
        except (OSError, ValueError):
            return  # what was known last is the best there is
        self._changed(content)
        self._seen = seen


class Tables:
    """Of the node whose directory that is, as one pod sees them."""

    def __init__(self, directory: str, own: str) -> None:
        """`own` is the pod's address, by which services know it."""
        self._own = own
        self._choosers: dict[Frontend, Chooser] = {}
        self._published: dict[int, int] = {}
        self._dns_port = 53
        self._services = _File(os.path.join(directory, SERVICES), self._set_services)
        self._ports = _File(os.path.join(directory, PUBLISHED), self._set_published)
        self._dns = _File(os.path.join(directory, DNS), self._set_dns)

    def _set_services(self, content: dict[str, Any]) -> None:
        known, self._choosers = self._choosers, {}
        for text, value in content.items():
            frontend, backend = parse_frontend(text), parse_backend(value)
            chooser = known.get(frontend) or Chooser(backend)
            chooser.backend = backend
            self._choosers[frontend] = chooser

    def _set_published(self, content: dict[str, int]) -> None:
        self._published = {int(port): int(real) for port, real in content.items()}

    def _set_dns(self, content: int) -> None:
        self._dns_port = int(content)

    def choose(self, frontend: Frontend) -> Target | None:
        """A target for this pod; None if there is none."""
        self._services.look()
        chooser = self._choosers.get(frontend)
        return chooser.choose(self._own) if chooser is not None and chooser.backend.targets else None

    @property
    def published(self) -> dict[int, int]:
        """Ports of the node that pods know, and those that they really are."""
        self._ports.look()
        return self._published

    @property
    def dns_port(self) -> int:
        self._dns.look()
        return self._dns_port
