"""All or nothing: who is short of members is first, and nobody loses what makes it whole (upstream: ``gang``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from homeport.scheduler.batch.model import Task
from homeport.scheduler.batch.plugins.base import Key, Plugin
from homeport.scheduler.batch.state import GroupState, Victim


class Gang(Plugin):
    name = "gang"

    def job_order(self, group: GroupState) -> Key:
        """Upstream ranks who is not ready before who is. Here, of those, who holds something already is first: a gang
        that has lost a member is mended before a new one begins, whatever their shares are."""
        if group.is_ready:
            return 2
        return 0 if group.holds else 1

    def preemptable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim] | None:
        left: Counter[str] = Counter()
        roles: dict[str, Counter[str]] = {}
        found = []
        for victim in victims:
            other = victim.group
            if other.key not in roles:
                left[other.key] = other.ready
                roles[other.key] = Counter(other.roles)
            least = other.group.min_task_member.get(victim.task.role, 0)
            if left[other.key] > other.group.min_member and (not least or roles[other.key][victim.task.role] > least):
                left[other.key] -= 1
                roles[other.key][victim.task.role] -= 1
                found.append(victim)
        return found

    def reclaimable(self, taker: Task, group: GroupState, victims: Sequence[Victim]) -> list[Victim] | None:
        return self.preemptable(taker, group, victims)
