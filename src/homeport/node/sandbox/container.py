"""Starting a container: from the supervisor's fork to the exec of its command.

::

    supervisor -- fork into new pid and mount namespaces --> process 1: root, ids, exec
        ^                                                        | nothing if exec worked, else why not
        +--------------------------------------------------------+

A container that shares its pod's processes is made by a doorkeeper instead, outside of them, which has given up all
that the container may not have before it forks the first process into the pod's pid namespace: what the pod's processes
can see, and with CAP_SYS_PTRACE take over, never was more than they are. A command in a running container
(:mod:`homeport.node.sandbox.execute`) starts in the same way.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import signal
import stat
from collections.abc import Callable
from typing import NoReturn

from homeport.node.sandbox import (
    cgroups,
    groupfiles,
    idmap,
    linux,
    outcomes,
    privileges,
    processes,
    spec,
    terminal,
    users,
)
from homeport.node.sandbox.mounts import NotYet, SetupError
from homeport.node.sandbox.rootfs import Root
from homeport.node.sandbox.stdio import Streams

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND, NOT_STARTED = 127, 128
"""Exit codes of a container whose command is not there, and of one that could not be started for another reason."""

_OPEN_FILES = 65536
_OPEN_MAX = 10240
"""What macOS takes in any case (sys/syslimits.h)."""
_PID_BYTES = 8
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT)
"""What Python and the supervisor ignore; exec resets handlers, and the zygote began with all at their default."""


class StartFailure(Exception):
    """The command can't be started; the text is what the user is told."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Launch:
    """A container between fork and exec, as the supervisor sees it."""

    __slots__ = ("outcome", "pid", "pidfd", "streams", "termination_log")

    def __init__(self, pid: int, pidfd: int, streams: Streams, outcome: int, log: str) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.streams = streams
        self.outcome = outcome
        """Reads what :func:`outcomes.heard` understands, and the end once the command runs; the reason why it does not
        is JSON, ``[code, message]``, with the reason for the container to wait if it is to."""
        self.termination_log = log

    def status(self) -> int:
        """How the process has ended, as ``waitpid`` would say it, once it has; it is left to be reaped."""
        return processes.status_of(self.pid)

    def reap(self) -> None:
        processes.reap(self.pid)


