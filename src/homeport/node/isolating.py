"""Whether this machine lets us have the namespaces that pods as processes need: tried, in a process that ends at once.

A few milliseconds, for every start of a platform; what is in the way, and what to do about it, says
:mod:`homeport.node.doctor`.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import warnings

from homeport.node.sandbox import linux

_SECONDS = 5.0
_PASSING = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.ETIMEDOUT})
"""What says nothing about namespaces: the machine is busy, or this process has too many files open."""
_KINDS = linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC


def problem() -> str:
    """Why containers can't have processes, mounts and a network of their own here; empty if they can, or if it can't be
    said just now: pods get less than the machine can do only where that is sure."""
    if sys.platform != "linux":
        return "namespaces are Linux's"
    try:
        number = _try()
    except OSError as error:
        number = error.errno or errno.EIO
    return os.strerror(number) if number and number not in _PASSING else ""


def _try() -> int:
    """The errno of what was refused; 0 if nothing was. Raises OSError."""
    with warnings.catch_warnings():
        # Python warns of threads, which the C library's fork heeds: what they hold locked of it is free in the child.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os._exit(_try_alone())
        except OSError as error:
            os._exit(error.errno or errno.EIO)
        finally:
            os._exit(errno.EIO)
    pidfd = os.pidfd_open(pid)
    try:
        watch = select.poll()
        watch.register(pidfd, select.POLLIN)
        is_late = not watch.poll(_SECONDS * 1000)
        if is_late:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code if code >= 0 else errno.ETIMEDOUT if is_late else errno.EIO
    finally:
        os.close(pidfd)


def _try_alone() -> int:
    """The same in a process without threads, which alone can be forked into namespaces (:func:`linux.fork_into`)."""
    is_root = os.geteuid() == 0
    pid, _pidfd = linux.fork_into(_KINDS if is_root else _KINDS | linux.CLONE_NEWUSER)
    if pid == 0:
        linux.die_with_parent(signal.SIGKILL)
        os._exit(_enter())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else errno.EIO


def _enter() -> int:
    """Of the new namespaces: make use of them, as a container does. AppArmor lets programs have them and forbids what
    they are for; containers' own runtimes hide parts of /proc, and nobody below them may mount another."""
    try:
        linux.mount("", "/", "", linux.MS_REC | linux.MS_SLAVE)
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        linux.unshare(linux.CLONE_NEWNET)
    except OSError as error:
        return error.errno or errno.EIO
    return 0
