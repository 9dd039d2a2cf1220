"""A job's status while a sync writes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from homeport.components.training import conditions
from homeport.components.training.framework import Framework
from homeport.control.controller import Note
from homeport.kube import meta
from homeport.kube.meta import Object

WAITING = " Waiting: "
"""Between what a condition says of its stage and what the job waits for in it."""


class Draft:
    """The status to be, begun as the status that was. Times are set once, conditions and counts when they change."""

    def __init__(self, framework: Framework, job: Object, now: datetime) -> None:
        self._framework, self._old, self._now = framework, meta.status(job), meta.timestamp(now)
        self._name = f"{framework.kind} {meta.name(job)}"
        self._conditions: list[conditions.Condition] = list(self._old.get("conditions") or ())
        self._fields: Object = {
            key: value for key, value in self._old.items() if key not in ("conditions", "lastReconcileTime")
        }
        self.notes: list[Note] = []

    def is_true(self, type: str) -> bool:
        return meta.holds(self._conditions, type)

    def message(self, type: str) -> str:
        """What the condition said when it was set, as ``set`` takes it; empty if it isn't there or isn't true."""
        condition = meta.find_condition(self._conditions, type)
        if not condition or condition.get("status") != "True":
            return ""
        return str(condition.get("message") or "").partition(WAITING)[0].removeprefix(self._name + " ")

    def set(
        self,
        type: str,
        message: str,
        *,
        status: bool = True,
        reason: str = "",
        event: Literal["Normal", "Warning"] | None = None,
        waiting: str = "",
    ) -> None:
        """Set a condition; `message` goes on after the job's name, `reason` after its kind (the type, if empty).

        `event` tells of it when its status changes.
        """
        text = f"{self._name} {message}"
        reason = self._framework.reason(reason or type)
        before = meta.find_condition(self._conditions, type)
        after = conditions.set_condition(
            self._conditions, type, status, reason, text + (WAITING + waiting if waiting else ""), self._now
        )
        if event and (before is None or before.get("status") != ("True" if status else "False")):
            self.notes.append(Note(event, reason, text))
        self._conditions = after

    def note(self, type: Literal["Normal", "Warning"], reason: str, text: str) -> None:
        self.notes.append(Note(type, reason, text))

    def tell(self, type: Literal["Normal", "Warning"], event: str, message: str) -> None:
        """An event worded like a condition, for one that doesn't change."""
        self.note(type, self._framework.reason(event), f"{self._name} {message}")

    def has_said(self, text: str) -> bool:
        """True if a condition of the status that was held `text`: then its event was sent."""
        return any(text in str(c.get("message") or "") for c in self._old.get("conditions") or ())

    @property
    def start(self) -> Any:
        return self._fields.get("startTime")

    def begin(self, *, anew: bool = False) -> None:
        """Set ``startTime``, if it is not set or `anew`."""
        if anew or not self.start:
            self._fields["startTime"] = self._now

    def hold(self) -> None:
        """A suspended job has no ``startTime`` and nothing active."""
        self._fields.pop("startTime", None)
        counts: Mapping[str, Object] = self._fields.get("replicaStatuses") or {}
        held = {"active", "replaced"}
        self.count({type: {k: v for k, v in entry.items() if k not in held} for type, entry in counts.items()})

    def complete(self) -> None:
        self._fields.setdefault("completionTime", self._now)

    def count(self, replica_statuses: Object) -> None:
        if replica_statuses or "replicaStatuses" in self._fields:
            self._fields["replicaStatuses"] = replica_statuses

    def count_gang(self, restarts: int) -> None:
        if restarts:
            self._fields["gangRestarts"] = restarts

    def finish(self) -> Object | None:
        """The whole status; None if nothing has changed."""
        result = {**self._fields, "conditions": self._conditions}
        if result == {key: value for key, value in self._old.items() if key != "lastReconcileTime"}:
            return None
        return {**result, "lastReconcileTime": self._now}
