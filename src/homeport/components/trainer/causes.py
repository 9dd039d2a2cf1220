"""Why a training job failed: which pod, exit code or signal, last lines of its log.

Upstream's message names the job that failed; its pods say why.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from homeport.components.trainer import names
from homeport.kube import meta
from homeport.kube.core import pod_failure
from homeport.kube.core.pod_failure import Failure
from homeport.kube.meta import Object

_TOGETHER = 30.0
"""Seconds before the last failure in which those lie that it may have followed; earlier ones were retried."""


def is_news(old: Object, new: Object) -> bool:
    """Whether a pod's change is a failure that may have to be remembered."""
    return _failure(old) != _failure(new)


def cause(pods: Iterable[Object], before: Object | None) -> Object | None:
    """Which pod failed first and how: its rank (:attr:`Failure.rank`) and `text`, to be remembered; None if none did.

    A failed job's pods are deleted before the job has failed: `before` is what was remembered of them. What fails while
    it is being deleted followed another's failure.
    """
    found: list[Object] = [] if before is None else [before]
    for pod in pods:
        failure = None if meta.is_deleting(pod) else _failure(pod)
        if failure is not None:
            told, lost, _ = failure.rank
            one: Object = {"text": f"pod {meta.name(pod)}: {failure}", "told": told, "lost": lost}
            found.append(one if failure.finished is None else one | {"finished": meta.timestamp(failure.finished)})
    latest = max((_finished(one) for one in found if one.get("finished")), default=0.0)
    recent = (one for one in found if _finished(one) >= latest - _TOGETHER)
    return min(recent, key=_rank, default=None)


def _rank(one: Object) -> tuple[bool, bool, float, str]:
    return bool(one.get("told")), bool(one.get("lost")), _finished(one), one["text"]


def _finished(one: Object) -> float:
    return meta.parse_time(one["finished"]).timestamp() if one.get("finished") else inf


def _failure(pod: Object) -> Failure | None:
    if meta.status(pod).get("phase") == "Failed":
        return pod_failure.failure(pod, names.NODE)
    return pod_failure.last_failure(pod, names.NODE)
