"""What each metric of an autoscaler proposes: a number of replicas, and the metric's present value for the status.

Texts are upstream's (``podautoscaler/horizontal.go``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from homeport.components.system.autoscaling import replicas
from homeport.components.system.autoscaling.metrics import Metrics
from homeport.components.system.autoscaling.replicas import Answer, Tolerances, Uncomputable, milli, text
from homeport.kube.errors import BadRequest
from homeport.kube.gotext import label_selector as written
from homeport.kube.meta import Object
from homeport.kube.selector import from_label_selector


class Target(NamedTuple):
    """What is scaled, as it is now."""

    namespace: str
    wanted: int
    """How many replicas it is asked to have."""
    found: int
    """How many it has."""
    selector: str
    pods: Collection[Object]


class Proposal(NamedTuple):
    replicas: int
    metric: str
    status: Object


class Unknown(Uncomputable):
    """A metric proposes nothing. `reason` is that of the condition, `cause` what the condition says."""

    def __init__(self, reason: str, cause: str, message: str = "") -> None:
        super().__init__(message or cause)
        self.reason = reason
        self.cause = cause


async def propose(metrics: Metrics, spec: Object, target: Target, tolerances: Tolerances, now: datetime) -> Proposal:
    """`spec`: one metric. Raises Unknown."""
    kind = str(spec.get("type"))
    ask = _SOURCES.get(kind)
    if ask is None:
        raise Unknown("InvalidMetricSourceType", f'unknown metric source type "{kind}"')
    try:
        return await ask(metrics, spec, target, tolerances, now)
    except (Uncomputable, BadRequest) as error:
        prefix = {"Object": "failed to get object metric value: ", "Pods": "failed to get pods metric value: "}
        raise Unknown(f"FailedGet{kind}Metric", str(error), prefix.get(kind, "") + str(error)) from error


async def _resource(metrics: Metrics, spec: Object, target: Target, tolerances: Tolerances, now: datetime) -> Proposal:
    return await _of_pods(metrics, "resource", spec["resource"], target, tolerances, now)


async def _container(metrics: Metrics, spec: Object, target: Target, tolerances: Tolerances, now: datetime) -> Proposal:
    return await _of_pods(metrics, "containerResource", spec["containerResource"], target, tolerances, now)


async def _of_pods(
    metrics: Metrics, field: str, source: Object, target: Target, tolerances: Tolerances, now: datetime
) -> Proposal:
    name, container, goal = source["name"], source.get("container", ""), source["target"]
    try:
        samples = await _measured(metrics, name, target, container)
        if goal.get("averageValue") is not None:
            each, metric = milli(goal["averageValue"]), f"{name} resource"
            found = replicas.by_average(target.pods, samples, each, target.wanted, name, tolerances, now)
        else:
            metric = f"{name} {'container ' if container else ''}resource utilization (percentage of request)"
            found = replicas.by_utilization(
                target.pods,
                samples,
                lambda: replicas.requests(target.pods, name, container),
                goal["averageUtilization"],
                target.wanted,
                name,
                tolerances,
                now,
            )
    except Uncomputable as error:
        raise Uncomputable(f"failed to get {name} utilization: {error}") from error
    which = {"name": name, "container": container} if container else {"name": name}
    return Proposal(found.replicas, metric, _status(field, **which, current=_current(found)))


async def _measured(metrics: Metrics, name: str, target: Target, container: str) -> Mapping[str, replicas.Sample]:
    try:
        return await metrics.of_resource(name, target.namespace, target.selector, container)
    except Uncomputable as error:
        raise Uncomputable(f"unable to get metrics for resource {name}: {error}") from error


async def _pods(metrics: Metrics, spec: Object, target: Target, tolerances: Tolerances, now: datetime) -> Proposal:
    source = spec["pods"]
    metric = source["metric"]
    try:
        samples = await metrics.of_pods(metric["name"], target.namespace, target.selector, _selector(metric))
    except Uncomputable as error:
        raise Uncomputable(f"unable to get metric {metric['name']}: {error}") from error
    each = milli(source["target"]["averageValue"])
    found = replicas.by_average(target.pods, samples, each, target.wanted, "", tolerances, now)
    status = _status("pods", metric=metric, current=_current(found))
    return Proposal(found.replicas, f"pods metric {metric['name']}", status)


async def _object(metrics: Metrics, spec: Object, target: Target, tolerances: Tolerances, now: datetime) -> Proposal:
    source = spec["object"]
    metric, described, goal = source["metric"], source["describedObject"], source["target"]
    try:
        value = await metrics.of_object(metric["name"], target.namespace, described, _selector(metric))
    except Uncomputable as error:
        which = f"{described['kind']} {target.namespace}/{described['name']}"
        raise Uncomputable(f"unable to get metric {metric['name']}: {which}/{error}") from error
    words = "invalid object metric source: neither a value target nor an average value target was set"
    wanted, current = _shared(value, goal, target, tolerances, words)
    status = _status("object", describedObject=described, metric=metric, current=current)
    plain = f"{described['kind']} metric {metric['name']}"
    named = (
        f"external metric {metric['name']}({written(metric.get('selector'))})" if "averageValue" in current else plain
    )
    return Proposal(wanted, named, status)


async def _external(metrics: Metrics, spec: Object, target: Target, tolerances: Tolerances, now: datetime) -> Proposal:
    source = spec["external"]
    metric, goal = source["metric"], source["target"]
    name = metric["name"]
    try:
        values = await metrics.external(name, target.namespace, _selector(metric))
    except Uncomputable as error:
        which = f"{target.namespace}/{name}/{written(metric.get('selector'))}"
        words = f"unable to get external metric {which}: {error}"
        raise Uncomputable(f"failed to get {name} external metric: {words}") from error
    words = "invalid external metric source: neither a value target nor an average value target was set"
    wanted, current = _shared(sum(values), goal, target, tolerances, words)
    status = _status("external", metric=metric, current=current)
    return Proposal(wanted, f"external metric {name}({written(metric.get('selector'))})", status)


def _shared(value: int, goal: Object, target: Target, tolerances: Tolerances, unset: str) -> tuple[int, Object]:
    """Replicas and status for a value that all pods share."""
    if goal.get("averageValue") is not None:
        found = replicas.by_share(value, milli(goal["averageValue"]), target.found, tolerances)
        return found.replicas, {"averageValue": text(found.average)}
    if goal.get("value") is None:
        raise Uncomputable(unset)
    wanted = replicas.by_total(target.pods, value, milli(goal["value"]), target.wanted, tolerances)
    return wanted, {"value": text(value)}


_SOURCES = {
    "Resource": _resource,
    "ContainerResource": _container,
    "Pods": _pods,
    "Object": _object,
    "External": _external,
}


def _status(field: str, **fields: Any) -> Object:
    return {"type": field[0].upper() + field[1:], field: fields}


def _current(found: Answer) -> Object:
    current: Object = {"averageValue": text(found.average)}
    return current if found.utilization is None else {**current, "averageUtilization": found.utilization}


def _selector(metric: Object) -> str:
    """The metric's selector as a query writes it; without one, everything."""
    stated = metric.get("selector")
    return str(from_label_selector(stated)) if stated is not None else ""
