"""Which sandboxes exist on this node, their addresses and their supervisors: one small file each.

Written by supervisors, read by the platform (to adopt) and by a new zygote (which addresses are taken, and where the
namespaces are that it must join).
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import NamedTuple

from homeport.node.sandbox import processes, record


class Entry(NamedTuple):
    uid: str
    directory: str
    address: str
    pid: int
    start_time: str
    namespace: int
    """The supervisor's descriptor of the node's network namespace, under /proc/<pid>/fd."""
    has_memory: bool = False
    """Whether the pod has volumes in memory."""


class Registry:
    __slots__ = ("_directory",)

    def __init__(self, directory: str) -> None:
        """Raises OSError if the directory can't be made."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._directory = directory

    def _path(self, uid: str) -> str:
        return os.path.join(self._directory, uid.replace("/", "_"))

    def write(self, entry: Entry) -> None:
        record.write(self._path(entry.uid), entry._asdict())

    def delete(self, uid: str) -> None:
        # And what a supervisor has left that was killed while it wrote.
        for path in (self._path(uid), f"{self._path(uid)}{record.SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def entries(self) -> list[Entry]:
        """Every sandbox that was made and not destroyed. What can't be read is skipped: it was never complete."""
        found = []
        for name in sorted(os.listdir(self._directory)):
            if name.endswith(record.SUFFIX):
                continue
            try:
                with open(os.path.join(self._directory, name), encoding="utf-8") as file:
                    entry = json.load(file)
                    # Another version may have written more.
                    found.append(Entry(**{field: entry[field] for field in Entry._fields if field in entry}))
            except (OSError, ValueError, TypeError):
                continue
        return found


def helper_path(directory: str) -> str:
    """Where pid and start time of the network helper are."""
    return os.path.join(directory, "netd.json")


def recorded_helper(directory: str) -> tuple[int, str] | None:
    """Pid and start time of the network helper that was started last."""
    try:
        with open(helper_path(directory), encoding="utf-8") as file:
            pid, start_time = json.load(file)
            return int(pid), str(start_time)
    except (OSError, ValueError, TypeError):
        return None


def survivor(directory: str) -> int | None:
    """A process of an earlier zygote whose namespaces are still in use."""
    known = recorded_helper(directory)
    entries = Registry(os.path.join(directory, "sandboxes")).entries()
    candidates = ([known] if known else []) + [(entry.pid, entry.start_time) for entry in entries]
    for pid, start_time in candidates:
        if processes.is_alive(pid, start_time):
            return pid
    return None
