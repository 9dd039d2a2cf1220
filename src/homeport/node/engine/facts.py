"""What all that a node has of an engine shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from homeport.node.engine.api import Engine
from homeport.node.network import NodeNetwork


@dataclass(frozen=True, slots=True)
class Facts:
    engine: Engine
    node: str
    """The node's key (:func:`homeport.node.engine.bodies.node_key`)."""
    net: NodeNetwork
    """The network helper, which does as well what only the engine's root can."""
    places: tuple[str, ...]
    """The directories, with a slash at the end, that the helper may read and write."""
    is_podman: bool
    has_groups: bool
    """Whether the engine puts containers into control groups that others have made, by their paths."""

    def waiting(self, container: str) -> tuple[str, Mapping[str, str]]:
        """Where to ask for a container's end. Podman's answer in Docker's words takes a processor for itself while it
        waits (version 4.3); in its own it looks ten times a second, which costs next to nothing."""
        if self.is_podman:
            return f"/libpod/containers/{container}/wait", {"condition": "stopped", "interval": "100ms"}
        return f"/containers/{container}/wait", {}
