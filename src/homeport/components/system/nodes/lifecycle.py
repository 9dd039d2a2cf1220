"""Whether nodes are alive, and what follows: conditions, taints, and pods that are not ready any more.

Upstream: ``pkg/controller/nodelifecycle``, from which rules, figures and words are. A node is alive as long as its
Lease is renewed or its status is written, by the moments at which this process hears of it: a clock that is set, and a
machine that sleeps, make nobody look dead, as the clock used here stands still with them. What is late because this
process itself was held up is taken for what it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import msgspec

from homeport.client.client import Client
from homeport.components.system.monitor import Monitor
from homeport.components.system.nodes import health
from homeport.components.system.nodes.health import ZoneState
from homeport.control.cache import Change
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.errors import NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import (
    Object,
    find_condition,
    is_condition_true,
    metadata,
    name,
    namespace,
    resource_version,
    spec,
    status,
    timestamp,
    uid,
)

GRACE = 50.0
"""Seconds without a sign of life after which a node counts as lost, as ``--node-monitor-grace-period``."""
STARTUP_GRACE = 60.0
"""The same for a node that has not given any yet, as ``--node-startup-grace-period``."""
_HELD_UP = 5.0
"""Seconds by which a look may be late. If it is more, this process has not run, and can have heard of nothing."""
_LEASE = (core.LEASE.resource.group, core.LEASE.resource.plural)
_LEASES = "kube-node-lease"
_COMPONENT = "node-controller"


class _Seen(msgspec.Struct):
    uid: str
    at: float
    """The last sign of life, by the loop's clock."""


