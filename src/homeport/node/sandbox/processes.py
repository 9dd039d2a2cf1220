"""Processes of this machine: which one is meant, a descriptor that tells of its end, a signal to it and to no other.

On Linux by pidfds and ``/proc`` (:mod:`homeport.node.sandbox.linux`), elsewhere by what
:mod:`homeport.node.sandbox.unix` finds instead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from homeport.node.sandbox import linux, unix

IS_LINUX: bool = sys.platform == "linux"


def start_time(pid: int) -> str:
    """When the process started: with the pid it names one process. Raises ProcessLookupError if there is no such
    process, or if it is only waiting to be reaped."""
    return linux.start_time(pid) if IS_LINUX else unix.start_time(pid)


def is_alive(pid: int, started: str) -> bool:
    """Whether that very process still runs; a later process with the same pid doesn't count."""
    if IS_LINUX or pid <= 0:
        return linux.is_alive(pid, started)
    try:
        return unix.start_time(pid) == started
    except ProcessLookupError:
        return False


def open_process(pid: int, started: str) -> int | None:
    """A descriptor of that very process, readable once it has ended; None if it has gone."""
    if IS_LINUX:
        return linux.open_process(pid, started)
    try:
        descriptor = unix.open_process(pid)
    except ProcessLookupError:
        return None
    if is_alive(pid, started):
        return descriptor
    os.close(descriptor)
    return None


def watch(pid: int) -> int:
    """The same of whoever has that pid now. Raises ProcessLookupError."""
    return os.pidfd_open(pid) if IS_LINUX else unix.open_process(pid)


def open_child(pid: int) -> int:
    """The same of a child that nobody has reaped. Raises OSError."""
    return os.pidfd_open(pid) if IS_LINUX else unix.open_child(pid)


def send(pid: int, descriptor: int, number: int) -> None:
    """A signal to the process that the descriptor stands for, which is a child of the caller's, or was alive a moment
    ago: the pid says who that is where descriptors can't be sent signals. Raises ProcessLookupError if it has ended."""
    if IS_LINUX:
        signal.pidfd_send_signal(descriptor, number)
    else:
        os.kill(pid, number)


def status_of(pid: int) -> int:
    """How a child has ended, as ``waitpid`` would say it; waits for its end. On Linux it is left to be reaped."""
    return linux.peek_status(pid) if IS_LINUX else os.waitpid(pid, 0)[1]


def reap(pid: int) -> None:
    """Have it gone; no error if it has."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def parent_of(pid: int) -> int | None:
    """The parent of a process, one that has ended and was not reaped yet included; None if there is no such process."""
    return linux.parent_of(pid) if IS_LINUX else unix.parent_of(pid)


def set_name(name: str) -> None:
    """What ``ps`` and ``top`` show, where a process may say; at most 15 bytes."""
    if IS_LINUX:
        linux.set_process_name(name)
