"""The ends of containers whose supervisor was killed: the fork server, which inherits them, finds out how they ended
and writes it down in the supervisor's place.

A supervisor reaps a container only when it has written down how that ended, so whatever it was killed in, the end is
either on disk or still to be had from the kernel.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from homeport.node.sandbox import linux, logs, record

_UNCLAIMED_SECONDS = 5.0
"""How long an end is kept that belongs to nobody: that of the supervisor is told by another way, which may be later."""
_MESSAGE = "the container's supervisor was killed, and the container with it"


class _Estate:
    """What one killed supervisor has left: its pod's state, and which of its containers have not been reaped yet."""

    __slots__ = ("path", "state", "waiting")

    def __init__(self, path: str, state: dict[str, Any], waiting: dict[int, str]) -> None:
        self.path = path
        self.state = state
        self.waiting = waiting
        """Names of containers by their pids."""


class Orphans:
    """Of one process, which must be a child subreaper. `settled` is called with the path of a pod's state file once
    nothing more can be found out about that pod's containers, `reaped` with what ``waitid`` says of each child that
    has ended, and is about to be reaped."""

    def __init__(self, settled: Callable[[str], None], reaped: Callable[[os.waitid_result], None]) -> None:
        self._settled = settled
        self._reaped = reaped
        self._estates: list[_Estate] = []
        self._unclaimed: dict[int, tuple[float, int]] = {}
        """Times and statuses by pid."""
        self._stamps = logs.Stamps()

    def inherit(self, path: str) -> None:
        """The supervisor whose state file that is has ended; its containers are this process's children by now, if it
        was one itself."""
        waiting: dict[int, str] = {}
        state: dict[str, Any] = {}
        # Without a state file, or with one that can't be read, nothing was ever started in the pod.
        try:
            with open(path, encoding="utf-8") as file:
                state = json.load(file)
            for name, container in state["containers"].items():
                pid = container["pid"]
                if container["phase"] == "running" and (pid in self._unclaimed or linux.parent_of(pid) == os.getpid()):
                    waiting[pid] = name
        except (OSError, ValueError, TypeError, KeyError):
            waiting.clear()
        estate = _Estate(path, state, waiting)
        self._estates.append(estate)
        for pid in [pid for pid in waiting if pid in self._unclaimed]:
            self._bury(estate, waiting.pop(pid), self._unclaimed.pop(pid)[1])
        self._settle()

    def is_open(self, path: str) -> bool:
        """Whether more will be known about the pod with that state file."""
        return any(estate.path == path for estate in self._estates)

    @property
    def any_open(self) -> bool:
        """Whether more will be known about any pod."""
        return bool(self._estates)

    def reap(self) -> None:
        """Take the ends of all children that have ended."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is None:
                    break
                self._reaped(found)
                pid, status = os.waitpid(found.si_pid, 0)
            except ChildProcessError:
                break
            heir = next((estate for estate in self._estates if pid in estate.waiting), None)
            if heir is not None:
                self._bury(heir, heir.waiting.pop(pid), status)
            else:
                self._unclaimed[pid] = time.monotonic(), status
        oldest = time.monotonic() - _UNCLAIMED_SECONDS
        self._unclaimed = {pid: known for pid, known in self._unclaimed.items() if known[0] > oldest}
        self._settle()

    def _bury(self, estate: _Estate, name: str, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        estate.state["containers"][name].update(
            phase="exited",
            finished_at=self._stamps.now(),
            exit_code=code if code >= 0 else 128 - code,
            signal=max(0, -code),
            reason="Completed" if code == 0 else "Error",
            message=_MESSAGE if code == -signal.SIGKILL else "",
        )
        try:
            record.write(estate.path, estate.state)
        except OSError as error:
            # The pod's directory has gone, or the disk is full: then it is reported as unknown.
            print(f"{estate.path} can't be written: {error}", flush=True)

    def _settle(self) -> None:
        for estate in [estate for estate in self._estates if not estate.waiting]:
            self._estates.remove(estate)
            self._settled(estate.path)
