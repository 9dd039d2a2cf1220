"""The more important first; who is less important may have to go (upstream: ``priority``)."""

from __future__ import annotations

from collections.abc import Sequence

from homeport.scheduler.batch.model import Task
from homeport.scheduler.batch.plugins.base import Key, Plugin
from homeport.scheduler.batch.state import GroupState, Victim


class Priority(Plugin):
    name = "priority"

    def job_order(self, group: GroupState) -> Key:
        return -group.group.priority

    def task_order(self, task: Task) -> Key:
        return -task.priority

    def preemptable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim] | None:
        return [
            victim
            for victim in victims
            if (
                victim.task.priority < taker.priority
                if victim.group is group
                else victim.group.group.priority < group.group.priority
            )
        ]
