"""The pod's life as one pure function: what is known -> what to do next, and what to report.

The agent calls :func:`decide` after every piece of news. An instruction is repeated by no later decision while the
view says that it is being carried out, so instructions are safe to carry out at once and at the same time. The rules
(order of containers, restart policy and back-off, grace periods, phases) are those of the kubelet.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.memory import Memory, leave, lose, observe, restart_due
from homeport.node.pod import ORDERED, TERMINAL, Member, Role, full_name, grace_seconds, members, restart_policy
from homeport.node.status import ContainerView, PodView, container_statuses, render
from homeport.node.view import (
    CreateSandbox,
    Decision,
    DeletePod,
    DestroySandbox,
    Forget,
    ImageView,
    Instruction,
    MountVolumes,
    Notice,
    PullImage,
    Signal,
    StartContainer,
    View,
)

GONE_GRACE = 1.0
"""Seconds that the processes of a pod get whose object was removed without waiting (``--force``)."""
PULL_ERROR_SHOWN = timedelta(seconds=2)
"""How long ``ErrImagePull`` is shown before it turns into ``ImagePullBackOff``."""


class _Pass:
    """One decision in the making: the memory that it changes, and what it has collected so far."""

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

    # Facts.

    @property
    def mains(self) -> Iterable[Member]:
        return (m for m in self.members if m.role is Role.MAIN)

    @property
    def was_terminal(self) -> bool:
        return meta.status(self.pod).get("phase") in TERMINAL

    @property
    def removing(self) -> bool:
        return self.view.gone or meta.is_deleting(self.pod)

    def is_running(self, member: Member) -> bool:
        return self.memory.of(member.name).is_running

    def wants_restart(self, member: Member) -> bool:
        """Whether an attempt that ended as the newest did is followed by another, by the rules of its role."""
        current = self.memory.of(member.name).current
        if current is None or current.phase == "running":
            return False
        match member.role:
            case Role.SIDECAR:
                return True
            case Role.INIT:
                return current.exit_code != 0 and self.policy != "Never"
            case Role.MAIN:
                return self.policy == "Always" or (self.policy == "OnFailure" and current.exit_code != 0)
            case Role.EPHEMERAL:
                return False

    @property
    def outcome(self) -> str:
        """``Succeeded`` or ``Failed`` once the containers have decided it, else empty."""
        for member in self.members:
            current = self.memory.of(member.name).current
            failed = current is not None and current.phase == "exited" and current.exit_code != 0
            if member.role is Role.INIT and failed and not self.wants_restart(member):
                return "Failed"
        ends = [self.memory.of(m.name) for m in self.mains]
        if not all(end.is_exited for end in ends) or any(self.wants_restart(m) for m in self.mains):
            return ""
        return "Failed" if any(end.current and end.current.exit_code for end in ends) else "Succeeded"

    @property
    def ending(self) -> bool:
        return self.removing or self.memory.expired or self.was_terminal or bool(self.outcome)

    @property
    def stopped(self) -> bool:
        """Nothing runs, and nothing is about to."""
        return not self.view.starting and not any(self.is_running(m) for m in self.members)

    def after(self, moment: datetime) -> bool:
        """Whether `moment` has come; if not, the next decision is due then."""
        if moment <= self.now:
            return True
        self.wakes.append(moment)
        return False

    # Steps, in the order in which they run.

    def fold(self) -> None:
        """Bring the memory up to date with the news."""
        memory = self.memory
        if not memory.start_time:
            started = meta.status(self.pod).get("startTime") or meta.timestamp(self.now)
            memory = replace(memory, start_time=started)
        for member in self.members:
            before = memory.of(member.name)
            after = observe(before, self.view.states.get(member.name))
            if self.view.sandbox in ("none", "down"):
                text = "The container could not be located when the pod's sandbox was lost"
                after = lose(after, self.now, text)
            if after is not before:
                memory = memory.with_container(member.name, after)
                if after.is_exited and not before.is_exited:
                    self.memory = memory
                    self._note_exit(member)
        self.memory = memory

    def _note_exit(self, member: Member) -> None:
        known = self.memory.of(member.name)
        if not self.removing and self.wants_restart(member) and restart_due(known, self.now) > self.now:
            text = f"Back-off restarting failed container {member.name} in pod {full_name(self.pod)}"
            self.notices.append(Notice("Warning", "BackOff", text, member.name))

    def check_deadline(self) -> None:
        limit = meta.spec(self.pod).get("activeDeadlineSeconds")
        if limit is None or self.memory.expired or self.was_terminal:
            return
        due = meta.parse_time(self.memory.start_time) + timedelta(seconds=float(limit))
        if not self.outcome and self.after(due):
            self.memory = replace(self.memory, expired=True)
            text = "Pod was active on the node longer than the specified deadline"
            self.notices.append(Notice("Normal", "DeadlineExceeded", text))

    def stop(self) -> None:
        """SIGTERM to what must end, main containers before sidecars; SIGKILL when the grace period is over."""
        running = [m for m in self.members if self.is_running(m)]
        if not running:
            return
        grace = GONE_GRACE if self.view.gone else grace_seconds(self.pod)
        memory = self.memory
        if memory.kill_at is None:
            memory = replace(memory, kill_at=self.now + timedelta(seconds=grace), grace=grace)
        elif grace < memory.grace:
            earlier = min(memory.kill_at or self.now, self.now + timedelta(seconds=grace))
            memory = replace(memory, kill_at=earlier, grace=grace)
        self.memory = memory
        assert memory.kill_at is not None
        if self.after(memory.kill_at):
            for member in running:
                self._send(member, signal.SIGKILL)
            return
        first = [m for m in running if m.role is not Role.SIDECAR]
        for member in first or running[-1:]:
            self._send(member, signal.SIGTERM)

    def _send(self, member: Member, number: int) -> None:
        known = self.memory.of(member.name)
        if known.current is None or known.asked in (number, signal.SIGKILL):
            return
        if not known.asked:
            self.notices.append(Notice("Normal", "Killing", f"Stopping container {member.name}", member.name))
        self.memory = self.memory.with_container(member.name, replace(known, asked=number))
        self.instructions.append(Signal(member.name, known.current.attempt, number))

    def bring_up(self) -> None:
        """Make what is missing, then start what is due."""
        for image, policy in {m.image: m.pull_policy for m in self._outstanding()}.items():
            state = self.view.images.get(image, ImageView())
            if state.phase == "none" and (state.problem is None or self.after(state.problem.retry_at)):
                self.instructions.append(PullImage(image, policy))
        if self.view.volumes == "none" and self._may_try("/volumes"):
            self.instructions.append(MountVolumes())
        if self.view.sandbox == "none" and not self.view.starting and self._may_try("/sandbox"):
            self._leave_old_sandbox()
            self.instructions.append(CreateSandbox())
        elif self.view.sandbox == "down" and not self.view.starting and self._may_try("/destroy"):
            self.instructions.append(DestroySandbox())
        for member in self._startable():
            self._start(member)

    def _leave_old_sandbox(self) -> None:
        for member in self.members:
            known = self.memory.of(member.name)
            if known.current is not None and (member.role in ORDERED or self.wants_restart(member)):
                self.memory = self.memory.with_container(member.name, leave(known))

    def _may_try(self, what: str) -> bool:
        problem = self.view.problems.get(what)
        return problem is None or self.after(problem.retry_at)

    def _outstanding(self) -> Iterable[Member]:
        for member in self.members:
            if not self.memory.of(member.name).is_running and not self._is_done(member):
                yield member

    def _is_done(self, member: Member) -> bool:
        """Ended, and not to be started again."""
        return self.memory.of(member.name).is_exited and not self.wants_restart(member)

    def _startable(self) -> Iterable[Member]:
        """Init containers one after the other; sidecars as soon as their turn has come; the main ones together.

        A sidecar that ended is started again whatever the others do. Ephemeral containers wait for nobody: they are
        there to find out why the others don't come up.
        """
        yield from (m for m in self.members if m.role is Role.EPHEMERAL and not self.is_running(m))
        for member in self.members:
            if member.role is Role.EPHEMERAL or self._is_done(member):
                continue
            running = self.is_running(member)
            if not running:
                yield member
            holds_up = member.role is Role.INIT or (member.role is Role.SIDECAR and not running)
            if holds_up and not self._past_init():
                return

    def _past_init(self) -> bool:
        """The main containers have had their turn in this sandbox: init containers no longer hold anything up.

        One that is done for good doesn't count: it may have run in a sandbox that was lost since.
        """
        return any(self.memory.of(m.name).current is not None and not self._is_done(m) for m in self.mains)

    def _start(self, member: Member) -> None:
        known = self.memory.of(member.name)
        if self._is_done(member) or member.name in self.view.starting:
            return
        if member.role is Role.INIT and self._past_init():
            return
        ready = self.view.images.get(member.image, ImageView()).phase == "ready"
        if not ready or self.view.volumes != "ready" or self.view.sandbox != "up":
            return
        if self.after(restart_due(known, self.now)) and self._may_try(member.name):
            self.instructions.append(StartContainer(member.name, known.next_attempt))

    def clean_up(self, status: Object) -> None:
        """After the end: let the sandbox go once the end is on record, then the object, then what the node keeps."""
        view = self.view
        if not self.stopped or view.sandbox == "busy":
            return
        ran = any(known.current or known.previous for known in self.memory.containers.values())
        on_record = view.gone or not ran or (view.saved and view.status == status)
        if view.sandbox in ("up", "down"):
            if on_record and self._may_try("/destroy"):
                self.instructions.append(DestroySandbox())
        elif view.volumes != "busy":
            if view.gone:
                self.instructions.append(Forget())
            elif self.removing and on_record and not view.deleting and self._may_try("/delete"):
                self.instructions.append(DeletePod())

    # The report.

    def report(self) -> Object:
        view = self.view
        if self.was_terminal and self.stopped and not self._has_news():
            return meta.status(self.pod)
        phase, reason, message = self._phase()
        containers = [self._container_view(m, phase) for m in self.members]
        return render(
            PodView(
                pod=self.pod,
                containers=containers,
                phase=phase,
                reason=reason,
                message=message,
                start_time=self.memory.start_time,
                sandbox_ready=view.sandbox == "up",
                address=view.address,
                host_address=view.host_address,
                base=view.status or meta.status(self.pod),
                now=self.now,
            )
        )

    def _has_news(self) -> bool:
        """Whether a container of a pod that is terminal in the API has not been reported as ended there."""
        reported = {
            e["name"] for e in container_statuses(meta.status(self.pod)) if "terminated" in (e.get("state") or {})
        }
        return any(self.memory.of(m.name).is_exited and m.name not in reported for m in self.members)

    def _phase(self) -> tuple[str, str, str]:
        """(phase, reason, message). A terminal phase is reported only once nothing runs any more, and then stays."""
        before = meta.status(self.pod)
        if self.was_terminal:
            return before["phase"], before.get("reason") or "", before.get("message") or ""
        if self.stopped and self.memory.expired:
            return "Failed", "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
        if self.stopped and self.outcome:
            return self.outcome, "", ""
        mains = [self.memory.of(m.name) for m in self.mains]
        if self.stopped and self.removing and any(m.current or m.previous for m in mains):
            ends = [m.current or m.previous for m in mains]
            return ("Succeeded" if all(e is not None and e.exit_code == 0 for e in ends) else "Failed"), "", ""
        initializing = not any(m.current or m.previous for m in mains)
        waits = any(m.current is None and m.previous is None for m in mains)
        return ("Pending" if initializing or waits else "Running"), "", ""

    def _container_view(self, member: Member, phase: str) -> ContainerView:
        known = self.memory.of(member.name)
        return ContainerView(
            member=member,
            current=known.current,
            previous=known.previous,
            restarts=known.restarts,
            waiting=self._waiting(member, phase),
            image_id=self.view.images.get(member.image, ImageView()).id or self._reported_image_id(member.name),
        )

    def _reported_image_id(self, name: str) -> str:
        for entry in container_statuses(self.view.status):
            if entry.get("name") == name:
                return str(entry.get("imageID") or "")
        return ""

    def _waiting(self, member: Member, phase: str) -> tuple[str, str] | None:
        known = self.memory.of(member.name)
        if known.is_running or self._is_done(member):
            return None
        if known.is_exited and (self.ending or phase in TERMINAL):
            return None
        due = restart_due(known, self.now)
        if (known.current or known.previous) is not None and due > self.now:
            delay = int(known.backoff)
            text = f"back-off {delay}s restarting failed container={member.name} pod={full_name(self.pod)}"
            return "CrashLoopBackOff", text if delay < 60 else text.replace(f"{delay}s", _minutes(delay), 1)
        if known.is_exited and member.name not in self.view.problems:
            return None
        if member.role is Role.MAIN and not self._initialized():
            return "PodInitializing", ""
        if member.role in ORDERED and not self._turn_of(member):
            return "PodInitializing", ""
        return self._obstacle(member)

    def _initialized(self) -> bool:
        return self._past_init() or all(
            self._is_done(m) or (m.role is Role.SIDECAR and self.is_running(m))
            for m in self.members
            if m.role in ORDERED
        )

    def _turn_of(self, member: Member) -> bool:
        for earlier in self.members:
            if earlier is member:
                return True
            if not (self._is_done(earlier) or (earlier.role is Role.SIDECAR and self.is_running(earlier))):
                return False
        return True

    def _obstacle(self, member: Member) -> tuple[str, str]:
        """Why the container doesn't run although its turn has come."""
        image = self.view.images.get(member.image, ImageView())
        if image.problem is not None and image.phase != "ready":
            if image.problem.reason != "ErrImagePull" or image.failed_at is None:
                return image.problem.reason, image.problem.message
            if not self.after(image.failed_at + PULL_ERROR_SHOWN):
                return "ErrImagePull", image.problem.message
            text = f'Back-off pulling image "{member.image}": ErrImagePull: {image.problem.message}'
            return "ImagePullBackOff", text
        if problem := self.view.problems.get(member.name):
            return problem.reason, problem.message
        for key in ("/volumes", "/sandbox"):
            if problem := self.view.problems.get(key):
                return problem.reason, problem.message
        return "ContainerCreating", image.progress if image.phase == "pulling" else ""


def _minutes(seconds: int) -> str:
    """A duration as Go writes it: 1m20s, 5m0s."""
    return f"{seconds // 60}m{seconds % 60}s"


def decide(memory: Memory, view: View) -> Decision:
    """The next step of a pod's life."""
    step = _Pass(memory, view)
    step.fold()
    step.check_deadline()
    if step.ending:
        step.stop()
    else:
        step.bring_up()
    status = step.report()
    if step.ending:
        step.clean_up(status)
    return Decision(
        memory=step.memory,
        status=status,
        instructions=tuple(step.instructions),
        notices=tuple(step.notices),
        wake_at=min(step.wakes, default=None),
    )
