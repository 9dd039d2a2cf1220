"""The words of the machine: what it is told (:class:`View`) and what it answers (:class:`Decision`). Values only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from homeport.kube.meta import Object
from homeport.node.memory import Memory, Verdict
from homeport.node.runtime import ContainerState

# Instructions.


class PullImage(msgspec.Struct, frozen=True):
    image: str
    policy: str


class MountVolumes(msgspec.Struct, frozen=True):
    pass


class CreateSandbox(msgspec.Struct, frozen=True):
    pass


class StartContainer(msgspec.Struct, frozen=True):
    name: str
    attempt: int


class Signal(msgspec.Struct, frozen=True):
    name: str
    attempt: int
    signal: int


class RunHook(msgspec.Struct, frozen=True):
    name: str
    attempt: int
    kind: Literal["postStart", "preStop"]


class Resize(msgspec.Struct, frozen=True):
    """Let the containers that run have the resources that the pod says."""


class DestroySandbox(msgspec.Struct, frozen=True):
    for_good: bool = False
    """Whether the pod gets no other."""


class DeletePod(msgspec.Struct, frozen=True):
    """Everything has ended and is reported: remove the object (grace period 0)."""


class Forget(msgspec.Struct, frozen=True):
    """The object is gone: remove what the node keeps of the pod. Nothing comes after it."""


Instruction: TypeAlias = (
    PullImage
    | MountVolumes
    | CreateSandbox
    | StartContainer
    | RunHook
    | Resize
    | Signal
    | DestroySandbox
    | DeletePod
    | Forget
)


# What is known.


class Problem(msgspec.Struct, frozen=True):
    """Why a step failed. Until `retry_at` it isn't tried again."""

    reason: str
    message: str
    retry_at: datetime


class ImageView(msgspec.Struct, frozen=True):
    phase: Literal["none", "pulling", "ready"] = "none"
    id: str = ""
    progress: str = ""
    problem: Problem | None = None
    failed_at: datetime | None = None
    """When the last try failed."""


class Health(msgspec.Struct, frozen=True):
    """What a container's probes say of one attempt."""

    attempt: int
    started: bool
    ready: bool
    failed: Literal["", "liveness", "startup"] = ""
    """The probe whose failure is to end the attempt."""


class View(msgspec.Struct, frozen=True):
    """Everything outside the machine's own memory that a decision depends on."""

    pod: Object
    now: datetime
    gone: bool = False
    """The object is no longer in the API."""
    sandbox: Literal["none", "busy", "up", "down"] = "none"
    """``down``: its supervisor has ended. ``busy``: it is being made or destroyed."""
    address: str = ""
    states: Mapping[str, ContainerState] = msgspec.field(default_factory=dict)
    """The newest attempt of each container, as the sandbox tells."""
    health: Mapping[str, Health] = msgspec.field(default_factory=dict)
    """By container: what the probes say, as far as it has some."""
    hooks: Mapping[tuple[str, int, str], str] = msgspec.field(default_factory=dict)
    """Hooks that have ended, by container, attempt and kind: why they failed, or nothing."""
    starting: frozenset[str] = frozenset()
    """Containers whose start is being carried out."""
    volumes: Literal["none", "busy", "ready"] = "none"
    images: Mapping[str, ImageView] = msgspec.field(default_factory=dict)
    problems: Mapping[str, Problem] = msgspec.field(default_factory=dict)
    """By container name; those of the whole pod under ``volumes`` and ``sandbox`` with a leading slash, those of a
    container's signals under :func:`homeport.node.endings.signal_step`."""
    verdict: Verdict | None = None
    """What the node has decided about the pod."""
    allocatable: Mapping[str, str] = msgspec.field(default_factory=dict)
    """What the node can give to pods; empty if nobody knows."""
    resizing: bool = False
    """A Resize is being carried out."""
    lacking: str = ""
    """What the other pods leave too little of for the resources that this one asks for; empty: it can have them."""
    resized: Mapping[str, tuple[int, Object]] = msgspec.field(default_factory=dict)
    """What the last Resize has given, by container: to which attempt, and which resources."""
    deleting: bool = False
    """A DeletePod is being carried out."""
    status: Object = msgspec.field(default_factory=dict)
    """The status of the last decision, at first the API's."""
    saved: bool = False
    """The API server has acknowledged that status."""
    host_address: str = ""


class Notice(msgspec.Struct, frozen=True):
    """An event about the pod."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    container: str = ""


class Decision(msgspec.Struct, frozen=True):
    memory: Memory
    status: Object
    instructions: tuple[Instruction, ...] = ()
    notices: tuple[Notice, ...] = ()
    wake_at: datetime | None = None
    """When to decide again if nothing happens before."""
