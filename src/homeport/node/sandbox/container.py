"""Starting a container: from the supervisor's fork to the exec of its command.

::

    supervisor -- fork into new pid and mount namespaces --> process 1: root, ids, exec
        ^                                                        | nothing if exec worked, else why not
        +--------------------------------------------------------+
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import stat
from collections.abc import Callable
from typing import NoReturn

from homeport.node.sandbox import cgroups, idmap, linux, spec, terminal
from homeport.node.sandbox.rootfs import Root, SetupError
from homeport.node.sandbox.stdio import Streams

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND, NOT_STARTED = 127, 128
"""Exit codes of a container whose command is not there, and of one that could not be started for another reason."""

CAPABILITIES = frozenset(
    {
        0,  # CHOWN
        1,  # DAC_OVERRIDE
        3,  # FOWNER
        4,  # FSETID
        5,  # KILL
        6,  # SETGID
        7,  # SETUID
        8,  # SETPCAP
        10,  # NET_BIND_SERVICE
        13,  # NET_RAW
        18,  # SYS_CHROOT
        29,  # AUDIT_WRITE
        31,  # SETFCAP
    }
)
"""Docker's default set without MKNOD: there, a device cgroup keeps a made device node from being of use."""

_OPEN_FILES = 65536


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
        """Reads nothing but the end once the command runs; else JSON ``[code, message]``."""
        self.termination_log = log


def launch(root: Root, container: spec.Container, group: cgroups.Group) -> Launch:
    """Fork the container's first process, into its cgroups. Raises OSError if the machine has no room for it."""
    root.make_room()
    streams = Streams(stdin=container.stdin, tty=container.tty)
    try:
        outcome_read, outcome_write = os.pipe2(os.O_CLOEXEC)
        try:
            pid, pidfd = linux.fork_into(linux.CLONE_NEWPID | linux.CLONE_NEWNS)
        except BaseException:
            os.close(outcome_read)
            os.close(outcome_write)
            raise
    except BaseException:
        streams.close()
        raise
    if pid == 0:
        _begin(root, container, group, streams, outcome_write)
    streams.close_far_ends()
    os.close(outcome_write)
    os.set_blocking(outcome_read, False)
    return Launch(pid, pidfd, streams, outcome_read, root.termination_log)


def _begin(root: Root, container: spec.Container, group: cgroups.Group, streams: Streams, outcome: int) -> NoReturn:
    """Be the container's process 1."""

    def begin() -> None:
        _prepare(root, container, group, streams, outcome)
        execute(container.argv, environment(container, tty=container.tty))

    run(outcome, begin)


def run(outcome: int, begin: Callable[[], None]) -> NoReturn:
    """Be a process that only `begin` turns into its command: why it could not goes to `outcome`."""
    try:
        begin()
    except StartFailure as failure:
        _report(outcome, failure.code, str(failure))
    except SetupError as error:
        _report(outcome, NOT_STARTED, str(error))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _report(outcome, NOT_STARTED, f"the container can't be set up: {(error.strerror or str(error))}{where}")
    except BaseException as error:
        # Whatever it is, it must reach the user through the supervisor: nobody else sees this process.
        _report(outcome, NOT_STARTED, f"the container can't be set up: {type(error).__name__}: {error}")
    finally:
        os._exit(NOT_STARTED)


def _report(outcome: int, code: int, message: str) -> None:
    os.write(outcome, json.dumps([code, message[:4096]]).encode())


def _prepare(root: Root, container: spec.Container, group: cgroups.Group, streams: Streams, outcome: int) -> None:
    os.setsid()
    group.enter()
    if container.limits.cpu_quota and "cpu" not in group.controllers:
        keep_to_processors(container.limits.cpu_quota)
    linux.set_oom_score(container.oom_score)  # while the machine's own /proc is seen
    root.assemble()
    streams.take(container.uid)
    # What follows takes paths from the pod: none of them, such as /proc/self/fd/7, may lead out of the new root.
    linux.close_descriptors({0, 1, 2, outcome})
    settle(container, outcome)


def keep_to_processors(quota: int) -> None:
    """Without cgroups the next best to a quota of processor time: to run on no more processors than it amounts to.
    Which ones is left to chance, so that several containers spread."""
    usable = sorted(os.sched_getaffinity(0))
    count = min(-(-quota // cgroups.PERIOD), len(usable))
    first = os.urandom(1)[0] % len(usable)
    os.sched_setaffinity(0, {usable[(first + step) % len(usable)] for step in range(count)})


def settle(container: spec.Container, outcome: int, user_namespace: int | None = None) -> None:
    """The rest of what makes a process one of the container's, in its root, with no descriptors left but its own.
    `user_namespace` is the one that the container's ids exist in, if it has one of its own and this process is to join
    it. Raises StartFailure."""
    _change_directory(container)
    _raise_limits()
    _become(container, user_namespace)
    _reset_signals()
    # Last, as a change of ids clears it. A supervisor that ends takes its containers along: nobody else could tell
    # how they ended.
    linux.die_with_parent(signal.SIGKILL)
    watch = select.poll()
    watch.register(outcome, 0)
    if watch.poll(0):
        # Nobody reads it any more: the supervisor ended before the line above.
        os._exit(NOT_STARTED)


def _change_directory(container: spec.Container) -> None:
    cwd = container.cwd or "/"
    try:
        os.chdir(cwd)
        return
    except FileNotFoundError:
        # As container runtimes do: a working directory that is not there is made. If it can't be, chdir says why.
        with contextlib.suppress(OSError):
            os.makedirs(cwd, mode=0o755, exist_ok=True)
            os.chown(cwd, container.uid, container.gid)
    except OSError as error:
        raise StartFailure(NOT_STARTED, f"chdir to {json.dumps(cwd)}: {_words(error)}") from None
    try:
        os.chdir(cwd)
    except OSError as error:
        raise StartFailure(NOT_STARTED, f"chdir to {json.dumps(cwd)}: {_words(error)}") from None


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _raise_limits() -> None:
    """Servers and data loaders open many files; the limit of a login session is made for shells. The platform's own is
    higher than what programs expect that try all numbers."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def confine() -> None:
    """Of this process and all that it forks: what they exec can't get more than a container may have.

    It takes nothing from the process itself. Done once, in the zygote; a new user namespace undoes the first half.
    """
    linux.limit_bounding_set(CAPABILITIES)
    linux.set_no_new_privileges()


def _become(container: spec.Container, user_namespace: int | None) -> None:
    """The container's ids and capabilities, and no way back."""
    uid, gid = container.uid, container.gid
    if user_namespace is not None:
        linux.setns(user_namespace, linux.CLONE_NEWUSER)
        os.close(user_namespace)
        confine()
    elif idmap.is_mapped("uid", uid) and idmap.is_mapped("gid", gid):
        if idmap.may_set_groups():
            os.setgroups([group for group in container.groups if idmap.is_mapped("gid", group)])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    else:
        # The one id that exists here is the user's own: let it have the number that the pod asks for.
        linux.unshare(linux.CLONE_NEWUSER)
        idmap.map_single(uid, gid, 0, 0)
        confine()
    linux.set_capabilities(CAPABILITIES if uid == 0 else frozenset())


def _reset_signals() -> None:
    """What Python and the supervisor ignore; exec resets handlers, and the zygote began with all at their default."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def environment(container: spec.Container, *, tty: bool) -> dict[str, str]:
    """What a command in the container finds in its environment."""
    return {"TERM": terminal.TYPE, **container.env} if tty else container.env


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
    return stat.S_ISREG(mode) and os.access(path, os.X_OK, effective_ids=True)
