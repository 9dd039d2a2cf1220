"""Keeps the status of disruption budgets, and takes back what pods say of disruptions that did not come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Literal

from homeport.client.client import Client
from homeport.components.system.disruption import counting, scale
from homeport.components.system.selection import Selectors, matching
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core, gotext, meta
from homeport.kube.core import disruption
from homeport.kube.errors import Conflict, HomeportError, NotFound
from homeport.kube.meta import Object

_BUDGET, _POD = core.POD_DISRUPTION_BUDGET.resource, core.POD.resource
_COMPONENT = "controllermanager"
"""As upstream's events have it."""


class DisruptionBudgets:
    """`ready` is set once it works."""

    def __init__(
        self, client: Client, informers: Informers, recorder: EventRecorder, *, now: Callable[[], datetime]
    ) -> None:
        self.name = "disruption budgets"
        self.ready = asyncio.Event()
        self._client = client
        self._recorder = recorder
        self._now = now
        self._budgets = informers.get(_BUDGET)
        self._pods = informers.get(_POD)
        self._selectors = Selectors()
        """Of all budgets."""
        self._loop: KeyedLoop[ObjectKey] = KeyedLoop(self.name, self._sync)
        self._stale: KeyedLoop[ObjectKey] = KeyedLoop("stale disruptions", self._take_back)
        self._budgets.subscribe(self._budget_changed)
        self._pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        await self._budgets.synced.wait()
        await self._pods.synced.wait()
        self.ready.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loop.run(), name=self.name)
            group.create_task(self._stale.run(), name=self._stale.name)

    def _budget_changed(self, change: Change) -> None:
        key = key_of(change.object)
        self._selectors.put(key, None if change.new is None else disruption.selector_of(change.new))
        self._loop.queue.add(key)

    def _pod_changed(self, change: Change) -> None:
        pod = change.object
        if change.new is not None and (stale := counting.stale_at(pod)) is not None:
            self._stale.queue.add_after(key_of(pod), (stale - self._now()).total_seconds())
        for state in (change.old, change.new):
            for key in self._selectors.about(state) if state is not None else ():
                self._loop.queue.add(key)

    # One budget.

    async def _sync(self, key: ObjectKey) -> float | None:
        budget = self._budgets.cache.get(*key)
        if budget is None:
            return None
        try:
            return await self._count(budget)
        except (Conflict, NotFound):
            raise
        except HomeportError as error:
            await self._write(budget, counting.failed_status(budget, str(error), self._now()))
            raise

    async def _count(self, budget: Object) -> float | None:
        pods = list(self._covered(budget))
        if not pods:
            self._tell(budget, "Normal", "NoPods", "No matching pods found")
        replicas = 0
        if counting.needs_scale(budget):
            try:
                replicas, some_unmanaged = await scale.expected(self._client, pods)
            except HomeportError as error:
                words = f"Failed to calculate the number of expected pods: {error}"
                self._tell(budget, "Warning", "CalculateExpectedPodCountFailed", words)
                raise
            if some_unmanaged:
                selector = gotext.label_selector(meta.spec(budget).get("selector"))
                self._tell(budget, "Warning", "UnmanagedPods", _UNMANAGED.format(selector))
        now = self._now()
        wanted = counting.expectation(budget, len(pods), replicas)
        going = counting.evicted(budget, pods, now)
        for pod in going.forgotten:
            words = f"Pod was expected by PDB {'/'.join(key_of(budget))} to be deleted but it wasn't"
            self._recorder.record(pod, "Warning", "NotDeleted", words, component=_COMPONENT)
        current = counting.healthy(pods, going.since)
        await self._write(budget, counting.new_status(budget, wanted, current, going.since, now))
        # One that is due at this very moment is over in the next.
        return None if going.recheck is None else max((going.recheck - now).total_seconds(), 0.001)

    def _covered(self, budget: Object) -> Iterator[Object]:
        return matching(self._pods.cache, meta.namespace(budget), disruption.selector_of(budget))

    async def _write(self, budget: Object, status: Object) -> None:
        if status != meta.status(budget):
            await self._client.replace(_BUDGET, {**budget, "status": status}, subresource="status")

    def _tell(self, budget: Object, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        self._recorder.record(budget, type, reason, message, component=_COMPONENT)

    # One pod.

    async def _take_back(self, key: ObjectKey) -> float | None:
        pod = self._pods.cache.get(*key)
        stale = counting.stale_at(pod) if pod is not None else None
        if pod is None or stale is None:
            return None
        if (left := (stale - self._now()).total_seconds()) > 0:
            return left
        condition = {
            "type": "DisruptionTarget",
            "status": "False",
            "reason": None,
            "message": None,
            "lastTransitionTime": meta.timestamp(self._now()),
        }
        body = {
            "metadata": {"uid": meta.uid(pod), "resourceVersion": meta.resource_version(pod)},
            "status": {"conditions": [condition]},
        }
        with suppress(NotFound, Conflict):  # what has changed comes again
            place = meta.namespace(pod)
            await self._client.patch(_POD, meta.name(pod), place, body, type="strategic", subresource="status")
        return None


_UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of "
    "the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please "
    'set ".spec.minAvailable" field of the PDB to an integer value.'
)
