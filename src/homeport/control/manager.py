"""Runs controllers: observes, calls ``sync``, applies the difference, retries, reports.

A sync never sees caches that lack this controller's own last writes, so that it neither counts nor creates anything
twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

import msgspec

from homeport.client.client import Client
from homeport.clock import utc_now
from homeport.control.apply import Applier
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.claiming import Claimer
from homeport.control.controller import Controller, Desired, Failure, Note, Observed
from homeport.control.diff import Settled, plan
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.control.observe import Observer
from homeport.control.writes import OwnWrites
from homeport.kube.errors import ApiError, HomeportError, Permanent
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, is_deleting, uid

_log = logging.getLogger(__name__)
_PARALLEL = 64
"""Requests in flight of all controllers together."""
_SLOW = 0.05
"""Seconds of processor time of one sync call after which the log says so: it holds up all else in the process."""
_REST = 9
"""How many times as long as its last sync took a parent waits before its children bring about the next: a thousand pods
that start one by one keep nobody else from work."""
_BRIEF = 0.02
"""Seconds that are not worth waiting."""
_NEWS, _TURN = 3, 0.005
"""So many changes of failures in a row are looked at at once, the next after so many seconds, doubled each time."""


class Counters(msgspec.Struct):
    """Of one controller since it started."""

    syncs: int = 0
    failures: int = 0
    seconds: float = 0.0
    """Of processor time, spent inside ``sync``."""


class _Last(msgspec.Struct):
    """What a parent's last sync left for the next."""

    uid: str
    failures: tuple[Failure, ...] = ()
    memory: Mapping[str, Object] = msgspec.field(default_factory=dict)
    turns: int = 0
    """How many syncs in a row failed otherwise than the one before."""


