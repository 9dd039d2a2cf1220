"""Fills the rules of ClusterRoles that are put together from others (``aggregationRule``): ``admin``, ``edit`` and
``view`` grow with every role that an add-on brings along under the right label.

Upstream: ``pkg/controller/clusterroleaggregation``.
"""

from __future__ import annotations

import asyncio

from homeport.client.client import Client
from homeport.control.cache import Change
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.core.rbac import aggregated_rules
from homeport.kube.errors import Conflict, NotFound
from homeport.kube.meta import Object, name, uid

FIELD_MANAGER = "clusterrole-aggregation-controller"


class ClusterRoleAggregation:
    """`ready` is set once it works."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self.name = "aggregated cluster roles"
        self.ready = asyncio.Event()
        self._client = client
        self._roles = informers.get(core.CLUSTER_ROLE.resource)
        self._aggregated: set[str] = set()
        self._loop: KeyedLoop[str] = KeyedLoop(self.name, self._fill)
        self._roles.subscribe(self._changed)

    async def run(self) -> None:
        await self._roles.synced.wait()
        self.ready.set()
        await self._loop.run()

    def _changed(self, change: Change) -> None:
        own = name(change.object)
        if change.new is not None and change.new.get("aggregationRule"):
            self._aggregated.add(own)
        else:
            self._aggregated.discard(own)
        # Any of them may choose it, or may have chosen it before.
        for aggregated in self._aggregated:
            self._loop.queue.add(aggregated)

    async def _fill(self, own: str) -> None:
        role = self._roles.cache.get("", own)
        rules = aggregated_rules(role, self._roles.cache) if role is not None else None
        if role is None or rules is None or rules == (role.get("rules") or []):
            return
        wanted: Object = core.CLUSTER_ROLE.new(own, metadata={"uid": uid(role)}, rules=rules)
        try:
            await self._client.apply(core.CLUSTER_ROLE.resource, wanted, field_manager=FIELD_MANAGER)
        except (NotFound, Conflict):
            # It has been deleted, and perhaps made anew: the cache will tell.
            if self._roles.cache.get("", own) is role:
                raise
