"""The shares of a tree of queues (hierarchical dominant resource fairness; upstream: ``drf`` with ``enableHierarchy``).

At each level those below share by weight what the level has. Two rules keep that fair. Who has all it asked for, or
asks for something of which nothing is left, is saturated: it comes last, and nobody waits for it. And those who are not
saturated count as much as the least of them, whatever their weights: what one has beyond that, because it wants
something that nobody else does, is not held against the level, which would block the others of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from homeport.scheduler.batch.axis import Mask, Vector
from homeport.scheduler.batch.axis import Scores as Amounts


class Node:
    """A queue, or what queues are below. Made by :meth:`Tree.node`."""

    __slots__ = ("allocated", "children", "epoch", "keys", "parent", "request", "saturated", "share", "sums", "weight")

    def __init__(self, weight: float, parent: Node | None, size: int) -> None:
        self.weight = weight
        self.parent = parent
        self.children: dict[str, Node] = {}
        self.keys: list[str] = []
        """Its jobs; a row of each of these two belongs to one."""
        self.allocated: Amounts = np.zeros((0, size))
        self.request: Amounts = np.zeros((0, size))
        self.epoch = -1
        """As of which the following hold."""
        self.sums: Amounts = np.zeros(size)
        self.share = 0.0
        self.saturated = True


class Tree:
    """`total`: what there is of each resource; `counted`: those that shares are reckoned by."""

    def __init__(self, total: Vector, counted: Mask) -> None:
        self._counted = counted
        self._total: Amounts = np.where(counted, np.maximum(total, 1), np.inf).astype(float)
        self._used: Amounts = np.zeros(len(total))
        self._root = Node(1.0, None, len(total))
        self._rows: dict[str, tuple[Node, int]] = {}
        self._gone: Mask = self._is_gone()
        self._epoch = 0
        """Counts the changes of what is gone: then all nodes have to be looked at again."""

    def node(self, path: Sequence[str], weights: Sequence[float]) -> Node:
        """The one at the end of the path below the root, made if need be."""
        found = self._root
        for name, weight in zip(path, weights, strict=True):
            known = found.children.get(name)
            if known is None:
                known = found.children[name] = Node(max(weight, 1.0), found, len(self._used))
            found = known
        return found

    def fill(self, node: Node, jobs: Sequence[tuple[str, Vector, Vector]]) -> None:
        """The jobs of a node, once: key, what it holds, what it asks for in all."""
        node.keys = [key for key, _, _ in jobs]
        node.allocated = np.array([allocated for _, allocated, _ in jobs], float).reshape(len(jobs), -1)
        node.request = np.array([request for _, _, request in jobs], float).reshape(len(jobs), -1)
        self._rows.update((key, (node, row)) for row, key in enumerate(node.keys))
        self._used += node.allocated.sum(axis=0)
        self._moved(node)

    def move(self, key: str, change: Vector) -> None:
        """A job has got so much more."""
        found = self._rows.get(key)
        if found is not None:
            node, row = found
            node.allocated[row] += change
            self._used += change
            self._moved(node)

    def order(self, node: Node) -> tuple[float, ...]:
        """The smaller the earlier: level by level from the top, whether it is saturated and its share by weight."""
        found: list[float] = []
        while node.parent is not None:
            self._settle(node)
            found += (round(node.share / node.weight, 12), float(node.saturated))
            node = node.parent
        return tuple(reversed(found))

    def _is_gone(self) -> Mask:
        gone: Mask = self._counted & (self._used >= self._total)
        return gone

    def _moved(self, node: Node | None) -> None:
        while node is not None:
            node.epoch = -1
            node = node.parent
        gone = self._is_gone()
        if (gone != self._gone).any():
            self._gone = gone
            self._epoch += 1

    def _settle(self, node: Node) -> None:
        if node.epoch == self._epoch:
            return
        node.epoch = self._epoch
        for child in node.children.values():
            self._settle(child)
        below = list(node.children.values())
        wanted = (node.request > 0) & self._counted
        has_all = (node.allocated > 0) & wanted & (node.allocated >= node.request)
        saturated = np.append((has_all | (wanted & self._gone)).any(axis=1), [child.saturated for child in below])
        shares = np.append((node.allocated / self._total).max(axis=1, initial=0.0), [child.share for child in below])
        amounts = np.vstack([node.allocated, *(child.sums for child in below)])
        saturated = saturated.astype(bool)
        scaled = (shares > 0) & ~saturated
        least = min(1.0, shares[scaled].min(initial=1.0))
        factors = np.where(scaled, least / np.where(scaled, shares, 1.0), 1.0)
        node.sums = (amounts * factors[:, None]).sum(axis=0)
        node.share = float((node.sums / self._total).max(initial=0.0))
        node.saturated = bool(saturated.all())
