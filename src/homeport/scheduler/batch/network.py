"""The parts of the network as arrays, and where groups stand in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from homeport.scheduler.batch.axis import Indexes, Mask, Scores
from homeport.scheduler.batch.model import HyperNode, NetworkTopology, TaskStatus

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session
    from homeport.scheduler.batch.state import GroupState

Areas = Sequence[Mask | None]
"""Parts of the cluster, the one to try first first. None: all of it."""
_ANYWHERE: Areas = (None,)


class Network:
    """`index`: the places of nodes. Hyper nodes are numbered from the lowest tier up."""

    def __init__(self, hypernodes: tuple[HyperNode, ...], index: Mapping[str, int]) -> None:
        self.given = hypernodes
        self.index = index
        self.domains = sorted(hypernodes, key=lambda each: (each.tier, each.name))
        self.masks: NDArray[np.bool_] = np.zeros((len(self.domains), len(index)), bool)
        """A row each: its nodes."""
        for number, domain in enumerate(self.domains):
            self.masks[number, [index[name] for name in domain.nodes if name in index]] = True
        self._weights = self.masks.astype(np.float64)
        self.tiers = np.array([domain.tier for domain in self.domains], np.int64)
        self.leaves: Indexes = np.where(self.masks.any(axis=0), self.masks.argmax(axis=0), -1)
        """Of each node the lowest that it is in; -1: none."""
        self._above: dict[int, Scores] = {}

    def allowed(self, wanted: NetworkTopology) -> Indexes:
        """Those that may have all of such a group. One that is not hard may go anywhere."""
        if not wanted.hard:
            return np.arange(len(self.domains))
        if wanted.highest_tier_name:
            named = [domain.tier for domain in self.domains if domain.tier_name == wanted.highest_tier_name]
            return np.flatnonzero(self.tiers <= max(named)) if named else np.arange(0)
        if wanted.highest_tier is None:
            return np.arange(len(self.domains))
        return np.flatnonzero(self.tiers <= wanted.highest_tier)

    def sums(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sum of the nodes' numbers, for each hyper node."""
        found: NDArray[np.int64] = (self._weights @ numbers.astype(np.float64)).round().astype(np.int64)
        return found

    def nearness(self, domain: int) -> Scores:
        """How near each node is to that hyper node, by the tier of the lowest that has both (upstream:
        ``networkTopologyAwareScore``): 1 within it, 0 if none has both. The cluster as a whole is a tier above all."""
        known = self._above.get(domain)
        if known is None:
            top, lowest = int(self.tiers[-1]) + 1, int(self.tiers[0])
            around = ~(self.masks[domain] & ~self.masks).any(axis=1)
            scores = np.where(around, (top - self.tiers) / (top - lowest), 0.0)
            known = np.max(self.masks * scores[:, None], axis=0)
            known[self.leaves == domain] = 1.0
            self._above[domain] = known
        return known


class Stand:
    """How many pods of a group are where, in a cycle."""

    def __init__(self, network: Network, group: GroupState) -> None:
        self._network = network
        self.total = 0
        self.within: NDArray[np.int64] = np.zeros(len(network.domains), np.int64)
        """By hyper node."""
        for task in group.group.tasks:
            # Who leaves binds nobody; nor does who is on a node that is gone.
            if task.status.holds and task.status is not TaskStatus.RELEASING and task.uid not in group.evicted:
                place = network.index.get(task.node)
                if place is not None:
                    self.count(place, 1)
        for placed in group.placed.values():
            self.count(placed.place, 1)

    def count(self, place: int, sign: int) -> None:
        self.total += sign
        self.within += sign * self._network.masks[:, place]

    def around(self, among: Indexes) -> list[int]:
        """Those of these hyper nodes that have all of its pods."""
        return [int(number) for number in among if self.within[number] == self.total]


def reach(session: Session, group: GroupState) -> Areas:
    """Where one more pod of the group may go, the nearest to its others first."""
    wanted, network = group.group.network, session.network
    if wanted is None or (network is None and not wanted.hard):
        return _ANYWHERE
    if network is None:
        return ()
    found = [network.masks[number] for number in session.stand(network, group).around(network.allowed(wanted))]
    return found if wanted.hard else [*found, None]


def bounds(session: Session, group: GroupState) -> Areas:
    """The parts in one of which a group has to be as a whole."""
    wanted = group.group.network
    return _ANYWHERE if wanted is None or not wanted.hard else reach(session, group)
