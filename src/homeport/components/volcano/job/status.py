"""A job's status while a sync writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from homeport.components.volcano.job import shape
from homeport.kube import meta
from homeport.kube.meta import Object

FINISHED = ("Completed", "Failed", "Terminated")
_COUNTS = {"Pending": "pending", "Running": "running", "Succeeded": "succeeded", "Failed": "failed"}


class Draft:
    """The status to be, begun as the status that was."""

    def __init__(self, job: Object, now: datetime) -> None:
        self._job, self._now = job, now
        self._fields: Object = dict(meta.status(job))
        state: Mapping[str, Any] = self._fields.get("state") or {}
        self._state: Object = dict(state)

    @property
    def phase(self) -> str:
        return str(self._state.get("phase") or "")

    def number(self, key: str) -> int:
        return int(self._fields.get(key) or 0)

    def came_from(self, *phases: str) -> bool:
        """Whether one of `phases` is the one before the present one."""
        earlier = [condition["status"] for condition in self._fields.get("conditions") or ()]
        return len(earlier) > 1 and earlier[-2] in phases

    def since(self) -> datetime | None:
        text = self._state.get("lastTransitionTime")
        return meta.parse_time(text) if text else None

    def enter(self, phase: str) -> None:
        """Go on to another phase; nothing if it is this one."""
        if phase == self.phase:
            return
        text = meta.timestamp(self._now)
        self._state = {"phase": phase, "lastTransitionTime": text}
        conditions = [one for one in self._fields.get("conditions") or () if one["status"] != phase]
        self._fields["conditions"] = [*conditions, {"status": phase, "lastTransitionTime": text}]

    def tell(self, message: str, reason: str = "") -> None:
        """Why the job is where it is, in words and in one word; empty: there is nothing to say."""
        for key, text in (("message", message), ("reason", reason)):
            self._state.pop(key, None)
            if text:
                self._state[key] = text

    def raise_version(self) -> None:
        self._fields["version"] = self.number("version") + 1

    def count_retry(self) -> None:
        self._fields["retryCount"] = self.number("retryCount") + 1

    def count(self, pods: Iterable[Object], terminating: int) -> None:
        """Count pods that stay; `terminating`: others that are on their way out."""
        totals = dict.fromkeys((*_COUNTS.values(), "unknown"), 0)
        by_task: dict[str, dict[str, int]] = {}
        for pod in pods:
            phase = str(meta.status(pod).get("phase") or "Pending")
            totals[_COUNTS.get(phase, "unknown")] += 1
            mine = by_task.setdefault(shape.task_of(pod), {})
            mine[phase if phase in _COUNTS else "Unknown"] = mine.get(phase, 0) + 1
        totals["terminating"] = terminating
        for key, number in totals.items():
            self._set(key, number)
        self._set("taskStatusCount", {task: {"phase": phases} for task, phases in sorted(by_task.items())})

    def control(self, resources: Mapping[str, str]) -> None:
        self._set("controlledResources", dict(resources))

    def need(self, members: int) -> None:
        self._set("minAvailable", members)

    def run(self, started: datetime) -> None:
        """How long the job ran, now that it is stopped."""
        left = max(0, int((self._now - started).total_seconds()))
        hours, minutes, seconds = left // 3600, left // 60 % 60, left % 60
        self._fields["runningDuration"] = (
            (f"{hours}h" if hours else "") + (f"{minutes}m" if left >= 60 else "") + f"{seconds}s"
        )

    def _set(self, key: str, value: Any) -> None:
        """As it is written to the API: nothing for zero."""
        self._fields.pop(key, None)
        if value:
            self._fields[key] = value

    def finish(self) -> Object | None:
        """The whole status; None if nothing has changed."""
        result = {**self._fields, "state": self._state}
        return None if result == meta.status(self._job) else result

    @property
    def succeeded_by_task(self) -> Mapping[str, int]:
        counts: Mapping[str, Any] = self._fields.get("taskStatusCount") or {}
        return {task: (entry.get("phase") or {}).get("Succeeded", 0) for task, entry in counts.items()}
