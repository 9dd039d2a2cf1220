"""Work of a supervisor that takes its time, done in a process of its own."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable

from homeport.node.sandbox import processes
from homeport.node.sandbox.loop import Loop


def do(loop: Loop, work: Callable[[], None], done: Callable[[], None]) -> None:
    """Fork a process that does the work, and call `done` when it has ended. What it raises as OSError is its own
    business."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            work()
        os._exit(0)
    handle = processes.open_child(pid)

    def ended(_events: int) -> None:
        loop.forget(handle)
        os.close(handle)
        os.waitpid(pid, 0)
        done()

    loop.watch(handle, ended)


def end_processes_in(mounts: int) -> None:
    """Kill every process in the mount namespace that the descriptor refers to, and wait for their end. For containers
    whose first process doesn't take the others along, as it is not the first of a pid namespace."""
    wanted = os.fstat(mounts)
    while ending := _killed(wanted.st_dev, wanted.st_ino):
        for process in ending:
            poll = select.poll()
            poll.register(process, select.POLLIN)
            poll.poll()
            os.close(process)


def _killed(device: int, number: int) -> list[int]:
    """Pidfds of those that were killed."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            process = os.pidfd_open(int(name))
        except OSError:
            continue  # it has ended
        try:
            # Asked after the opening: what the descriptor refers to can't be replaced any more.
            its = os.stat(f"/proc/{name}/ns/mnt")
            if (its.st_dev, its.st_ino) == (device, number):
                signal.pidfd_send_signal(process, signal.SIGKILL)
                found.append(process)
                continue
        except OSError:
            pass  # it has ended, or it is not ours to look into
        os.close(process)
    return found