class NodeLifecycle:
    """`ready` is set once it works. It hears of leases through `monitor`, which passes them by anyway."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        monitor: Monitor,
        recorder: EventRecorder,
        *,
        now: Callable[[], datetime],
        grace: float = GRACE,
        startup_grace: float = STARTUP_GRACE,
    ) -> None:
        self.name = "node life cycle"
        self.ready = asyncio.Event()
        self._client = client
        self._recorder = recorder
        self._now = now
        self._grace = grace
        self._startup_grace = startup_grace
        self._seen: dict[str, _Seen] = {}
        self._states: dict[tuple[str, str], ZoneState] = {}
        self._all_lost = False
        self._evicted_at: dict[tuple[str, str], float] = {}
        """When a node of each zone last got a NoExecute taint."""
        self._pods = informers.get(core.POD.resource)
        self._nodes = informers.get(core.NODE.resource)
        self._loop: KeyedLoop[str] = KeyedLoop(self.name, self._look)
        self._nodes.subscribe(self._node_changed)
        monitor.subscribe(self._changed)

    async def run(self) -> None:
        await self._nodes.synced.wait()
        await self._pods.synced.wait()
        self.ready.set()
        await self._loop.run()

    # What is heard.

    def _changed(self, resource: Resource, change: Change) -> None:
        if (resource.group, resource.plural) == _LEASE and namespace(change.object) == _LEASES:
            self._alive(change)

    def _node_changed(self, change: Change) -> None:
        node = change.object
        if change.new is not None and change.old is not None and _heartbeat(change.new) != _heartbeat(change.old):
            self._alive(change)
        self._loop.queue.add(name(node))

    def _alive(self, change: Change) -> None:
        seen = self._seen.get(name(change.object))
        if seen is not None and change.new is not None:
            seen.at = asyncio.get_running_loop().time()

    # What is done.

    async def _look(self, node_name: str) -> float | None:
        node = self._nodes.cache.get("", node_name)
        if node is None:
            gone = self._seen.pop(node_name, None)
            if gone is not None:
                self._tell(node_name, gone.uid, "RemovingNode", f"Removing Node {node_name} from Controller")
            self._judge_zones()
            return None
        moment = asyncio.get_running_loop().time()
        seen = self._seen.get(node_name)
        if seen is None or seen.uid != uid(node):
            # Whatever it has told before this process began, it has its time from now on.
            seen = self._seen[node_name] = _Seen(uid(node), moment)
            self._tell(node_name, uid(node), "RegisteredNode", f"Registered Node {node_name} in Controller")
        self._judge_zones()
        due = seen.at + (self._grace if health.readiness(node) else self._startup_grace)
        if moment >= due and health.readiness(node) != "Unknown":
            if moment - due > _HELD_UP:
                seen.at = moment
                return self._grace
            await self._give_up(node)
            return None  # that writes the node, which brings it here again
        if health.readiness(node) == "Unknown":
            await self._mark_pods(node)
        delay = await self._taint(node, moment)
        waits = [wait for wait in (due - moment, delay) if wait is not None and wait > 0]
        return min(waits) if waits else None

    def _judge_zones(self) -> None:
        """Take notice of how many nodes are in trouble, and look at all anew if that makes a difference."""
        states = health.zone_states(self._nodes.cache)
        if states == self._states:
            return
        was_lost, self._all_lost = self._all_lost, health.all_are_lost(states)
        self._states = states
        if was_lost and not self._all_lost:
            # Who was silent because nothing could be heard gets a new chance.
            moment = asyncio.get_running_loop().time()
            for seen in self._seen.values():
                seen.at = moment
        for node in self._nodes.cache:
            self._loop.queue.add(name(node))

    async def _give_up(self, node: Object) -> None:
        changed = health.unknown_conditions(node, self._now())
        # Against a heartbeat that comes at this very moment: a conflict brings the node here again.
        body = {"metadata": {"resourceVersion": resource_version(node)}, "status": {"conditions": changed}}
        try:
            await self._client.patch(core.NODE.resource, name(node), "", body, type="strategic", subresource="status")
        except NotFound:
            return
        self._tell(name(node), uid(node), "NodeNotReady", f"Node {name(node)} status is now: NodeNotReady")

    async def _mark_pods(self, node: Object) -> None:
        """Nobody should be sent to pods of which nobody knows how they are."""
        for pod in list(self._pods.cache):
            if spec(pod).get("nodeName") != name(node) or not is_condition_true(pod, "Ready"):
                continue
            condition = {"type": "Ready", "status": "False", "lastTransitionTime": timestamp(self._now())}
            body = {"metadata": {"uid": uid(pod)}, "status": {"conditions": [condition]}}
            try:
                await self._client.patch(
                    core.POD.resource, name(pod), namespace(pod), body, type="strategic", subresource="status"
                )
            except NotFound:
                continue
            self._recorder.record(pod, "Warning", "NodeNotReady", "Node is not ready", component=_COMPONENT)

    async def _taint(self, node: Object, moment: float) -> float | None:
        """Give the node its taints; the seconds after which it may get the one that is held back."""
        place = health.zone(node)
        delay = self._eviction_delay(node, moment)
        after = health.tainted(node, may_evict=delay == 0, must_not_evict=self._all_lost, added=timestamp(self._now()))
        if after != (spec(node).get("taints") or []):
            if health.would_evict(node, after):
                self._evicted_at[place] = moment
            body = {"metadata": {"resourceVersion": resource_version(node)}, "spec": {"taints": after}}
            try:
                await self._client.patch(core.NODE.resource, name(node), "", body)
            except NotFound:
                return None
        return delay

    def _eviction_delay(self, node: Object, moment: float) -> float | None:
        """Seconds until the node may get a NoExecute taint; None if it needs none or must not have it."""
        if self._all_lost or not health.needs_eviction(node):
            return None
        place = health.zone(node)
        size = sum(health.zone(other) == place for other in self._nodes.cache)
        rate = health.rate(self._states.get(place, ZoneState.NORMAL), size)
        if not rate:
            return None
        last = self._evicted_at.get(place)
        return 0.0 if last is None else max(last + 1 / rate - moment, 0.0)

    def _tell(self, node_name: str, node_uid: str, reason: str, text: str) -> None:
        about = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node_name, "uid": node_uid}}
        self._recorder.record(
            about,
            "Normal",
            reason,
            f"Node {node_name} event: {text}" if reason != "NodeNotReady" else text,
            component=_COMPONENT,
        )


def _heartbeat(node: Object) -> str:
    """When the node last wrote its status; the text is all that counts."""
    ready = find_condition(status(node).get("conditions"), "Ready")
    if ready is None:
        return metadata(node).get("creationTimestamp") or ""
    return ready.get("lastHeartbeatTime") or ""
