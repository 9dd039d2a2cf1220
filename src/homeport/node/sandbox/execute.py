"""A further command in a running container: from the supervisor's fork to the exec.

::

    supervisor -- fork --> doorkeeper: joins the container's namespaces -- fork as the supervisor's child --> command
        ^                      | the command's pid                                | nothing if exec worked, else why not
        +----------------------+--------------------------------------------------+

A process can't take on a pid namespace itself, only for its children, and an ordinary user's process can't come back
from one: hence the doorkeeper, which is gone at once. It has the container's ids, capabilities and filters before the
command's process is forked, so that no process is ever seen in the container that can do more than the container's own.
"""

from __future__ import annotations

import os
from typing import NoReturn

from homeport.node.sandbox import cgroups, linux, spec
from homeport.node.sandbox import container as containers
from homeport.node.sandbox.stdio import Streams


class Execution:
    """A command between fork and exec, and after it."""

    __slots__ = ("outcome", "pid", "pidfd", "streams")

    def __init__(self, pid: int, pidfd: int, streams: Streams, outcome: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.streams = streams
        self.outcome = outcome
        """Reads nothing but the end once the command runs; else JSON ``[code, message]``."""


def launch(first: int, container: spec.Container, group: cgroups.Group, command: spec.Command) -> Execution:
    """Fork the command into the container whose first process has the pid `first`. Raises OSError."""
    streams = Streams(stdin=command.stdin, tty=command.tty, stdout=command.stdout, stderr=command.stderr)
    opened: list[int] = []
    try:
        opened += os.pipe()
        outcome, outcome_write = opened
        pid = containers.send_in(
            outcome_write, lambda said: _enter(first, container, group, command, streams, outcome_write, said)
        )
        pidfd = os.pidfd_open(pid)
    except BaseException:
        streams.close()
        for end in opened:
            os.close(end)
        raise
    streams.close_far_ends()
    os.close(outcome_write)
    os.set_blocking(outcome, False)
    return Execution(pid, pidfd, streams, outcome)


def _enter(
    first: int,
    container: spec.Container,
    group: cgroups.Group,
    command: spec.Command,
    streams: Streams,
    outcome: int,
    said: int,
) -> NoReturn:
    """Be the doorkeeper."""
    containers.enter(container, group)
    try:
        os.sched_setaffinity(0, os.sched_getaffinity(first))
        user_namespace = _own_user_namespace(first)
        processes = os.open(f"/proc/{first}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        mounts = os.open(f"/proc/{first}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        linux.setns(processes, linux.CLONE_NEWPID)
        linux.setns(mounts, linux.CLONE_NEWNS)
    except (FileNotFoundError, ProcessLookupError):
        raise containers.StartFailure(containers.NOT_STARTED, f"container {container.name} is about to end") from None
    kept = {0, 1, 2, outcome, said, *streams.far_ends}
    # Nothing of the machine's may be left that a path such as /proc/self/fd/7 could lead to.
    linux.close_descriptors(kept | ({user_namespace} if user_namespace is not None else set()))
    user = containers.settle(container, streams, user_namespace)
    containers.come_out(
        said,
        outcome,
        lambda: containers.become_command(command.argv, container, user, streams, outcome, tty=command.tty),
    )


def _own_user_namespace(first: int) -> int | None:
    """A descriptor of the container's user namespace, if it is not the supervisor's."""
    if os.readlink(f"/proc/{first}/ns/user") == os.readlink("/proc/self/ns/user"):
        return None
    return os.open(f"/proc/{first}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
