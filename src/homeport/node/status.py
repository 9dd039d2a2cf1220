"""A pod's status as the kubelet writes it, from what is known about its containers. Pure.

Sources of the rules: the Kubernetes API reference (PodStatus, ContainerStatus) and the kubelet's behaviour as
documented under "Pod Lifecycle".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.pod import ORDERED, TERMINAL, Member, Role, qos_class
from homeport.node.runtime import ContainerState

LONGEST_MESSAGE = 4096
"""Bytes of a container's termination message."""
_LONGEST_OF_POD = 12 << 10
"""Bytes of the messages of all containers of a pod together: each gets an equal share."""


class ContainerView(msgspec.Struct, frozen=True):
    """What there is to report about one container."""

    member: Member
    current: ContainerState | None
    """The newest attempt; None before the first."""
    previous: ContainerState | None
    """The attempt before, ended."""
    restarts: int
    waiting: tuple[str, str] | None
    """(reason, message) while the container does not run and may still, or is not reported as running yet; None
    otherwise."""
    started: bool
    ready: bool
    image: str
    image_id: str
    resources: Object | None = None
    """Those in force; None if nobody knows."""

    @property
    def is_running(self) -> bool:
        return self.waiting is None and self.current is not None and self.current.phase == "running"


class PodView(msgspec.Struct, frozen=True):
    """What there is to report about a pod."""

    pod: Object
    containers: Sequence[ContainerView]
    phase: str
    reason: str
    message: str
    start_time: str
    sandbox_ready: bool
    address: str
    host_address: str
    base: Object
    """The status before: conditions that did not change keep their ``lastTransitionTime``."""
    now: datetime
    more_conditions: Sequence[Object] = ()
    """Conditions that a pod has only at times."""
    disrupted: str = ""
    """Why the node ended the pod, if that was for others' sake."""


def container_id(pod_uid: str, name: str, attempt: int) -> str:
    """A stable id of one attempt, in the form ``<runtime>://<64 hex digits>``."""
    return "homeport://" + hashlib.sha256(f"{pod_uid}/{name}/{attempt}".encode()).hexdigest()


