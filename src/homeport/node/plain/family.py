"""Processes of containers that have no pid namespace to be found by: descendants, and what they are marked with."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable

MARK = "HOMEPORT_CONTAINER"
"""A variable that processes inherit: ``<node's key>/<pod's uid>/<container>-<attempt>``."""


def children() -> dict[int, list[int]]:
    """Who is whose parent on this machine."""
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue  # it has ended
            found.setdefault(int(fields[1]), []).append(int(name))
    return found


def below(roots: Iterable[int], parents: dict[int, list[int]]) -> list[int]:
    """All that descend from those."""
    found = list(roots)
    for known in found:
        found += parents.get(known, ())
    return found


def mark_of(pid: int) -> str:
    """The mark that a process has; empty if it has none or is not to be seen."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            for entry in file.read().split(b"\0"):
                name, _, value = entry.partition(b"=")
                if name == MARK.encode():
                    return value.decode(errors="replace")
    except OSError:
        pass  # another user's, or it has ended
    return ""


def session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def marked(prefix: str) -> list[int]:
    """The processes whose mark begins so, this user's at least."""
    own = os.getpid()
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if pid != own and mark_of(pid).startswith(prefix) and not is_zombie(pid)]
