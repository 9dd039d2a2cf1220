"""Which runtime the pods of a node have."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from homeport.files import write_atomically
from homeport.kube.errors import Permanent
from homeport.node import enginesocket
from homeport.node.runtime import Runtime
from homeport.settings import NodeSettings, ServiceSettings

PROCESSES, DOCKER = "processes", "docker"
KINDS = (PROCESSES, DOCKER)
_RECORD = "runtime.json"


class PodRuntime(Runtime, Protocol):
    """A runtime that a command can end, too, when no platform runs."""

    async def shut_down(self, grace: float) -> None:
        """End every pod, within `grace` seconds if it listens to SIGTERM, and the node's helpers."""


def choose(
    directory: Path, settings: NodeSettings, *, service_cidr: str, environ: Mapping[str, str] = os.environ
) -> PodRuntime:
    """The runtime for a platform that starts, by the node's `directory`. Raises Permanent if another one has pods."""
    wanted = {"runtime": settings.runtime, "service_cidr": service_cidr}
    if settings.runtime == DOCKER:
        try:
            wanted["socket"] = enginesocket.find(environ)
        except enginesocket.NoEngine as error:
            raise Permanent(str(error)) from error
    former = _recorded(directory)
    if former["runtime"] != wanted["runtime"] and _has_pods(directory):
        raise Permanent(
            f"pods of the runtime {former['runtime']} are left on {directory.parent}: end them (homeport down) and "
            f"delete them (kubectl delete pod ...) before --runtime {settings.runtime}, or choose another --data-dir"
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(directory / _RECORD, json.dumps(wanted))
    return _make(directory, wanted)


def recorded(directory: Path) -> PodRuntime:
    """The runtime of the platform that ran on `directory` last."""
    return _make(directory, _recorded(directory))


def _make(directory: Path, choice: Mapping[str, str]) -> PodRuntime:
    if choice["runtime"] == DOCKER:
        from homeport.node.engine.runtime import EngineRuntime

        # Volumes lie beside the node's directory, and what containers wrote there is deleted by the engine's root.
        volumes = directory.parent / "volumes"
        return EngineRuntime(choice["socket"], directory, service_cidr=choice["service_cidr"], volumes=volumes)
    from homeport.node.process import ProcessRuntime

    return ProcessRuntime(directory, service_cidr=choice["service_cidr"], hidden=(directory.parent,))


def _recorded(directory: Path) -> dict[str, str]:
    default = {"runtime": PROCESSES, "service_cidr": str(ServiceSettings().network)}
    try:
        return default | dict[str, str](json.loads((directory / _RECORD).read_text()))
    except (FileNotFoundError, ValueError):
        return default


def _has_pods(directory: Path) -> bool:
    pods = directory / "pods"
    return pods.is_dir() and any(pods.iterdir())
