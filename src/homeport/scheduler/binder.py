"""Carries out what `assign` decides: follows pods and nodes, binds, and tells why a pod has to wait.

Nothing is retried by the clock but failed requests: a pod that fits nowhere waits until a pod ends or a node changes.
A pod that is more important than others takes their place where that helps (:mod:`homeport.scheduler.preemption`).
Binding is assumed as soon as it is decided, so that the next pod does not wait for the answer.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime

import msgspec
from msgspec.structs import replace

from homeport.client.client import Client
from homeport.clock import utc_now
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.errors import ApiError, HomeportError, NotFound
from homeport.kube.meta import Object, find_condition, is_deleting, name, spec, status, uid, with_transition
from homeport.scheduler import victims
from homeport.scheduler.assign import Assigner, Load, Placement
from homeport.scheduler.model import Demand, Node, Pod, parse_node, parse_pod
from homeport.scheduler.preemption import Preemption, Reservations, may_preempt, tenant
from homeport.scheduler.victims import Tenant
from homeport.scheduler.volumes import Claims, Refused, Unbound

DEFAULT_SCHEDULER = "default-scheduler"

_log = logging.getLogger(__name__)
_PARALLEL = 64
_EXPLAINERS = 8
_FIRST_RETRY = 0.05
_LONGEST_RETRY = 10.0


class _Carried(msgspec.Struct):
    """A pod that takes its share of a node."""

    node: str
    pod: Pod

    @property
    def demand(self) -> Demand:
        return self.pod.demand


class _Waiting(msgspec.Struct):
    """A pod that fits nowhere, and why."""

    pod: Pod
    message: str


class Scheduler:
    """``await Scheduler(client).run()`` runs until cancelled. `names`: the values of ``spec.schedulerName`` to serve.

    `informers` and `recorder`: share them with others in the process, whoever made them runs them; None: own ones.
    `ready` is set once it schedules.
    """

    def __init__(
        self,
        client: Client,
        *,
        informers: Informers | None = None,
        recorder: EventRecorder | None = None,
        names: Collection[str] = (DEFAULT_SCHEDULER,),
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.ready = asyncio.Event()
        self._client = client
        self._own_informers = informers is None
        self._informers = informers if informers is not None else Informers(client)
        self._own_recorder = recorder is None
        self._recorder = recorder if recorder is not None else EventRecorder(client, DEFAULT_SCHEDULER, now=now)
        self._names = frozenset(names)
        self._now = now
        self._nodes: dict[str, Node] = {}
        self._loads: dict[str, Load] = {}
        self._carried: dict[str, _Carried] = {}
        """uid -> bound and not finished, or about to be bound."""
        self._pending: dict[ObjectKey, Pod] = {}
        """To be placed with the next batch."""
        self._waiting: dict[ObjectKey, _Waiting] = {}
        self._alike: dict[Demand, dict[ObjectKey, Pod]] = {}
        """The waiting pods by demand, oldest first: one verdict holds for all that are alike."""
        self._room = False
        """Something was freed since the last batch: waiting pods deserve another look."""
        self._in_use: Counter[ObjectKey] = Counter()
        """The claims of pods that have a node."""
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._limit = asyncio.Semaphore(_PARALLEL)
        self._explanations: KeyedLoop[ObjectKey] = KeyedLoop("scheduler", self._explain, workers=_EXPLAINERS)
        self._preemption = Preemption(client, self._recorder, now)
        self._preemptions: KeyedLoop[ObjectKey] = KeyedLoop("scheduler preemption", self._preempt)
        self._node_informer = self._informers.get(core.NODE.resource)
        self._pod_informer = self._informers.get(core.POD.resource)
        self._claims = Claims(client, self._informers, self._room_made)
        self._node_informer.subscribe(self._node_changed)
        self._pod_informer.subscribe(self._pod_changed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            if self._own_informers:
                group.create_task(self._informers.run(), name="scheduler informers")
            if self._own_recorder:
                group.create_task(self._recorder.run(), name="scheduler events")
            await self._node_informer.synced.wait()
            await self._pod_informer.synced.wait()
            await self._claims.synced()
            group.create_task(self._explanations.run(), name="scheduler explanations")
            group.create_task(self._preemptions.run(), name="scheduler preemption")
            self.ready.set()
            while True:
                await self._wake.wait()
                self._wake.clear()
                for placement in self._place():
                    group.create_task(self._bind(placement))

    # What happened

    def _node_changed(self, change: Change) -> None:
        obj = change.object
        if change.new is None:
            self._nodes.pop(name(obj), None)
            return
        try:
            node = parse_node(obj)
        except ValueError as error:
            _log.warning("node %s: %s", name(obj), error)
            return
        if self._nodes.get(node.name) != node:  # most updates of a node are heartbeats
            self._nodes[node.name] = node
            self._room_made()

    def _pod_changed(self, change: Change) -> None:
        obj, key = change.object, key_of(change.object)
        if change.new is None or core.has_ended(obj):
            self._withdraw(key)
            self._release(uid(obj))
            return
        node = spec(obj).get("nodeName")
        if node:
            self._withdraw(key)
            self._failures.pop(uid(obj), None)
            self._carry(obj, node)
            return
        pod = self._candidate(obj)
        if pod is None:
            self._withdraw(key)
            return
        waiting = self._waiting.get(key)
        if waiting is None or waiting.pod != pod:
            self._withdraw(key)
            self._pending[key] = pod
            self._wake.set()

    def _candidate(self, obj: Object) -> Pod | None:
        """The pod, if it is for us to place now."""
        wanted = spec(obj)
        if (
            (wanted.get("schedulerName") or DEFAULT_SCHEDULER) not in self._names
            or wanted.get("schedulingGates")
            or is_deleting(obj)
            or uid(obj) in self._carried
        ):
            return None
        return self._parse(obj)

    def _parse(self, obj: Object) -> Pod | None:
        try:
            return parse_pod(obj)
        except ValueError as error:
            _log.warning("pod %s: %s", "/".join(key_of(obj)), error)
            return None

    def _carry(self, obj: Object, node: str) -> None:
        known = self._carried.get(uid(obj))
        if known is not None and known.node == node:
            return
        self._release(uid(obj))
        pod = self._parse(obj)
        if pod is not None:
            self._take(pod, node)

    def _take(self, pod: Pod, node: str) -> None:
        self._carried[pod.uid] = _Carried(node, pod)
        self._in_use.update((claim.namespace, claim.name) for claim in pod.demand.claims)
        self._loads.setdefault(node, Load()).add(pod.demand)

    def _release(self, pod_uid: str) -> None:
        carried = self._carried.pop(pod_uid, None)
        if carried is not None:
            self._loads[carried.node].remove(carried.demand)
            for claim in carried.demand.claims:
                key = (claim.namespace, claim.name)
                self._in_use[key] -= 1
                if not self._in_use[key]:
                    del self._in_use[key]
            self._room_made()

    def _room_made(self) -> None:
        if self._waiting or self._pending:
            self._room = True
            self._wake.set()

    def _withdraw(self, key: ObjectKey) -> None:
        """The pod is neither to be placed nor waiting any more."""
        self._pending.pop(key, None)
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            self._preemption.forget(waiting.pod)
            alike = self._alike[waiting.pod.demand]
            del alike[key]
            if not alike:
                del self._alike[waiting.pod.demand]

    # What follows

    def _place(self) -> list[Placement]:
        """Decide one batch, the most important and oldest first. Gives the pods to bind, already counted in.

        Of waiting pods that are alike only as many are looked at as find room.
        """
        assigner = Assigner(self._nodes.values(), self._loads)
        pending, self._pending = self._pending, {}
        heap = [(pod.order, key, pod) for key, pod in pending.items()]
        if self._room:
            heap += [(pod.order, key, pod) for key, pod in map(_first, self._alike.values())]
            self._room = False
        heapq.heapify(heap)
        placed: list[Placement] = []
        reservations = Reservations(assigner, self._preemption.nominations())
        while heap:
            _, key, pod = heapq.heappop(heap)
            reservations.begin(pod)
            placement = self._placement(assigner, pod, placed)
            waited = key in self._waiting
            if not placement.node:
                reservations.failed(pod)
                self._wait(key, placement)
                if any(carried.pod.priority < pod.priority for carried in self._carried.values()):
                    self._preemptions.queue.add(key)
                continue
            self._withdraw(key)
            placed.append(placement)
            if waited and pod.demand in self._alike:
                key, pod = _first(self._alike[pod.demand])
                heapq.heappush(heap, (pod.order, key, pod))
        for placement in placed:
            self._take(placement.pod, placement.node)
        return placed

    def _placement(self, assigner: Assigner, pod: Pod, placed: list[Placement]) -> Placement:
        if not pod.demand.claims:
            return assigner.place(pod)
        in_use = {*self._in_use, *((c.namespace, c.name) for other in placed for c in other.pod.demand.claims)}
        try:
            choices = self._claims.choices(pod, in_use)
        except Refused as error:
            return assigner.refuse(pod, str(error), of_nodes=error.of_nodes)
        placement = assigner.place(replace(pod, demand=replace(pod.demand, choices=choices)))
        return replace(placement, pod=pod)

    def _wait(self, key: ObjectKey, placement: Placement) -> None:
        pod = placement.pod
        known = self._waiting.get(key)
        if known is None:
            self._waiting[key] = _Waiting(pod, placement.message)
            self._alike.setdefault(pod.demand, {})[key] = pod
        elif known.message != placement.message:
            for other in self._alike[pod.demand]:  # the verdict is about all of them
                self._waiting[other].message = placement.message
                self._explanations.queue.add(other)
        self._explanations.queue.add(key)

    async def _preempt(self, key: ObjectKey) -> None:
        """End less important pods for one that waits, if that helps."""
        waiting, obj = self._waiting.get(key), self._pod_informer.cache.get(*key)
        if waiting is None or obj is None or not may_preempt(obj):
            return
        if self._preemption.waits(waiting.pod, self._carried.keys()):
            return
        budgets = await self._preemption.budgets()
        pod = waiting.pod
        if self._waiting.get(key) is not waiting:
            return
        demand = pod.demand
        if demand.claims:
            try:
                demand = replace(demand, choices=self._claims.choices(pod, set(self._in_use)))
            except Refused:
                return  # it isn't others that keep it from going anywhere
        loads = {node: load.copy() for node, load in self._loads.items()}
        tenants: dict[str, list[Tenant]] = {}
        for carried in self._carried.values():
            there = self._pod_informer.cache.get(carried.pod.namespace, carried.pod.name)
            if there is None or uid(there) != carried.pod.uid or not spec(there).get("nodeName"):
                continue  # about to be bound
            if is_deleting(there):
                loads[carried.node].remove(carried.demand)
            else:
                tenants.setdefault(carried.node, []).append(tenant(there, carried.pod))
        assigner = Assigner(self._nodes.values(), loads)
        Reservations(assigner, self._preemption.nominations()).begin(pod)
        eviction = victims.choose(demand, pod.priority, assigner.suitable(demand), tenants, budgets)
        if eviction is not None:
            await self._preemption.carry_out(obj, pod, eviction)

    async def _bind(self, placement: Placement) -> None:
        pod = placement.pod
        body: Object = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": placement.node},
        }
        try:
            if pod.demand.claims:
                await self._claims.bind(pod, self._nodes.get(placement.node), placement.node)
            async with self._limit:
                await self._client.create(core.POD.resource, body, subresource="binding")
        except NotFound:
            self._release(pod.uid)
        except Exception as error:
            failures = self._failures[pod.uid] = self._failures.get(pod.uid, 0) + 1
            delay = min(_FIRST_RETRY * 2.0 ** min(failures, 32), _LONGEST_RETRY)
            unexpected = None if isinstance(error, HomeportError) else error
            if isinstance(error, Unbound):
                text = f'running PreBind plugin "VolumeBinding": {error}'
                self._recorder.record(_reference(pod), "Warning", "FailedScheduling", text, component=DEFAULT_SCHEDULER)
            _log.warning(
                "pod %s/%s: binding failed: %s; again in %.3g s",
                pod.namespace,
                pod.name,
                error,
                delay,
                exc_info=unexpected,
            )
            if not isinstance(error, ApiError | Unbound):
                # Perhaps it was bound, and only the answer is lost: its share stays counted until that is known.
                await self._find_out(pod, delay)
                return
            self._release(pod.uid)
            asyncio.get_running_loop().call_later(delay, self._again, (pod.namespace, pod.name))
        else:
            message = f"Successfully assigned {pod.namespace}/{pod.name} to {placement.node}"
            self._recorder.record(_reference(pod), "Normal", "Scheduled", message, component=DEFAULT_SCHEDULER)

    async def _find_out(self, pod: Pod, delay: float) -> None:
        while True:
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_RETRY)
            try:
                obj = await self._client.get(core.POD.resource, pod.name, pod.namespace)
            except NotFound:
                self._release(pod.uid)
                return
            except HomeportError:
                continue
            break
        if uid(obj) != pod.uid or not spec(obj).get("nodeName"):
            self._release(pod.uid)
            self._again((pod.namespace, pod.name))

    def _again(self, key: ObjectKey) -> None:
        """Look anew at a pod whose binding failed: perhaps it was bound after all, or has gone."""
        obj = self._pod_informer.cache.get(*key)
        if obj is None:
            return
        self._pod_changed(Change("MODIFIED", obj, obj))

    async def _explain(self, key: ObjectKey) -> None:
        """Tell the user why a pod waits: its PodScheduled condition and an event."""
        waiting, obj = self._waiting.get(key), self._pod_informer.cache.get(*key)
        if waiting is None or obj is None or uid(obj) != waiting.pod.uid:
            return
        known = find_condition(status(obj).get("conditions"), "PodScheduled") or {}
        if (known.get("status"), known.get("message")) == ("False", waiting.message):
            return
        condition: Object = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": waiting.message,
            "lastProbeTime": None,
        }
        condition = with_transition(condition, status(obj).get("conditions"), self._now())
        body = {"metadata": {"uid": uid(obj)}, "status": {"conditions": [condition]}}
        self._recorder.record(obj, "Warning", "FailedScheduling", waiting.message, component=DEFAULT_SCHEDULER)
        try:
            await self._client.patch(core.POD.resource, name(obj), key[0], body, type="strategic", subresource="status")
        except NotFound:
            return


def _first(alike: dict[ObjectKey, Pod]) -> tuple[ObjectKey, Pod]:
    return next(iter(alike.items()))


def _reference(pod: Pod) -> Object:
    """As much of the pod as an event needs; its age says that no earlier recorder can have told of it."""
    metadata = {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "creationTimestamp": pod.created}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
