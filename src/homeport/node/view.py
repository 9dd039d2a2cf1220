"""The words of the machine: what it is told (:class:`View`) and what it answers (:class:`Decision`). Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from homeport.kube.meta import Object
from homeport.node.memory import Memory
from homeport.node.runtime import ContainerState

# Instructions.


@dataclass(frozen=True, slots=True)
class PullImage:
    image: str
    policy: str


@dataclass(frozen=True, slots=True)
class MountVolumes:
    pass


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    pass


@dataclass(frozen=True, slots=True)
class StartContainer:
    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Signal:
    name: str
    attempt: int
    signal: int


@dataclass(frozen=True, slots=True)
class DestroySandbox:
    pass


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Everything has ended and is reported: remove the object (grace period 0)."""


@dataclass(frozen=True, slots=True)
class Forget:
    """The object is gone: remove what the node keeps of the pod. Nothing comes after it."""


Instruction: TypeAlias = (
    PullImage | MountVolumes | CreateSandbox | StartContainer | Signal | DestroySandbox | DeletePod | Forget
)


# What is known.


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a step failed. Until `retry_at` it isn't tried again."""

    reason: str
    message: str
    retry_at: datetime


@dataclass(frozen=True, slots=True)
class ImageView:
    phase: Literal["none", "pulling", "ready"] = "none"
    id: str = ""
    progress: str = ""
    problem: Problem | None = None
    failed_at: datetime | None = None
    """When the last try failed."""


@dataclass(frozen=True, slots=True)
class View:
    """Everything outside the machine's own memory that a decision depends on."""

    pod: Object
    now: datetime
    gone: bool = False
    """The object is no longer in the API."""
    sandbox: Literal["none", "busy", "up", "down"] = "none"
    """``down``: its supervisor has ended. ``busy``: it is being made or destroyed."""
    address: str = ""
    states: Mapping[str, ContainerState] = field(default_factory=dict)
    """The newest attempt of each container, as the sandbox tells."""
    starting: frozenset[str] = frozenset()
    """Containers whose start is being carried out."""
    volumes: Literal["none", "busy", "ready"] = "none"
    images: Mapping[str, ImageView] = field(default_factory=dict)
    problems: Mapping[str, Problem] = field(default_factory=dict)
    """By container name; those of the whole pod under ``volumes`` and ``sandbox`` with a leading slash."""
    deleting: bool = False
    """A DeletePod is being carried out."""
    status: Object = field(default_factory=dict)
    """The status of the last decision, at first the API's."""
    saved: bool = False
    """The API server has acknowledged that status."""
    host_address: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """An event about the pod."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    container: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    memory: Memory
    status: Object
    instructions: tuple[Instruction, ...] = ()
    notices: tuple[Notice, ...] = ()
    wake_at: datetime | None = None
    """When to decide again if nothing happens before."""
