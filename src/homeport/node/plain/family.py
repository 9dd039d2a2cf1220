"""Processes of containers that have no pid namespace to be found by: descendants, and what they are marked with."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable

from homeport.node.sandbox import processes, unix
from homeport.node.sandbox.loop import Loop

MARK = "HOMEPORT_CONTAINER"
"""A variable that processes inherit: ``<node's key>/<pod's uid>/<container>-<attempt>``."""


def children() -> dict[int, list[int]]:
    """Who is whose parent on this machine."""
    found: dict[int, list[int]] = {}
    if not processes.IS_LINUX:
        for each in unix.processes():
            found.setdefault(each.parent, []).append(each.pid)
        return found
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


def marked(prefix: str, sessions: Iterable[int] = ()) -> list[int]:
    """The processes whose mark begins so, this user's at least, and those of these sessions."""
    own, led = os.getpid(), frozenset(sessions)
    if processes.IS_LINUX:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [
            pid
            for pid in pids
            if pid != own and (mark_of(pid).startswith(prefix) or session_of(pid) in led) and not is_zombie(pid)
        ]
    marks = unix.marks(MARK)
    return [
        each.pid
        for each in unix.processes()
        if each.pid != own
        and not each.is_zombie
        and (marks.get(each.pid, "").startswith(prefix) or session_of(each.pid) in led)
    ]


def end(find: Callable[[], Iterable[int]], seconds: float) -> None:
    """Kill what is found, again and again as it may have started more meanwhile, and wait for its end; not for longer
    than that."""
    until = time.monotonic() + seconds
    while left := list(find()):
        kill(left)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                descriptor = processes.watch(pid)
                try:
                    ended = select.poll()
                    ended.register(descriptor, select.POLLIN)
                    ended.poll(max(0.0, until - time.monotonic()) * 1000)
                finally:
                    os.close(descriptor)
        if time.monotonic() >= until:
            return


class Ending:
    """The same beside other work, without an end: `done` is called when nothing is found any more. For systems where
    nobody is told of the end of processes that have lost their parents."""

    def __init__(self, loop: Loop, find: Callable[[], list[int]], done: Callable[[], None]) -> None:
        self._loop = loop
        self._find = find
        self._done = done
        self._waiting: set[int] = set()
        self._look()

    def _look(self) -> None:
        while not self._waiting:
            left = self._find()
            if not left:
                self._done()
                return
            kill(left)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    self._wait(processes.watch(pid))

    def _wait(self, descriptor: int) -> None:
        def ended(_events: int) -> None:
            self._loop.forget(descriptor)
            os.close(descriptor)
            self._waiting.discard(descriptor)
            self._look()

        self._waiting.add(descriptor)
        self._loop.watch(descriptor, ended)
