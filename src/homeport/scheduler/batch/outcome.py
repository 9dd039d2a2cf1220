"""From a session to decisions: phases, conditions, clocks, and when to look again."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from homeport.scheduler.batch import explain, reservations
from homeport.scheduler.batch.decisions import (
    Bind,
    Decisions,
    Evict,
    GroupOutcome,
    Nominate,
    QueueOutcome,
    TaskCondition,
)
from homeport.scheduler.batch.gangs import why_invalid
from homeport.scheduler.batch.model import Carried, Clock, GroupPhase, Reservation, TaskStatus
from homeport.scheduler.batch.plugins.quota import share
from homeport.scheduler.batch.state import GroupState

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session

_FIRST_BACKOFF = 30.0
_LONGEST_BACKOFF = 600.0
_PODS_COME = 5.0
"""Seconds from a group's turn, or its newest pod, until it is said of it that it has too few."""
_NO_CLOCK = Clock()
_UNDECIDED = (GroupPhase.PENDING, GroupPhase.INQUEUE)
_LIVE = (TaskStatus.BINDING, TaskStatus.BOUND, TaskStatus.RUNNING)
_phase_of = attrgetter("phase")


class Outcome:
    def __init__(self, session: Session, *, explains: bool) -> None:
        self._session = session
        self._explains = explains
        self._evictions = list(session.evictions)
        self._binds: list[Bind] = []
        self._nominations: list[Nominate] = []
        self._groups: dict[str, GroupOutcome] = {}
        if not session.is_complete:
            for name, totals in session.ledger.queues.items():
                if name in session.queues:
                    self._groups.update(totals.settled)
        self._tasks: list[TaskCondition] = []
        self._waiting: list[tuple[GroupState, str, float | None]] = []
        self._clocks: dict[str, Clock] = {}
        self._wakes: list[float] = []

    def decisions(self) -> Decisions:
        session = self._session
        for group in session.groups.values():
            self._judge(group)
        self._judge_queueless()
        explainer = explain.Explainer(session) if self._waiting and self._explains else None
        explanations = {
            group.key: explainer.explain(group, reason, since)
            for group, reason, since in self._waiting
            if explainer is not None
        }
        reservation = self._reservation()
        if reservation is not None:
            self._wakes.append(reservations.ends(session, reservation))
        return Decisions(
            binds=tuple(self._binds),
            evictions=tuple(self._evictions),
            nominations=tuple(self._nominations),
            groups=self._groups,
            tasks=tuple(self._tasks),
            waiting=tuple(group.key for group, _, _ in self._waiting),
            explanations=explanations,
            queues=self._queues(),
            carried=Carried(self._clocks, reservation, session.usage, session.now),
            wake=min((wake for wake in self._wakes if wake > session.now), default=None),
        )

    def _judge_queueless(self) -> None:
        """Say it of groups whose queue does not exist: nothing else is decided about them."""
        session = self._session
        if session.ledger.queues.keys() <= session.queues.keys():
            return
        for key, facts in session.ledger.facts.items():
            if key not in session.groups and facts.group.phase in _UNDECIDED:
                self._groups[key] = GroupOutcome(facts.group.phase, facts.counts, (explain.no_queue(facts.group),))

    def _judge(self, group: GroupState) -> None:
        ready = group.is_ready
        if ready and not group.placed and not group.evicted and group.phase is group.group.phase:
            phase = self._phase(group)
            if phase is group.phase and not group.facts.pending:
                self._groups[group.key] = GroupOutcome(phase, group.facts.counts)
                return  # all is well and was
        self._carry_out(group)
        clock = self._clock(group)
        evicted = self._give_back(group, clock)
        phase = self._phase(group)
        if evicted or self._expires(group, clock):
            phase = GroupPhase.PENDING
            backoff = min(_FIRST_BACKOFF * 2 ** min(clock.tries, 10), _LONGEST_BACKOFF)
            clock = Clock(waiting=clock.waiting, backoff=self._session.now + backoff, tries=clock.tries + 1)
        if clock != _NO_CLOCK:
            self._clocks[group.key] = clock
            self._wakes += self._times(group, clock)
        since = self._awaits_pods(group, clock) if not ready else None
        if since is not None:
            self._wakes.append(since + _PODS_COME)
        elif not ready and not group.queue.is_open and not group.refusal:
            group.refusal = f"queue {group.queue.name} is {group.queue.queue.state.value}"
        silent = phase is GroupPhase.COMPLETED or since is not None
        conditions = () if silent else explain.conditions(group)
        self._groups[group.key] = GroupOutcome(phase, group.facts.counts, conditions, group.event)
        if not ready or len(group.placed) < len(group.facts.pending):
            self._tasks += explain.task_conditions(self._session, group)
        if not ready and phase is not GroupPhase.COMPLETED:
            reason = conditions[0].message if conditions else ""
            self._waiting.append((group, reason or explain.AWAITS_PODS, clock.waiting))

    def _carry_out(self, group: GroupState) -> None:
        nodes = self._session.ledger.nodes
        whole = group.is_ready
        for uid, placed in group.placed.items():
            if placed.later or not whole:  # what is free already waits for the rest
                self._nominations.append(Nominate(uid, group.key, nodes[placed.place].name))
            elif whole:
                self._binds.append(Bind(uid, group.key, nodes[placed.place].name))

    def _phase(self, group: GroupState) -> GroupPhase:
        """Upstream: ``getPodGroupPhase``. Who is just leaving has not made the group any less scheduled yet."""
        facts = group.facts
        if facts.statuses[TaskStatus.RUNNING] and not group.is_pipelined:
            if facts.scheduled < group.group.min_member:
                return GroupPhase.UNKNOWN
            return group.group.phase  # some of them are leaving
        scheduled = facts.ready + facts.releasing
        if scheduled >= group.group.min_member and (scheduled or group.group.tasks):
            done = facts.statuses[TaskStatus.SUCCEEDED]
            return GroupPhase.COMPLETED if done and done >= scheduled else GroupPhase.RUNNING
        return GroupPhase.INQUEUE if group.phase is GroupPhase.INQUEUE else GroupPhase.PENDING

    def _awaits_pods(self, group: GroupState, clock: Clock) -> float | None:
        """Since when it has had its turn, or its newest pod, while it has too few: for a while that is how every group
        begins, and no news. None if that is not so."""
        if group.refusal or not group.queue.is_open or why_invalid(group) is None:
            return None
        if not group.group.tasks and group.group.phase not in _UNDECIDED:
            return self._session.now  # its last pod has gone just now, and perhaps it goes with it
        if group.group.waits and group.phase is not GroupPhase.INQUEUE:
            return None
        begun = group.group.created if clock.inqueue is None else clock.inqueue
        newest = max((task.created for task in group.group.tasks[-1:]), default=0.0)
        since = max(begun, newest)
        return since if self._session.now < since + _PODS_COME else None

    def _clock(self, group: GroupState) -> Clock:
        now, clock = self._session.now, group.clock
        if group.is_pipelined or (group.group.tasks and why_invalid(group) is not None and not group.holds):
            waiting = inqueue = None
        else:
            waiting = now if clock.waiting is None else clock.waiting
            inqueue = clock.inqueue if clock.inqueue is not None else now
        if group.phase is not GroupPhase.INQUEUE:
            inqueue = None
        elif inqueue is None and not group.is_ready and not group.is_pipelined:
            inqueue = now if clock.inqueue is None else clock.inqueue
        live = any(group.facts.statuses[status] for status in _LIVE)
        stale = None
        if live and not group.is_ready and group.facts.scheduled < group.group.min_member:
            stale = now if clock.stale is None else clock.stale
        backoff = clock.backoff if clock.backoff is not None and clock.backoff > now else None
        return Clock(waiting, inqueue, stale, backoff, 0 if group.is_ready else clock.tries)

    def _expires(self, group: GroupState, clock: Clock) -> bool:
        """Whether it has been Inqueue long enough while others are not let in for its sake."""
        session = self._session
        if clock.inqueue is None or not session.refused_some or group is session.reserved:
            return False
        return session.now - clock.inqueue >= self._inqueue_seconds(group)

    def _give_back(self, group: GroupState, clock: Clock) -> bool:
        """Have a gang that is not whole for too long give back what it holds."""
        if clock.stale is None or self._session.now - clock.stale < self._stale_seconds(group):
            return False
        live = [task for task in group.group.tasks if task.status in _LIVE and task.uid not in group.evicted]
        self._evictions += [Evict(task.uid, group.key, task.node, "stale") for task in live]
        return bool(live)

    def _inqueue_seconds(self, group: GroupState) -> float:
        own = group.group.inqueue_seconds
        return self._session.configuration.inqueue_seconds if own is None else own

    def _stale_seconds(self, group: GroupState) -> float:
        own = group.group.stale_seconds
        return self._session.configuration.stale_seconds if own is None else own

    def _times(self, group: GroupState, clock: Clock) -> list[float]:
        """When something may happen to it."""
        times = []
        if clock.waiting is not None:
            times.append(clock.waiting + self._session.configuration.reserve_seconds)
            if group.group.sla_seconds is not None:
                times.append(group.group.created + group.group.sla_seconds)
        if clock.inqueue is not None:
            times.append(clock.inqueue + self._inqueue_seconds(group))
        if clock.stale is not None:
            times.append(clock.stale + self._stale_seconds(group))
        if clock.backoff is not None:
            times.append(clock.backoff)
        return times

    def _reservation(self) -> Reservation | None:
        """Kept, or made for who has waited long and would fit if others went."""
        session = self._session
        group = session.reserved or reservations.next_in_turn(session)
        if group is None or group.is_pipelined or group.clock.waiting is None:
            return None
        known = session.reservation
        if known is not None and known.group == group.key:
            if known.nodes or not group.facts.pending:
                return known
            nodes = reservations.choose(session, group)
            return None if nodes is None else replace(known, nodes=self._names(nodes))
        if why_invalid(group) is not None:
            # No pods yet. It has been let into the queue for the sake of its turn: that is kept until it has them.
            fits = group.phase is GroupPhase.INQUEUE and not group.group.tasks
            return Reservation(group.key, (), session.now) if fits else None
        nodes = reservations.choose(session, group)
        return None if nodes is None else Reservation(group.key, self._names(nodes), session.now)

    def _names(self, places: list[int]) -> tuple[str, ...]:
        return tuple(self._session.ledger.nodes[place].name for place in places)

    def _queues(self) -> dict[str, QueueOutcome]:
        found = {}
        for queue in self._session.queues.values():
            numbers = Counter(self._groups[group.key].phase for group in queue.groups)
            totals = self._session.ledger.queues.get(queue.name)
            if totals is not None and not self._session.is_complete:
                numbers.update(map(_phase_of, totals.settled.values()))
            found[queue.name] = QueueOutcome(
                allocated=self._session.axis.amounts(queue.allocated),
                deserved=self._session.axis.amounts(queue.deserved),
                share=share(queue.allocated, queue.deserved),
                pending=numbers[GroupPhase.PENDING],
                inqueue=numbers[GroupPhase.INQUEUE],
                running=numbers[GroupPhase.RUNNING],
                unknown=numbers[GroupPhase.UNKNOWN],
                completed=numbers[GroupPhase.COMPLETED],
            )
        return found
