"""A pod's memory on disk. It has to survive the platform, not the machine: after a reboot nothing runs any more."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from homeport.node.memory import Memory

_log = logging.getLogger(__name__)
_NAME = "memory.json"


def matters(memory: Memory) -> bool:
    """Whether the sandbox and the pod's status could not tell as much."""
    restarted = any(known.restarts or known.previous is not None for known in memory.containers.values())
    return restarted or memory.kill_at is not None or memory.expired


def save(directory: Path, memory: Memory) -> None:
    temporary = directory / f".{_NAME}"
    temporary.write_bytes(msgspec.json.encode(memory))
    temporary.rename(directory / _NAME)


def load(directory: Path) -> Memory | None:
    """None if there is none, or none that can be read."""
    path = directory / _NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Memory)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        _log.warning("%s can't be read, going by the pod's status: %s", path, error)
        return None
