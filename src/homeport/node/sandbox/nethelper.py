"""The network helper (:mod:`~homeport.node.sandbox.netd`) as the fork server sees it: found, started, started anew."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import signal
from collections.abc import Callable

from homeport.node.sandbox import linux, loop, network, record, registry, wire
from homeport.node.sandbox.sealing import Refused

_RESPAWN_SECONDS = 1.0
_ENDING_SECONDS = 2.0
"""How long it may take to write."""


class _Process:
    """One that is watched by its pidfd, child or not."""

    __slots__ = ("pid", "pidfd", "start_time")

    def __init__(self, pid: int, start_time: str, pidfd: int) -> None:
        self.pid = pid
        self.start_time = start_time
        self.pidfd = pidfd


class NetHelper:
    """The one that runs, or a new one: whenever it ends, another is started in the same network namespace."""

    def __init__(
        self,
        directory: str,
        net: ipaddress.IPv4Network,
        services: ipaddress.IPv4Network,
        pods: registry.Registry,
        events: loop.Loop,
        fork: Callable[[set[int], Callable[[], object]], int],
    ) -> None:
        """`fork` runs a function in a new process that has only those descriptors of this one. Raises OSError or
        Refused."""
        self._directory = directory
        self._network = net
        self._services = services
        self._loop = events
        self._fork = fork
        self._running: _Process | None = None
        self._is_ending = False
        self.namespace = self._join_or_start(pods)
        """A descriptor of the node's network namespace."""

    def _join_or_start(self, pods: registry.Registry) -> int:
        known = self._recorded()
        if known is not None:
            self._watch(known)
            return os.open(f"/proc/{known.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for entry in pods.entries():
            if linux.is_alive(entry.pid, entry.start_time):
                try:
                    namespace = os.open(f"/proc/{entry.pid}/fd/{entry.namespace}", os.O_RDONLY | os.O_CLOEXEC)
                except OSError:
                    continue  # it ended in this moment
                self._start(namespace)
                return namespace
        return os.open(f"/proc/{self._start(None).pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _recorded(self) -> _Process | None:
        known = registry.recorded_helper(self._directory)
        if known is None:
            return None
        pidfd = linux.open_process(*known)
        return None if pidfd is None else _Process(*known, pidfd)

    def _start(self, namespace: int | None) -> _Process:
        """Return when it serves, in that namespace or in a new one. Raises OSError or Refused."""
        receive, send = os.pipe2(os.O_CLOEXEC)
        kept = {send} if namespace is None else {send, namespace}
        pid = self._fork(kept, lambda: self._be(namespace, send))
        os.close(send)
        with os.fdopen(receive, "rb") as file:
            answer = file.readline()
        if answer != b"\n":
            os.waitpid(pid, 0)
            raise Refused(f"the node's network can't be made: {answer.decode(errors='replace').strip() or 'it ended'}")
        started = _Process(pid, linux.start_time(pid), os.pidfd_open(pid))
        record.write(registry.helper_path(self._directory), [started.pid, started.start_time])
        self._watch(started)
        return started

    def _be(self, namespace: int | None, ready: int) -> None:
        # Only here: every pod would pay for it by its fork.
        from homeport.node.sandbox import netd

        netd.run(self._directory, self._network, self._services, namespace, ready)

    def _watch(self, process: _Process) -> None:
        self._running = process
        self._loop.watch(process.pidfd, lambda _events: self._ended(process))

    def _ended(self, process: _Process) -> None:
        self._loop.forget_process(process.pid, process.pidfd)
        self._running = None
        if not self._is_ending:
            print("the network helper has ended; starting another", flush=True)
            self._restart()

    def _restart(self) -> None:
        if self._running is not None:
            return
        try:
            self._start(self.namespace)
        except (OSError, Refused) as error:
            print(f"the network helper can't be started: {error}", flush=True)
            self._loop.after(_RESPAWN_SECONDS, self._restart)

    def require(self) -> None:
        """It runs when this returns; its end may not have been heard yet. Raises ValueError if it can't be started."""
        if self._running is not None and self._listens():
            return
        if self._running is not None:
            # It is about to end, if it has not: a process closes its sockets first.
            select.select([self._running.pidfd], [], [])
            self._loop.forget_process(self._running.pid, self._running.pidfd)
            self._running = None
        try:
            self._start(self.namespace)
        except (OSError, Refused) as error:
            raise ValueError(str(error)) from None

    def _listens(self) -> bool:
        try:
            wire.connect(network.helper_socket(self._directory)).close()
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def end(self) -> None:
        """End it for good, when it has written what it was about to write."""
        self._is_ending = True
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._running.pidfd, signal.SIGTERM)
                if not select.select([self._running.pidfd], [], [], _ENDING_SECONDS)[0]:
                    signal.pidfd_send_signal(self._running.pidfd, signal.SIGKILL)
            # Not a child if an earlier fork server forked it.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._running.pid, 0)
