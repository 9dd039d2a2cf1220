"""Which runtime the pods of a node have: what a user asks for, or the best that the machine can do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from homeport.files import write_atomically
from homeport.kube.errors import Permanent
from homeport.node import enginesocket, isolating
from homeport.node.runtime import Runtime
from homeport.settings import NodeSettings, ServiceSettings

AUTO, PROCESSES, DOCKER, PLAIN = "auto", "processes", "docker", "plain"
KINDS = (AUTO, PROCESSES, DOCKER, PLAIN)
ALIASES = {"sandbox": PROCESSES}
"""Other names that ``--runtime`` takes."""
_RECORD = "runtime.json"


class PodRuntime(Runtime, Protocol):
    """A runtime that a command can end, too, when no platform runs."""

    async def shut_down(self, grace: float) -> None:
        """End every pod, within `grace` seconds if it listens to SIGTERM, and the node's helpers."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the choice depends on."""

    namespaces: str
    """Why processes can't have namespaces of their own; empty if they can."""
    engine: str
    """The socket of an engine on this very machine; empty if there is none."""
    lacking: str = ""
    """Why there is none."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A runtime and how it came to be chosen, as ``runtime.json`` has it."""

    runtime: str
    service_cidr: str
    socket: str = ""
    """The engine's."""
    asked: bool = False
    """Whether somebody asked for this one."""
    why: str = ""
    """Why it is not the best that there is: what is in the way of processes in namespaces."""

    @property
    def words(self) -> str:
        """What pods are, in a few words."""
        what = {
            PROCESSES: "processes in namespaces",
            DOCKER: f"containers of the engine at {self.socket}",
            PLAIN: "plain processes that share the machine's files",
        }
        return what.get(self.runtime, self.runtime)

    @property
    def line(self) -> str:
        """The same with the reason, for whoever did not ask for it."""
        if self.asked or not self.why:
            return self.words
        return f"{self.words}, as namespaces are refused ({self.why}): homeport doctor says what to do"


def look(environ: Mapping[str, str] = os.environ) -> Machine:
    """What this machine can do. An engine is asked for only where it is needed: that takes a moment."""
    refused = isolating.problem()
    if not refused:
        return Machine("", "")
    try:
        return Machine(refused, enginesocket.find_shared(environ))
    except enginesocket.NoEngine as error:
        return Machine(refused, "", str(error))


def best(machine: Machine) -> str:
    """The best runtime that the machine has."""
    if not machine.namespaces:
        return PROCESSES
    return DOCKER if machine.engine else PLAIN


def choose(
    directory: Path,
    settings: NodeSettings,
    *,
    service_cidr: str,
    environ: Mapping[str, str] = os.environ,
    look: Callable[[Mapping[str, str]], Machine] = look,
) -> tuple[PodRuntime, Choice]:
    """The runtime for a platform that starts, by the node's `directory`. One that has pods stays unless another is
    asked for. Raises Permanent if that is, and if the machine has none."""
    former = recorded_choice(directory)
    chosen = _wanted(former if _has_pods(directory) else None, settings.runtime, service_cidr, environ, look)
    if former.runtime != chosen.runtime and _has_pods(directory):
        raise Permanent(
            f"pods of the runtime {former.runtime} are left on {directory.parent}: end them (homeport down) and "
            f"delete them (kubectl delete pod ...) before --runtime {settings.runtime}, or choose another --data-dir"
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(directory / _RECORD, json.dumps(asdict(chosen)))
    return _make(directory, chosen), chosen


def _wanted(
    former: Choice | None,
    kind: str,
    service_cidr: str,
    environ: Mapping[str, str],
    look: Callable[[Mapping[str, str]], Machine],
) -> Choice:
    """`former` is the choice that pods depend on."""
    if kind == DOCKER:
        try:
            return Choice(DOCKER, service_cidr, enginesocket.find(environ), asked=True)
        except enginesocket.NoEngine as error:
            raise Permanent(str(error)) from error
    if kind != AUTO:
        return Choice(kind, service_cidr, asked=True)
    if former is not None:
        return Choice(former.runtime, service_cidr, former.socket, asked=former.asked, why=former.why)
    machine = look(environ)
    return Choice(best(machine), service_cidr, machine.engine, why=machine.namespaces)


def recorded(directory: Path) -> PodRuntime:
    """The runtime of the platform that ran on `directory` last."""
    return _make(directory, recorded_choice(directory))


def _make(directory: Path, choice: Choice) -> PodRuntime:
    if choice.runtime == DOCKER:
        from homeport.node.engine.runtime import EngineRuntime

        # Volumes lie beside the node's directory, and what containers wrote there is deleted by the engine's root.
        volumes = directory.parent / "volumes"
        return EngineRuntime(choice.socket, directory, service_cidr=choice.service_cidr, volumes=volumes)
    if choice.runtime == PLAIN:
        from homeport.node.plain.runtime import PlainRuntime

        return PlainRuntime(directory, service_cidr=choice.service_cidr)
    from homeport.node.process import ProcessRuntime

    return ProcessRuntime(directory, service_cidr=choice.service_cidr, hidden=(directory.parent,))


def recorded_choice(directory: Path) -> Choice:
    """What was chosen for the platform that ran on `directory` last; the default if none did."""
    default: dict[str, Any] = {"runtime": PROCESSES, "service_cidr": str(ServiceSettings().network)}
    try:
        known = json.loads((directory / _RECORD).read_text())
        return Choice(**default | {name: value for name, value in known.items() if name in Choice.__slots__})
    except (FileNotFoundError, ValueError, AttributeError):
        return Choice(**default)


def _has_pods(directory: Path) -> bool:
    pods = directory / "pods"
    return pods.is_dir() and any(pods.iterdir())
