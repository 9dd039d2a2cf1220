"""What there is to report of a pod: its phase, and why its containers don't run. Pure."""

from __future__ import annotations

from datetime import timedelta

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.memory import Verdict, restart_due
from homeport.node.pod import ORDERED, TERMINAL, Member, Role, full_name, images_of, qos_class
from homeport.node.resizing import conditions, resources_of
from homeport.node.situation import Situation
from homeport.node.status import ContainerView, PodView, container_statuses, render
from homeport.node.view import ImageView

PULL_ERROR_SHOWN = timedelta(seconds=2)
"""How long ``ErrImagePull`` is shown before it turns into ``ImagePullBackOff``."""
DEADLINE_EXCEEDED = "Pod was active on the node longer than the specified deadline"


def report(now: Situation) -> Object:
    """The pod's status."""
    view = now.view
    if now.was_terminal and now.stopped and not _has_news(now):
        return meta.status(now.pod)
    phase, reason, message = _phase(now)
    verdict = now.memory.verdict
    if verdict is not None and verdict.refuses and phase == "Failed":
        # Nothing of it ever was here: there is nothing to say of containers, addresses and conditions.
        generation = meta.metadata(now.pod).get("generation")
        return {
            "phase": phase,
            "reason": reason,
            "message": message,
            "qosClass": qos_class(now.pod),
            "startTime": now.memory.start_time,
            **({"observedGeneration": generation} if generation else {}),
        }
    return render(
        PodView(
            pod=now.pod,
            containers=[_container_view(now, m, phase) for m in now.members],
            phase=phase,
            reason=reason,
            message=message,
            start_time=now.memory.start_time,
            sandbox_ready=_can_start_containers(now),
            address=view.address,
            host_address=view.host_address,
            disrupted=verdict.message if verdict is not None and verdict.disrupts else "",
            base=view.status or meta.status(now.pod),
            now=now.now,
            more_conditions=conditions(now),
        )
    )


def _can_start_containers(now: Situation) -> bool:
    """The kubelet makes a sandbox when the volumes are there; here both are made at the same time. What was ready once
    stays so with its sandbox, whatever the node has to look at again after a restart."""
    view = now.view
    if view.sandbox != "up":
        return False
    before = meta.find_condition(
        (view.status or meta.status(now.pod)).get("conditions") or (), "PodReadyToStartContainers"
    )
    return view.volumes == "ready" or bool(view.states) or (before or {}).get("status") == "True"


def _words(verdict: Verdict) -> str:
    return f"Pod was rejected: {verdict.message}" if verdict.refuses else verdict.message


def _has_news(now: Situation) -> bool:
    """Whether a container of a pod that is terminal in the API has not been reported as ended there."""
    reported = {e["name"] for e in container_statuses(meta.status(now.pod)) if "terminated" in (e.get("state") or {})}
    return any(now.known(m).is_exited and m.name not in reported for m in now.members)


def _phase(now: Situation) -> tuple[str, str, str]:
    """(phase, reason, message). A terminal phase is reported only once nothing runs any more, and then stays."""
    before = meta.status(now.pod)
    if now.was_terminal:
        return before["phase"], before.get("reason") or "", before.get("message") or ""
    if now.stopped and now.memory.verdict:
        return "Failed", now.memory.verdict.reason, _words(now.memory.verdict)
    if now.stopped and now.memory.expired:
        return "Failed", "DeadlineExceeded", DEADLINE_EXCEEDED
    if now.stopped and now.outcome:
        return now.outcome, "", ""
    mains = [now.known(m) for m in now.mains]
    if now.stopped and now.removing and any(m.current or m.previous for m in mains):
        ends = [m.current or m.previous for m in mains]
        return ("Succeeded" if all(e is not None and e.exit_code == 0 for e in ends) else "Failed"), "", ""
    waits = any(
        known.previous is None and (known.current is None or (known.is_running and not now.is_up(member)))
        for member, known in zip(now.mains, mains, strict=True)
    )
    return ("Pending" if waits else "Running"), "", ""


def _container_view(now: Situation, member: Member, phase: str) -> ContainerView:
    known = now.known(member)
    return ContainerView(
        member=member,
        current=known.current,
        previous=known.previous,
        restarts=known.restarts,
        waiting=_waiting(now, member, phase),
        started=now.is_started(member),
        ready=now.is_ready(member),
        resources=known.resources if known.resources is not None else resources_of(member),
        image=known.image or member.image,
        image_id=now.view.images.get(member.image, ImageView()).id or _reported_image_id(now, member.name),
    )


def _reported_image_id(now: Situation, name: str) -> str:
    for entry in container_statuses(now.view.status):
        if entry.get("name") == name:
            return str(entry.get("imageID") or "")
    return ""


def _waiting(now: Situation, member: Member, phase: str) -> tuple[str, str] | None:
    known = now.known(member)
    if known.is_running:
        # As the kubelet has it, a container runs once its postStart hook has ended.
        if known.post_start == "failed":
            return "PostStartHookError", "PostStartHook failed"
        return None if now.is_up(member) or now.ending else ("ContainerCreating", "")
    if now.is_done(member):
        return None
    if known.is_exited and (now.ending or phase in TERMINAL):
        return None
    due = restart_due(known, now.now)
    if (known.current or known.previous) is not None and due > now.now:
        delay = int(known.backoff)
        text = f"back-off {_minutes(delay)} restarting failed container={member.name} pod={full_name(now.pod)}"
        return "CrashLoopBackOff", text
    if known.is_exited and member.name not in now.view.problems:
        return None
    if member.role is Role.MAIN and not now.initialized():
        return "PodInitializing", ""
    if member.role in ORDERED and not now.has_turn(member):
        return "PodInitializing", ""
    return _obstacle(now, member)


def _obstacle(now: Situation, member: Member) -> tuple[str, str]:
    """Why the container doesn't run although its turn has come."""
    progress = ""
    for name in images_of(now.pod, member):
        image = now.view.images.get(name, ImageView())
        if image.problem is not None and image.phase != "ready":
            if image.problem.reason != "ErrImagePull" or image.failed_at is None:
                return image.problem.reason, image.problem.message
            if not now.after(image.failed_at + PULL_ERROR_SHOWN):
                return "ErrImagePull", image.problem.message
            return "ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {image.problem.message}'
        if image.phase == "pulling":
            progress = progress or image.progress
    if problem := now.view.problems.get(member.name):
        return problem.reason, problem.message
    for key in ("/volumes", "/sandbox"):
        if problem := now.view.problems.get(key):
            return problem.reason, problem.message
    return "ContainerCreating", progress


def _minutes(seconds: int) -> str:
    """A duration as Go writes it: 10s, 1m20s, 5m0s."""
    return f"{seconds}s" if seconds < 60 else f"{seconds // 60}m{seconds % 60}s"
