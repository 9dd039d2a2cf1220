"""A container's memory where no cgroup limits it: looked at every now and then, and ended when it has too much.

The kernel gives no notice of a process's size, so this is a timer: the further a container is from its limit, the later
it is looked at again.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from homeport.node.sandbox import processes, unix
from homeport.node.sandbox.loop import Loop, Timer

_PAGE = os.sysconf("SC_PAGE_SIZE")
_GROWTH = 1 << 30
"""Bytes a second that a container is thought to grow by at most, as it does that fills memory in one thread."""
_SOONEST, _LATEST = 0.1, 3.0


class Watch:
    """Calls `exceeded` once when the processes that descend from `pid` have more than `limit` bytes."""

    __slots__ = ("_exceeded", "_loop", "_pid", "_timer", "limit")

    def __init__(self, loop: Loop, pid: int, limit: int, exceeded: Callable[[], None]) -> None:
        self._loop = loop
        self._pid = pid
        self.limit = limit
        self._exceeded = exceeded
        self._timer: Timer = loop.after(_SOONEST, self._look)

    def _look(self) -> None:
        used = memory_of(self._pid, self.limit)
        if used > self.limit:
            self._exceeded()
            return
        wait = min(max((self.limit - used) / _GROWTH, _SOONEST), _LATEST)
        self._timer = self._loop.after(wait, self._look)

    def cancel(self) -> None:
        self._timer.cancel()


def memory_of(pid: int, limit: int) -> int:
    """What a process and its descendants have in memory, in bytes: at first what each of them has, which counts some of
    it more than once; if that is beyond `limit`, what they have together and can't be had from a file again.
    Elsewhere than on Linux always the first."""
    if not processes.IS_LINUX:
        return unix.resident(pid)
    found = list(family(pid))
    resident = sum(_resident(each) for each in found)
    return resident if resident <= limit else sum(_own(each) for each in found)


def family(pid: int) -> list[str]:
    """The directories of a process and of all that descend from it, in the /proc that the process itself has: that of a
    container has no others. Whoever loses a parent there becomes a child of the first."""
    proc = f"/proc/{pid}/root/proc"
    children: dict[int, list[int]] = {}
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            first = next(int(line.split()[-1]) for line in file if line.startswith("NSpid:"))
        for name in os.listdir(proc):
            if name.isdigit():
                children.setdefault(_parent(f"{proc}/{name}"), []).append(int(name))
    except (OSError, StopIteration):
        return []  # it has ended
    found = [first]
    for known in found:
        found += children.get(known, ())
    return [f"{proc}/{each}" for each in found]


def _parent(process: str) -> int:
    try:
        with open(f"{process}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return -1  # it has ended


def _resident(process: str) -> int:
    try:
        with open(f"{process}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0  # it has ended


def _own(process: str) -> int:
    """Memory that is no file's, the share of what is shared."""
    try:
        with open(f"{process}/smaps_rollup", encoding="ascii") as file:
            sizes = [line.split() for line in file if line.startswith(("Pss_Anon:", "Pss_Shmem:"))]
    except PermissionError:
        return _resident(process)
    except OSError:
        return 0  # it has ended
    return sum(int(size[1]) << 10 for size in sizes)
