"""A container's first process, and further commands: from the supervisor's fork to the exec, with no namespace."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from collections.abc import Mapping, Sequence

from homeport.node.plain import notify
from homeport.node.sandbox import container as containers
from homeport.node.sandbox import execute, linux, privileges, processes, spec, wire
from homeport.node.sandbox.stdio import Streams
from homeport.node.sandbox.users import User


class Begun:
    """A process between fork and exec; `listener` is where the right to answer its system calls comes from, if they are
    to be answered."""

    __slots__ = ("listener", "outcome", "pid", "streams")

    def __init__(self, pid: int, streams: Streams, outcome: int, listener: socket.socket | None) -> None:
        self.pid = pid
        self.streams = streams
        self.outcome = outcome
        self.listener = listener


def begin(
    container: spec.Container,
    argv: Sequence[str],
    env: Mapping[str, str],
    streams: Streams,
    *,
    watched: bool,
    tty: bool,
) -> Begun:
    """Fork the process. `watched`: have its system calls answered. Raises OSError; the streams are closed then."""
    opened: list[int] = []
    ours: socket.socket | None = None
    theirs: socket.socket | None = None
    try:
        opened += os.pipe()
        outcome, outcome_write = opened
        if watched:
            ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            containers.run(
                outcome_write,
                lambda: _become(container, list(argv), dict(env), streams, outcome_write, theirs, tty=tty),
            )
    except BaseException:
        streams.close()
        for end in opened:
            os.close(end)
        if ours is not None:
            ours.close()
        raise
    finally:
        if theirs is not None:
            theirs.close()
    streams.close_far_ends()
    os.close(outcome_write)
    os.set_blocking(outcome, False)
    return Begun(pid, streams, outcome, ours)


def launch(
    container: spec.Container, argv: Sequence[str], env: Mapping[str, str], log: str, *, watched: bool
) -> tuple[containers.Launch, socket.socket | None]:
    """A container's first process. Raises OSError."""
    streams = Streams(stdin=container.stdin, tty=container.tty)
    begun = begin(container, argv, env, streams, watched=watched, tty=container.tty)
    made = containers.Launch(begun.pid, processes.open_child(begun.pid), streams, begun.outcome, log)
    return made, begun.listener


def run(
    container: spec.Container, command: spec.Command, argv: Sequence[str], env: Mapping[str, str], *, watched: bool
) -> tuple[execute.Execution, socket.socket | None]:
    """A further command. Raises OSError."""
    streams = Streams(stdin=command.stdin, tty=command.tty, stdout=command.stdout, stderr=command.stderr)
    begun = begin(container, argv, env, streams, watched=watched, tty=command.tty)
    made = execute.Execution(begun.pid, processes.open_child(begun.pid), streams, begun.outcome)
    return made, begun.listener


def user_of(container: spec.Container) -> User:
    """Whom the container's processes run as: where the platform is not root, always its own user. Raises
    StartFailure."""
    if os.geteuid() != 0:
        return User(os.geteuid(), os.getegid(), [], "")
    name, _, group = container.user.partition(":")
    uid = container.uid
    entry = None
    with contextlib.suppress(KeyError):
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name or "root")
    if uid is None:
        if entry is None and not name.isdecimal():
            raise containers.StartFailure(
                containers.NOT_STARTED, f"unable to find user {name}: no matching entries in this machine's passwd file"
            )
        uid = entry.pw_uid if entry is not None else int(name)
    gid = container.gid if container.gid is not None else int(group) if group.isdecimal() else None
    return User(uid, gid if gid is not None else entry.pw_gid if entry is not None else 0, list(container.groups), "")


def _become(
    container: spec.Container,
    argv: list[str],
    env: dict[str, str],
    streams: Streams,
    outcome: int,
    listener: socket.socket | None,
    *,
    tty: bool,
) -> None:
    """Only returns by raising StartFailure."""
    if processes.IS_LINUX:
        linux.set_oom_score(container.oom_score)
        if container.limits.cpu_quota:
            containers.keep_to_processors(container.limits.cpu_quota)
    user = user_of(container)
    containers.change_directory(container, user)
    containers.raise_limits()
    if os.geteuid() == 0:
        privileges.give_streams(streams.far_ends, user)
        with contextlib.suppress(PermissionError):  # a root that lacks the right has no groups to give up, either
            os.setgroups(user.groups)
        _become_user(container, user)
    if listener is not None:
        made = notify.install()
        wire.send_descriptors(listener, {}, [made])
        os.close(made)
    containers.take_place(user, streams, outcome)
    if processes.IS_LINUX:
        if container.security.no_new_privileges or listener is not None:
            linux.set_no_new_privileges()
        if container.security.seccomp:
            linux.filter_system_calls(container.security.seccomp)
    containers.execute(argv, {"TERM": "xterm", **env} if tty else env)


def _become_user(container: spec.Container, user: User) -> None:
    """From root to the container's ids, and no way back. Raises OSError."""
    if not processes.IS_LINUX:
        if user.uid or user.gid:  # by root, these set the saved ids, too
            os.setregid(user.gid, user.gid)
            os.setreuid(user.uid, user.uid)
        return
    allowed = container.security.capabilities & linux.permitted_capabilities()
    linux.limit_bounding_set(allowed)
    if user.uid or user.gid:
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    linux.set_capabilities(allowed if user.uid == 0 else frozenset())
