"""What a pod's status says about its replica: how it stands, why it failed, what it waits for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Any

import msgspec

from homeport.kube import meta
from homeport.kube.meta import Object

MESSAGE_LINES, MESSAGE_CHARACTERS = 8, 600
"""How much of a termination message a job's condition repeats; an event may hold about a thousand characters."""

_PATIENCE = frozenset({"ContainerCreating", "PodInitializing"})
"""Waiting reasons of a container that is on its way."""


class Standing(Enum):
    ABSENT = "absent"
    """No pod, or one that is being deleted: it will be made anew."""
    PENDING = "pending"
    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


def standing(pod: Object | None) -> Standing:
    """A pod that somebody deletes is no failure, whatever its containers do on the way; a success remains one."""
    if pod is None:
        return Standing.ABSENT
    phase = meta.status(pod).get("phase")
    if phase == "Succeeded":
        return Standing.SUCCEEDED
    if meta.is_deleting(pod):
        return Standing.ABSENT
    if phase == "Failed":
        return Standing.FAILED
    return Standing.ACTIVE if phase == "Running" else Standing.PENDING


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
            return _of(status, ended)
    status = meta.status(pod)
    return Failure(reason=status.get("reason") or "", message=status.get("message") or "")


def last_failure(pod: Object, container: str) -> Failure | None:
    """The newest failed attempt of any container, also of one that was restarted since."""
    for status in _in_order(pod, container):
        for field in ("state", "lastState"):
            ended = (status.get(field) or {}).get("terminated")
            if ended and ended.get("exitCode"):
                return _of(status, ended)
    return None


def restarts(pod: Object) -> int:
    """Restarts of the pod's containers in place."""
    return sum(status.get("restartCount") or 0 for status in _statuses(pod))


def waiting(pod: Object) -> tuple[str, str] | None:
    """(reason, message) of what keeps a pod that has not ended from running; None if it runs or is on its way."""
    for status in _statuses(pod):
        held = (status.get("state") or {}).get("waiting")
        if not held or not held.get("reason") or held["reason"] in _PATIENCE:
            continue
        if held["reason"] == "CrashLoopBackOff":
            # Its own message changes with each step of the back-off; what the user needs is why the container ended.
            ended = (status.get("lastState") or {}).get("terminated")
            if ended:
                return held["reason"], f"{_of(status, ended)} (restarts: {status.get('restartCount') or 0})"
        return held["reason"], tail(held.get("message") or "")
    scheduled = meta.find_condition(meta.status(pod).get("conditions"), "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        return scheduled.get("reason") or "Unschedulable", tail(scheduled.get("message") or "")
    return None


def _statuses(pod: Object) -> Iterator[Object]:
    status = meta.status(pod)
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _in_order(pod: Object, container: str) -> Iterator[Object]:
    found = list(_statuses(pod))
    yield from (status for status in found if status.get("name") == container)
    yield from (status for status in found if status.get("name") != container)


def _of(status: Object, ended: Object) -> Failure:
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
