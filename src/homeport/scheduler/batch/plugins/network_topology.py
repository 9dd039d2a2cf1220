"""Keeps pods of a group near to each other in the network (upstream: ``network-topology-aware``)."""

from __future__ import annotations

import numpy as np

from homeport.scheduler.batch.axis import Mask, Scores
from homeport.scheduler.batch.configuration import PluginOption
from homeport.scheduler.batch.model import Task
from homeport.scheduler.batch.network import Network
from homeport.scheduler.batch.plan import Near
from homeport.scheduler.batch.plugins.arguments import number
from homeport.scheduler.batch.plugins.base import Plugin
from homeport.scheduler.batch.session import Session
from homeport.scheduler.batch.state import GroupState
from homeport.scheduler.model import CPU, MEMORY


class NetworkTopologyAware(Plugin):
    """Arguments: ``weight``, ``hypernode.binpack.cpu``, ``hypernode.binpack.memory``,
    ``hypernode.binpack.resources: a, b`` and ``hypernode.binpack.resources.a``; less than nothing counts as 1."""

    name = "network-topology-aware"
    numbers = ("weight", "hypernode.binpack.cpu", "hypernode.binpack.memory", "hypernode.binpack.resources.")
    texts = ("hypernode.binpack.resources",)

    def __init__(self, session: Session, option: PluginOption) -> None:
        super().__init__(session, option)
        arguments = option.arguments

        def weight(name: str) -> float:
            found = number(arguments, name, 1)
            return found if found >= 0 else 1

        self._weight = weight("weight")
        self._weights = np.zeros(session.axis.size)
        self._weights[session.axis.index[CPU]] = weight("hypernode.binpack.cpu")
        self._weights[session.axis.index[MEMORY]] = weight("hypernode.binpack.memory")
        for resource in map(str.strip, arguments.get("hypernode.binpack.resources", "").split(",")):
            if resource in session.axis:
                self._weights[session.axis.index[resource]] = weight(f"hypernode.binpack.resources.{resource}")

    def hypernode_order(self, group: GroupState, network: Network) -> Scores:
        """The fuller with the group the better; of the best, those that have more of its pods already."""
        session = self.session
        request = np.sum([session.ledger.vector(task.shape) for task in session.waiting(group)], axis=0)
        rows = np.flatnonzero((request > 0) & (self._weights > 0))
        if len(rows):
            used = session.ledger.capacity - session.idle
            taken = np.array([network.sums(used[:, row]) for row in rows]) + request[rows][:, None]
            capacity = np.array([network.sums(session.ledger.capacity[:, row]) for row in rows])
            weights = self._weights[rows]
            scores = weights @ (taken / np.maximum(capacity, 1)) / weights.sum()
            scores[(taken > capacity).any(axis=0)] = 0.0
        else:
            scores = np.zeros(len(network.domains))
        share = session.stand(network, group).within / max(len(group.group.tasks), 1)
        found: Scores = (scores + np.where(scores == scores.max(), share, 0.0)) * 100 * self._weight
        return found

    def near(self, group: GroupState, task: Task) -> Near | None:
        network = self.session.network
        if group.group.network is None or network is None:
            return None
        return lambda open: self._scores(group, network, open)

    def _scores(self, group: GroupState, network: Network, open: Mask) -> Scores:
        """By the tier of the lowest hyper node that the node shares with the group's pods; of the nearest nodes, those
        whose hyper node has more of them."""
        stand = self.session.stand(network, group)
        around = stand.around(np.arange(len(network.domains))) if stand.total else []
        scores = network.nearness(around[0]) if around else np.zeros(len(open))
        best = scores[open].max(initial=0.0)
        inside = np.where(network.leaves >= 0, stand.within[network.leaves], 0) / max(len(group.group.tasks), 1)
        found: Scores = (scores + np.where(scores == best, inside, 0.0)) * 100 * self._weight
        return found
