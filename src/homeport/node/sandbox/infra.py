"""The first process of a pod whose containers share their processes: it holds the pid namespace and reaps orphans.

It is seen by the containers as process 1, so there is nothing in it for them: an empty root, no rights, no descriptors.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import NoReturn

from homeport.node.sandbox import idmap, kernelfs, linux
from homeport.node.sandbox.layout import Layout

_NOBODY = 65535
"""The id that Kubernetes' own pause process has."""


class Infra:
    """As the supervisor sees it."""

    __slots__ = ("namespace", "pid", "pidfd")

    def __init__(self, layout: Layout) -> None:
        """Start it, and show its processes at :func:`kernelfs.shared_proc`. Raises OSError."""
        os.mkdir(kernelfs.shared_proc(layout), 0o555)
        ready, said = os.pipe2(os.O_CLOEXEC)
        try:
            self.pid, self.pidfd = linux.fork_into(linux.CLONE_NEWPID)
            if self.pid == 0:
                _run(layout, said)
        finally:
            os.close(said)
        with os.fdopen(ready, "rb") as file:
            failure = file.read()
        if failure:
            os.waitpid(self.pid, 0)
            os.close(self.pidfd)
            number, _, text = failure.decode().partition(" ")
            raise OSError(int(number), text)
        self.namespace = os.open(f"/proc/{self.pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        """A descriptor of the pid namespace."""

    def end(self) -> None:
        """End it and, by the kernel's hand, every process of its namespace."""
        os.close(self.namespace)
        with contextlib.suppress(ProcessLookupError):  # somebody has killed it
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)


def _run(layout: Layout, said: int) -> NoReturn:
    try:
        linux.die_with_parent(signal.SIGKILL)
        linux.set_process_name("pause")
        linux.set_dumpable(False)
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("proc", kernelfs.shared_proc(layout), "proc", flags)
        _leave_machine(layout)
        os.setsid()
        linux.close_descriptors({said})
        _give_up()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    except OSError as error:
        os.write(said, f"{error.errno} {error.strerror}".encode())
        os._exit(1)
    os.close(said)
    while True:
        signal.sigwait({signal.SIGCHLD})
        _reap()


def _leave_machine(layout: Layout) -> None:
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("pause", layout.root, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_RDONLY, "size=4k")
    os.chdir(layout.root)
    linux.pivot_root(".", ".")
    linux.unmount(".", linux.MNT_DETACH)
    os.chdir("/")


def _give_up() -> None:
    linux.new_session_keyring()
    linux.limit_bounding_set(frozenset())
    if idmap.is_mapped("uid", _NOBODY) and idmap.is_mapped("gid", _NOBODY):
        if idmap.may_set_groups():
            os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    linux.set_capabilities(frozenset())
    linux.set_no_new_privileges()
    linux.set_dumpable(False)
    linux.die_with_parent(signal.SIGKILL)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
