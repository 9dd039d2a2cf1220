"""Carries out what was decided about pods: binds them, many at a time, and ends those that make room.

Their room is taken in the ledger before any of it, so nothing here is waited for. What fails gives its room back and
is decided anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from homeport.client.client import Client
from homeport.control.events import EventRecorder
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.errors import ApiError, Conflict, HomeportError, NotFound
from homeport.kube.meta import (
    Object,
    find_condition,
    metadata,
    name,
    namespace,
    parse_time,
    spec,
    status,
    timestamp,
    uid,
)
from homeport.scheduler.batch.cluster import Cluster
from homeport.scheduler.batch.decisions import Bind, Evict, Nominate
from homeport.scheduler.batch.measures import Measures
from homeport.scheduler.ledger import Ledger
from homeport.scheduler.model import Pod
from homeport.scheduler.volumes import Unbound

_log = logging.getLogger(__name__)
_BINDERS = 64
_ENDERS = 16
_FIRST_RETRY, _LONGEST_RETRY = 0.05, 10.0
_REMEMBERED = 4096
_POD = core.POD.resource


class _Order(NamedTuple):
    pod: Pod
    obj: Object
    node: str


class Hands:
    """`cluster` shows the pods; `ledger` is where their room was taken."""

    def __init__(
        self,
        client: Client,
        ledger: Ledger,
        cluster: Cluster,
        recorder: EventRecorder,
        measures: Measures,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._cluster = cluster
        self._recorder = recorder
        self._measures = measures
        self._now = now
        self._orders: dict[str, _Order] = {}
        self._evictions: dict[str, tuple[Object, Evict]] = {}
        self._ended: dict[str, None] = {}
        """Those that are gone or going, which the caches may not show yet."""
        self._nominations: dict[str, tuple[Object, str]] = {}
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._binding: KeyedLoop[str] = KeyedLoop("batch scheduler binding", self._bind, workers=_BINDERS)
        self._ending: KeyedLoop[str] = KeyedLoop("batch scheduler eviction", self._evict, workers=_ENDERS)
        self._nominating: KeyedLoop[str] = KeyedLoop("batch scheduler nomination", self._nominate, workers=_ENDERS)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for loop in (self._binding, self._ending, self._nominating):
                    group.create_task(loop.run(), name=loop.name)
        finally:
            for timer in self._timers.values():
                timer.cancel()

    @property
    def idle(self) -> bool:
        return not (self._orders or self._evictions or self._nominations)

    def bind(self, bind: Bind, pod: Pod, obj: Object) -> None:
        """Its room is taken."""
        self._orders[pod.uid] = _Order(pod, obj, bind.node)
        self._binding.queue.add(pod.uid)

    def evict(self, evict: Evict, obj: Object) -> None:
        if evict.task not in self._evictions and evict.task not in self._ended:
            self._evictions[evict.task] = (obj, evict)
            self._ending.queue.add(evict.task)

    def nominate(self, nominate: Nominate, obj: Object) -> None:
        if status(obj).get("nominatedNodeName") != nominate.node:
            self._nominations[nominate.task] = (obj, nominate.node)
            self._nominating.queue.add(nominate.task)

    async def _bind(self, pod_uid: str) -> None:
        order = self._orders.get(pod_uid)
        if order is None:
            return
        pod = order.pod
        body: Object = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": order.node},
        }
        try:
            if pod.demand.claims:
                await self._ledger.claims.bind(pod, self._ledger.nodes.get(order.node), order.node)
            await self._client.create(_POD, body, subresource="binding")
        except NotFound:
            self._undone(pod)
        except (ApiError, Unbound) as error:
            self._failed(order, error)
        except HomeportError:
            # Perhaps it was bound, and only the answer is lost: its share stays counted until that is known.
            if await self._is_bound(pod):
                self._done(order)
            else:
                self._undone(pod)
        else:
            self._done(order)

    async def _is_bound(self, pod: Pod) -> bool:
        """Raises HomeportError for no answer: the loop comes back, ever more slowly."""
        try:
            obj = await self._client.get(_POD, pod.name, pod.namespace)
        except NotFound:
            return False
        return uid(obj) == pod.uid and bool(spec(obj).get("nodeName"))

    def _done(self, order: _Order) -> None:
        del self._orders[order.pod.uid]
        self._failures.pop(order.pod.uid, None)
        pod = order.pod
        created = metadata(order.obj).get("creationTimestamp")
        self._measures.bound((self._now() - parse_time(created)).total_seconds() if created else 0.0)
        text = f"Successfully assigned {pod.namespace}/{pod.name} to {order.node}"
        self._recorder.record(order.obj, "Normal", "Scheduled", text, component=scheduler_of(order.obj))

    def _undone(self, pod: Pod) -> None:
        del self._orders[pod.uid]
        self._ledger.release(pod.uid)

    def _failed(self, order: _Order, error: HomeportError) -> None:
        pod = order.pod
        failures = self._failures[pod.uid] = self._failures.get(pod.uid, 0) + 1
        self._measures.failed()
        delay = min(_FIRST_RETRY * 2.0 ** min(failures, 32), _LONGEST_RETRY)
        _log.warning("pod %s/%s: binding failed: %s; again in %.3g s", pod.namespace, pod.name, error, delay)
        if isinstance(error, Unbound):
            text = f'running PreBind plugin "VolumeBinding": {error}'
            self._recorder.record(order.obj, "Warning", "FailedScheduling", text, component=scheduler_of(order.obj))
        self._cluster.hold_back(pod.uid)
        self._undone(pod)
        self._timers[pod.uid] = asyncio.get_running_loop().call_later(delay, self._again, pod.uid)

    def _again(self, pod_uid: str) -> None:
        self._timers.pop(pod_uid, None)
        if self._cluster.roster.member(pod_uid) is None:
            self._failures.pop(pod_uid, None)
        self._cluster.let_go(pod_uid)

    async def _evict(self, pod_uid: str) -> None:
        """Say why in the pod's conditions, then delete it, as Volcano does."""
        found = self._evictions.get(pod_uid)
        if found is None:
            return
        obj, evict = found
        scheduler, moment = scheduler_of(obj), timestamp(self._now())
        generation = metadata(obj).get("generation") or 0
        target: Object = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{scheduler}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": moment,
            "observedGeneration": generation,
        }
        if not evict.by:
            target["message"] = f"{scheduler}: giving back what a gang that is not whole holds"
        ready: Object = {"type": "Ready", "status": "False", "reason": "Evict", "lastTransitionTime": moment}
        ready["message"] = f"Pod is evicted, because of {evict.reason}"
        body = {"metadata": {"uid": pod_uid}, "status": {"conditions": [ready, target]}}
        try:
            await self._client.patch(_POD, name(obj), namespace(obj), body, type="strategic", subresource="status")
            await self._client.delete(_POD, name(obj), namespace(obj), uid=pod_uid)
        except (NotFound, Conflict):
            del self._evictions[pod_uid]  # it has gone by itself, or is decided about anew
            return
        del self._evictions[pod_uid]
        self._ended[pod_uid] = None
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        self._recorder.record(obj, "Warning", "Evict", ready["message"], component=scheduler)

    async def _nominate(self, pod_uid: str) -> None:
        found = self._nominations.get(pod_uid)
        if found is None:
            return
        obj, node = found
        body = {"metadata": {"uid": pod_uid}, "status": {"nominatedNodeName": node}}
        with suppress(NotFound, Conflict):  # another snapshot tells
            await self._client.patch(_POD, name(obj), namespace(obj), body, subresource="status")
        if self._nominations.get(pod_uid) == found:
            del self._nominations[pod_uid]


def scheduler_of(obj: Object) -> str:
    """The name that users know the scheduler of a pod by."""
    return spec(obj).get("schedulerName") or "default-scheduler"


def is_told(obj: Object, reason: str, message: str) -> bool:
    """Whether the pod says already that it waits, and why."""
    known = find_condition(status(obj).get("conditions"), "PodScheduled") or {}
    return (known.get("status"), known.get("reason"), known.get("message")) == ("False", reason, message)
