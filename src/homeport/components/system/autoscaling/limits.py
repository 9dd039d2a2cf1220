"""How many replicas there may be at once: the least and the most, how fast the number changes, and how far it is looked
back (upstream: ``podautoscaler/horizontal.go``). Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from homeport.components.system.autoscaling.replicas import TOLERANCE, Tolerances
from homeport.kube import quantity
from homeport.kube.meta import Object

DOWNSCALE_WINDOW = timedelta(minutes=5)
"""How long a number of replicas stays recommended for which there is no rule."""
_LONGEST = timedelta(hours=1)
"""What the API allows as a window; further back nobody looks."""


class Moment(NamedTuple):
    """A number and when it was so."""

    number: int
    at: datetime


class History(NamedTuple):
    """What has become of an autoscaler so far."""

    recommendations: tuple[Moment, ...] = ()
    """What the metrics asked for."""
    changes: tuple[Moment, ...] = ()
    """By how much the number of replicas was changed."""

    def recommending(self, replicas: int, now: datetime) -> History:
        """Of numbers that are the same one after the other, the last says it all."""
        kept = _since(self.recommendations, now - _LONGEST)
        if kept and kept[-1].number == replicas:
            kept = kept[:-1]
        return self._replace(recommendations=(*kept, Moment(replicas, now)))

    def changed(self, by: int, now: datetime) -> History:
        return self._replace(changes=(*_since(self.changes, now - _LONGEST), Moment(by, now)))


class Reason(NamedTuple):
    """A condition's reason and message."""

    reason: str
    message: str


class Decision(NamedTuple):
    replicas: int
    stabilized: Reason
    """Of AbleToScale."""
    is_limited: bool
    limited: Reason
    """Of ScalingLimited."""


_READY = Reason("ReadyForNewScale", "recommended size matches current size")
_DOWN_STABILIZED = Reason(
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
_UP_STABILIZED = Reason(
    "ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation"
)
_WITHIN = Reason("DesiredWithinRange", "the desired count is within the acceptable range")
_TOO_FEW = Reason("TooFewReplicas", "the desired replica count is less than the minimum replica count")
_TOO_MANY = Reason("TooManyReplicas", "the desired replica count is more than the maximum replica count")
_TOO_FAST_UP = Reason("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
_TOO_FAST_DOWN = Reason("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")


def tolerances(spec: Object) -> Tolerances:
    """Those that the autoscaler states, else the usual ones."""

    def one(direction: str) -> float:
        stated = _rules(spec, direction).get("tolerance")
        return TOLERANCE if stated is None else float(quantity.parse(stated))

    return Tolerances(one("scaleDown"), one("scaleUp"))


def decide(spec: Object, current: int, wanted: int, history: History, now: datetime) -> Decision:
    """`wanted`: what the metrics ask for. `history` does not have it yet."""
    stable, stabilized = _stable(spec, current, wanted, history, now)
    lowest, highest = spec.get("minReplicas", 1), spec["maxReplicas"]
    if spec.get("behavior") is None:
        # Usage that somebody measured wrong must not make any number of replicas at once.
        fastest = max(2 * current, 4)
        if stable < lowest:
            replicas, reason = lowest, _TOO_FEW
        elif stable > (most := min(highest, fastest)):
            replicas, reason = most, _TOO_FAST_UP if highest > fastest else _TOO_MANY
        else:
            replicas, reason = stable, _WITHIN
    elif stable > current:
        fastest = max(current, _upper(_rules(spec, "scaleUp"), current, history, now))
        most, reason = min(highest, fastest), _TOO_FAST_UP if highest > fastest else _TOO_MANY
        replicas, reason = (most, reason) if stable > most else (stable, _WITHIN)
    elif stable < current:
        fastest = min(current, _lower(_rules(spec, "scaleDown"), current, history, now))
        least, reason = max(lowest, fastest), _TOO_FAST_DOWN if lowest < fastest else _TOO_FEW
        replicas, reason = (least, reason) if stable < least else (stable, _WITHIN)
    else:
        replicas, reason = stable, _WITHIN
    return Decision(replicas, stabilized, replicas != stable, reason)


def _stable(spec: Object, current: int, wanted: int, history: History, now: datetime) -> tuple[int, Reason]:
    """The number nearest to the current one that recent recommendations agree with."""
    if spec.get("behavior") is None:
        recent = (each.number for each in history.recommendations if each.at >= now - DOWNSCALE_WINDOW)
        stable, reason = max((wanted, *recent)), _DOWN_STABILIZED
    else:
        up = _numbers(history.recommendations, now - _window(spec, "scaleUp", timedelta(0)))
        down = _numbers(history.recommendations, now - _window(spec, "scaleDown", DOWNSCALE_WINDOW))
        stable = min(max(current, min((wanted, *up))), max((wanted, *down)))
        reason = _UP_STABILIZED if wanted >= current else _DOWN_STABILIZED
    return stable, _READY if stable == wanted else reason


def _rules(spec: Object, direction: str) -> Object:
    return (spec.get("behavior") or {}).get(direction) or {}


def _window(spec: Object, direction: str, default: timedelta) -> timedelta:
    stated = _rules(spec, direction).get("stabilizationWindowSeconds")
    return default if stated is None else timedelta(seconds=stated)


def _upper(rules: Object, current: int, history: History, now: datetime) -> int:
    """The most replicas that policies for growing allow now."""
    if rules.get("selectPolicy") == "Disabled":
        return current
    choose: Callable[[Iterable[int]], int] = min if rules.get("selectPolicy") == "Min" else max
    return choose(
        begun + policy["value"]
        if policy["type"] == "Pods"
        # Rounded up: few replicas would never become more.
        else math.ceil(begun * (1 + policy["value"] / 100))
        for policy, begun in _policies(rules, current, history, now)
    )


def _lower(rules: Object, current: int, history: History, now: datetime) -> int:
    """The least replicas that policies for shrinking allow now."""
    if rules.get("selectPolicy") == "Disabled":
        return current
    choose: Callable[[Iterable[int]], int] = max if rules.get("selectPolicy") == "Min" else min
    return choose(
        begun - policy["value"] if policy["type"] == "Pods" else int(begun * (1 - policy["value"] / 100))
        for policy, begun in _policies(rules, current, history, now)
    )


def _policies(rules: Object, current: int, history: History, now: datetime) -> Iterable[tuple[Object, int]]:
    """Each policy, and how many replicas there were when its period began."""
    for policy in rules["policies"]:
        changes = _numbers(history.changes, now - timedelta(seconds=policy["periodSeconds"]))
        yield policy, current - sum(changes)


def _numbers(moments: Iterable[Moment], after: datetime) -> list[int]:
    return [each.number for each in moments if each.at > after]


def _since(moments: tuple[Moment, ...], begin: datetime) -> tuple[Moment, ...]:
    return tuple(each for each in moments if each.at >= begin)
