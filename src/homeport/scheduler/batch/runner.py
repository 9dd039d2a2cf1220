"""Drives the batch scheduler: looks when something has happened, decides, and has it carried out.

Nothing goes by the clock but time-outs of groups: while nothing happens, nothing is done. Large clusters are decided
about off the event loop; room that another scheduler has taken meanwhile is seen when it is taken here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import msgspec
from msgspec.structs import replace

from homeport.client.client import Client
from homeport.clock import utc_now
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.scheduling import plain
from homeport.scheduler.batch import membership
from homeport.scheduler.batch.cluster import Cluster, missing
from homeport.scheduler.batch.configuration import Configuration
from homeport.scheduler.batch.decide import Cache, decide
from homeport.scheduler.batch.decisions import Bind, Decisions, GroupOutcome
from homeport.scheduler.batch.hands import Hands
from homeport.scheduler.batch.measures import Measures
from homeport.scheduler.batch.model import Amounts, Carried, Snapshot, TaskStatus
from homeport.scheduler.batch.reports import Reports, not_found
from homeport.scheduler.batch.roster import Member
from homeport.scheduler.ledger import Ledger, Promise

_log = logging.getLogger(__name__)
_MUCH = 200_000
"""Of pods that may be placed, times nodes and a thousand more (what a pod costs by itself): some ten milliseconds, from
which on a decision is made off the event loop. Below, two threads that both want Python's lock cost more."""
_LONG = 0.01
"""Seconds of CPU that the last decision took, from which on the next one is, too."""
_GROUP_COMES = 5.0
"""Seconds that the group of a pod that names none may take to be made before that is told of."""
_REST, _LONGEST_REST = 10.0, 0.5
"""Between two looks goes so many times as much time as the last decision took of the CPU, up to these seconds: what
comes in crowds is looked at together."""


class Counters(msgspec.Struct):
    """Since the start."""

    cycles: int = 0
    seconds: float = 0.0
    """Of CPU, spent deciding."""
    bound: int = 0
    evicted: int = 0
    taken_meanwhile: int = 0
    """Pods whose room was gone when the decision was made."""


