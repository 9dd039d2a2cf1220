"""Deletes pods from nodes with a NoExecute taint that they do not tolerate, or no longer.

Upstream: ``pkg/controller/tainteviction``. How long a pod has tolerated a taint is measured by a clock that stands
still while the machine sleeps, and from the moment at which this process saw both: neither a night's sleep nor a step
of the clock ends a pod early. Other than upstream, each taint has a time of its own, so that one that comes later does
not count from the first one's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from homeport.client.client import Client
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.core import taints
from homeport.kube.errors import Conflict, NotFound
from homeport.kube.meta import Object, is_deleting, name, namespace, spec, timestamp, uid

_COMPONENT = "taint-eviction-controller"
_REASON = "TaintManagerEviction"
_WORKERS = 8
"""As upstream's ``UpdateWorkerSize``."""


class TaintEviction:
    """`ready` is set once it works."""

    def __init__(
        self, client: Client, informers: Informers, recorder: EventRecorder, *, now: Callable[[], datetime]
    ) -> None:
        self.name = "taint eviction"
        self.ready = asyncio.Event()
        self._client = client
        self._recorder = recorder
        self._now = now
        self._pods = informers.get(core.POD.resource)
        self._nodes = informers.get(core.NODE.resource)
        self._since: dict[str, dict[tuple[str, str], float]] = {}
        """Of pods (by uid) that will have to go: since when they have had each taint (key and value)."""
        self._loop: KeyedLoop[ObjectKey] = KeyedLoop(self.name, self._look, workers=_WORKERS)
        self._nodes.subscribe(self._node_changed)
        self._pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        await self._pods.synced.wait()
        await self._nodes.synced.wait()
        self.ready.set()
        await self._loop.run()

    def _node_changed(self, change: Change) -> None:
        if change.new is None:
            return  # what becomes of the pods of a node that has gone is decided by their cleanup
        before = [] if change.old is None else taints.no_execute(change.old)
        if taints.no_execute(change.new) == before:
            return
        for pod in self._pods.cache:
            if spec(pod).get("nodeName") == name(change.new):
                self._loop.queue.add(key_of(pod))

    def _pod_changed(self, change: Change) -> None:
        former = change.old
        if former is not None and (change.new is None or uid(change.new) != uid(former)):
            self._since.pop(uid(former), None)
        if change.new is not None and spec(change.new).get("nodeName"):
            node = self._nodes.cache.get("", spec(change.new)["nodeName"])
            # Most nodes have no such taint; a node that gets one later tells of its pods itself.
            if uid(change.new) in self._since or (node is not None and taints.no_execute(node)):
                self._loop.queue.add(key_of(change.new))

    async def _look(self, key: ObjectKey) -> float | None:
        """The seconds after which the pod has to go, None if it may stay or is gone."""
        pod = self._pods.cache.get(*key)
        if pod is None or is_deleting(pod):
            return None
        node = self._nodes.cache.get("", spec(pod).get("nodeName") or "")
        found = [] if node is None else taints.no_execute(node)
        moment = asyncio.get_running_loop().time()
        known = self._since.get(uid(pod), {})
        dues: list[float] = []
        since: dict[tuple[str, str], float] = {}
        for taint in found:
            toleration = taints.find_toleration(pod, taint)
            if toleration is None:
                await self._evict(pod)
                return None
            seconds = toleration.get("tolerationSeconds")
            if seconds is not None:
                which = (taint.get("key") or "", taint.get("value") or "")
                since[which] = known.get(which, moment)
                dues.append(since[which] + max(seconds, 0))
        if not dues:
            if self._since.pop(uid(pod), None) is not None:
                self._tell(pod, f"Cancelling deletion of Pod {namespace(pod)}/{name(pod)}")
            return None
        self._since[uid(pod)] = since
        left = min(dues) - moment
        if left > 0:
            return left
        await self._evict(pod)
        return None

    async def _evict(self, pod: Object) -> None:
        self._tell(pod, f"Marking for deletion Pod {namespace(pod)}/{name(pod)}")
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": timestamp(self._now()),
        }
        body = {"metadata": {"uid": uid(pod)}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                core.POD.resource, name(pod), namespace(pod), body, type="strategic", subresource="status"
            )
            await self._client.delete(core.POD.resource, name(pod), namespace(pod), uid=uid(pod))
        except (NotFound, Conflict):
            pass  # it has gone, or another one has its name
        self._since.pop(uid(pod), None)

    def _tell(self, pod: Object, text: str) -> None:
        self._recorder.record(pod, "Normal", _REASON, text, component=_COMPONENT)
