"""Where control groups can be made on this machine. Decided from what the kernel says, without making any.

Version 1 has a hierarchy for each controller (or a few together), version 2 one for all; machines have either or both,
with each controller in one place. A process is in one group of each hierarchy, its *own*: below that one may make
groups where its files are writable, which is so for root, and for a user to whom the group was delegated.

Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1 of the kernel.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from homeport.node.sandbox import files

WANTED = frozenset({"cpu", "cpuacct", "memory", "pids"})
"""The controllers that pods are limited or measured by. Version 2 counts processor time without one."""
_DELEGATED = ("user.delegate", "trusted.delegate")
"""Extended attributes by which systemd marks a group that is its processes' to divide."""


class Mounted(NamedTuple):
    """A hierarchy as it is mounted."""

    version: int
    path: str
    root: str
    """Which of its groups `path` shows: ``/``, or another one inside a container."""
    controllers: frozenset[str]
    """Of version 1; in version 2 each group says which it has."""


class Place(NamedTuple):
    """A group below which others can be made."""

    version: int
    directory: str
    controllers: frozenset[str]
    is_own: bool
    """Processes are in it that have to make room: in version 2 a group limits its children or has processes of its
    own, except for the root."""


def mounted(mountinfo: str) -> list[Mounted]:
    """The hierarchies in the text of ``/proc/self/mountinfo``; of several mounts of one, the first that shows most."""
    found: list[Mounted] = []
    for line in mountinfo.splitlines():
        head, separator, tail = line.partition(" - ")
        columns, kinds = head.split(), tail.split()
        if not separator or len(columns) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2":
            found.append(Mounted(2, _plain(columns[4]), _plain(columns[3]), frozenset()))
        elif kinds[0] == "cgroup":
            # "name=systemd" and such are hierarchies without a controller.
            names = WANTED.intersection(kinds[2].split(","))
            if names:
                found.append(Mounted(1, _plain(columns[4]), _plain(columns[3]), names))
    best: dict[object, Mounted] = {}
    for entry in found:
        key = entry.controllers or entry.version
        if key not in best or len(entry.root) < len(best[key].root):
            best[key] = entry
    return list(best.values())


def mounts(mountinfo: str) -> list[str]:
    """Where hierarchies are mounted, those without a wanted controller as well."""
    lines = (line.partition(" - ") for line in mountinfo.splitlines())
    return [_plain(head.split()[4]) for head, _, tail in lines if tail.split(" ", 1)[0] in ("cgroup", "cgroup2")]


def _plain(path: str) -> str:
    """A path without mountinfo's escapes."""
    return path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def own_groups(text: str) -> dict[str, str]:
    """The groups in the text of ``/proc/PID/cgroup``: controller -> path; version 2's under the empty name."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        for name in names.split(","):
            found[name] = path
    return found


def directory_of(mount: Mounted, path: str) -> str | None:
    """Where the group `path` is seen; None if it is outside of what is mounted."""
    if mount.root == "/" or path == mount.root or path.startswith(f"{mount.root}/"):
        below = path if mount.root == "/" else path[len(mount.root) :]
        # A group outside of the cgroup namespace is written as "/..".
        if "/.." in below:
            return None
        return os.path.normpath(f"{mount.path}/{below}")
    return None


def places(mountinfo: str, own: str, *, is_root: bool) -> list[Place]:
    """Where groups may be made, for each hierarchy that has a wanted controller. `own` is the text of
    ``/proc/self/cgroup``; `is_root` says whether this is root of the whole machine."""
    groups = own_groups(own)
    found: list[Place] = []
    for mount in mounted(mountinfo):
        if mount.version == 1:
            name = next(iter(sorted(mount.controllers)))
            directory = directory_of(mount, groups.get(name, "/"))
            if directory is not None and os.path.isdir(directory):
                found.append(Place(1, directory, mount.controllers, False))
            continue
        place = _unified(mount, groups.get("", "/"), is_root)
        if place is not None:
            found.append(place)
    return found


def _unified(mount: Mounted, path: str, is_root: bool) -> Place | None:
    directory = directory_of(mount, path)
    if directory is None or not os.path.isdir(directory):
        return None
    whole = not os.path.exists(os.path.join(mount.path, "cgroup.type"))
    # Root makes pods' groups beside systemd's slices, as the kubelet does, unless it was given a group to divide: a
    # session's own group has processes of others, which keep it from being divided.
    if is_root and whole and not is_delegated(directory):
        directory = mount.path
    at_root = whole and directory == mount.path
    controllers = WANTED.intersection(files.words(os.path.join(directory, "cgroup.controllers")))
    if not controllers:
        return None
    return Place(2, directory, controllers, not at_root)


def is_delegated(directory: str) -> bool:
    """Whether systemd has given this group away."""
    for name in _DELEGATED:
        try:
            if os.getxattr(directory, name) == b"1":
                return True
        except OSError:
            continue  # not marked
    return False


def processes(directory: str) -> list[int]:
    """Who is in this very group, as the ids that are seen from here; 0 for those that are not seen. Raises OSError."""
    return [int(line) for line in files.read(os.path.join(directory, "cgroup.procs")).split()]


def strangers(directory: str, starter: int = 0) -> list[int]:
    """Who is in the group without being a relative of this process, nor of `starter`, for whom it works. Raises
    OSError."""
    family = _ancestors(os.getpid()) | (_ancestors(starter) if starter else set())
    listed = processes(directory)
    found = [pid for pid in listed if pid not in family and family.isdisjoint(_ancestors(pid) - {1})]
    # Of one that has ended meanwhile no ancestors are known.
    return [pid for pid in found if pid == 0 or os.path.exists(f"/proc/{pid}")]


def _ancestors(pid: int) -> set[int]:
    """A process and those that it descends from."""
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            pid = int(files.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
        except OSError:
            break  # it has ended
    return found
