"""Tells users what was decided: the status of PodGroups and Queues, what pods wait for, and events.

Nothing is written that is there already, and nothing twice for one decision: however often the same is decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from homeport.client.client import Client
from homeport.control.events import EventRecorder
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.errors import Conflict, NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import (
    Object,
    find_condition,
    metadata,
    name,
    namespace,
    status,
    uid,
    with_transition,
)
from homeport.kube.scheduling import names
from homeport.scheduler.batch import membership
from homeport.scheduler.batch.cluster import Cluster
from homeport.scheduler.batch.decisions import Decisions, GroupOutcome, QueueOutcome, TaskCondition
from homeport.scheduler.batch.groups import quantities
from homeport.scheduler.batch.hands import is_told, scheduler_of
from homeport.scheduler.batch.model import TaskStatus
from homeport.scheduler.batch.roster import Entry
from homeport.scheduler.batch.statuses import pod_group_status

_GROUPS, _PODS = 16, 8
"""Writers of each kind; Volcano has 16 for groups, too."""
_FEW = 64
"""So many that are gone may be remembered."""
_POD = core.POD.resource


class _Told(NamedTuple):
    waits: str = ""
    """Why the group waits; empty: it does not."""
    limit: str = ""
    """The limit that it waits at."""


_NOTHING = _Told()


class Reports:
    """`run` writes what `tell` was given."""

    def __init__(self, client: Client, cluster: Cluster, recorder: EventRecorder, now: Callable[[], datetime]) -> None:
        self._client = client
        self._cluster = cluster
        self._recorder = recorder
        self._now = now
        self._outcomes: dict[str, GroupOutcome] = {}
        """The last one of each group that is an object."""
        self._told: dict[str, _Told] = {}
        """What the last events of each group say."""
        self._written: dict[str, Object] = {}
        """The objects as writing them left them, which the caches may not show yet."""
        self._tasks: dict[str, TaskCondition] = {}
        self._queues: dict[str, QueueOutcome] = {}
        self._main: set[Resource] = {membership.VOLCANO}
        """The kinds that have no subresource ``status``."""
        self._grouping: KeyedLoop[str] = KeyedLoop("batch scheduler groups", self._write_group, workers=_GROUPS)
        self._explaining: KeyedLoop[str] = KeyedLoop("batch scheduler pods", self._write_pod, workers=_PODS)
        self._queueing: KeyedLoop[str] = KeyedLoop("batch scheduler queues", self._write_queue)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for loop in (self._grouping, self._explaining, self._queueing):
                group.create_task(loop.run(), name=loop.name)

    def tell(self, decisions: Decisions, news: Mapping[str, GroupOutcome]) -> None:
        """`news`: those of its groups' outcomes that may not have been told."""
        for key, outcome in news.items():
            entry = self._cluster.roster.get(key)
            if entry is None or entry.resource is None:
                continue
            self._announce(key, entry, outcome)
            if self._outcomes.get(key) != outcome:
                self._outcomes[key] = outcome
                self._grouping.queue.add(key)
        for task in decisions.tasks:
            self.explain(task)
        for queue, found in decisions.queues.items():
            known = self._queues.get(queue)
            self._queues[queue] = found
            if known is None or known.allocated != found.allocated:
                self._queueing.queue.add(queue)

    def _announce(self, key: str, entry: Entry, outcome: GroupOutcome) -> None:
        """Events as Volcano has them (``RecordJobStatusEvent``), but each once; that a group can be scheduled is one
        only if it was told before that it could not."""
        if not outcome.conditions:
            return
        condition, before = outcome.conditions[0], self._told.get(key, _NOTHING)
        told = _Told(condition.message if condition.type == "Unschedulable" else "", outcome.event)
        if before == told:
            return
        self._told[key] = told
        component = names.VOLCANO if entry.resource == membership.VOLCANO else membership.HOMEPORT
        if told.limit and told.limit != before.limit:
            self._recorder.record(entry.obj, "Normal", "Unschedulable", told.limit, component=component)
        if told.waits and told.waits != before.waits:
            self._recorder.record(entry.obj, "Warning", "Unschedulable", told.waits, component=component)
        elif before.waits and not told.waits:
            self._recorder.record(entry.obj, "Normal", "Scheduled", condition.reason, component=component)

    def explain(self, task: TaskCondition) -> None:
        """Say of a pod why it waits."""
        if self._tasks.get(task.task) != task:
            self._tasks[task.task] = task
            self._explaining.queue.add(task.task)

    def forget_gone(self) -> None:
        """Drop what is remembered of groups and pods that are no more."""
        roster = self._cluster.roster
        if len(self._told) > 2 * len(roster) + _FEW:
            for key in [key for key in self._told if roster.get(key) is None]:
                for known in (self._told, self._outcomes, self._written):
                    known.pop(key, None)
        if len(self._tasks) > 2 * roster.size + _FEW:
            for pod_uid in [pod_uid for pod_uid in self._tasks if roster.member(pod_uid) is None]:
                del self._tasks[pod_uid]

    async def _write_group(self, key: str) -> None:
        entry, outcome = self._cluster.roster.get(key), self._outcomes.get(key)
        if entry is None or entry.resource is None or outcome is None:
            return
        known = self._newest(key, entry.obj)
        wanted = pod_group_status(entry.resource, known, outcome, self._now())
        if wanted is None:
            return
        body = {"metadata": {"uid": uid(known)}, "status": wanted}
        try:
            self._written[key] = await self._patch(entry.resource, known, body)
        except Conflict:
            return  # another one of that name, of which the cluster hears
        except NotFound:
            return

    async def _patch(self, resource: Resource, obj: Object, body: Object) -> Object:
        if resource not in self._main:
            try:
                return await self._client.patch(resource, name(obj), namespace(obj), body, subresource="status")
            except NotFound:
                await self._client.get(resource, name(obj), namespace(obj))  # it is there: the subresource is not
                self._main.add(resource)
        return await self._client.patch(resource, name(obj), namespace(obj), body)

    def _newest(self, key: str, cached: Object) -> Object:
        written = self._written.get(key)
        if written is None or uid(written) != uid(cached):
            return cached
        one, other = (metadata(obj).get("resourceVersion") or "" for obj in (written, cached))
        if one.isdigit() and other.isdigit() and int(other) >= int(one):
            del self._written[key]
            return cached
        return written

    async def _write_pod(self, pod_uid: str) -> None:
        member, told = self._cluster.roster.member(pod_uid), self._tasks.get(pod_uid)
        if member is None or told is None or member.task.status not in (TaskStatus.PENDING, TaskStatus.GATED):
            return
        obj = member.obj
        if is_told(obj, told.reason, told.message):
            return
        condition: Object = {
            "type": "PodScheduled",
            "status": "False",
            "reason": told.reason,
            "message": told.message,
            "lastProbeTime": None,
            "observedGeneration": metadata(obj).get("generation") or 0,
        }
        condition = with_transition(condition, status(obj).get("conditions"), self._now())
        body = {"metadata": {"uid": pod_uid}, "status": {"conditions": [condition]}}
        known = find_condition(status(obj).get("conditions"), "PodScheduled") or {}
        if known.get("message") != told.message:
            self._recorder.record(obj, "Warning", "FailedScheduling", told.message, component=scheduler_of(obj))
        try:
            await self._client.patch(_POD, name(obj), namespace(obj), body, type="strategic", subresource="status")
        except (NotFound, Conflict):
            return

    async def _write_queue(self, queue: str) -> None:
        outcome, obj, resource = self._queues.get(queue), *self._cluster.queue(queue)
        if outcome is None or obj is None or resource is None or resource.group != membership.VOLCANO.group:
            return
        allocated = quantities(outcome.allocated)
        known = status(obj).get("allocated") or {}
        if known == allocated:
            return
        body = {"status": {"allocated": {**dict.fromkeys(known), **allocated}}}
        try:
            await self._client.patch(resource, queue, "", body, subresource="status")
        except NotFound:
            return


def not_found(pod_uid: str, message: str) -> TaskCondition:
    """Of a pod whose group does not exist."""
    return TaskCondition(pod_uid, "", "Unschedulable", message)
