"""How often replicas were restarted: counted in the job's status, so that the count outlives the pods.

A failed pod is recorded (``replaced``, with its restarts in ``restartsByIndex``) by the sync that first sees it, and
the runtime stores a status before it deletes anything. So each failure counts exactly once, whatever is interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from homeport.components.training import outcome
from homeport.components.training.framework import Replica
from homeport.components.training.outcome import Failure
from homeport.kube import meta
from homeport.kube.meta import Object

FIRST_DELAY, LONGEST_DELAY = 10.0, 300.0
"""Seconds before a replica's second restart, and at most; doubled each time. The first one is immediate."""
SOUND_RUN = 600.0
"""Seconds of running after which a failure is no part of such a series. All three are the kubelet's for containers."""


def time_to_restart(attempt: int, failure: Failure, now: datetime) -> float:
    """Seconds until what failed so is due to be restarted, for the `attempt`-th time."""
    if attempt <= 1 or failure.finished is None:
        return 0.0
    if failure.started and (failure.finished - failure.started).total_seconds() >= SOUND_RUN:
        return 0.0
    pause = min(FIRST_DELAY * 2.0 ** min(attempt - 2, 16), LONGEST_DELAY)
    return max(0.0, (failure.finished + timedelta(seconds=pause) - now).total_seconds())


class Ledger:
    """The restarts that a job's status records, and those that this sync adds."""

    def __init__(self, status: Object) -> None:
        entries: Mapping[str, Mapping[str, Any]] = status.get("replicaStatuses") or {}
        self._by_index = {type: dict(e.get("restartsByIndex") or {}) for type, e in entries.items()}
        self._stored = {type: frozenset(e.get("replaced") or ()) for type, e in entries.items()}
        self._recorded: dict[str, list[str]] = {}

    def count(self, replica: Replica) -> int:
        """Restarts of this replica by new pods, and of containers within the pods that were replaced."""
        return int(self._by_index.get(replica.type, {}).get(str(replica.index), 0))

    def record(self, replica: Replica, pod: Object) -> bool:
        """Count a failed pod that is to be replaced; False if it was counted before."""
        uid = meta.uid(pod)
        self._recorded.setdefault(replica.type, []).append(uid)
        if uid in self._stored.get(replica.type, ()):
            return False
        counts = self._by_index.setdefault(replica.type, {})
        counts[str(replica.index)] = self.count(replica) + 1 + outcome.restarts(pod)
        return True

    def is_recorded(self, replica: Replica, pod: Object) -> bool:
        return meta.uid(pod) in self._recorded.get(replica.type, ())

    def delay(self, replica: Replica, pod: Object, failure: Failure, now: datetime) -> float:
        """Seconds until `pod`, which is recorded, is due to be replaced."""
        return time_to_restart(self.count(replica) - outcome.restarts(pod), failure, now)

    def total(self, type: str, pods: Iterable[tuple[Replica, Object]]) -> int:
        """All restarts of a type: those recorded, and those in place of `pods`, which are not recorded yet."""
        live = sum(outcome.restarts(pod) for replica, pod in pods if not self.is_recorded(replica, pod))
        return sum(self._by_index.get(type, {}).values()) + live

    def fields(self, type: str, total: int) -> Object:
        """The fields of the type's ``replicaStatuses`` entry."""
        result: Object = {"restarts": total}
        if self._by_index.get(type):
            result["restartsByIndex"] = dict(sorted(self._by_index[type].items(), key=lambda item: int(item[0])))
        if self._recorded.get(type):
            result["replaced"] = list(self._recorded[type])
        return result
