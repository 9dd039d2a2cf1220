"""A supervisor's side of a warm start: the container's first process is a fork of a warm interpreter
(:mod:`homeport.node.sandbox.warm`), and its root is made by a process that joins it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import NoReturn

from homeport.node.sandbox import cgroups, linux, spec, wire
from homeport.node.sandbox import container as containers
from homeport.node.sandbox.container import Launch
from homeport.node.sandbox.rootfs import Root
from homeport.node.sandbox.stdio import Streams

LISTENER = 3
"""The number of the descriptor that a warm interpreter is given to listen on."""
STATUS_BYTES = 8
READY, FAILED = b"m", b"x"
"""What comes with the mount namespace that the root is in, or instead of it."""
_SECONDS = 5.0
"""A warm interpreter that takes longer than that to fork is stuck."""


class WarmLaunch(Launch):
    """Its process is the warm interpreter's child, which tells how it ended."""

    __slots__ = ("_connection", "_status")

    def __init__(
        self, pid: int, pidfd: int, streams: Streams, outcome: int, log: str, connection: socket.socket
    ) -> None:
        super().__init__(pid, pidfd, streams, outcome, log)
        self._connection = connection
        self._status: int | None = None

    def status(self) -> int:
        if self._status is None:
            data = b""
            with contextlib.suppress(OSError):
                self._connection.settimeout(_SECONDS)
                data = self._connection.recv(STATUS_BYTES)
            # An interpreter that was killed has taken all its children along.
            self._status = int.from_bytes(data, "little") if len(data) == STATUS_BYTES else int(signal.SIGKILL)
        return self._status

    def reap(self) -> None:
        self.status()
        self._connection.close()


def launch(
    root: Root, container: spec.Container, message: wire.Message, group: cgroups.Group, directory: str
) -> Launch | None:
    """Start the container from the warm interpreter of its key in the node's directory; None if there is none that
    answers, and nothing has been done then that a cold start minds. `message`: the specification as it came."""
    try:
        connection = wire.connect(os.path.join(directory, "warm", f"{container.warm}.sock"))
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    streams: Streams | None = None
    opened: list[int] = []
    try:
        connection.settimeout(_SECONDS)
        root.make_room()
        streams = Streams(stdin=container.stdin, tty=False)
        opened += os.pipe2(os.O_CLOEXEC)
        outcome, outcome_write = opened
        pidfd = _order(connection, container, message, streams, outcome_write)
        opened.append(pidfd)
        pid = linux.pid_of(pidfd)
        _furnish(root, container, group, pid, connection, outcome_write)
    except OSError as error:
        # Whatever it was: the connection's end ends what may have been forked.
        print(f"{container.name} is started cold, as the warm interpreter does not serve: {error}", flush=True)
        connection.close()
        if streams is not None:
            streams.close()
        for end in opened:
            os.close(end)
        return None
    connection.settimeout(None)
    streams.close_far_ends()
    os.close(outcome_write)
    os.set_blocking(outcome, False)
    return WarmLaunch(pid, pidfd, streams, outcome, root.termination_log, connection)


def _order(
    connection: socket.socket, container: spec.Container, message: wire.Message, streams: Streams, outcome: int
) -> int:
    """A pidfd of the process that was forked. Raises OSError."""
    given = {"outcome": outcome, **dict(zip(_names(container), streams.far_ends, strict=True))}
    namespaces = {kind: os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("net", "uts", "ipc")}
    try:
        given |= namespaces
        connection.sendall(wire.encode({"spec": message, "descriptors": list(given)}))
        # It says when it has read that: descriptors must not arrive together with other bytes.
        connection.recv(1)
        socket.send_fds(connection, [b"d"], list(given.values()))
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
    finally:
        for descriptor in namespaces.values():
            os.close(descriptor)
    if not descriptors:
        raise ConnectionResetError("it has ended")
    return descriptors[0]


def _names(container: spec.Container) -> list[str]:
    """Of the child's ends of its streams, in their order."""
    return [*(["stdin"] if container.stdin else []), "stdout", "stderr"]


def _furnish(
    root: Root, container: spec.Container, group: cgroups.Group, pid: int, connection: socket.socket, outcome: int
) -> None:
    """Count the process as the container's, and have its root made by another one, which shares its pid namespace and
    so can show its processes. Raises OSError if that can't even begin."""
    helper = os.fork()
    if helper:
        _, status = os.waitpid(helper, 0)
        if status:
            raise ProcessLookupError("it has ended")
        return
    try:
        processes = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        group.enter(pid)
        linux.set_oom_score(container.oom_score, pid)
        if container.limits.cpu_quota and "cpu" not in group.controllers:
            containers.keep_to_processors(container.limits.cpu_quota, pid)
        containers.enter(container, group)
        if os.fork() == 0:
            # Nobody's child then but the fork server's.
            _have_assembled(root, group, processes, connection, outcome)
        linux.setns(processes, linux.CLONE_NEWPID)  # whether it is there, for the one who waits
        os._exit(0)
    finally:
        os._exit(1)


def _have_assembled(
    root: Root, group: cgroups.Group, processes: int, connection: socket.socket, outcome: int
) -> NoReturn:
    """Be outside of the container's pid namespace, and see to it that nobody is left in it who should not be, not even
    a process that has ended, when the container begins."""
    answer, mounts = FAILED, []
    try:
        linux.setns(processes, linux.CLONE_NEWPID)
        held, hold = os.pipe2(os.O_CLOEXEC)
        pid, pidfd = linux.fork_into(linux.CLONE_NEWNS)
        if pid == 0:
            os.close(hold)
            os.read(held, 1)
            _assemble(root, group, outcome)
        os.close(pidfd)
        opened = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        os.close(hold)  # now it may end: of one that has, the namespace can't be had any more
        if os.waitpid(pid, 0)[1] == 0:
            answer, mounts = READY, [opened]
    except BaseException as error:
        containers.explain(outcome, error)
    finally:
        with contextlib.suppress(OSError):  # it has ended, as whoever waits for it hears
            socket.send_fds(connection, [answer], mounts)
        os._exit(0)


def _assemble(root: Root, group: cgroups.Group, outcome: int) -> NoReturn:
    code = 1
    try:
        root.assemble(group.places())
        code = 0
    except BaseException as error:
        containers.explain(outcome, error)
    finally:
        os._exit(code)
