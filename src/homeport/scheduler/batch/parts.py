"""The parts of the network as they are shown, kept up to date by what happens to hyper nodes and nodes."""

from __future__ import annotations

from collections.abc import Iterable

from homeport.control.cache import Change
from homeport.kube.meta import Object, name, spec
from homeport.scheduler.batch.groups import parse_hypernodes
from homeport.scheduler.batch.model import HyperNode
from homeport.scheduler.model import Node


class Parts:
    def __init__(self) -> None:
        self._objects: dict[str, Object] = {}
        self._shown: tuple[HyperNode, ...] = ()
        self._moved = False
        """They may be others than are shown."""

    def take(self, change: Change) -> bool:
        """Whether it is news, and not only a status."""
        if change.new is None:
            del self._objects[name(change.object)]
        elif change.old is not None and spec(change.old) == spec(change.new):
            return False
        else:
            self._objects[name(change.object)] = change.new
        self._moved = True
        return True

    def node_changed(self) -> None:
        """One came, went or changed."""
        self._moved = self._moved or bool(self._objects)

    def shown(self, nodes: Iterable[Node]) -> tuple[HyperNode, ...]:
        """The same object as before if it is equal."""
        if self._moved:
            self._moved = False
            found = parse_hypernodes(self._objects, {node.name: node.labels for node in nodes})
            if found != self._shown:
                self._shown = found
        return self._shown
