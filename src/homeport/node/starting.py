"""Bringing a pod up: what is missing is made, what is due is started, hooks are run after it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from homeport.node.memory import leave, restart_due
from homeport.node.pod import ORDERED, Member, Role, images_of
from homeport.node.situation import Situation
from homeport.node.view import (
    CreateSandbox,
    DestroySandbox,
    ImageView,
    MountVolumes,
    PullImage,
    RunHook,
    StartContainer,
)


def bring_up(now: Situation) -> None:
    """Make what is missing, then start what is due."""
    # The sandbox first: it is made elsewhere, and takes longest.
    if now.view.sandbox == "none" and not now.view.starting and now.may_try("/sandbox"):
        _leave_old_sandbox(now)
        now.instructions.append(CreateSandbox())
    elif now.view.sandbox == "down" and not now.view.starting and now.may_try("/destroy"):
        now.note("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        now.instructions.append(DestroySandbox())
    if now.view.volumes == "none" and now.may_try("/volumes"):
        now.instructions.append(MountVolumes())
    wanted = {image: policy for m in _outstanding(now) for image, policy in images_of(now.pod, m).items()}
    for image, policy in wanted.items():
        state = now.view.images.get(image, ImageView())
        if state.phase == "none" and (state.problem is None or now.after(state.problem.retry_at)):
            now.instructions.append(PullImage(image, policy))
    for member in now.members:
        _follow_start(now, member)
    for member in _startable(now):
        _start(now, member)


def _leave_old_sandbox(now: Situation) -> None:
    for member in now.members:
        known = now.known(member)
        if known.current is not None and (member.role in ORDERED or now.wants_restart(member)):
            now.remember(member, leave(known))


def _outstanding(now: Situation) -> Iterable[Member]:
    return (m for m in now.members if not now.is_running(m) and not now.is_done(m))


def _follow_start(now: Situation, member: Member) -> None:
    """The ``postStart`` hook of a container that has just been started."""
    known = now.known(member)
    if known.is_running and known.post_start == "due" and known.current is not None:
        now.remember(member, replace(known, post_start="running"))
        now.instructions.append(RunHook(member.name, known.current.attempt, "postStart"))


def _startable(now: Situation) -> Iterable[Member]:
    """Init containers one after the other; sidecars as soon as their turn has come; the main ones together, but for
    those behind one whose ``postStart`` hook has not ended.

    A sidecar that ended is started again whatever the others do. Ephemeral containers wait for nobody: they are
    there to find out why the others don't come up.
    """
    yield from (m for m in now.members if m.role is Role.EPHEMERAL and not now.is_running(m))
    for member in now.members:
        if member.role is Role.EPHEMERAL or now.is_done(member):
            continue
        if not now.is_running(member):
            yield member
        if member.role in ORDERED:
            if not now.lets_others_go_on(member) and not now.past_init():
                return
        elif _holds_up(now, member):
            return


def _holds_up(now: Situation, member: Member) -> bool:
    """Whether main containers further behind wait for this one's hook. One whose start failed holds up nobody."""
    if not member.hook("postStart"):
        return False
    known = now.known(member)
    if known.is_running:
        return known.post_start in ("due", "running") and known.ending is None
    return member.name in now.view.starting or any(
        isinstance(i, StartContainer) and i.name == member.name for i in now.instructions
    )


def _start(now: Situation, member: Member) -> None:
    known = now.known(member)
    if now.is_done(member) or member.name in now.view.starting:
        return
    if member.role is Role.INIT and now.past_init():
        return
    ready = all(now.view.images.get(name, ImageView()).phase == "ready" for name in images_of(now.pod, member))
    if not ready or now.view.volumes != "ready" or now.view.sandbox != "up":
        return
    if now.after(restart_due(known, now.now)) and now.may_try(member.name):
        now.instructions.append(StartContainer(member.name, known.next_attempt))
