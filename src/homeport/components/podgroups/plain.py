"""Makes the groups of pods that name Volcano and no group, and writes their names onto the pods.

Upstream: ``pkg/controllers/podgroup``. A group goes with its owner, by garbage collection, and when a ReplicaSet or
StatefulSet is scaled to nothing: the next pods find their place in line anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

from homeport.client.client import Client
from homeport.clock import utc_now
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core, meta
from homeport.kube.errors import AlreadyExists, ApiError, Conflict, NotFound, TooManyRequests
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, controller_of, is_deleting, name, namespace, spec, uid
from homeport.kube.scheduling import VOLCANO_POD_GROUP, VOLCANO_QUEUE, names, plain

NAME = "volcano-podgroup-controller"
_WORKERS = 8
_AGAIN = 60.0
"""Seconds until a group that was refused is tried again, if no queue changes before: of what else refuses (a quota, a
policy) nobody tells."""
_POD, _GROUP = core.POD.resource, VOLCANO_POD_GROUP.resource
_OWNERS: Mapping[str, Resource] = {
    kind.kind: kind.resource for kind in (core.REPLICA_SET, core.STATEFUL_SET, core.DAEMON_SET, core.JOB)
}
_SCALED = tuple(_OWNERS[kind] for kind in ("ReplicaSet", "StatefulSet"))
"""Those that may be left with no pod, and later have some again."""


class PlainGroups:
    """``await PlainGroups(client, informers).run()`` runs until cancelled."""

    def __init__(self, client: Client, informers: Informers, *, now: Callable[[], datetime] = utc_now) -> None:
        self._client = client
        self._recorder = EventRecorder(client, NAME, now=now)
        self._pods, self._groups = informers.get(_POD), informers.get(_GROUP)
        self._namespaces = informers.get(core.NAMESPACE.resource)
        self._queues = informers.get(VOLCANO_QUEUE.resource)
        self._sets = [informers.get(resource) for resource in _SCALED]
        self._refused: dict[ObjectKey, tuple[str, str]] = {}
        """Pods whose group was refused: their uids, and what was said."""
        self._loop: KeyedLoop[ObjectKey] = KeyedLoop("plain pods' groups", self._sync, workers=_WORKERS)
        self._ending: KeyedLoop[ObjectKey] = KeyedLoop("groups of sets without pods", self._end)
        self._followed = [self._pods, self._groups, self._namespaces, self._queues, *self._sets]

    async def run(self) -> None:
        for informer in self._followed:
            await informer.synced.wait()
        handlers = [(self._pods, self._pod_changed), (self._groups, self._group_changed)]
        handlers += [(self._queues, self._queue_changed), *((each, self._set_changed) for each in self._sets)]
        for informer, handler in handlers:
            informer.subscribe(handler)
        try:
            async with asyncio.TaskGroup() as group:
                for name, work in (("events", self._recorder), ("groups", self._loop), ("ends", self._ending)):
                    group.create_task(work.run(), name=f"{NAME} {name}")
        finally:
            for informer, handler in handlers:
                informer.unsubscribe(handler)

    # What happened

    def _pod_changed(self, change: Change) -> None:
        pod, key = change.object, key_of(change.object)
        if change.new is None:
            self._refused.pop(key, None)
        elif plain.is_plain(pod) and (key not in self._refused or self._refused[key][0] != uid(pod)):
            self._loop.queue.add(key)

    def _group_changed(self, change: Change) -> None:
        """Somebody has deleted the group of pods that are there still: they need it."""
        if change.new is None and name(change.object).startswith(plain.PREFIX):
            for pod in self._pods.cache:
                if self._belongs(pod, change.object):
                    self._loop.queue.add(key_of(pod))

    def _queue_changed(self, change: Change) -> None:
        states = [(one.get("metadata", {}).get("uid"), meta.status(one).get("state")) for one in _both(change)]
        if len(states) < 2 or states[0] != states[1]:
            for key in self._refused:
                self._loop.queue.add(key)

    def _set_changed(self, change: Change) -> None:
        if change.new is None:
            return  # its group goes with it
        if spec(change.new).get("replicas") == 0:
            group = (namespace(change.new), plain.PREFIX + uid(change.new))
            if self._groups.cache.get(*group) is not None:
                self._ending.queue.add(group)
        elif change.old is not None and _notes(change.old) != _notes(change.new):
            pod = next((pod for pod in self._pods.cache if _is_of(pod, change.new)), None)
            if pod is not None:
                self._loop.queue.add(key_of(pod))

    # What follows

    async def _sync(self, key: ObjectKey) -> float | None:
        pod = self._pods.cache.get(*key)
        if pod is None or is_deleting(pod) or core.has_ended(pod) or not self._is_of_us(pod):
            return None
        group = self._groups.cache.get(namespace(pod), plain.group_name(pod))
        owner = await self._owner(pod)
        if owner is not None and spec(owner).get("replicas") == 0:
            return None  # this is one of the last, on its way out
        wanted = plain.pod_group(pod, owner, self._default_queue(pod))
        try:
            if group is None:
                await self._client.create(_GROUP, wanted)
            elif owner is not None and owner["kind"] in ("ReplicaSet", "StatefulSet"):
                await self._update(group, wanted)
        except AlreadyExists:
            pass
        except (NotFound, Conflict, TooManyRequests):
            raise
        except ApiError as error:
            if error.code >= 500:
                raise
            self._refuse(key, pod, error)
            return _AGAIN
        self._refused.pop(key, None)
        if plain.is_plain(pod):
            await self._tie(pod)
        return None

    def _refuse(self, key: ObjectKey, pod: Object, error: ApiError) -> None:
        told = uid(pod), error.message
        if self._refused.get(key) != told:
            text = f"Error creating PodGroup {plain.group_name(pod)}: {error.message}"
            self._recorder.record(pod, "Warning", "FailedCreatePodGroup", text)
        self._refused[key] = told

    async def _update(self, group: Object, wanted: Object) -> None:
        """The owner's template or annotations may be others than when the group was made."""
        changes = {field: value for field, value in spec(wanted).items() if spec(group).get(field) != value}
        if changes:
            body = {"metadata": {"uid": uid(group)}, "spec": changes}
            await self._client.patch(_GROUP, name(group), namespace(group), body)

    async def _tie(self, pod: Object) -> None:
        notes = {names.GROUP_NAME: plain.group_name(pod)}
        body = {"metadata": {"uid": uid(pod), "annotations": notes}}
        try:
            await self._client.patch(_POD, name(pod), namespace(pod), body)
        except (NotFound, Conflict):
            return  # it has gone, or another one has its name

    async def _owner(self, pod: Object) -> Object | None:
        reference = controller_of(pod)
        resource = _OWNERS.get(reference["kind"]) if reference is not None else None
        if reference is None or resource is None or reference.get("apiVersion") != resource.api_version:
            return None
        try:
            found = await self._client.get(resource, reference["name"], namespace(pod))
        except NotFound:
            return None
        return {**found, "kind": resource.kind} if uid(found) == reference["uid"] else None

    async def _end(self, group: ObjectKey) -> None:
        try:
            await self._client.delete(_GROUP, group[1], group[0])
        except NotFound:
            return

    def _default_queue(self, pod: Object) -> str:
        found = self._namespaces.cache.get("", namespace(pod))
        return meta.annotations(found).get(names.QUEUE_NAME) or "" if found is not None else ""

    def _is_of_us(self, pod: Object) -> bool:
        named = meta.annotations(pod).get(names.GROUP_NAME)
        return plain.is_plain(pod) or (
            spec(pod).get("schedulerName") == names.VOLCANO and named == plain.group_name(pod)
        )

    def _belongs(self, pod: Object, group: Object) -> bool:
        return (
            namespace(pod) == namespace(group)
            and self._is_of_us(pod)
            and plain.group_name(pod) == name(group)
            and not core.has_ended(pod)
        )


def _is_of(pod: Object, owner: Object) -> bool:
    return (controller_of(pod) or {}).get("uid") == uid(owner)


def _notes(owner: Object) -> dict[str, str]:
    return plain.matters(meta.annotations(owner))


def _both(change: Change) -> list[Object]:
    return [one for one in (change.old, change.new) if one is not None]
