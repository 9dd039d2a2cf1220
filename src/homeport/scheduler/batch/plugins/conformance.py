"""What the cluster itself needs is never evicted (upstream: ``conformance``)."""

from __future__ import annotations

from collections.abc import Sequence

from homeport.scheduler.batch.model import Task
from homeport.scheduler.batch.plugins.base import Plugin
from homeport.scheduler.batch.state import GroupState, Victim


class Conformance(Plugin):
    name = "conformance"

    def preemptable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim] | None:
        return [victim for victim in victims if not victim.task.critical]

    def reclaimable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim] | None:
        return self.preemptable(taker, group, victims)
