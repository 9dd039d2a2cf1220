"""How many replicas a metric asks for (upstream: ``podautoscaler/replica_calculator.go``). Pure.

Amounts are in thousandths, as whole numbers: rounding is part of the rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from homeport.kube import quantity
from homeport.kube.core.pod_state import is_ready
from homeport.kube.errors import HomeportError
from homeport.kube.meta import Object, dicts, find_condition, is_deleting, name, parse_time, spec, status

CPU_INITIALIZATION = timedelta(minutes=5)
"""How long a pod that starts may be busy with that."""
INITIAL_READINESS = timedelta(seconds=30)
"""A pod that became unready within this time of its start has not been ready yet."""
TOLERANCE = 0.1


class Uncomputable(HomeportError):
    """There is no telling how many replicas there should be, in upstream's words."""


class Sample(NamedTuple):
    """What one pod uses."""

    value: int
    at: datetime
    window: timedelta


Samples = Mapping[str, Sample]


class Tolerances(NamedTuple):
    """By which share a metric may be off its target without a change."""

    down: float = TOLERANCE
    up: float = TOLERANCE

    def admit(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


class Groups(NamedTuple):
    """Pods by what their metrics are worth; those that go or have failed are in none."""

    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    """Those that run and have no metrics."""
    ignored: frozenset[str]


class Answer(NamedTuple):
    replicas: int
    average: int
    """Of the pods that count."""
    utilization: int | None = None
    """In per cent of what they request."""


def milli(amount: Any) -> int:
    """A quantity in thousandths, rounded up."""
    return math.ceil(quantity.parse(amount) * 1000)


def text(amount: int) -> str:
    return quantity.to_text(Decimal(amount) / 1000)


def grouped(pods: Iterable[Object], samples: Samples, resource: str, now: datetime) -> Groups:
    ready = 0
    unready, missing, ignored = set(), set(), set()
    for pod in pods:
        phase, known = status(pod).get("phase"), samples.get(name(pod))
        if is_deleting(pod) or phase == "Failed":
            ignored.add(name(pod))
        elif phase == "Pending":
            unready.add(name(pod))
        elif known is None:
            missing.add(name(pod))
        elif resource == "cpu" and _is_starting(pod, known, now):
            unready.add(name(pod))
        else:
            ready += 1
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _is_starting(pod: Object, sample: Sample, now: datetime) -> bool:
    """Whether what the pod uses of the processor says nothing about its work yet."""
    condition, begun = find_condition(status(pod).get("conditions"), "Ready"), status(pod).get("startTime")
    if condition is None or begun is None:
        return True
    start, changed = parse_time(begun), parse_time(condition["lastTransitionTime"])
    if start + CPU_INITIALIZATION > now:
        return condition["status"] == "False" or sample.at < changed + sample.window
    return condition["status"] == "False" and start + INITIAL_READINESS > changed


def requests(pods: Iterable[Object], resource: str, container: str = "") -> dict[str, int]:
    """What each pod, or a container of it, requests. Raises Uncomputable where one does not say."""
    return {name(pod): _request(pod, resource, container) for pod in pods}


def _request(pod: Object, resource: str, container: str) -> int:
    whole = ((spec(pod).get("resources") or {}).get("requests") or {}).get(resource)
    if whole is not None and not container:
        return milli(whole)
    sidecars = (one for one in dicts(spec(pod).get("initContainers")) if one.get("restartPolicy") == "Always")
    total = 0
    for one in (*dicts(spec(pod).get("containers")), *sidecars):
        if container in ("", one["name"]):
            asked = ((one.get("resources") or {}).get("requests") or {}).get(resource)
            if asked is None:
                raise Uncomputable(f"missing request for {resource} in container {one['name']} of Pod {name(pod)}")
            total += milli(asked)
    return total


def by_utilization(
    pods: Collection[Object],
    samples: Samples,
    asked: Callable[[], Mapping[str, int]],
    target: int,
    current: int,
    resource: str,
    tolerances: Tolerances,
    now: datetime,
) -> Answer:
    """So many that they use `target` per cent of what they request. Raises Uncomputable."""
    groups = _grouped(pods, samples, resource, now)
    requested = asked()
    values = _usable(samples, groups)

    def utilization(of: Mapping[str, int]) -> int:
        known = {pod: value for pod, value in of.items() if pod in requested}
        total = sum(requested[pod] for pod in known)
        if not total:
            raise Uncomputable("no metrics returned matched known pods")
        return sum(known.values()) * 100 // total

    found = utilization(values)
    known = [value for pod, value in values.items() if pod in requested]
    full = max(100, target)
    replicas = _settled(
        groups,
        values,
        lambda of: utilization(of) / target,
        lambda pod: requested[pod] * full // 100,
        current,
        tolerances,
    )
    return Answer(replicas, sum(known) // len(known), found)


def by_average(
    pods: Collection[Object],
    samples: Samples,
    target: int,
    current: int,
    resource: str,
    tolerances: Tolerances,
    now: datetime,
) -> Answer:
    """So many that each has `target` of the metric. Raises Uncomputable."""
    groups = _grouped(pods, samples, resource, now)
    values = _usable(samples, groups)

    def average(of: Mapping[str, int]) -> int:
        return sum(of.values()) // len(of)

    replicas = _settled(groups, values, lambda of: average(of) / target, lambda _: target, current, tolerances)
    return Answer(replicas, average(values))


def _grouped(pods: Collection[Object], samples: Samples, resource: str, now: datetime) -> Groups:
    if not pods:
        raise Uncomputable("no pods returned by selector while calculating replica count")
    return grouped(pods, samples, resource, now)


def _usable(samples: Samples, groups: Groups) -> dict[str, int]:
    left = groups.unready | groups.ignored
    values = {pod: sample.value for pod, sample in samples.items() if pod not in left}
    if not values:
        raise Uncomputable("did not receive metrics for any ready pods")
    return values


def _settled(
    groups: Groups,
    values: Mapping[str, int],
    ratio: Callable[[Mapping[str, int]], float],
    full: Callable[[str], int],
    current: int,
    tolerances: Tolerances,
) -> int:
    """`ratio`: what is used as a share of the target. `full`: what a pod uses that has as much as it wants.

    Who gives no figures counts against a change: as idle where there would be more replicas, as fully busy where there
    would be fewer.
    """
    found = ratio(values)
    unready = groups.unready if found > 1.0 else frozenset()
    if not unready and not groups.missing:
        return current if tolerances.admit(found) else math.ceil(found * groups.ready)
    assumed = dict(values)
    if found < 1.0:
        assumed |= {pod: full(pod) for pod in groups.missing}
    elif found > 1.0:
        assumed |= dict.fromkeys(groups.missing | unready, 0)
    cautious = ratio(assumed)
    if tolerances.admit(cautious) or (found < 1.0 < cautious) or (cautious < 1.0 < found):
        return current
    replicas = math.ceil(cautious * len(assumed))
    turns = replicas > current if cautious < 1.0 else replicas < current
    return current if turns else replicas


def by_total(pods: Collection[Object], value: int, target: int, current: int, tolerances: Tolerances) -> int:
    """So many that a value that all share becomes `target`. Raises Uncomputable."""
    ratio = value / target
    if not current:
        return math.ceil(ratio)
    if tolerances.admit(ratio):
        return current
    if not pods:
        raise Uncomputable(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    ready = sum(status(pod).get("phase") == "Running" and is_ready(pod) for pod in pods)
    return math.ceil(ratio * int(ready))


def by_share(value: int, target: int, replicas: int, tolerances: Tolerances) -> Answer:
    """So many that each has `target` of a value that all share."""
    ratio = value / (target * replicas) if replicas else math.inf
    wanted = replicas if tolerances.admit(ratio) else math.ceil(value / target)
    return Answer(wanted, math.ceil(value / replicas) if replicas else 0)
