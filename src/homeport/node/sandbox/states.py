"""What a supervisor knows of its pod, as it tells it: on disk in ``state.json``, and to whoever asks."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from homeport.node.sandbox import logs, record, spec
from homeport.node.sandbox.wire import Message


class States:
    """The states of the pod's containers, each of its latest attempt. `identity`: what is said of the pod itself."""

    def __init__(self, path: str, identity: Message, stamps: logs.Stamps) -> None:
        self._path = path
        self._identity = identity
        self._stamps = stamps
        self._containers: dict[str, dict[str, Any]] = {}

    def whole(self) -> Message:
        return {**self._identity, "containers": self._containers}

    def write(self) -> None:
        """Put all of it on disk. Raises OSError."""
        record.rewrite(self._path, self.whole())

    def begin(self) -> None:
        """Nothing of an earlier sandbox of the pod may be taken for this one's. Nothing is written yet: without a file
        nothing was ever started. Raises OSError."""
        for path in self.paths():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def paths(self) -> tuple[str, str]:
        """The files that :meth:`write` has left."""
        return self._path, f"{self._path}{record.SUFFIX}"

    def of(self, name: str) -> dict[str, Any]:
        return self._containers[name]

    def attempt(self, name: str) -> int | None:
        """The latest attempt at a container; None before the first."""
        known = self._containers.get(name)
        return None if known is None else int(known["attempt"])

    def started(self, wanted: spec.Container, pid: int, cgroups: dict[str, str], ids: list[int]) -> None:
        self._containers[wanted.name] = {
            "name": wanted.name,
            "attempt": wanted.attempt,
            "phase": "running",
            "pid": pid,
            "started_at": self._stamps.now(),
            "cgroups": cgroups,
            "ids": ids,
        }

    def not_started(self, wanted: spec.Container, code: int, text: str) -> None:
        now = self._stamps.now()
        self._containers[wanted.name] = {
            "name": wanted.name,
            "attempt": wanted.attempt,
            "phase": "exited",
            "pid": 0,
            "started_at": now,
            "finished_at": now,
            "exit_code": code,
            "reason": "StartError",
            "message": text,
        }

    def ended(self, name: str, status: int, message: str, *, out_of_memory: bool) -> dict[str, Any]:
        """The container has ended with that status of ``waitpid``. Its state. `out_of_memory`: a process of it was
        ended because it had no more memory, which doesn't count against one that could do without."""
        code = os.waitstatus_to_exitcode(status)
        state = self._containers[name]
        state.update(
            phase="exited",
            finished_at=self._stamps.now(),
            exit_code=code if code >= 0 else 128 - code,
            signal=max(0, -code),
            reason="Completed" if code == 0 else "OOMKilled" if out_of_memory else "Error",
            message=message,
        )
        return state
