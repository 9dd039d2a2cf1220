"""Pods that nobody looks after any more: those of nodes that have gone or are out of service, and too many that ended.

The rules are those of kube-controller-manager's pod garbage collector: a node may be missing for a while (perhaps it is
just registering anew) before its pods count as lost; somebody may say at once, by a taint, that one that is silent does
not come back to end its pods; of finished pods the oldest go once there are too many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from homeport.client.client import Client
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.errors import Conflict, NotFound
from homeport.kube.meta import Object, is_condition_true, is_deleting, metadata, name, namespace, spec, timestamp, uid

FINISHED_LIMIT = 12500
"""As upstream's ``--terminated-pod-gc-threshold``."""
QUARANTINE = 40.0
"""Seconds that a node may be missing, as upstream."""
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_TOO_MANY = ""
"""The key under which finished pods are counted; all others are names of nodes."""


def is_out_of_service(node: Object | None) -> bool:
    """Whether somebody has said that a node that is not ready does not come back."""
    if node is None or is_condition_true(node, "Ready"):
        return False
    return any(taint.get("key") == OUT_OF_SERVICE for taint in spec(node).get("taints") or ())


class PodCleanup:
    """`ready` is set once it works."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        *,
        now: Callable[[], datetime],
        finished_limit: int = FINISHED_LIMIT,
        quarantine: float = QUARANTINE,
    ) -> None:
        self.name = "pod cleanup"
        self.ready = asyncio.Event()
        self._client = client
        self._now = now
        self._limit = finished_limit
        self._quarantine = quarantine
        self._pods = informers.get(core.POD.resource)
        self._nodes = informers.get(core.NODE.resource)
        self._finished: dict[ObjectKey, str] = {}
        """Finished pods and when they were made."""
        self._loop: KeyedLoop[str] = KeyedLoop(self.name, self._clean)
        self._pods.subscribe(self._pod_changed)
        self._nodes.subscribe(self._node_changed)

    async def run(self) -> None:
        await self._pods.synced.wait()
        await self._nodes.synced.wait()
        for pod in self._pods.cache:
            self._suspect(spec(pod).get("nodeName") or "")
        self.ready.set()
        await self._loop.run()

    def _pod_changed(self, change: Change) -> None:
        pod, key = change.object, key_of(change.object)
        if change.new is None or not core.has_ended(pod):
            self._finished.pop(key, None)
        else:
            self._finished[key] = metadata(pod).get("creationTimestamp") or ""
            if len(self._finished) > self._limit:
                self._loop.queue.add(_TOO_MANY)
        if change.new is not None and self._nodes.synced.is_set():
            node = spec(pod).get("nodeName") or ""
            self._suspect(node)
            if is_deleting(pod) and is_out_of_service(self._nodes.cache.get("", node)):
                self._loop.queue.add(node)

    def _node_changed(self, change: Change) -> None:
        if change.new is None:
            self._suspect(name(change.object))
        elif is_out_of_service(change.new):
            self._loop.queue.add(name(change.new))

    def _suspect(self, node: str) -> None:
        if node and self._nodes.cache.get("", node) is None:
            self._loop.queue.add_after(node, self._quarantine)

    async def _clean(self, key: str) -> None:
        if key == _TOO_MANY:
            await self._thin_out()
        else:
            await self._give_up(key)

    async def _thin_out(self) -> None:
        oldest = sorted(self._finished.items(), key=lambda item: item[1])
        for key, _ in oldest[: max(0, len(oldest) - self._limit)]:
            pod = self._pods.cache.get(*key)
            if pod is not None:
                await self._delete(pod)

    async def _give_up(self, node: str) -> None:
        if (known := self._nodes.cache.get("", node)) is not None:
            if is_out_of_service(known):
                for pod in [pod for pod in self._pods.cache if spec(pod).get("nodeName") == node and is_deleting(pod)]:
                    await self._fail(pod)
                    await self._delete(pod)
            return
        try:
            await self._client.get(core.NODE.resource, node)
        except NotFound:
            lost = [pod for pod in self._pods.cache if spec(pod).get("nodeName") == node]
            condition = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists",
                "lastTransitionTime": timestamp(self._now()),
            }
            for pod in lost:
                await self._fail(pod, condition)
                await self._delete(pod)

    async def _fail(self, pod: Object, *conditions: Object) -> None:
        """A pod that vanishes without having ended would look to its job as if it had never been."""
        if core.has_ended(pod):
            return
        status: Object = {"phase": "Failed", **({"conditions": list(conditions)} if conditions else {})}
        body = {"metadata": {"uid": uid(pod)}, "status": status}
        try:
            await self._client.patch(
                core.POD.resource, name(pod), namespace(pod), body, type="strategic", subresource="status"
            )
        except (NotFound, Conflict):
            return

    async def _delete(self, pod: Object) -> None:
        try:
            await self._client.delete(core.POD.resource, name(pod), namespace(pod), grace_period=0, uid=uid(pod))
        except (NotFound, Conflict):
            return
