"""Has a follower for each container that leads a training job and runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from homeport.client.client import Client
from homeport.clock import utc_now
from homeport.components.progress.follower import Follower, Shared, container_status
from homeport.components.progress.leaders import JOB_SETS, Leader, leader
from homeport.control.cache import Change
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.kube.meta import Object

_log = logging.getLogger(__name__)
GRANT: Object = {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}
"""The right that this takes, beside those of the jobs' controllers."""


async def follow(client: Client, informers: Informers, *, now: Callable[[], datetime] = utc_now) -> None:
    """Until cancelled. Of jobs whose kind has no informer nothing is read."""
    await Followers(client, informers, now).run()


class Followers:
    def __init__(self, client: Client, informers: Informers, now: Callable[[], datetime]) -> None:
        self._informers = informers
        self._recorder = EventRecorder(client, "training-metrics", now=now)
        self._pods = informers.get(core.POD.resource)
        self._shared = Shared(client, self._pods.cache, self._job, self._recorder, now)
        self._known: dict[str, str] = {}
        """By the pod's uid, the container that was followed last."""
        self._followers: dict[str, Follower] = {}
        """By the pod's uid, that of its newest container."""
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._recorder.run(), name="progress events")
            self._pods.subscribe(self._changed)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._pods.unsubscribe(self._changed)

    def _job(self, of: Leader) -> Object | None:
        informer = self._informers.find(of.resource)
        return None if informer is None else informer.cache.get(of.namespace, of.job)

    def _leads(self, of: Leader) -> bool:
        """Whether the job has no other pod that leads rather."""
        informer = self._informers.find(JOB_SETS) if of.unless else None
        job_set = None if informer is None else informer.cache.get(of.namespace, of.job)
        groups = meta.spec(job_set or {}).get("replicatedJobs") or ()
        return all(group.get("name") != of.unless for group in groups)

    def _changed(self, change: Change) -> None:
        pod = change.new
        if pod is None:
            uid = meta.uid(change.object)
            self._known.pop(uid, None)
            self._end(uid)
            return
        of = leader(pod)
        state = None if of is None else container_status(pod, of.container)
        if of is None or state is None or not state.get("containerID"):
            return
        uid = meta.uid(pod)
        running, ended = (state.get("state") or {}).get("running"), (state.get("state") or {}).get("terminated")
        if not running:
            self._end(uid)
        if not (running or ended) or self._known.get(uid) == state["containerID"] or not self._leads(of):
            return
        self._known[uid] = state["containerID"]
        job = self._job(of)
        if job is None or (ended and change.old is None and _has_ended(job)):
            return  # that was read before this process began
        assert self._group is not None
        one = Follower(self._shared, of, uid, state["containerID"], job)
        if running:
            self._end(uid)
            self._followers[uid] = one
        else:
            one.container_ended()
        self._group.create_task(one.run(), name=f"progress of {of.namespace}/{of.job}")

    def _end(self, uid: str) -> None:
        one = self._followers.pop(uid, None)
        if one is not None:
            one.container_ended()


def _has_ended(job: Object) -> bool:
    ends = ("Succeeded", "Failed", "Complete")
    return any(meta.holds(meta.status(job).get("conditions"), type) for type in ends)
