"""What the pods that a budget covers mean for its status (upstream: ``pkg/controller/disruption``). Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from homeport.kube.core.disruption import with_verdict
from homeport.kube.core.pod_state import has_ended, is_ready
from homeport.kube.meta import Object, find_condition, is_deleting, metadata, name, parse_time, spec, status

DELETION_TIMEOUT = timedelta(minutes=2)
"""How long an evicted pod may take until it is being deleted; then it counts as one that stays."""
STALE_TIMEOUT = timedelta(minutes=2)
"""How long a pod may say that it is about to be disrupted without being deleted."""


class Expectation(NamedTuple):
    """What a budget asks for."""

    pods: int
    """How many there should be."""
    healthy: int
    """How many of them have to be healthy."""


class Evicted(NamedTuple):
    """The pods that were evicted and are not being deleted yet."""

    since: Mapping[str, str]
    forgotten: tuple[Object, ...]
    """Those whose time to go has run out."""
    recheck: datetime | None
    """When the time of the next one runs out."""


def needs_scale(budget: Object) -> bool:
    """Whether the number of pods comes from their controllers, and not from looking at them."""
    wanted = spec(budget)
    return wanted.get("maxUnavailable") is not None or isinstance(wanted.get("minAvailable"), str)


def expectation(budget: Object, pods: int, scale: int) -> Expectation:
    """`pods`: how many there are. `scale`: how many their controllers want, where that is needed."""
    least, most = spec(budget).get("minAvailable"), spec(budget).get("maxUnavailable")
    if most is not None:
        return Expectation(scale, max(0, scale - _share(most, scale)))
    if isinstance(least, str):
        return Expectation(scale, _share(least, scale))
    return Expectation(pods if least is not None else 0, least or 0)


def _share(value: int | str, total: int) -> int:
    """A number, or a percentage of `total`, rounded up."""
    return value if isinstance(value, int) else -(-int(value.removesuffix("%")) * total // 100)


def evicted(budget: Object, pods: Iterable[Object], now: datetime) -> Evicted:
    noted = status(budget).get("disruptedPods") or {}
    since: dict[str, str] = {}
    forgotten: list[Object] = []
    ends: list[datetime] = []
    for pod in pods if noted else ():
        moment = noted.get(name(pod))
        if moment is None or is_deleting(pod):
            continue
        end = parse_time(moment) + DELETION_TIMEOUT
        if end < now:
            forgotten.append(pod)
        else:
            since[name(pod)] = moment
            ends.append(end)
    return Evicted(since, tuple(forgotten), min(ends, default=None))


def healthy(pods: Iterable[Object], going: Collection[str]) -> int:
    """How many pods are ready and stay so. `going`: the names of those that were evicted."""
    return sum(is_ready(pod) and not is_deleting(pod) and name(pod) not in going for pod in pods)


def new_status(budget: Object, wanted: Expectation, current: int, going: Mapping[str, str], now: datetime) -> Object:
    """A budget that covers no pods allows nothing: its first pods may be there before it is looked at again."""
    found = {
        "disruptionsAllowed": max(0, current - wanted.healthy) if wanted.pods > 0 else 0,
        "currentHealthy": current,
        "desiredHealthy": wanted.healthy,
        "expectedPods": wanted.pods,
        "observedGeneration": metadata(budget).get("generation", 0),
        "conditions": status(budget).get("conditions") or [],
    }
    return with_verdict({**found, "disruptedPods": dict(going)} if going else found, now)


def failed_status(budget: Object, error: str, now: datetime) -> Object:
    """Whose number of pods is not known must not lose any."""
    return with_verdict({**status(budget), "disruptionsAllowed": 0}, now, failure=error)


def stale_at(pod: Object) -> datetime | None:
    """When the pod's condition that it is about to be disrupted is no longer to be believed; None: it has none, or it
    is on its way. The kubelet's own conditions are always believed."""
    condition = find_condition(status(pod).get("conditions"), "DisruptionTarget")
    if condition is None or condition.get("status") != "True" or condition.get("reason") == "TerminationByKubelet":
        return None
    if is_deleting(pod) or has_ended(pod):
        return None
    return parse_time(condition["lastTransitionTime"]) + STALE_TIMEOUT