def launch(
    root: Root, container: spec.Container, group: cgroups.Group, *, processes: str, pod_processes: int | None
) -> Launch:
    """Fork the container's first process, into its cgroups. `processes` says whom it is to see, as the pod has it;
    `pod_processes` is a descriptor of the pid namespace that it shares with others, if it does. Raises OSError if the
    machine has no room for it."""
    root.make_room()
    streams = Streams(stdin=container.stdin, tty=container.tty)
    opened: list[int] = []
    try:
        outcome, outcome_write = _pipe(opened)
        if pod_processes is None:
            flags = linux.CLONE_NEWNS if processes == "host" else linux.CLONE_NEWNS | linux.CLONE_NEWPID
            entered, enter_now = _pipe(opened)
            birthplace = group.open_birthplace()
            opened += [] if birthplace is None else [birthplace]
            pid, pidfd = linux.fork_into(flags, birthplace)
            if pid == 0:
                os.close(enter_now)
                run(outcome_write, lambda: _begin(root, container, group, streams, outcome_write, entered))
            # Meanwhile: changing groups is mostly waiting for all processors, about as long as a root takes.
            try:
                group.enter(pid, born=True)
                os.write(enter_now, b"y")
            except OSError as error:
                # Its own to tell, if it has not ended, and told another reason.
                os.write(enter_now, (error.strerror or str(error)).encode())
            for end in [end for end in opened if end not in (outcome, outcome_write)]:
                os.close(end)
                opened.remove(end)
        else:
            pid = send_in(
                outcome_write,
                lambda said: _begin_among(root, container, group, streams, outcome_write, said, pod_processes),
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
    return Launch(pid, pidfd, streams, outcome, root.termination_log)


def _pipe(opened: list[int]) -> tuple[int, int]:
    ends = os.pipe()
    opened += ends
    return ends


def send_in(outcome: int, enter: Callable[[int], None]) -> int:
    """Fork a doorkeeper, which is to leave a further child with this process: that one's pid. `enter` is run in the
    doorkeeper, with a descriptor to write the pid to (:func:`come_out`); why it could not goes to `outcome`. Raises
    OSError."""
    receive, said = os.pipe()
    try:
        doorkeeper = os.fork()
        if doorkeeper == 0:
            run(outcome, lambda: enter(said))
    except BaseException:
        os.close(receive)
        raise
    finally:
        os.close(said)
    with os.fdopen(receive, "rb") as file:
        pid = file.read(_PID_BYTES)
    if pid:
        os.waitpid(doorkeeper, 0)
        # A child of this process, which nobody else reaps: the pid is nobody else's.
        return int.from_bytes(pid, "little")
    # What is in the way is in the outcome; the doorkeeper stands for the process that there is none of.
    return doorkeeper


def come_out(said: int, outcome: int, begin: Callable[[], None]) -> NoReturn:
    """In the doorkeeper: leave the child that becomes the command, and go."""
    try:
        pid = linux.fork_sibling()
    except OSError as error:
        if error.errno == errno.ENOMEM:
            # So says the kernel of a pid namespace whose first process has ended.
            raise StartFailure(NOT_STARTED, "the container is about to end") from None
        raise
    if pid == 0:
        run(outcome, begin)
    os.write(said, pid.to_bytes(_PID_BYTES, "little"))
    os._exit(0)


def run(outcome: int, begin: Callable[[], None]) -> NoReturn:
    """Be a process that only `begin` turns into its command: why it could not goes to `outcome`."""
    try:
        begin()
    except BaseException as error:
        explain(outcome, error)
    finally:
        os._exit(NOT_STARTED)


def explain(outcome: int, error: BaseException) -> None:
    """Say why a process does not become a command. Whatever it is, it must reach the user through the supervisor:
    nobody else sees that process."""
    if isinstance(error, StartFailure):
        _report(outcome, error.code, str(error))
    elif isinstance(error, NotYet):
        _report(outcome, NOT_STARTED, str(error), error.reason)
    elif isinstance(error, SetupError | users.UnknownUser):
        _report(outcome, NOT_STARTED, str(error))
    elif isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        _report(outcome, NOT_STARTED, f"the container can't be set up: {(error.strerror or str(error))}{where}")
    else:
        _report(outcome, NOT_STARTED, f"the container can't be set up: {type(error).__name__}: {error}")


def _report(outcome: int, code: int, message: str, *reason: str) -> None:
    os.write(outcome, json.dumps([code, message[:4096], *reason]).encode())


def keep_to_processors(quota: int, pid: int = 0) -> None:
    """Without cgroups the next best to a quota of processor time: to run on no more processors than it amounts to.
    Which ones is left to chance, so that several containers spread."""
    usable = sorted(os.sched_getaffinity(0))
    count = min(-(-quota // groupfiles.PERIOD), len(usable))
    first = os.urandom(1)[0] % len(usable)
    os.sched_setaffinity(pid, {usable[(first + step) % len(usable)] for step in range(count)})


def _begin(
    root: Root, container: spec.Container, group: cgroups.Group, streams: Streams, outcome: int, entered: int
) -> None:
    """Be the container's first process. `entered` tells that it is in its cgroups."""
    stand_back(container)
    if container.limits.cpu_quota and "cpu" not in group.controllers:
        keep_to_processors(container.limits.cpu_quota)
    root.assemble(group.places())
    if (said := os.read(entered, 4096)) != b"y":
        raise StartFailure(NOT_STARTED, f"the container can't be set up: its cgroups: {said.decode()}")
    linux.close_descriptors({0, 1, 2, outcome, *streams.far_ends})
    user = settle(container, streams)
    outcomes.tell_ids(outcome)
    become_command(container.argv, container, user, streams, outcome, tty=container.tty)


def _begin_among(
    root: Root,
    container: spec.Container,
    group: cgroups.Group,
    streams: Streams,
    outcome: int,
    said: int,
    processes: int,
) -> NoReturn:
    """Be the doorkeeper of a container that is among the pod's processes, or those of another container."""
    enter(container, group)
    if container.limits.cpu_quota and "cpu" not in group.controllers:
        keep_to_processors(container.limits.cpu_quota)
    own = idmap.keep_self()
    linux.unshare(linux.CLONE_NEWNS)
    if container.target:
        root.show_processes(processes)
        root.assemble(group.places())
    else:
        root.assemble(group.places())
        linux.setns(processes, linux.CLONE_NEWPID)
    linux.close_descriptors({0, 1, 2, outcome, said, own, *streams.far_ends})
    user = settle(container, streams)
    outcomes.tell_ids(outcome)
    come_out(
        said,
        outcome,
        lambda: become_command(container.argv, container, user, streams, outcome, tty=container.tty),
    )


def enter(container: spec.Container, group: cgroups.Group) -> None:
    """Count as one of the container's processes, to its cgroups and when memory runs out. While the machine's own /proc
    is seen. Raises OSError."""
    group.enter()
    stand_back(container)


def stand_back(container: spec.Container) -> None:
    """The rest of that: end before others if memory runs out, and show nothing. Raises OSError."""
    linux.set_oom_score(container.oom_score)
    # From now on nobody may look into this process who has its ids.
    linux.set_dumpable(False)


def settle(container: spec.Container, streams: Streams, user_namespace: int | None = None) -> users.User:
    """Make the process one of the container's, in its root, with no descriptors left but its streams: paths that come
    from the pod, such as /proc/self/fd/7, must not lead out. `user_namespace` is the one that the container's ids exist
    in, if it has one of its own and this process is to join it. Raises StartFailure, UnknownUser."""
    user = users.of(container)
    change_directory(container, user)
    raise_limits()
    privileges.give_streams(streams.far_ends, user)
    privileges.become(container, user, user_namespace)
    return user


def become_command(
    argv: list[str], container: spec.Container, user: users.User, streams: Streams, outcome: int, *, tty: bool
) -> None:
    """The rest, by a process that is one of the container's by now. Only returns by raising StartFailure."""
    take_place(user, streams, outcome)
    privileges.seal(container.security)
    execute(argv, command_environment(container, user, tty=tty))


def take_place(user: users.User, streams: Streams, outcome: int) -> None:
    """Have a session, the streams, and a life as long as the parent's."""
    os.setsid()
    streams.take(user.uid)
    if not processes.IS_LINUX:
        # All that this process has opened is closed by the exec, and how to live with its parent only Linux knows.
        for number in _IGNORED:
            signal.signal(number, signal.SIG_DFL)
        return
    linux.close_descriptors({0, 1, 2, outcome})
    linux.leave_signals(_IGNORED)
    # Last, as a change of ids clears it. A supervisor that ends takes its containers along: nobody else could tell
    # how they ended.
    linux.die_with_parent(signal.SIGKILL)
    watch = select.poll()
    watch.register(outcome, 0)
    if watch.poll(0):
        # Nobody reads it any more: the supervisor ended before the line above.
        os._exit(NOT_STARTED)


def change_directory(container: spec.Container, user: users.User) -> None:
    cwd = container.cwd or "/"
    try:
        os.chdir(cwd)
        return
    except FileNotFoundError:
        # As container runtimes do: a working directory that is not there is made. If it can't be, chdir says why.
        with contextlib.suppress(OSError):
            os.makedirs(cwd, mode=0o755, exist_ok=True)
            os.chown(cwd, user.uid, user.gid)
    except OSError as error:
        raise StartFailure(NOT_STARTED, f"chdir to {json.dumps(cwd)}: {_words(error)}") from None
    try:
        os.chdir(cwd)
    except OSError as error:
        raise StartFailure(NOT_STARTED, f"chdir to {json.dumps(cwd)}: {_words(error)}") from None


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def raise_limits() -> None:
    """Servers and data loaders open many files; the limit of a login session is made for shells. The platform's own is
    higher than what programs expect that try all numbers."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        # macOS has a limit beside that one, and refuses what is beyond it.
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, _OPEN_MAX), hard))


def environment(container: spec.Container, *, tty: bool) -> dict[str, str]:
    """What a command in the container finds in its environment."""
    return {"TERM": terminal.TYPE, **container.env} if tty else container.env


def command_environment(container: spec.Container, user: users.User, *, tty: bool) -> dict[str, str]:
    """The same, with what the user's own entry says."""
    return {"HOME": user.home or "/", **environment(container, tty=tty)}


def execute(argv: list[str], env: dict[str, str]) -> None:
    """Only returns by raising StartFailure."""
    if not argv:
        raise StartFailure(NOT_STARTED, "no command is given: neither the container nor its image has one")
    program = argv[0]
    path = find(program, env.get("PATH", DEFAULT_PATH))
    try:
        os.execve(path, argv, env)
    except FileNotFoundError:
        # The file is there, as find has shown: it is the interpreter in its first line that is not.
        raise StartFailure(
            NOT_FOUND, f"exec: {json.dumps(program)}: the interpreter that it names is not there"
        ) from None
    except OSError as error:
        raise StartFailure(NOT_STARTED, f"exec: {json.dumps(program)}: {_words(error)}") from None
    except ValueError as error:
        raise StartFailure(NOT_STARTED, f"exec: {json.dumps(program)}: {error}") from None


def find(program: str, search: str) -> str:
    """The file that a command names. Raises StartFailure with the shell's exit codes' meaning."""
    quoted = json.dumps(program, ensure_ascii=False)
    if "/" in program:
        if not os.path.lexists(program):
            raise StartFailure(NOT_FOUND, f"exec: {quoted}: no such file or directory")
        if not _is_executable(program):
            reason = "is a directory" if os.path.isdir(program) else "permission denied"
            raise StartFailure(NOT_STARTED, f"exec: {quoted}: {reason}")
        return program
    for directory in search.split(":"):
        # An empty entry stands for the working directory.
        candidate = os.path.join(directory or ".", program)
        if _is_executable(candidate):
            return candidate
    raise StartFailure(NOT_FOUND, f"exec: {quoted}: executable file not found in $PATH")


def _is_executable(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and os.access(path, os.X_OK, effective_ids=os.access in os.supports_effective_ids)
