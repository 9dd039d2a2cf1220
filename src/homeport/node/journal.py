"""A pod's memory on disk. It has to survive the platform, not the machine: after a reboot nothing runs any more."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.memory import Memory, recall, resume

_log = logging.getLogger(__name__)
_NAME = "memory.json"


def matters(memory: Memory) -> bool:
    """Whether the sandbox and the pod's status could not tell as much."""
    return (
        memory.expired
        or memory.verdict is not None
        or bool(memory.devices)
        or any(
            known.restarts or known.previous is not None or known.ending is not None or known.post_start
            for known in memory.containers.values()
        )
    )


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


class Journal:
    """What one pod has gone through, kept in its `directory`."""

    def __init__(self, directory: Path, pod: Object) -> None:
        self._directory = directory
        self._title = f"{meta.namespace(pod)}/{meta.name(pod)}"
        self._noted: Memory | None = None
        self._is_forgetful = False

    def recalled(self, pod: Object) -> Memory:
        """What is known of the pod when its worker begins: from the disk, or else from its status."""
        memory = load(self._directory)
        return resume(memory) if memory is not None else recall(pod)

    def has_kept(self, memory: Memory) -> bool:
        """Whether this very memory is on disk."""
        return memory is self._noted

    def keep(self, memory: Memory) -> None:
        """Put the memory on disk if losing it would matter: the sandbox and the pod's status tell the rest."""
        if memory is self._noted or not matters(memory) or not self._directory.is_dir():
            return
        try:
            save(self._directory, memory)
        except OSError as error:
            # A full disk, most likely. The pod goes on, and the next decision tries again.
            if not self._is_forgetful:
                _log.warning("what pod %s has gone through can't be written: %s", self._title, error)
            self._is_forgetful = True
            return
        self._noted, self._is_forgetful = memory, False
