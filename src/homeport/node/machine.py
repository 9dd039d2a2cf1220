"""The pod's life as one pure function: what is known -> what to do next, and what to report.

The agent calls :func:`decide` after every piece of news. An instruction is repeated by no later decision while the
view says that it is being carried out, so instructions are safe to carry out at once and at the same time. The rules
(order of containers, restart policy and back-off, probes, hooks, grace periods, phases) are those of the kubelet; the
parts of a decision are in :mod:`homeport.node.starting`, :mod:`homeport.node.endings` and
:mod:`homeport.node.reporting`.
"""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.endings import stop_pod, stop_unhealthy
from homeport.node.memory import Ending, Memory, lose, observe, restart_due
from homeport.node.pod import Member, full_name
from homeport.node.reporting import DEADLINE_EXCEEDED, report
from homeport.node.resizing import granted, resize
from homeport.node.situation import Situation
from homeport.node.starting import bring_up
from homeport.node.view import Decision, DeletePod, DestroySandbox, Forget, View

_LOST = "The container could not be located when the pod's sandbox was lost"


def decide(memory: Memory, view: View) -> Decision:
    """The next step of a pod's life."""
    now = Situation(memory, view)
    _fold(now)
    _check_deadline(now)
    _hear_verdict(now)
    if now.ending:
        stop_pod(now)
    else:
        resize(now)
        stop_unhealthy(now)
        bring_up(now)
    status = report(now)
    if now.ending:
        _clean_up(now, status)
    return Decision(
        memory=now.memory,
        status=status,
        instructions=tuple(now.instructions),
        notices=tuple(now.notices),
        wake_at=min(now.wakes, default=None),
    )


def _fold(now: Situation) -> None:
    """Bring the memory up to date with the news."""
    if not now.memory.start_time:
        started = meta.status(now.pod).get("startTime") or meta.timestamp(now.now)
        now.memory = replace(now.memory, start_time=started)
    for member in now.members:
        before = now.known(member)
        after = observe(before, now.view.states.get(member.name), has_hook=bool(member.hook("postStart")))
        if now.view.sandbox in ("none", "down"):
            after = lose(after, now.now, _LOST)
        if after.next_attempt != before.next_attempt:
            after = replace(after, image=member.image, resources=granted(member, now.memory))
        elif after.image and after.image != member.image and after.is_exited and now.wants_restart(member):
            # Another image has no part in the failures of the one before.
            after = replace(after, image=member.image, ending=Ending(now.now, 0.0, "changed"))
        if after is not before:
            now.remember(member, after)
            # An attempt may have ended before anybody saw it run.
            if after.is_exited and (not before.is_exited or after.next_attempt != before.next_attempt):
                _note_exit(now, member)
        _fold_hook(now, member)


def _note_exit(now: Situation, member: Member) -> None:
    if not now.removing and now.wants_restart(member) and restart_due(now.known(member), now.now) > now.now:
        text = f"Back-off restarting failed container {member.name} in pod {full_name(now.pod)}"
        now.note("Warning", "BackOff", text, member.name)


def _fold_hook(now: Situation, member: Member) -> None:
    """How a ``postStart`` hook has ended."""
    known = now.known(member)
    if not known.is_running or known.post_start != "running" or known.current is None:
        return
    result = now.view.hooks.get((member.name, known.current.attempt, "postStart"))
    if result is None:
        return
    if result:
        now.note("Warning", "FailedPostStartHook", f"PostStartHook failed: {result}", member.name)
    now.remember(member, replace(known, post_start="failed" if result else "done"))


def _check_deadline(now: Situation) -> None:
    limit = meta.spec(now.pod).get("activeDeadlineSeconds")
    if limit is None or now.memory.expired or now.was_terminal:
        return
    due = meta.parse_time(now.memory.start_time) + timedelta(seconds=float(limit) + now.memory.skew)
    if not now.outcome and now.after(due):
        now.memory = replace(now.memory, expired=True)
        now.note("Normal", "DeadlineExceeded", DEADLINE_EXCEEDED)


def _hear_verdict(now: Situation) -> None:
    """The node doesn't take the pod, or no longer. One that has come to its own end keeps that."""
    verdict = now.view.verdict
    if verdict is None or now.memory.verdict is not None or now.was_terminal or now.removing or now.outcome:
        return
    now.memory = replace(now.memory, verdict=verdict)
    now.note("Warning", verdict.reason, verdict.message)


def _clean_up(now: Situation, status: Object) -> None:
    """After the end: let the sandbox go once the end is on record, then the object, then what the node keeps."""
    view = now.view
    if not now.stopped or view.sandbox == "busy":
        return
    ran = any(known.current or known.previous for known in now.memory.containers.values())
    on_record = view.gone or not ran or (view.saved and view.status == status)
    if view.sandbox in ("up", "down"):
        if on_record and now.may_try("/destroy"):
            now.instructions.append(DestroySandbox(for_good=True))
    elif view.volumes != "busy":
        if view.gone:
            now.instructions.append(Forget())
        elif now.removing and on_record and not view.deleting and now.may_try("/delete"):
            now.instructions.append(DeletePod())