def render(view: PodView) -> Object:
    """The whole ``status`` of the pod."""
    status: Object = {
        "phase": view.phase,
        "conditions": _conditions(view),
        "qosClass": view.base.get("qosClass") or qos_class(view.pod),
        "startTime": view.start_time,
    }
    if generation := meta.metadata(view.pod).get("generation"):
        status["observedGeneration"] = generation
    if view.reason:
        status["reason"] = view.reason
    if view.message:
        status["message"] = view.message
    if view.host_address:
        status["hostIP"] = view.host_address
        status["hostIPs"] = [{"ip": view.host_address}]
    # Like the kubelet's: a pod that has ended keeps the address it had.
    address = view.address or view.base.get("podIP") or ""
    if address:
        status["podIP"] = address
        status["podIPs"] = [{"ip": address}]
    init = [c for c in view.containers if c.member.role in ORDERED]
    ephemeral = [c for c in view.containers if c.member.role is Role.EPHEMERAL]
    main = sorted((c for c in view.containers if c.member.role is Role.MAIN), key=lambda c: c.member.name)
    uid = meta.uid(view.pod)
    most = min(LONGEST_MESSAGE, _LONGEST_OF_POD // max(len(init) + len(main), 1))
    if init:
        status["initContainerStatuses"] = [_container_status(uid, c, most) for c in init]
    status["containerStatuses"] = [_container_status(uid, c, most) for c in main]
    if ephemeral:
        status["ephemeralContainerStatuses"] = [_container_status(uid, c, most) for c in ephemeral]
    return status


def container_statuses(status: Mapping[str, Any]) -> Iterator[Object]:
    """What a pod's status says about its containers, whatever their role."""
    for field in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        yield from status.get(field) or ()


def terminated(uid: str, state: ContainerState, most: int = LONGEST_MESSAGE) -> Object:
    """``state.terminated``, its message cut to `most` bytes."""
    body: Object = {
        "exitCode": state.exit_code,
        "reason": state.reason or ("Error" if state.exit_code else "Completed"),
    }
    if state.signal:
        body["signal"] = state.signal
    if state.message:
        body["message"] = _cut(state.message, most)
    for field, value in (("startedAt", state.started_at), ("finishedAt", state.finished_at)):
        if value:
            body[field] = seconds(value)
    body["containerID"] = container_id(uid, state.name, state.attempt)
    return body


def _cut(text: str, most: int) -> str:
    data = text.encode(errors="replace")
    return text if len(data) <= most else data[:most].decode(errors="ignore")


def seconds(moment: str) -> str:
    """An RFC 3339 time as ``metav1.Time`` has it: UTC, whole seconds."""
    return moment if len(moment) == 20 and moment[-1] == "Z" else meta.timestamp(meta.parse_time(moment))


def _container_status(uid: str, view: ContainerView, most: int) -> Object:
    current, previous = view.current, view.previous
    state: Object
    if view.is_running and current is not None:
        state = {"running": {"startedAt": seconds(current.started_at)}}
    elif view.waiting is not None:
        reason, message = view.waiting
        state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        # While it waits for its restart the attempt that ended last is the last state.
        previous = current if current is not None and current.phase == "exited" else previous
    elif current is not None:
        state = {"terminated": terminated(uid, current, most)}
    else:
        state = {"waiting": {"reason": "ContainerCreating"}}
    result: Object = {
        "name": view.member.name,
        "image": view.image,
        "imageID": view.image_id,
        "ready": view.ready,
        "restartCount": view.restarts,
        "started": view.started,
        "state": state,
        "lastState": {"terminated": terminated(uid, previous, most)} if previous is not None else {},
    }
    newest = current or previous
    if newest is not None:
        result["containerID"] = container_id(uid, newest.name, newest.attempt)
        if view.resources is not None:
            result["resources"] = view.resources
            if requests := view.resources.get("requests"):
                result["allocatedResources"] = requests
        if newest.ids:
            user, *groups = newest.ids
            result["user"] = {"linux": {"uid": user, "gid": groups[0], "supplementalGroups": groups}}
        if mounts := [_mounted(mount) for mount in view.member.spec.get("volumeMounts") or ()]:
            result["volumeMounts"] = mounts
    return result


def _mounted(mount: Mapping[str, Any]) -> Object:
    found: Object = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        # What is mounted below is read-only in any case, but only who asked for it is told so.
        asked = mount.get("recursiveReadOnly") in ("Enabled", "IfPossible")
        found |= {"readOnly": True, "recursiveReadOnly": "Enabled" if asked else "Disabled"}
    return found


def _conditions(view: PodView) -> list[Object]:
    init = [c for c in view.containers if c.member.role in ORDERED]
    lasting = [c for c in view.containers if c.member.role in (Role.SIDECAR, Role.MAIN)]
    unready = [c.member.name for c in lasting if not c.ready]
    past_init = any(c.current is not None for c in view.containers if c.member.role is Role.MAIN)
    waits = [c for c in init if not (c.started if c.member.role is Role.SIDECAR else c.ready)]
    uninitialized = [] if past_init else [c.member.name for c in waits]
    ended = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(view.phase, "")

    initialized = _condition("Initialized", not uninitialized)
    if view.phase == "Succeeded":
        initialized = _condition("Initialized", True, "PodCompleted")
    elif uninitialized:
        text = f"containers with incomplete status: [{' '.join(uninitialized)}]"
        initialized = _condition("Initialized", False, "ContainersNotInitialized", text)

    if ended:
        containers_ready = _condition("ContainersReady", False, ended)
    elif unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        containers_ready = _condition("ContainersReady", False, "ContainersNotReady", text)
    else:
        containers_ready = _condition("ContainersReady", True)

    ready = containers_ready | {"type": "Ready"}
    gates = [gate.get("conditionType") for gate in meta.spec(view.pod).get("readinessGates") or ()]
    own = meta.status(view.pod).get("conditions") or ()
    open_gates = [gate for gate in gates if (meta.find_condition(own, str(gate)) or {}).get("status") != "True"]
    if ready["status"] == "True" and open_gates:
        texts = [f'the status of pod readiness gate "{gate}" is not "True"' for gate in open_gates]
        ready = _condition("Ready", False, "ReadinessGatesNotReady", ", ".join(texts))

    wanted = [
        _condition("PodReadyToStartContainers", view.sandbox_ready and view.phase not in TERMINAL),
        initialized,
        ready,
        containers_ready,
        _condition("PodScheduled", True),
    ]
    if view.disrupted:
        wanted.append(_condition("DisruptionTarget", True, "TerminationByKubelet", view.disrupted))
    wanted += view.more_conditions
    before = view.base.get("conditions") or own
    generation = meta.metadata(view.pod).get("generation")
    if generation:
        wanted = [{**condition, "observedGeneration": generation} for condition in wanted]
    return [meta.with_transition(condition, before, view.now) for condition in wanted]


def _condition(type: str, value: bool, reason: str = "", message: str = "") -> Object:
    condition: Object = {"type": type, "status": "True" if value else "False"}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition
