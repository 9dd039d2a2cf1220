"""The node's sign of life and its state of health: its Lease and its conditions. The taints that follow from these are
the control plane's to give.

Nothing in the kernel tells that little memory or disk is left before it is gone, so the node looks, as the kubelet
does: every ten seconds, when it renews its lease anyway, and more often while it is short of something.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from homeport.kube import core, meta
from homeport.kube.errors import AlreadyExists, HomeportError, NotFound
from homeport.kube.meta import Object
from homeport.node import pressure
from homeport.node.host import Host
from homeport.node.pressure import Condition, Crossing, Levels

_log = logging.getLogger(__name__)
_NAMESPACE = "kube-node-lease"
_LEASE_SECONDS = 40
_INTERVAL = 10.0
_INTERVAL_UNDER_PRESSURE = 1.0
_REPORT_EVERY = timedelta(minutes=5)
"""How often the conditions are written that have not changed."""


class Heartbeat:
    """`node` is the Node object as it was registered. `look` says how much is left of everything, `relieve` is told of
    what there is too little of, and looks after pods that use more than they may: once at a
    time, however long that takes."""

    def __init__(
        self,
        host: Host,
        node: Object,
        *,
        look: Callable[[], Levels],
        relieve: Callable[[list[Crossing]], Awaitable[None]],
        thresholds: Mapping[str, str],
    ) -> None:
        self._host = host
        self._node = node
        self._look = look
        self._relieve = relieve
        self._thresholds = thresholds
        self._ready = meta.find_condition(meta.status(node).get("conditions"), "Ready")
        self._held: dict[Condition, datetime] = {}
        self._reported: set[Condition] = set()
        self._reported_at = host.now()
        self._has_lease = False
        self._trouble = ""

    @property
    def pressures(self) -> frozenset[str]:
        """The conditions that hold now."""
        return frozenset(self._held)

    def see(self, node: Object) -> None:
        """Somebody, perhaps we, wrote the node. Who took it for dead and said so is put right with the next beat."""
        self._node = node

    async def run(self) -> None:
        """Beat until cancelled."""
        loop = asyncio.get_running_loop()
        lease_due = loop.time()
        relief: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                found = await self._take_stock()
                if loop.time() >= lease_due:
                    lease_due = loop.time() + _INTERVAL
                    await self._try(self._renew)
                await self._try(self._report)
                if relief is None or relief.done():
                    # Large trees take long to measure: the Lease must not wait for that.
                    relief = group.create_task(self._look_after_pods(found), name="node relief")
                await asyncio.sleep(_INTERVAL_UNDER_PRESSURE if found else max(lease_due - loop.time(), 0.0))

    async def _look_after_pods(self, found: list[Crossing]) -> None:
        try:
            await self._relieve(found)
        except Exception:
            # A mistake of ours there must not let the node look dead.
            _log.exception("pods could not be looked after")

    async def _take_stock(self) -> list[Crossing]:
        try:
            levels = await asyncio.to_thread(self._look)
        except (OSError, ValueError, KeyError) as error:
            self._complain(f"what is left of the machine's resources can't be read: {error}")
            return []
        found = pressure.crossings(levels, self._thresholds)
        self._held = pressure.pressures(found, self._held, self._host.now())
        return found

    async def _try(self, step: Callable[[], Awaitable[None]]) -> None:
        """The next beat tries again what fails."""
        try:
            await step()
        except HomeportError as error:
            self._complain(f"node {self._host.node_name} can't say that it is alive: {error}")
        else:
            self._trouble = ""

    def _complain(self, text: str) -> None:
        if text != self._trouble:
            _log.warning("%s", text)
        self._trouble = text

    async def _renew(self) -> None:
        client, name = self._host.client, self._host.node_name
        now = meta.micro_timestamp(self._host.now())
        # Someone else may have held it while this node was away.
        spec = {"holderIdentity": name, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": now}
        if self._has_lease:
            try:
                await client.patch(core.LEASE.resource, name, _NAMESPACE, {"spec": spec})
                return
            except NotFound:
                self._has_lease = False
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": meta.uid(self._node)}
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": _NAMESPACE, "ownerReferences": [owner]},
            "spec": spec,
        }
        try:
            await client.create(core.LEASE.resource, lease)
        except AlreadyExists:
            body = {"metadata": {"ownerReferences": [owner]}, "spec": spec}
            await client.patch(core.LEASE.resource, name, _NAMESPACE, body)
        except NotFound:
            return  # the namespace is made by a controller, which may need another moment
        self._has_lease = True

    async def _report(self) -> None:
        held, now = set(self._held), self._host.now()
        is_recent = timedelta() <= now - self._reported_at < _REPORT_EVERY
        extended = _extended(meta.status(self._node), self._host.capacity)
        if held == self._reported and is_recent and not self._is_doubted() and not extended:
            return
        client, name = self._host.client, self._host.node_name
        node = await client.get(core.NODE.resource, name)
        moment = meta.timestamp(now)
        before = meta.status(node).get("conditions") or ()
        conditions = [
            meta.with_transition({**condition, "lastHeartbeatTime": moment}, before, now)
            for condition in pressure.conditions(held)
        ]
        if self._ready is not None:
            conditions.append(meta.with_transition({**self._ready, "lastHeartbeatTime": moment}, before, now))
        status: Object = {"conditions": conditions}
        if extended := _extended(meta.status(node), self._host.capacity):
            status["allocatable"] = extended
        body = {"status": status}
        self._node = await client.patch(core.NODE.resource, name, "", body, type="strategic", subresource="status")
        for condition in held ^ self._reported:
            self._tell(node, condition, holds=condition in held)
        self._reported, self._reported_at = held, now

    def _is_doubted(self) -> bool:
        """Whether the node, as last seen, says of a condition what we did not say."""
        wanted = [*pressure.conditions(self._held), *(() if self._ready is None else (self._ready,))]
        present = meta.status(self._node).get("conditions") or ()
        return any(
            (there := meta.find_condition(present, condition["type"])) is not None
            and there.get("status") != condition["status"]
            for condition in wanted
        )

    def _tell(self, node: Object, condition: Condition, *, holds: bool) -> None:
        wanted = next(c for c in pressure.conditions({condition} if holds else ()) if c["type"] == condition)
        text = f"Node {meta.name(node)} status is now: {wanted['reason']}"
        self._host.recorder.record(node, "Warning" if holds else "Normal", wanted["reason"], text)
        if holds:
            _log.warning("node %s: %s", meta.name(node), wanted["message"])


def _extended(status: Object, own: Mapping[str, str]) -> dict[str, str | None]:
    """What to change of what can be allocated, after somebody has told of extended resources that the node has: who
    writes ``status.capacity`` relies on the node for the rest. `own`: the resources that the node knows of itself."""
    capacity, allocatable = status.get("capacity") or {}, status.get("allocatable") or {}
    changed: dict[str, str | None] = {
        name: value for name, value in capacity.items() if "/" in name and allocatable.get(name) != value
    }
    changed |= {name: None for name in allocatable if "/" in name and name not in capacity}
    return {name: value for name, value in changed.items() if name not in own}