class Manager:
    """``await Manager(client, controllers).run()`` runs until cancelled.

    `informers`: share them with others in the process; whoever made them runs them. None: own ones. `ready` is set once
    every cache is complete.
    """

    def __init__(
        self,
        client: Client,
        controllers: Sequence[Controller],
        *,
        informers: Informers | None = None,
        recorder: EventRecorder | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._own_informers = informers is None
        self.informers = informers if informers is not None else Informers(client)
        self._own_recorder = recorder is None
        self._recorder = recorder if recorder is not None else EventRecorder(client, "homeport", now=now)
        self.ready = asyncio.Event()
        limit = asyncio.Semaphore(_PARALLEL)
        twice = {c.name for c in controllers if sum(other.name == c.name for other in controllers) > 1}
        if twice:
            raise ValueError(f"controllers of the same name: {', '.join(sorted(twice))}")
        self._runners = [
            ControllerRunner(client, controller, self.informers, self._recorder, now, limit)
            for controller in controllers
        ]

    @property
    def counters(self) -> dict[str, Counters]:
        """Controller name -> what it has done."""
        return {runner.controller.name: runner.counters for runner in self._runners}

    @property
    def idle(self) -> bool:
        """No parent waits for a sync or is in one. Deadlines and retries may still be set."""
        return all(runner.loop.queue.idle for runner in self._runners)

    def look_again(self) -> None:
        """Sync now what waits for a moment: the wall clock was set, or the machine has slept."""
        for runner in self._runners:
            runner.loop.queue.hasten()

    def sync_all(self) -> None:
        """Sync every parent: something has changed that no object tells of."""
        for runner in self._runners:
            for parent in self.informers.get(runner.controller.parent).cache:
                runner.loop.queue.add(key_of(parent))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            if self._own_informers:
                group.create_task(self.informers.run(), name="informers")
            if self._own_recorder:
                group.create_task(self._recorder.run(), name="event recorder")
            for runner in self._runners:
                for informer in runner.observer.informers:
                    await informer.synced.wait()
            for runner in self._runners:
                group.create_task(runner.loop.run(), name=f"controller {runner.controller.name}")
            self.ready.set()


class ControllerRunner:
    """One controller at work."""

    def __init__(
        self,
        client: Client,
        controller: Controller,
        informers: Informers,
        recorder: EventRecorder,
        now: Callable[[], datetime],
        limit: asyncio.Semaphore,
    ) -> None:
        self.controller = controller
        self.counters = Counters()
        self._now = now
        self._informers = informers
        self._recorder = recorder
        self._settled = Settled()
        self._applier = Applier(client, informers, recorder, controller, limit, self._settled)
        self._claimer = Claimer(client, controller.name)
        self._writes: dict[ObjectKey, OwnWrites] = {}
        self._last: dict[ObjectKey, _Last] = {}
        self._blocked: dict[tuple[Resource, ObjectKey], dict[ObjectKey, str]] = {}
        """A name that somebody else's object has -> the parents that want it, and what each one's user was told."""
        self.loop: KeyedLoop[ObjectKey] = KeyedLoop(
            controller.name, self._reconcile, workers=controller.workers, admit=self._admit, failed=self._failed
        )
        self._rests: dict[ObjectKey, float] = {}
        """Until when, on the event loop's clock, a parent is not synced because of its children: for controllers that
        gather changes, and for parents with so many children that a sync takes long."""
        self.observer = Observer(controller, informers, self.loop.queue.add, self._gather)
        for child in controller.children:
            informers.get(child.resource).subscribe(partial(self._child_changed, child.resource))

    def _admit(self, key: ObjectKey) -> bool:
        """Not before the caches show what this parent's last sync wrote."""
        writes = self._writes.get(key)
        if writes is not None:
            if writes.unseen(self._informers, lambda: self.loop.queue.add(key)):
                return False
            del self._writes[key]
        return True

    async def _reconcile(self, key: ObjectKey) -> float | None:
        parent, writes = self.observer.parent(key), OwnWrites()
        try:
            for child, stray in self.observer.strays(key):
                await self._claimer.strip(child, stray, writes)
            if parent is None:
                self._last.pop(key, None)
                self._rests.pop(key, None)
                return None  # garbage collection deletes the children
            if is_deleting(parent):
                return await self._bring_about(key, parent, writes) if self.controller.until_gone else None
            changes = self.observer.transfers(parent)
            if not changes:
                return await self._bring_about(key, parent, writes)
            await self._claimer.carry_out(self.controller.parent, parent, changes, writes)
            self.loop.queue.add(key)  # and once the caches show whose they are now, the sync
            return None
        finally:
            if writes.revisions or writes.deletions:
                self._writes[key] = writes

    async def _bring_about(self, key: ObjectKey, parent: Object, writes: OwnWrites) -> float | None:
        started = time.perf_counter()
        last = self._last.get(key)
        if last is None or last.uid != uid(parent):
            last = self._last[key] = _Last(uid(parent))
        observed = self.observer.observe(parent, self._now(), last.failures, last.memory)
        desired = self._sync(observed)
        todo = plan(self.controller, observed, desired, self._settled)
        self._rest(key, time.perf_counter() - started)
        if is_deleting(parent):
            todo = todo.of_deleted_parent
        try:
            if not todo.empty:
                try:
                    await self._applier.carry_out(self.controller.parent, parent, todo, writes)
                except Exception:
                    if writes.recorded:  # the next sync finds nothing new in the status, and would not tell of it
                        self._tell(parent, desired.notes)
                    raise
            self._tell(parent, desired.notes)
            if desired.delete_parent:
                await self._applier.delete_parent(self.controller.parent, parent, writes)
        finally:
            last.memory, last.failures = desired.memory, tuple(writes.failures)
            if {each.reason for each in observed.failures} != {each.reason for each in last.failures}:
                # A reason to sync: a condition tells of them. Those that come and go with each sync are soon no news.
                last.turns += 1
                self.loop.queue.add_after(key, _TURN * 2.0 ** min(last.turns, 64) if last.turns > _NEWS else 0)
            else:
                last.turns = 0
            for blocked, message in writes.blocked.items():
                waiting = self._blocked.setdefault(blocked, {})
                if message and waiting.get(key) != message:
                    self._recorder.record(
                        parent, "Warning", f"FailedCreate{blocked[0].kind}", message, component=self.controller.name
                    )
                waiting[key] = message
        return desired.requeue_after

    def _tell(self, parent: Object, notes: Sequence[Note]) -> None:
        for note in notes:
            self._recorder.record(parent, note.type, note.reason, note.message, component=self.controller.name)

    def _gather(self, key: ObjectKey) -> None:
        """A child changed: sync, but not too soon after the last time."""
        due = self._rests.get(key)
        if due is None:
            self.loop.queue.add(key)
        else:
            self.loop.queue.add_after(key, due - asyncio.get_running_loop().time())

    def _rest(self, key: ObjectKey, took: float) -> None:
        rest = max(self.controller.gather, took * _REST)
        if rest > _BRIEF:
            self._rests[key] = asyncio.get_running_loop().time() + rest
        else:
            self._rests.pop(key, None)

    def _sync(self, observed: Observed) -> Desired:
        started = time.thread_time()
        desired = self.controller.sync(observed)
        took = time.thread_time() - started
        self.counters.syncs += 1
        self.counters.seconds += took
        if took > _SLOW:
            _log.warning(
                "%s %s: sync took %.0f ms", self.controller.name, "/".join(key_of(observed.parent)), took * 1000
            )
        return desired

    def _failed(self, key: ObjectKey, error: Exception) -> None:
        self.counters.failures += 1
        parent = self.observer.parent(key)
        if parent is None or not uid(parent):
            return
        if isinstance(error, Permanent):
            self._recorder.record(parent, "Warning", "SyncFailed", str(error), component=self.controller.name)
        elif not isinstance(error, HomeportError):
            message = f"{type(error).__name__}: {error}"
            self._recorder.record(parent, "Warning", "SyncError", message, component=self.controller.name)
        elif isinstance(error, ApiError) and error.code < 500 and error.code not in (404, 409, 429):
            self._recorder.record(parent, "Warning", "SyncError", str(error), component=self.controller.name)

    def _child_changed(self, resource: Resource, change: Change) -> None:
        if change.new is None:
            self._settled.forget(uid(change.object))
            for key in self._blocked.pop((resource, key_of(change.object)), ()):
                self.loop.queue.add(key)
