"""What all pods of a node share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from homeport.client.client import Client
from homeport.control.events import EventRecorder
from homeport.kube.errors import HomeportError
from homeport.kube.meta import Object
from homeport.node.environment import ImageConfig
from homeport.node.following import Following
from homeport.node.links import ServiceLinks
from homeport.node.memory import Verdict
from homeport.node.nvml import Gpu
from homeport.node.pressure import DEFAULT_THRESHOLDS
from homeport.node.runtime import ImageRoot, Runtime
from homeport.node.security import DEFAULT_POLICY, Policy


class Image(msgspec.Struct, frozen=True):
    """An image that containers can be started from."""

    id: str
    """What ``imageID`` shows: a name and the digest of what is in it."""
    root: ImageRoot
    config: ImageConfig


class ImageError(HomeportError):
    """An image can't be had. `reason` is the container's waiting reason; the text says what to do."""

    def __init__(self, message: str, reason: str = "ErrImagePull") -> None:
        super().__init__(message)
        self.reason = reason


class ImageSource(Protocol):
    """Where images come from."""

    def ready(self, reference: str) -> Image | None:
        """The image if it can be used at once; None if it has to be built first. Raises ImageError."""

    async def pull(self, reference: str, progress: Callable[[str], None]) -> Image:
        """Make the image ready; `progress` hears what is going on. Raises ImageError."""


async def _at_once() -> None:
    return


class Host(msgspec.Struct, eq=False):
    client: Client
    runtime: Runtime
    images: ImageSource
    recorder: EventRecorder
    following: Following
    pods: Path
    """The directory of the pods' directories, each named by its pod's uid."""
    node_name: str
    now: Callable[[], datetime]
    address: str = "127.0.0.1"
    thresholds: Mapping[str, str] = msgspec.field(default_factory=lambda: DEFAULT_THRESHOLDS)
    """How much has to be left of what the machine has, before pods are ended for the rest."""
    allocatable: Mapping[str, str] = msgspec.field(default_factory=dict)
    links: ServiceLinks = msgspec.field(default_factory=ServiceLinks)
    """By which variables containers find services."""
    admit: Callable[[Object], Verdict | Mapping[str, tuple[str, ...]]] = lambda pod: {}
    """Why the node doesn't take a pod that is new to it; or, if it does, the GPUs that its containers get."""
    lacking: Callable[[Object], str] = lambda pod: ""
    """What the other pods leave too little of for a pod that is here; empty: there is enough."""
    gpus: tuple[Gpu, ...] = ()
    """Those of the machine."""
    capacity: Mapping[str, str] = msgspec.field(default_factory=dict)
    seccomp: Path = Path("/nonexistent")
    """The directory of the seccomp profiles that pods name (``Localhost``)."""
    policy: Policy = DEFAULT_POLICY
    """What pods may have."""
    log_bytes: int = 10 << 20
    """Bytes of a container's log file before it makes room for a new one (the kubelet's ``containerLogMaxSize``)."""
    log_files: int = 5
    """How many files of a container's log stay (``containerLogMaxFiles``)."""
    most_pids: int = 0
    """How many processes and threads a pod may have; 0: as many as it likes."""
    api: tuple[str, int] | None = None
    """Address and port of the API server as pods reach it; None if they can't."""
    own_api: tuple[str, int] | None = None
    """The same for pods on the machine's own network."""
    settled: Callable[[], Awaitable[None]] = _at_once
    """Wait until what network policies say holds for every pod that has an address."""
    status_slots: asyncio.Semaphore = msgspec.field(default_factory=lambda: asyncio.Semaphore(32))
    """How many status writes are on their way at a time."""
    create_slots: asyncio.Semaphore = msgspec.field(default_factory=lambda: asyncio.Semaphore(16))
    """How many sandboxes are being made at a time: a burst of pods starts in order instead of all very late."""
