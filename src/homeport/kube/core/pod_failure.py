"""Why a pod failed, read off its status, and which of several failures brought the others about. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from homeport.kube import meta
from homeport.kube.meta import Object

MESSAGE_LINES, MESSAGE_CHARACTERS = 8, 600
"""How much of a termination message a job's condition repeats; an event may hold about a thousand characters."""

_LOST_PEER = re.compile(
    r"connection (?:was )?(?:reset|closed|aborted|refused)|connection(?:reset|refused|aborted)error"
    r"|broken ?pipe|socket closed",
    re.IGNORECASE,
)
"""What a replica says that fails because another one has gone."""


class Failure(msgspec.Struct, frozen=True):
    """Why a pod, or one attempt of a container in it, failed. `container` is empty if no container says."""

    container: str = ""
    exit_code: int | None = None
    signal: int = 0
    reason: str = ""
    message: str = ""
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def is_retryable(self) -> bool:
        """By the rule of ``restartPolicy: ExitCode``: 128 and above, or no exit code (an eviction, a lost node)."""
        return self.exit_code is None or self.exit_code >= 128

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Of several failures at about the same time, the one with the least rank is the cause.

        What was told to end (SIGTERM) and what complains of a lost connection followed another; else time decides.
        """
        told = self.signal == signal.SIGTERM or self.exit_code == 128 + signal.SIGTERM
        lost = bool(_LOST_PEER.search(tail(self.message)))
        return told, lost, self.finished.timestamp() if self.finished else float("inf")

    def __str__(self) -> str:
        if self.exit_code is None:
            return ": ".join(text for text in (self.reason, tail(self.message)) if text) or "the pod says not why"
        name = signal_name(self.signal or self.exit_code - 128)
        if self.reason in ("StartError", "ContainerCannotRun"):
            text = f"container {self.container} could not be started (exit code {self.exit_code})"
        elif name:
            text = f"container {self.container} was killed by {name} (exit code {self.exit_code})"
        else:
            text = f"container {self.container} exited with code {self.exit_code}"
        if self.reason == "OOMKilled":
            text += ", out of memory"
        message = tail(self.message)
        return f"{text}: {message}" if message else text


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; empty for what is no signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def tail(text: str) -> str:
    """The last lines of a termination message: a traceback ends with what matters."""
    lines = [line.rstrip() for line in text.strip().splitlines() if line.strip()]
    short = "\n".join(lines[-MESSAGE_LINES:])
    return short if len(short) <= MESSAGE_CHARACTERS else "…" + short[-MESSAGE_CHARACTERS:]


def failure(pod: Object, container: str) -> Failure:
    """Why a failed pod failed. The container that trains is asked first, then the init containers, then the others."""
    for status in _in_order(pod, container):
        ended = (status.get("state") or {}).get("terminated")
        if ended and ended.get("exitCode"):
            return of(status, ended)
    status = meta.status(pod)
    return Failure(reason=status.get("reason") or "", message=status.get("message") or "")


def last_failure(pod: Object, container: str) -> Failure | None:
    """The newest failed attempt of any container, also of one that was restarted since."""
    for status in _in_order(pod, container):
        for field in ("state", "lastState"):
            ended = (status.get(field) or {}).get("terminated")
            if ended and ended.get("exitCode"):
                return of(status, ended)
    return None


def statuses(pod: Object) -> Iterator[Object]:
    """The statuses of a pod's containers, init containers first."""
    status = meta.status(pod)
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _in_order(pod: Object, container: str) -> Iterator[Object]:
    found = list(statuses(pod))
    yield from (status for status in found if status.get("name") == container)
    yield from (status for status in found if status.get("name") != container)


def of(status: Object, ended: Object) -> Failure:
    """What a container's status says of one attempt that has ended."""
    return Failure(
        container=status.get("name") or "",
        exit_code=ended.get("exitCode") or 0,
        signal=ended.get("signal") or 0,
        reason=ended.get("reason") or "",
        message=ended.get("message") or "",
        started=moment(ended.get("startedAt")),
        finished=moment(ended.get("finishedAt")),
    )


def moment(text: Any) -> datetime | None:
    """The time that a status field names; None for none and for what is no time."""
    try:
        return meta.parse_time(text) if isinstance(text, str) else None
    except ValueError:
        return None
