"""A further command in a running container: from the supervisor's fork to the exec.

::

    supervisor -- fork --> doorkeeper: joins the container's namespaces -- fork as the supervisor's child --> command
        ^                      | the command's pid                                | nothing if exec worked, else why not
        +----------------------+--------------------------------------------------+

A process can't take on a pid namespace itself, only for its children, and an ordinary user's process can't come back
from one: hence the doorkeeper, which is gone at once.
"""

from __future__ import annotations

import os
from typing import NoReturn

from homeport.node.sandbox import cgroups, linux, spec
from homeport.node.sandbox import container as containers
from homeport.node.sandbox.stdio import Streams

_PID_BYTES = 8


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
    """Fork the command into the container whose first process has the pid `first`. Raises OSError, among others
    ProcessLookupError if the container is about to end."""
    streams = Streams(stdin=command.stdin, tty=command.tty, stdout=command.stdout, stderr=command.stderr)
    opened: list[int] = []
    try:
        outcome_read, outcome_write = os.pipe2(os.O_CLOEXEC)
        opened += (outcome_read, outcome_write)
        pid_read, pid_write = os.pipe2(os.O_CLOEXEC)
        opened += (pid_read, pid_write)
        doorkeeper = os.fork()
        if doorkeeper == 0:
            _enter(first, container, group, command, streams, outcome_write, pid_write)
        os.close(pid_write)
        opened.remove(pid_write)
        said = os.read(pid_read, _PID_BYTES)
        os.waitpid(doorkeeper, 0)
        os.close(pid_read)
        opened.remove(pid_read)
        if not said:
            raise ProcessLookupError(f"container {container.name} is about to end")
        pid = int.from_bytes(said, "little")
        # A child of this process, which nobody else reaps: the pid is nobody else's.
        pidfd = os.pidfd_open(pid)
    except BaseException:
        streams.close()
        for end in opened:
            os.close(end)
        raise
    streams.close_far_ends()
    os.close(outcome_write)
    os.set_blocking(outcome_read, False)
    return Execution(pid, pidfd, streams, outcome_read)


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
    try:
        group.enter()
        os.sched_setaffinity(0, os.sched_getaffinity(first))
        linux.set_oom_score(container.oom_score)
        user_namespace = _own_user_namespace(first)
        processes = os.open(f"/proc/{first}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        mounts = os.open(f"/proc/{first}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        linux.setns(processes, linux.CLONE_NEWPID)
        linux.setns(mounts, linux.CLONE_NEWNS)
        pid, pidfd = linux.fork_into(linux.CLONE_PARENT)
        if pid == 0:
            containers.run(outcome, lambda: _begin(container, command, streams, outcome, user_namespace))
        os.close(pidfd)
        os.write(said, pid.to_bytes(_PID_BYTES, "little"))
    except OSError:
        # Said by saying nothing: the container's first process has gone, or its namespace takes no more processes.
        os._exit(1)
    finally:
        os._exit(0)


def _own_user_namespace(first: int) -> int | None:
    """A descriptor of the container's user namespace, if it is not the supervisor's."""
    if os.readlink(f"/proc/{first}/ns/user") == os.readlink("/proc/self/ns/user"):
        return None
    return os.open(f"/proc/{first}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def _begin(
    container: spec.Container, command: spec.Command, streams: Streams, outcome: int, user_namespace: int | None
) -> None:
    os.setsid()
    streams.take(container.uid)
    keep = {0, 1, 2, outcome}
    # Nothing of the machine's may be left that a path such as /proc/self/fd/7 could lead to.
    linux.close_descriptors(keep | ({user_namespace} if user_namespace is not None else set()))
    containers.settle(container, outcome, user_namespace)
    containers.execute(command.argv, containers.environment(container, tty=command.tty))
