"""How the fork server comes to be: what has to be done before the program that stays is executed.

The process that the platform starts gets the node its user namespace, where the user needs one, and a mount namespace
where the interpreter's own file can't be written, and executes the fork server (:mod:`homeport.node.sandbox.zygote`)
there. It is an interpreter that is thrown away again, so it imports next to nothing.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys

from homeport.node.sandbox import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class Refused(Exception):
    """The fork server can't run on this machine; the text says what failed."""


def main(arguments: list[str]) -> int:
    """``zygote DIRECTORY NETWORK SERVICES READY_DESCRIPTOR [HIDDEN...]``; the networks are those of pods and of
    services.

    The process that was started ends when the fork server, its child, has its user namespace; what is written to the
    ready descriptor tells whether that serves: JSON, a line.
    """
    ready, starter = int(arguments[3]), os.getppid()
    os.set_inheritable(ready, False)
    if os.geteuid() == 0:
        if os.fork() == 0:
            _become(arguments, ready, starter)
        return 0
    from homeport.node.sandbox import idmap

    needs_map, mapped = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(needs_map[0])
        os.close(mapped[1])
        _become(arguments, ready, starter, needs_map[1], mapped[0])
    os.close(needs_map[1])
    os.close(mapped[0])
    if os.read(needs_map[0], 1):
        os.write(mapped[1], b"y" if idmap.map_ranges(pid) else b"n")
    return 0


def _become(arguments: list[str], ready: int, starter: int, needs_map: int = -1, mapped: int = -1) -> NoReturn:
    """Get a user namespace, if need be, and go on as the fork server in a program that no container can change.
    `starter` is the platform's pid, which the fork server's parent won't tell it any more."""
    directory = arguments[0]
    try:
        _reset_signals()
        os.umask(0o022)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        lock = os.open(os.path.join(directory, "zygote.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.geteuid() != 0:
            _enter_user_namespace(directory, needs_map, mapped)
        _seal_program()
        for descriptor in (ready, lock):
            os.set_inheritable(descriptor, True)
        program = [sys.executable, "-I", "-S", os.path.abspath(sys.argv[0]), "zygote-sealed"]
        numbers = (str(number) for number in (ready, lock, starter))
        os.execv(sys.executable, [*program, *arguments[:3], *numbers, *arguments[4:]])
    except BaseException as error:
        fail(ready, error)
    finally:
        os._exit(1)


def _reset_signals() -> None:
    """Whatever the platform was started with: nothing blocked, and ignored only what ends a terminal's programs."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_DFL)
        except OSError:
            continue  # one of those that the C library keeps for itself
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)


def _enter_user_namespace(directory: str, needs_map: int, mapped: int) -> None:
    """Join the one that pods of an earlier fork server are in, or make one."""
    from homeport.node.sandbox import idmap, registry

    def map_from_outside() -> bool:
        os.write(needs_map, b"?")
        return os.read(mapped, 1) == b"y"

    survivor = registry.survivor(directory)
    if survivor is None:
        idmap.enter(map_from_outside)
        return
    namespace = os.open(f"/proc/{survivor}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.setns(namespace, linux.CLONE_NEWUSER)
    finally:
        os.close(namespace)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    linux.set_dumpable()


def _seal_program() -> None:
    """Leave for a mount namespace where this interpreter's file is read-only. Whoever is forked has the file that was
    executed as its ``/proc/PID/exe``, by the mount it was found at: a container that opens it from there, in the moment
    before its own command is executed, has no way to write to it (CVE-2019-5736 was that way)."""
    linux.unshare(linux.CLONE_NEWNS)
    # Slaves: what the machine mounts later shows up here, nothing from here shows up there.
    linux.mount("", "/", "", linux.MS_REC | linux.MS_SLAVE)
    program = os.path.realpath(sys.executable)
    linux.mount(program, program, "", linux.MS_BIND)
    linux.set_mount_attributes(program, linux.MOUNT_ATTR_RDONLY)


def unseal() -> None:
    """The interpreter's file is seen at its usual place again; what was executed keeps the mount that it was found
    at."""
    linux.unmount(os.path.realpath(sys.executable), linux.MNT_DETACH)


def fail(ready: int, error: BaseException) -> None:
    """Say why there is no fork server: to who waits for it (-1: nobody any more), and in the log."""
    if isinstance(error, OSError | Refused):
        print(f"the zygote can't start: {error}", file=sys.stderr, flush=True)
        if ready >= 0:
            say(ready, {"error": str(error), "errno": getattr(error, "errno", None)})
    else:
        sys.excepthook(type(error), error, error.__traceback__)
        sys.stderr.flush()


def say(ready: int, message: dict[str, object]) -> None:
    """Answer who waits for the fork server."""
    import json

    os.write(ready, json.dumps(message).encode() + b"\n")
    os.close(ready)
