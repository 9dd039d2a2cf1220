"""Jobs whose replicas restart together: one that fails takes the others with it, and the attempt counts once.

For programs that can't go on without one of their processes and can't take it back either: all begin again, from the
last checkpoint. The sync that first sees a failure writes all pods there are into the status (``replaced``) and
counts; the runtime stores that before it deletes anything, so that each attempt counts once whatever is interrupted.
New pods are made when the last of the old ones has gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from homeport.kube import field, meta
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

ANNOTATION = "homeport.dev/gang-restart"
"""On a job: ``true`` restarts all replicas together. Upstream's jobs have no field for that."""


def is_asked_for(job: Object) -> bool:
    return meta.annotations(job).get(ANNOTATION) == "true"


def complaints(new: Object, old: Object | None) -> Iterator[FieldError]:
    """What is wrong with the annotation, unless it was so before."""
    value = meta.annotations(new).get(ANNOTATION)
    if value in (None, "true", "false") or (old is not None and meta.annotations(old).get(ANNOTATION) == value):
        return
    yield field.not_supported(f"metadata.annotations[{ANNOTATION}]", value, ("true", "false"))


class Attempts:
    """The joint restarts that a job's status records, and the one that this sync may begin."""

    def __init__(self, status: Object) -> None:
        entries: Mapping[str, Mapping[str, Any]] = status.get("replicaStatuses") or {}
        self.count = int(status.get("gangRestarts") or 0)
        self._doomed = {uid for entry in entries.values() for uid in entry.get("replaced") or ()}

    def begin(self, pods: Iterable[Object]) -> None:
        """Count another restart: `pods`, all there are, are to go."""
        self.count += 1
        self._doomed = {meta.uid(pod) for pod in pods}

    def is_doomed(self, pod: Object | None) -> bool:
        return pod is not None and meta.uid(pod) in self._doomed

    def fields(self, pods: Iterable[Object]) -> Object:
        """The fields of a type's ``replicaStatuses`` entry; `pods` are the type's."""
        doomed = [meta.uid(pod) for pod in pods if self.is_doomed(pod)]
        return {"replaced": doomed} if doomed else {}
