"""A Python that has none of what only Linux has, to try on Linux what is to run elsewhere (macOS): ``elsewhere.py
[-c CODE | -m MODULE | PROGRAM] ...``, by the script ``python`` that :func:`make` puts beside it.

What is taken away: the names of the standard library that its documentation calls Linux's, and those that macOS lacks;
``/proc`` and ``/sys``; the C library's functions that Linux alone has; addresses of the loopback but 127.0.0.1. What is
put in their place is ``select.kqueue``, as far as the filters for processes and files go. Programs that are no Python
see the machine as it is, ``ps`` among them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import runpy
import select
import selectors
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

_LACKING = {
    os: (
        "pipe2 pidfd_open memfd_create eventfd eventfd_read eventfd_write splice copy_file_range posix_fadvise "
        "posix_fallocate fdatasync setxattr getxattr listxattr removexattr unshare setns waitid waitid_result "
        "setresuid setresgid getresuid getresgid getrandom O_PATH O_TMPFILE O_NOATIME O_DIRECT O_LARGEFILE P_PIDFD "
        "sched_getaffinity sched_setaffinity sched_setscheduler sched_getscheduler sched_setparam sched_getparam "
        "sched_rr_get_interval WNOWAIT"
    ),
    signal: "pidfd_send_signal sigwaitinfo sigtimedwait SIGRTMIN SIGRTMAX SIGPWR SIGSTKFLT SIGPOLL SIGCLD",
    select: "epoll",
    socket: (
        "SOCK_NONBLOCK SOCK_CLOEXEC AF_NETLINK AF_PACKET AF_VSOCK AF_ALG AF_CAN SO_PEERCRED SO_PASSCRED "
        "SO_BINDTODEVICE SO_MARK TCP_KEEPIDLE TCP_USER_TIMEOUT TCP_QUICKACK TCP_DEFER_ACCEPT TCP_CORK MSG_CMSG_CLOEXEC "
        "MSG_NOSIGNAL MSG_MORE MSG_ERRQUEUE NETLINK_ROUTE"
    ),
    time: "CLOCK_BOOTTIME CLOCK_TAI",
}
_FUNCTIONS = frozenset(
    {
        *("prctl", "syscall", "unshare", "setns", "mount", "umount2", "pivot_root", "capget", "capset", "syncfs"),
        *("inotify_init1", "inotify_add_watch", "inotify_rm_watch", "timerfd_create", "timerfd_settime", "malloc_trim"),
    }
)
_HIDDEN = ("/proc", "/sys", "/dev/shm")
_NOTE_EXIT, _NOTE_FILE = 0x80000000, 0x2F


class Event:
    """Of ``kevent``."""

    def __init__(
        self, ident: Any, filter: int = -1, flags: int = 1, fflags: int = 0, data: int = 0, udata: int = 0
    ) -> None:
        self.ident = ident if isinstance(ident, int) else ident.fileno()
        self.filter, self.flags, self.fflags, self.data, self.udata = filter, flags, fflags, data, udata


def _queue(epoll: Any, pidfd_open: Any) -> Any:
    libc = ctypes.CDLL(None, use_errno=True)

    class Queue:
        """Of kqueue(2): a descriptor that is readable as long as one of its events has happened."""

        def __init__(self) -> None:
            self._epoll = epoll()
            self._sources: dict[int, tuple[int, int]] = {}
            self.closed = False

        def fileno(self) -> int:
            return int(self._epoll.fileno())

        def control(self, changes: Any, most: int, timeout: float | None = None) -> list[Event]:
            for change in changes or ():
                self._change(change)
            if not most:
                return []
            found = []
            for source, _ in self._epoll.poll(timeout, most):
                kind, ident = self._sources[source]
                if kind == select.KQ_FILTER_VNODE:  # type: ignore[attr-defined]
                    os.read(source, 4096)
                else:
                    self._remove(source)
                found.append(Event(ident, kind))
            return found

        def _change(self, change: Event) -> None:
            if change.flags & 2:
                for source, known in list(self._sources.items()):
                    if known == (change.filter, change.ident):
                        self._remove(source)
                return
            if change.filter == select.KQ_FILTER_PROC:  # type: ignore[attr-defined]
                source = pidfd_open(change.ident)
                ended = select.poll()
                ended.register(source, select.POLLIN)
                if ended.poll(0):  # as macOS: nobody is told of an end that was before
                    os.close(source)
                    raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
            else:
                source = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
                libc.inotify_add_watch(source, f"/proc/self/fd/{change.ident}".encode(), 0x2 | 0x4)
            self._sources[source] = (change.filter, change.ident)
            self._epoll.register(source, select.POLLIN)

        def _remove(self, source: int) -> None:
            del self._sources[source]
            self._epoll.unregister(source)
            os.close(source)

        def close(self) -> None:
            """Duplicates of the descriptor go on."""
            self.closed = True
            kept = [os.dup(source) for source in self._sources]  # as the kernel keeps what it watches
            for source in self._sources:
                os.close(source)
            Queue.kept += kept
            self._epoll.close()

        kept: list[int] = []

    return Queue


def _library(real: Any) -> Any:
    class Library(real):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            if name in _FUNCTIONS:
                raise AttributeError(f"{self._name}: symbol not found: {name}")
            return super().__getattr__(name)

    return Library


def _is_hidden(path: Any) -> bool:
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    return text in _HIDDEN or text.startswith(tuple(f"{place}/" for place in _HIDDEN))


def _absent(path: Any) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _hide(name: str) -> None:
    real = getattr(os, name)

    def guarded(path: Any, *arguments: Any, **options: Any) -> Any:
        if _is_hidden(path):
            raise _absent(path)
        return real(path, *arguments, **options)

    setattr(os, name, guarded)


def _guard(name: str) -> None:
    real = getattr(socket.socket, name)

    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family == socket.AF_INET and address[0].startswith("127.") and address[0] != "127.0.0.1":
            raise OSError(errno.EADDRNOTAVAIL, "Can't assign requested address")
        return real(self, address)

    setattr(socket.socket, name, guarded)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir") and arguments and _is_hidden(arguments[0]):
        raise _absent(arguments[0])


def take_away() -> None:
    """Make this interpreter one of another system."""
    epoll, pidfd_open = select.epoll, os.pidfd_open
    queue = _queue(epoll, pidfd_open)
    module: ModuleType
    for module, names in _LACKING.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    for name in [name for name in vars(select) if name.startswith("EPOLL")]:
        delattr(select, name)
    selectors.DefaultSelector = selectors.PollSelector  # type: ignore[assignment, misc]
    constants = {"FILTER_PROC": -5, "FILTER_VNODE": -4, "FILTER_READ": -1, "EV_ADD": 1, "EV_DELETE": 2, "EV_CLEAR": 32}
    notes = {"EXIT": _NOTE_EXIT, "DELETE": 1, "WRITE": 2, "EXTEND": 4, "ATTRIB": 8, "LINK": 16, "RENAME": 32}
    for name, value in (*constants.items(), *((f"NOTE_{name}", value) for name, value in notes.items())):
        setattr(select, f"KQ_{name}", value)
    select.kqueue, select.kevent = queue, Event  # type: ignore[attr-defined]
    ctypes.CDLL = _library(ctypes.CDLL)  # type: ignore[misc]
    ctypes.PyDLL = _library(ctypes.PyDLL)  # type: ignore[misc]
    for name in ("stat", "lstat", "readlink"):
        _hide(name)
    real_access = os.access
    os.access = lambda path, *how, **options: not _is_hidden(path) and real_access(path, *how, **options)
    os.supports_effective_ids = set()
    for name in ("bind", "connect"):
        _guard(name)
    sys.addaudithook(_audit)
    real = os.uname()
    told = os.uname_result(("Darwin", real.nodename, "23.6.0", "Darwin Kernel Version 23.6.0", "arm64"))
    os.uname = lambda: told
    platform.uname.cache_clear() if hasattr(platform.uname, "cache_clear") else None
    sys.platform = "darwin"


def make(directory: Path) -> Path:
    """Put it there; the path of a program to be started in Python's place."""
    shutil.copy(__file__, directory / "elsewhere.py")
    program = directory / "python"
    program.write_text(
        "#!/bin/sh\noptions=\n"
        'while :; do case "$1" in -[ISEsPBu]) options="$options $1"; shift;; *) break;; esac; done\n'
        f'exec {sys.executable} $options {directory / "elsewhere.py"} "$@"\n'
    )
    program.chmod(0o755)
    return program


if __name__ == "__main__":
    # What looks at the platform while it is imported, and would look for macOS's own extension modules.
    if "site" in sys.modules:
        import asyncio  # noqa: F401
        import ctypes.util
        import sysconfig
        import urllib.request  # noqa: F401
        import uuid  # noqa: F401

        sysconfig.get_config_vars()
    sys.executable = str(Path(__file__).with_name("python"))
    take_away()
    kind, *rest = sys.argv[1:]
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [kind, *rest]
        runpy.run_path(kind, run_name="__main__")
