"""How a container of the engine is reported, from what the engine says of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from homeport.node.cri import moment_key
from homeport.node.runtime import ContainerState

_MESSAGE_BYTES = 4096
_NOT_FOUND, _CANNOT_START = 127, 128
_NEVER = "0001-01-01T00:00:00Z"


def is_not_found(text: str) -> bool:
    """Whether that is how an engine says that there is no such command."""
    lowered = text.lower()
    return "executable file not found" in lowered or ("no such file or directory" in lowered and "exec" in lowered)


def code_of(text: str) -> int:
    """The shell's exit code for a command that the engine could not start, by what it says."""
    return _NOT_FOUND if is_not_found(text) else _CANNOT_START


def has_run(described: Mapping[str, Any]) -> bool:
    return bool(_started(described["State"]))


def _started(found: Mapping[str, Any]) -> str:
    """Podman does not note the start of what has ended before its start was through, but the end."""
    return _moment(found["StartedAt"]) or _moment(found.get("FinishedAt") or _NEVER)


def running(state: ContainerState, described: Mapping[str, Any]) -> ContainerState:
    found = described["State"]
    return replace(state, pid=int(found.get("Pid") or 0), started_at=_started(found))


def ended(state: ContainerState, described: Mapping[str, Any], message: str) -> ContainerState:
    """`message` is what the container left behind; without one, what the engine says."""
    found = described["State"]
    code = int(found["ExitCode"])
    reason = "OOMKilled" if found.get("OOMKilled") else "Error" if code else "Completed"
    started, finished = _started(found), _moment(found["FinishedAt"])
    return replace(
        state,
        phase="exited",
        started_at=started,
        # Podman notes the start of what ends at once after its end.
        finished_at=max(started, finished, key=lambda text: moment_key(text.encode())),
        exit_code=code,
        reason=reason,
        message=message or str(found.get("Error") or ""),
    )


def lost(state: ContainerState) -> ContainerState:
    """The engine does not know the container any more: somebody has removed it."""
    text = "the engine's container has been removed"
    return replace(state, phase="exited", exit_code=137, reason="ContainerStatusUnknown", message=text)


def _moment(text: str) -> str:
    return "" if text == _NEVER else text


def termination_message(path: str) -> str:
    """The end of what the container left there."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _MESSAGE_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