class BatchScheduler:
    """``await BatchScheduler(client).run()`` runs until cancelled.

    `informers`, `recorder` and `ledger`: share them with others in the process, whoever made them runs them; None: own
    ones. The rest is :class:`Cluster`'s, but for `measures`, which are told of all that is done. `ready` is set once it
    schedules.
    """

    def __init__(
        self,
        client: Client,
        *,
        informers: Informers | None = None,
        recorder: EventRecorder | None = None,
        ledger: Ledger | None = None,
        configuration: Configuration | None = None,
        groups: Iterable[Resource] = membership.POD_GROUPS,
        queues: Iterable[Resource] = membership.QUEUES,
        hypernodes: Iterable[Resource] = membership.HYPER_NODES,
        held: Callable[[], Mapping[str, Amounts]] = dict,
        takes: Callable[[Object], bool] = membership.is_ours,
        empty_groups: bool = True,
        plain_groups: bool = False,
        measures: Measures | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.ready = asyncio.Event()
        self.counters = Counters()
        self._own_informers = informers is None
        self._informers = informers if informers is not None else Informers(client)
        self._own_recorder = recorder is None
        self._recorder = recorder if recorder is not None else EventRecorder(client, membership.HOMEPORT, now=now)
        self._ledger = ledger if ledger is not None else Ledger(client, self._informers)
        self._configuration = configuration or Configuration()
        self._now = now
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._awaited: dict[str, asyncio.TimerHandle] = {}
        """Pods whose groups are still to be made, by uid."""
        self._taking = False
        self._beaten = False
        """What was decided off the event loop was overtaken: the next time it is decided on it."""
        self._pace = 0.0
        """Seconds of CPU that the last decision took."""
        self._waiting: tuple[str, ...] = ()
        """The groups that wait, as of the last look."""
        self._carried = Carried()
        self._outcomes: Mapping[str, GroupOutcome] = {}
        """The last cycle's: what is the same object now is no news."""
        self._cache = Cache()
        self._cluster = Cluster(
            self._ledger,
            self._informers,
            self._changed,
            groups=groups,
            queues=queues,
            hypernodes=hypernodes,
            held=held,
            takes=takes,
            empty_groups=empty_groups,
            plain_groups=plain_groups,
        )
        self._measures = measures if measures is not None else Measures()
        self._hands = Hands(client, self._ledger, self._cluster, self._recorder, self._measures, now)
        self._reports = Reports(client, self._cluster, self._recorder, now)

    def configure(self, configuration: Configuration) -> None:
        """Decide by this from now on."""
        if configuration != self._configuration:
            self._configuration = configuration
            self._cache = Cache()
            self._changed()

    def snapshot(self) -> Snapshot:
        """What the next look would be given."""
        return self._cluster.snapshot(self._carried)

    async def run(self) -> None:
        self._measures.begin(self._unready)
        try:
            async with asyncio.TaskGroup() as group:
                if self._own_informers:
                    group.create_task(self._informers.run(), name="batch scheduler informers")
                if self._own_recorder:
                    group.create_task(self._recorder.run(), name="batch scheduler events")
                await self._cluster.synced()
                group.create_task(self._hands.run(), name="batch scheduler hands")
                group.create_task(self._reports.run(), name="batch scheduler reports")
                self.ready.set()
                await self._work()
        finally:
            self._measures.end()
            for timer in (*self._awaited.values(), *([self._timer] if self._timer is not None else ())):
                timer.cancel()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._cycle()
            await asyncio.sleep(min(_REST * self._pace, _LONGEST_REST))

    async def _cycle(self) -> None:
        """Look once."""
        for member in self._cluster.lost():
            if plain.is_plain(member.obj):  # its group is about to be made
                self._await(member.pod.uid)
            elif member.task.status is TaskStatus.PENDING:
                self._reports.explain(not_found(member.pod.uid, missing(member)))
        began = time.perf_counter()
        snapshot = self._cluster.snapshot(self._carried)
        arguments = (snapshot, self._configuration, self._now().timestamp(), self._cache)
        expected = self._cluster.roster.wanting * (1000 + len(snapshot.nodes))
        apart = not self._beaten and (self._pace >= _LONG or expected >= _MUCH)
        self._beaten = False
        decisions, self._pace = await asyncio.to_thread(_timed, *arguments) if apart else _timed(*arguments)
        self.counters.cycles += 1
        self.counters.seconds += self._pace
        self._carry_out(decisions, apart=apart)
        self._measures.decided(decisions, time.perf_counter() - began)

    def _unready(self) -> dict[str, int]:
        """Of the groups that wait (``NAMESPACE/NAME``): how many pods they lack."""
        found = {}
        for key in self._waiting:
            entry = self._cluster.roster.get(key)
            if entry is not None:
                ready = sum(member.task.status.ready for member in entry.members.values())
                found[key.partition("/")[2]] = max(0, entry.template.min_member - ready)
        return found

    def _await(self, pod_uid: str) -> None:
        if pod_uid not in self._awaited:
            loop = asyncio.get_running_loop()
            self._awaited[pod_uid] = loop.call_later(_GROUP_COMES, self._say_lost, pod_uid)

    def _say_lost(self, pod_uid: str) -> None:
        del self._awaited[pod_uid]
        member = self._cluster.roster.member(pod_uid)
        if member is not None and not member.group and member.task.status is TaskStatus.PENDING:
            self._reports.explain(not_found(pod_uid, missing(member)))

    def _carry_out(self, decisions: Decisions, *, apart: bool) -> None:
        """`apart`: it was decided off the event loop, while other things happened."""
        overtaken = self._cluster.overtaken() if apart else None
        self._carried, self._waiting = decisions.carried, decisions.waiting
        for _, binds in itertools.groupby(decisions.binds, key=lambda bind: bind.group):
            self._bind(list(binds), overtaken)
        for eviction in decisions.evictions:
            member = self._cluster.roster.member(eviction.task)
            obj = member.obj if member is not None else self._cluster.pod(eviction.task)
            if obj is not None:
                self._hands.evict(eviction, obj)
                self.counters.evicted += 1
        self._ledger.promise(self._promises(decisions))
        for nomination in decisions.nominations:
            member = self._cluster.roster.member(nomination.task)
            if member is not None:
                self._hands.nominate(nomination, member.obj)
        before, self._outcomes = self._outcomes, decisions.groups
        news = {key: outcome for key, outcome in decisions.groups.items() if before.get(key) is not outcome}
        for key, outcome in news.items():
            self._cluster.set_phase(key, outcome.phase)
        self._reports.tell(decisions, news)
        self._reports.forget_gone()
        self._wake_at(decisions.wake)

    def _promises(self, decisions: Decisions) -> dict[str, Promise]:
        """The room of those that are ended is kept from other schedulers until the pods that it is for are bound."""
        found = {}
        for nomination in decisions.nominations:
            member, entry = self._cluster.roster.member(nomination.task), self._cluster.roster.get(nomination.group)
            if member is not None and entry is not None:
                priority = max(member.pod.priority, entry.template.priority)
                found[nomination.task] = Promise(replace(member.pod, priority=priority), nomination.node)
        return found

    def _bind(self, binds: list[Bind], overtaken: Callable[[Member, str], bool] | None) -> None:
        """Take the room of a group's pods and have them bound. If somebody else has got some of it since, or a node or
        pod is no longer what it was (`overtaken`; None: nothing can be), none is, unless the group does without
        those."""
        roster = self._cluster.roster
        taken: list[Bind] = []
        lost = 0
        self._taking = True
        try:
            for bind in binds:
                member = roster.member(bind.task)
                wants = member is not None and member.task.status is TaskStatus.PENDING and member.group == bind.group
                if (
                    member is not None
                    and wants
                    and self._ledger.fits(member.pod, bind.node)
                    and not (overtaken is not None and overtaken(member, bind.node))
                ):
                    self._ledger.take(member.pod, bind.node)
                    taken.append(bind)
                else:
                    lost += 1
            if lost:
                self.counters.taken_meanwhile += lost
                entry = roster.get(binds[0].group)
                ready = sum(member.task.status.ready for member in entry.members.values()) if entry is not None else 0
                if entry is None or ready < entry.template.min_member:  # those just taken are ready, too
                    for bind in taken:
                        self._ledger.release(bind.task)
                    taken = []
        finally:
            self._taking = False
        if lost:
            self._beaten = True
            self._wake.set()
        for bind in taken:
            member = roster.member(bind.task)
            assert member is not None
            self._hands.bind(bind, member.pod, member.obj)
        self.counters.bound += len(taken)

    def _changed(self) -> None:
        if not self._taking:
            self._wake.set()

    def _wake_at(self, moment: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if moment is not None:
            delay = max(0.0, moment - self._now().timestamp())
            self._timer = asyncio.get_running_loop().call_later(delay, self._wake.set)


def _timed(snapshot: Snapshot, configuration: Configuration, now: float, cache: Cache) -> tuple[Decisions, float]:
    """What to do, and the seconds of CPU that it took to decide."""
    started = time.thread_time()
    return decide(snapshot, configuration, now, cache, explains=False), time.thread_time() - started
