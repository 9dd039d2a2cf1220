"""What a helper asks the system for where that is not Linux: waiting for a process, and facts about processes.

Where there are no pidfds there is ``kqueue``: a queue that is told of one process's end is a descriptor that is
readable from then on, as a pidfd is. Where there is no ``/proc`` there is ``ps``, which POSIX has: the columns asked
for are those that macOS's and Linux's both know.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import NamedTuple

_ENVIRONMENT = ("-E", "e")
"""How ``ps`` is asked for what processes find in their environment: as macOS's wants it, and as others do."""


class Process(NamedTuple):
    """As a line of ``ps`` tells of it."""

    pid: int
    parent: int
    resident: int
    """Bytes in memory, with what is shared."""
    cpu: int
    """Nanoseconds of processor time."""
    is_zombie: bool


def _ps(*arguments: str) -> list[str]:
    """Its lines; none if it finds nobody. Raises OSError if it is not there."""
    import subprocess  # 600 KB that the fork server on Linux, where nobody calls this, can do without

    done = subprocess.run(
        ("ps", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/bin:/usr/bin", "LC_ALL": "C"},
        check=False,
    )
    return done.stdout.decode(errors="surrogateescape").splitlines()


def start_time(pid: int) -> str:
    """When the process started, to the second: with the pid it names one process, as ids come again after tens of
    thousands only. Raises ProcessLookupError if there is none, or if it is only waiting to be reaped."""
    for line in _ps("-p", str(pid), "-o", "stat=", "-o", "lstart="):
        state, *words = line.split()
        if not state.startswith("Z"):
            return " ".join(words)
    raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), str(pid))


def processes() -> list[Process]:
    """All that run on this machine."""
    columns = ("pid", "ppid", "rss", "time", "stat")
    found = []
    for line in _ps("-A", *(word for name in columns for word in ("-o", f"{name}="))):
        pid, parent, resident, cpu, state = line.split()[:5]
        is_zombie = state.startswith("Z")
        found.append(Process(int(pid), int(parent), int(resident) << 10, _nanoseconds(cpu), is_zombie))
    return found


def _nanoseconds(text: str) -> int:
    """Of ``[days-]hours:minutes:seconds``; macOS leaves hours out, and has hundredths."""
    days, _, rest = text.rpartition("-")
    seconds = 0.0
    for part in rest.split(":"):
        seconds = seconds * 60 + float(part)
    return int((seconds + int(days or 0) * 86400) * 1e9)


def marks(name: str) -> dict[int, str]:
    """The value of an environment variable that has no white space, by the processes that began with it; of those of
    other users, and of the system's own programs, macOS does not tell."""
    found = {}
    sought = f"{name}="
    asked = (_ps(option, "-A", "-ww", "-o", "pid=", "-o", "command=") for option in _ENVIRONMENT)
    for line in next((lines for lines in asked if lines), ()):
        if sought in line:
            pid, *words = line.split()
            value = next((word for word in reversed(words) if word.startswith(sought)), None)
            if value is not None:
                found[int(pid)] = value.removeprefix(sought)
    return found


def open_process(pid: int) -> int:
    """A descriptor that is readable once the process has ended. Raises ProcessLookupError if it has, as the system says
    of children, too, that are waiting to be reaped."""
    if sys.platform == "linux":
        raise OSError(errno.ENOSYS, "Linux has pidfds")
    queue = select.kqueue()
    try:
        event = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        queue.control([event], 0)
        return os.dup(queue.fileno())
    finally:
        queue.close()


def open_child(pid: int) -> int:
    """The same of a child that nobody has reaped, whether it has ended or not."""
    try:
        return open_process(pid)
    except ProcessLookupError:
        receive, send = os.pipe()
        os.close(send)
        return receive


def parent_of(pid: int) -> int | None:
    """None if there is no such process."""
    return next((each.parent for each in processes() if each.pid == pid), None)


def family(pid: int, everybody: list[Process]) -> list[Process]:
    """A process and all that descend from it."""
    by_parent: dict[int, list[Process]] = {}
    for each in everybody:
        by_parent.setdefault(each.parent, []).append(each)
    found = [each for each in everybody if each.pid == pid]
    for known in found:
        found += by_parent.get(known.pid, ())
    return found


def resident(pid: int) -> int:
    """Bytes that a process and its descendants have in memory; what they share counts for each."""
    return sum(each.resident for each in family(pid, processes()))
