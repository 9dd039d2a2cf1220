"""Files of pods that are an engine's containers, which may be anybody's: what only the engine's root can do with them.

Nothing is touched that is not in one of the node's own places, or in a pod's memory.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Any

from homeport.node.sandbox import groups, mounts, trees, volumefiles


class EngineFiles:
    """`places` are the directories, with a slash at the end, that are the node's."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = tuple(places)
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, object]]] = {
            "remove": self._remove,
            "copy": self._copy,
            "give": self._give,
            "give-file": self._give_file,
            "measure": self._measure,
            "read": self._read,
            "below": self._below,
        }
        """What can be asked for, each with the answer's fields. They raise OSError."""

    def _remove(self, message: dict[str, Any]) -> dict[str, object]:
        trees.remove(self._checked(message["path"]))
        return {}

    def _copy(self, message: dict[str, Any]) -> dict[str, object]:
        trees.copy(self._checked(message["source"]), self._checked(message["target"]))
        return {}

    def _give(self, message: dict[str, Any]) -> dict[str, object]:
        groups.give(
            self._checked(message["path"]),
            int(message["group"]),
            read_only=message["read_only"],
            only_if_root_differs=message["only_if_root_differs"],
        )
        return {}

    def _give_file(self, message: dict[str, Any]) -> dict[str, object]:
        groups.give_file(self._checked(message["path"]), int(message["user"]))
        return {}

    def _measure(self, message: dict[str, Any]) -> dict[str, object]:
        return {"sizes": [trees.measure(path) for path in message["paths"]]}

    def _read(self, message: dict[str, Any]) -> dict[str, object]:
        """A file of a volume; no content if there is none."""
        try:
            return {"content": volumefiles.read(self._volume(message), message["path"]).hex()}
        except FileNotFoundError:
            return {}

    def _below(self, message: dict[str, Any]) -> dict[str, object]:
        return {"path": below(self._volume(message), message["path"])}

    def _volume(self, message: dict[str, Any]) -> str:
        """Where a volume is seen from here: with a process, where that one has it."""
        path = self._checked(message["volume"])
        return f"/proc/{int(message['pid'])}/root{path}" if message.get("pid") else path

    def _checked(self, path: str) -> str:
        if not path.startswith(self._places) or ".." in path.split("/"):
            raise OSError(f"{path} is none of the node's")
        return path


def below(volume: str, path: str) -> str:
    """Where in a volume a path leads to, relative to its top; made as a directory if nothing is there. Raises
    OSError."""
    top = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = mounts.inside(top, path)
        try:
            return os.path.relpath(_path_of(found), _path_of(top))
        finally:
            os.close(found)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise OSError(errno.EXDEV, f"subPath {path} leads out of the volume {volume}") from None
    finally:
        os.close(top)


def _path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")
