"""Ending containers: hooks, signals, grace periods and their order. Pure.

The rules are the kubelet's (``killContainer``): the ``preStop`` hook runs first, within the grace period; SIGTERM
follows, for sidecars once the main containers and the sidecars behind them have ended; whoever is left when the period
is over gets SIGKILL, but nobody earlier than two seconds after a SIGTERM that had to wait for something.
"""

from __future__ import annotations

import signal
from datetime import timedelta

from msgspec.structs import replace

from homeport.node.memory import ContainerMemory, Ending, EndReason
from homeport.node.pod import Member, Role, grace_seconds, stop_signal
from homeport.node.situation import Situation
from homeport.node.view import RunHook, Signal

GONE_GRACE = 1.0
"""Seconds that the processes of a pod get whose object was removed without waiting (``--force``)."""
LATE_GRACE = 2.0
"""Seconds that a container gets at least after its SIGTERM if its hook, or others, have used the grace period up."""


def signal_step(container: str) -> str:
    """The key under which problems with a container's signals are kept."""
    return f"/signal/{container}"


def stop_pod(now: Situation) -> None:
    """All containers are to end, main containers before sidecars, sidecars in reverse order."""
    running = [m for m in now.members if now.is_running(m)]
    # What the node is short of can't wait for a pod to end politely.
    grace = 0.0 if now.memory.verdict else GONE_GRACE if now.view.gone else grace_seconds(now.pod)
    for member in running:
        ask(now, member, "", grace, f"Stopping container {member.name}")
    first = [m for m in running if m.role is not Role.SIDECAR] or running[-1:]
    for member in running:
        _advance(now, member, has_turn=member in first)


def stop_unhealthy(now: Situation) -> None:
    """Containers whose probes or ``postStart`` hook have failed are to end; what follows is the restart policy's."""
    for member in now.members:
        known = now.known(member)
        if not known.is_running:
            continue
        health = now.health(member)
        if known.ending is None and known.post_start == "failed":
            ask(now, member, "hook", grace_seconds(now.pod), "FailedPostStartHook")
        elif known.ending is None and health is not None and health.failed:
            kind = health.failed
            policy = member.spec.get("restartPolicy") or now.policy
            text = f"Container {member.name} failed {kind} probe"
            if policy != "Never":
                text += ", will be restarted"
            ask(now, member, kind, _probe_grace(now, member, kind), text)
        elif known.ending is None and _is_changed(member, known):
            text = f"Container {member.name} definition changed, will be restarted"
            ask(now, member, "changed", grace_seconds(now.pod), text)
        if now.known(member).ending is not None:
            _advance(now, member, has_turn=True)


def _is_changed(member: Member, known: ContainerMemory) -> bool:
    """Whether the pod names another image by now: the one part of a container that may change in place."""
    return bool(known.image) and known.image != member.image and member.role in (Role.MAIN, Role.SIDECAR)


def _probe_grace(now: Situation, member: Member, kind: str) -> float:
    own = (member.spec.get(f"{kind}Probe") or {}).get("terminationGracePeriodSeconds")
    return float(own) if own is not None else grace_seconds(now.pod)


def ask(now: Situation, member: Member, reason: EndReason, grace: float, text: str) -> None:
    """Begin a container's end, or bring forward one that has begun: only a shorter grace period counts."""
    known = now.known(member)
    ending = known.ending
    if ending is None:
        now.note("Normal", "Killing", text, member.name)
        ending = Ending(reason=reason, kill_at=now.now + timedelta(seconds=grace), grace=grace)
    elif grace < ending.grace:
        earlier = min(ending.kill_at, now.now + timedelta(seconds=grace))
        ending = replace(ending, kill_at=earlier, grace=grace)
    if not reason and ending.reason:
        ending = replace(ending, reason="")  # the pod's end goes before what was to follow
    if ending is not known.ending:
        now.remember(member, replace(known, ending=ending))


def _advance(now: Situation, member: Member, *, has_turn: bool) -> None:
    """The next step of an end that has begun."""
    known = now.known(member)
    ending, current = known.ending, known.current
    assert ending is not None
    assert current is not None
    if ending.sent == signal.SIGKILL or not now.may_try(signal_step(member.name)):
        return
    if not ending.sent and ending.grace > 0:
        waits = False
        if member.hook("preStop"):
            ending = _follow_hook(now, member, ending)
            waits = ending.hook == "running"
        if (waits or not has_turn) and not now.after(ending.kill_at):
            now.remember(member, replace(known, ending=ending))
            return
        now.instructions.append(Signal(member.name, current.attempt, stop_signal(member)))
        # As it was meant to be if nothing had come in between; else at least a moment.
        late = now.now + timedelta(seconds=min(LATE_GRACE, ending.grace) if not ending.hook else LATE_GRACE)
        ending = replace(ending, sent=signal.SIGTERM, kill_at=max(ending.kill_at, late))
    if now.after(ending.kill_at):
        now.instructions.append(Signal(member.name, current.attempt, signal.SIGKILL))
        ending = replace(ending, sent=signal.SIGKILL)
    now.remember(member, replace(known, ending=ending))


def _follow_hook(now: Situation, member: Member, ending: Ending) -> Ending:
    current = now.known(member).current
    assert current is not None
    if not ending.hook:
        now.instructions.append(RunHook(member.name, current.attempt, "preStop"))
        return replace(ending, hook="running")
    result = now.view.hooks.get((member.name, current.attempt, "preStop"))
    if ending.hook == "running" and result is not None:
        if result:
            now.note("Warning", "FailedPreStopHook", f"PreStopHook failed: {result}", member.name)
        return replace(ending, hook="done")
    return ending
