"""Carries out what `assign` decides: follows pods and nodes, binds, and tells why a pod has to wait.

Nothing is retried by the clock but failed requests: a pod that fits nowhere waits until a pod ends or a node changes.
A pod that is more important than others takes their place where that helps (:mod:`homeport.scheduler.preemption`).
Binding is assumed as soon as it is decided, so that the next pod does not wait for the answer.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Collection
from datetime import datetime

from msgspec.structs import replace

from homeport.client.client import Client
from homeport.clock import utc_now
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.errors import ApiError, HomeportError, NotFound
from homeport.kube.meta import (
    Object,
    find_condition,
    is_deleting,
    metadata,
    name,
    spec,
    status,
    uid,
    with_transition,
)
from homeport.scheduler.assign import Assigner, Placement, words
from homeport.scheduler.ledger import Entry, Ledger, What, parsed
from homeport.scheduler.model import PODS, Pod
from homeport.scheduler.preemption import WAITS, Nomination, Preemption, Reservations, find_victims, needless
from homeport.scheduler.victims import NO_HELP, Budget, Outcome
from homeport.scheduler.volumes import Refused, Unbound
from homeport.scheduler.waiting import Waiting

DEFAULT_SCHEDULER = "default-scheduler"

_log = logging.getLogger(__name__)
_PARALLEL = 64
_EXPLAINERS = 8
_FIRST_RETRY = 0.05
_LONGEST_RETRY = 10.0


class Scheduler:
    """``await Scheduler(client).run()`` runs until cancelled. `names`: the values of ``spec.schedulerName`` to serve.

    `informers`, `recorder` and `ledger`: share them with others in the process, whoever made them runs them; None: own
    ones. `leave`: which pods are another one's all the same.
    `ready` is set once it schedules.
    """

    def __init__(
        self,
        client: Client,
        *,
        informers: Informers | None = None,
        recorder: EventRecorder | None = None,
        ledger: Ledger | None = None,
        names: Collection[str] = (DEFAULT_SCHEDULER,),
        leave: Callable[[Object], bool] = lambda _: False,
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
        self._ledger = ledger if ledger is not None else Ledger(client, self._informers)
        self._residents = self._ledger.residents
        self._nodes = self._ledger.nodes
        self._leave = leave
        self._pending: dict[ObjectKey, Pod] = {}
        """To be placed with the next batch."""
        self._waiting = Waiting()
        self._room = False
        """Something was freed since the last batch: waiting pods deserve another look."""
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._limit = asyncio.Semaphore(_PARALLEL)
        self._explanations: KeyedLoop[ObjectKey] = KeyedLoop("scheduler", self._explain, workers=_EXPLAINERS)
        self._preemption = Preemption(client, self._recorder, now)
        self._preemptions: KeyedLoop[ObjectKey] = KeyedLoop("scheduler preemption", self._preempt)
        self._pod_informer = self._informers.get(core.POD.resource)
        self._namespaces = self._ledger.namespaces
        self._claims = self._ledger.claims
        self._ledger.subscribe(self._noted)
        self._pod_informer.subscribe(self._pod_changed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            if self._own_informers:
                group.create_task(self._informers.run(), name="scheduler informers")
            if self._own_recorder:
                group.create_task(self._recorder.run(), name="scheduler events")
            await self._ledger.synced()
            group.create_task(self._explanations.run(), name="scheduler explanations")
            group.create_task(self._preemptions.run(), name="scheduler preemption")
            self.ready.set()
            while True:
                await self._wake.wait()
                self._wake.clear()
                for placement in self._place():
                    group.create_task(self._bind(placement))

    def held(self) -> dict[str, dict[str, int]]:
        """By node: what is kept for pods for which others are just ended."""
        found: dict[str, dict[str, int]] = {}
        for nomination in self._preemption.nominations():
            kept = found.setdefault(nomination.node, {PODS: 0})
            kept[PODS] += 1
            for resource, amount in nomination.pod.demand.requests:
                kept[resource] = kept.get(resource, 0) + amount
        return found

    # What happened

    def _noted(self, entry: Entry) -> None:
        if entry.what is What.COMPANY:
            self._company_changed()
        elif entry.what is not What.TAKEN:
            self._room_made()

    def _pod_changed(self, change: Change) -> None:
        obj, key = change.object, key_of(change.object)
        if change.new is None or core.has_ended(obj):
            self._withdraw(key)
            return
        if spec(obj).get("nodeName"):
            self._withdraw(key)
            self._failures.pop(uid(obj), None)
            return
        pod = self._candidate(obj)
        if pod is None:
            self._withdraw(key)
            return
        waiting = self._waiting.get(key)
        if waiting is None or waiting.pod != pod:
            self._withdraw(key)
            self._preemption.restore(pod, obj)
            self._pending[key] = pod
            self._wake.set()

    def _candidate(self, obj: Object) -> Pod | None:
        """The pod, if it is for us to place now."""
        wanted = spec(obj)
        if (
            (wanted.get("schedulerName") or DEFAULT_SCHEDULER) not in self._names
            or wanted.get("schedulingGates")
            or is_deleting(obj)
            or uid(obj) in self._residents
            or self._leave(obj)
        ):
            return None
        return parsed(obj)

    def _company_changed(self) -> None:
        """Somebody may be welcome now whom those who ask for company have waited for."""
        if self._waiting.some_are_choosy:
            self._room_made()

    def _room_made(self) -> None:
        if self._waiting or self._pending:
            self._room = True
            self._wake.set()

    def _withdraw(self, key: ObjectKey) -> None:
        """The pod is neither to be placed nor waiting any more."""
        pod = self._pending.pop(key, None) or self._waiting.remove(key)
        if pod is not None:
            self._preemption.forget(pod)

    # What follows

    def _place(self) -> list[Placement]:
        """Decide one batch, the most important and oldest first. Gives the pods to bind, already counted in.

        Of waiting pods that are alike only as many are looked at as find room.
        """
        assigner = Assigner(self._nodes.values(), self._residents.loads, self._residents.crowd(self._namespaces))
        pending, self._pending = self._pending, {}
        heap = [(pod.order, key, pod) for key, pod in pending.items()]
        particular = self._residents.some_are_shy
        if self._room:
            heap += [(pod.order, key, pod) for key, pod in self._waiting.each_kind(particular=particular)]
            self._room = False
        heapq.heapify(heap)
        placed: list[Placement] = []
        reservations = Reservations(assigner, self._nominations())
        while heap:
            _, key, pod = heapq.heappop(heap)
            reservations.begin(pod)
            placement = self._placement(assigner, pod, placed)
            waited = self._waiting.get(key) is not None
            if not placement.node:
                reservations.failed(pod)
                self._wait(key, placement)
                continue
            self._withdraw(key)
            self._preemption.forget(pod)
            placed.append(placement)
            if not waited or (particular and pod.rules is None):
                continue  # all that are alike are in the heap as it is
            following = self._waiting.first_alike(pod)
            if following is not None:
                heapq.heappush(heap, (following[1].order, *following))
        for placement in placed:
            self._ledger.take(placement.pod, placement.node)
        return placed

    def _nominations(self) -> list[Nomination]:
        """The most important first: its own, and what others keep for theirs."""
        promised = [Nomination(pod, node, frozenset()) for pod, node in self._ledger.promises.values()]
        own = self._preemption.nominations()
        return sorted([*own, *promised], key=lambda nomination: nomination.pod.order) if promised else own

    def _placement(self, assigner: Assigner, pod: Pod, placed: list[Placement]) -> Placement:
        if not pod.demand.claims:
            return assigner.place(pod)
        in_use = {
            *self._residents.claims_in_use,
            *((c.namespace, c.name) for other in placed for c in other.pod.demand.claims),
        }
        try:
            choices = self._claims.choices(pod, in_use)
        except Refused as error:
            return assigner.refuse(pod, str(error), of_nodes=error.of_nodes)
        placement = assigner.place(replace(pod, demand=replace(pod.demand, choices=choices)))
        return replace(placement, pod=pod)

    def _wait(self, key: ObjectKey, placement: Placement) -> None:
        """It has to wait. What is told of it is known at once, unless others may have to go for it."""
        pod = placement.pod
        alone = pod.rules is None and self._residents.some_are_shy
        if pod.preempts and (self._residents.has_lesser(pod) or self._preemption.is_nominated(pod)):
            told = self._waiting.refused(key, pod, placement.message, alone=alone)
            told = [other for other in told if other != key]
            self._preemptions.queue.add(key)
        else:
            why = needless(placement, len(self._nodes))
            told = self._waiting.refused(key, pod, placement.message, why, alone=alone)
        for other in told:
            self._explanations.queue.add(other)

    async def _preempt(self, key: ObjectKey) -> None:
        """End less important pods for one that waits, if that helps, and see to it that it's told."""
        pods = self._pod_informer.cache
        waiting, obj = self._waiting.get(key), pods.get(*key)
        if waiting is None or obj is None:
            return
        pod = waiting.pod
        why = WAITS
        if not self._preemption.waits(pod, self._residents.uids, self._residents.leaving_for(pod, pods)):
            budgets = await self._preemption.budgets()
            if self._waiting.get(key) is not waiting:
                return
            outcome = self._search(pod, budgets)
            why = words(len(self._nodes), outcome.reasons) if outcome.reasons else ""
            if outcome.eviction is not None:
                for other in await self._preemption.carry_out(obj, pod, outcome.eviction):
                    self._preemptions.queue.add((other.namespace, other.name))
            elif outcome.reasons:
                await self._preemption.withdraw(pod)
        if self._waiting.get(key) is waiting:
            waiting.preemption = why
            self._explanations.queue.add(key)

    def _search(self, pod: Pod, budgets: list[Budget]) -> Outcome:
        if pod.demand.claims:
            try:
                choices = self._claims.choices(pod, set(self._residents.claims_in_use))
            except Refused:  # it isn't others that keep it from going anywhere
                return Outcome(reasons={NO_HELP: len(self._nodes)})
            pod = replace(pod, demand=replace(pod.demand, choices=choices))
        loads, crowd = self._residents.without_leaving(self._namespaces)
        assigner = Assigner(self._nodes.values(), loads, crowd)
        Reservations(assigner, self._nominations()).begin(pod)
        return find_victims(pod, assigner, self._residents.tenants(self._pod_informer.cache), budgets)

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
            self._ledger.release(pod.uid)
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
            self._ledger.release(pod.uid)
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
                self._ledger.release(pod.uid)
                return
            except HomeportError:
                continue
            break
        if uid(obj) != pod.uid or not spec(obj).get("nodeName"):
            self._ledger.release(pod.uid)
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
            "observedGeneration": metadata(obj).get("generation") or 0,
        }
        condition = with_transition(condition, status(obj).get("conditions"), self._now())
        body = {"metadata": {"uid": uid(obj)}, "status": {"conditions": [condition]}}
        self._recorder.record(obj, "Warning", "FailedScheduling", waiting.message, component=DEFAULT_SCHEDULER)
        try:
            await self._client.patch(core.POD.resource, name(obj), key[0], body, type="strategic", subresource="status")
        except NotFound:
            return


def _reference(pod: Pod) -> Object:
    """As much of the pod as an event needs; its age says that no earlier recorder can have told of it."""
    meta = {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "creationTimestamp": pod.created}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta}
