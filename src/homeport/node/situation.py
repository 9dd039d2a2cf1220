"""One decision in the making: what is known of the pod, and what has been decided so far. Pure.

:mod:`homeport.node.machine` makes one per decision; :mod:`homeport.node.starting`, :mod:`homeport.node.endings` and
:mod:`homeport.node.reporting` are its parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from homeport.kube import meta
from homeport.node.memory import ContainerMemory, Memory
from homeport.node.pod import ORDERED, TERMINAL, Member, Role, members, restart_policy, restarts_by_rule
from homeport.node.view import Health, Instruction, Notice, View

RESTARTING = frozenset({"liveness", "startup"})
"""Why an attempt was ended, if another one follows however it ended."""


class Situation:
    """The memory that the decision changes, the view that it depends on, and what it has collected so far."""

    def __init__(self, memory: Memory, view: View) -> None:
        self.view = view
        self.pod = view.pod
        self.now = view.now
        self.members = members(view.pod)
        self.policy = restart_policy(view.pod)
        self.memory = memory
        self.instructions: list[Instruction] = []
        self.notices: list[Notice] = []
        self.wakes: list[datetime] = []

    # What is to be done.

    def note(self, type: Literal["Normal", "Warning"], reason: str, message: str, container: str = "") -> None:
        self.notices.append(Notice(type, reason, message, container))

    def after(self, moment: datetime) -> bool:
        """Whether `moment` has come; if not, the next decision is due then."""
        if moment <= self.now:
            return True
        self.wakes.append(moment)
        return False

    def may_try(self, what: str) -> bool:
        """Whether a step that failed may be tried again by now."""
        problem = self.view.problems.get(what)
        return problem is None or self.after(problem.retry_at)

    def remember(self, member: Member, container: ContainerMemory) -> None:
        self.memory = self.memory.with_container(member.name, container)

    # The pod.

    @property
    def mains(self) -> Iterable[Member]:
        return (m for m in self.members if m.role is Role.MAIN)

    @property
    def was_terminal(self) -> bool:
        return meta.status(self.pod).get("phase") in TERMINAL

    @property
    def removing(self) -> bool:
        return self.view.gone or meta.is_deleting(self.pod)

    @property
    def outcome(self) -> str:
        """``Succeeded`` or ``Failed`` once the containers have decided it, else empty."""
        for member in self.members:
            current = self.known(member).current
            failed = current is not None and current.phase == "exited" and current.exit_code != 0
            if member.role is Role.INIT and failed and not self.wants_restart(member):
                return "Failed"
        ends = [self.known(m) for m in self.mains]
        if not all(end.is_exited for end in ends) or any(self.wants_restart(m) for m in self.mains):
            return ""
        return "Failed" if any(end.current and end.current.exit_code for end in ends) else "Succeeded"

    @property
    def ending(self) -> bool:
        decided = self.memory.expired or self.memory.verdict is not None
        return self.removing or decided or self.was_terminal or bool(self.outcome)

    @property
    def stopped(self) -> bool:
        """Nothing runs, and nothing is about to."""
        return not self.view.starting and not any(self.is_running(m) for m in self.members)

    # One container.

    def known(self, member: Member) -> ContainerMemory:
        return self.memory.of(member.name)

    def is_running(self, member: Member) -> bool:
        return self.known(member).is_running

    def is_up(self, member: Member) -> bool:
        """It runs, and what has to happen right after its start has happened (``postStart``)."""
        known = self.known(member)
        return known.is_running and known.post_start in ("", "done")

    def health(self, member: Member) -> Health | None:
        """What the probes say of the attempt that runs; None if they have not said anything yet."""
        health = self.view.health.get(member.name)
        current = self.known(member).current
        return health if health is not None and current is not None and health.attempt == current.attempt else None

    def is_started(self, member: Member) -> bool:
        """It is up, and its startup probe has succeeded, if it has one."""
        if not self.is_up(member):
            return False
        health = self.health(member)
        return health.started if health is not None else not member.has_probe("startupProbe")

    def is_ready(self, member: Member) -> bool:
        """Main containers and sidecars are ready once they have started and as long as their readiness probe says so,
        init containers once they have succeeded. Nobody asks about ephemeral ones: the kubelet never calls them ready.
        """
        match member.role:
            case Role.EPHEMERAL:
                return False
            case Role.INIT:
                current = self.known(member).current
                return self.is_done(member) and current is not None and current.exit_code == 0
        if not self.is_started(member):
            return False
        health = self.health(member)
        return health.ready if health is not None else not member.has_probe("readinessProbe")

    def wants_restart(self, member: Member) -> bool:
        """Whether an attempt that ended as the newest did is followed by another, by the rules of its role."""
        known = self.known(member)
        current = known.current
        if current is None or current.phase == "running" or member.role is Role.EPHEMERAL:
            return False
        if member.role is Role.SIDECAR:
            return True
        if restarts_by_rule(member, current.exit_code):
            return True
        if known.ending is not None and known.ending.reason in ("resize", "changed"):
            return True  # whatever the policy, as upstream has it
        policy = str(member.spec.get("restartPolicy") or self.policy)
        if policy == "Never":
            return False
        if known.ending is not None and known.ending.reason in RESTARTING:
            return True
        return current.exit_code != 0 or (policy == "Always" and member.role is Role.MAIN)

    def is_done(self, member: Member) -> bool:
        """Ended, and not to be started again."""
        return self.known(member).is_exited and not self.wants_restart(member)

    def past_init(self) -> bool:
        """The main containers have had their turn in this sandbox: init containers no longer hold anything up.

        One that is done for good doesn't count: it may have run in a sandbox that was lost since.
        """
        return any(self.known(m).current is not None and not self.is_done(m) for m in self.mains)

    def lets_others_go_on(self, member: Member) -> bool:
        """Of an ordered container: whether the next one's turn has come."""
        return self.is_started(member) if member.role is Role.SIDECAR else self.is_ready(member)

    def initialized(self) -> bool:
        return self.past_init() or all(self.lets_others_go_on(m) for m in self.members if m.role in ORDERED)

    def has_turn(self, member: Member) -> bool:
        """Of an ordered container: whether all before it let it go on."""
        for earlier in self.members:
            if earlier is member:
                return True
            if not self.lets_others_go_on(earlier):
                return False
        return True
