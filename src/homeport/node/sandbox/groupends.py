"""The end of control groups: of the processes in them, and then of the groups."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Iterator

from homeport.node.sandbox import hierarchies

_LEAVING_SECONDS = 2.0
"""How long an ended process may still count as one of its group's."""


def below(path: str) -> Iterator[str]:
    """A group's groups and itself, the deepest first."""
    with os.scandir(path) as entries:
        inner = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for group in inner:
        yield from below(group)
    yield path


def remove(path: str) -> None:
    """Remove a group without processes. Raises OSError if there are some."""
    deadline = time.monotonic() + _LEAVING_SECONDS
    while True:
        try:
            os.rmdir(path)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or hierarchies.processes(path) or time.monotonic() > deadline:
                raise
            # Its last process has ended, but has not left the group yet.
            _await_news(path, deadline)


def _await_news(path: str, deadline: float) -> None:
    """Return when the group may have become empty, or it is too late."""
    with contextlib.suppress(FileNotFoundError), open(os.path.join(path, "cgroup.events"), encoding="ascii") as events:
        waiting = select.poll()
        waiting.register(events, select.POLLPRI)
        # What changes after it was read is told by the poll.
        if "populated 1" in events.read():
            waiting.poll(max(deadline - time.monotonic(), 0.0) * 1000)
        return
    # Version 1 gives no notice but by the hierarchy's release agent, one program for the whole machine which is not
    # ours to set: a look each millisecond.
    time.sleep(0.001)


def end(path: str) -> None:
    """End every process in the group at `path` and below it, wait for that, and remove it. No error if there is none.
    Raises OSError, TimeoutError among them if a process doesn't end."""
    try:
        groups = list(below(path))
    except FileNotFoundError:
        return
    for group in groups:
        deadline = time.monotonic() + _LEAVING_SECONDS * 10
        while pids := [pid for pid in hierarchies.processes(group) if pid]:
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"process {pids[0]} doesn't end", group)
            _kill(group, pids)
        remove(group)


def end_all(paths: list[str]) -> None:
    """The same for several; what is wrong with one keeps none of the others. Raises the last OSError."""
    failure: OSError | None = None
    for path in paths:
        try:
            end(path)
        except OSError as error:
            failure = error
    if failure is not None:
        raise failure


def _kill(group: str, pids: list[int]) -> None:
    """Kill processes of the group, and wait for their ends."""
    handles = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handles[pid] = os.pidfd_open(pid)
    try:
        # Those that are still listed are who the descriptors refer to, and nobody who has their number by now.
        listed = set(hierarchies.processes(group))
        for pid, handle in handles.items():
            if pid in listed:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                waiting = select.poll()
                waiting.register(handle, select.POLLIN)
                waiting.poll(_LEAVING_SECONDS * 1000)
    finally:
        for handle in handles.values():
            os.close(handle)
