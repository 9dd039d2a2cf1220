"""The memory that this process itself may use, where somebody has limited it: a container, a batch system, systemd.

What the machine has is then not what the node has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from homeport.node.sandbox import hierarchies


class Confinement(msgspec.Struct, frozen=True):
    """The nearest limit of memory above this process."""

    limit: int
    """Bytes."""
    directory: str
    """The cgroup whose limit it is."""
    version: int

    def used(self) -> int:
        """Bytes that count against it and can't be given back at once. Raises OSError, ValueError or KeyError."""
        place = Path(self.directory)
        lines = (line.split() for line in (place / "memory.stat").read_text().splitlines())
        counted = {line[0]: line[1] for line in lines if len(line) == 2}
        if self.version == 1:
            charged, files = "memory.usage_in_bytes", "total_inactive_file"
        else:
            charged, files = "memory.current", "inactive_file"
        return max(0, int((place / charged).read_text()) - int(counted[files]))


def find(memory: int, mountinfo: str | None = None, own: str | None = None) -> Confinement | None:
    """The tightest limit that is below `memory`, what the machine has. The texts are those of ``/proc/self/mountinfo``
    and ``/proc/self/cgroup``."""
    try:
        mounts = hierarchies.mounted(Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo)
        groups = hierarchies.own_groups(Path("/proc/self/cgroup").read_text() if own is None else own)
    except OSError:
        return None  # no Linux
    tightest: Confinement | None = None
    for mount in mounts:
        if mount.version == 1 and "memory" not in mount.controllers:
            continue
        directory = hierarchies.directory_of(mount, groups.get("memory" if mount.version == 1 else "", "/"))
        for place in _upwards(directory, mount.path):
            limit = _limit(place, mount.version)
            if 0 < limit < (tightest.limit if tightest is not None else memory):
                tightest = Confinement(limit, place, mount.version)
    return tightest


def _upwards(directory: str | None, root: str) -> Iterator[str]:
    """A group and those above it, as far as they are seen."""
    while directory is not None and (directory == root or directory.startswith(f"{root}/")):
        yield directory
        if directory == root:
            return
        directory = os.path.dirname(directory)


def _limit(directory: str, version: int) -> int:
    try:
        text = Path(directory, "memory.limit_in_bytes" if version == 1 else "memory.max").read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0
