"""Autoscalers and disruption budgets."""

from __future__ import annotations

from typing import Any

from homeport.kube import meta
from homeport.kube.core.declare import TYPES, deferred, grouped
from homeport.kube.kind import Column, Conversion
from homeport.kube.meta import Object
from homeport.kube.table import AGE

_GROUP = "autoscaling"
_SHOWN = 2
"""Metrics that a cell shows before it says how many more there are."""
_UNKNOWN = "<unknown>"

_rule = deferred("homeport.kube.core.scaling_validation")
_conversion = deferred("homeport.kube.core.scaling_conversion")


def _reference(scaler: Object) -> str:
    ref = meta.spec(scaler).get("scaleTargetRef") or {}
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}


def _targets(scaler: Object) -> str:
    """``cpu: 12%/80%``, metric by metric (upstream: ``formatHPAMetrics``)."""
    metrics = meta.spec(scaler).get("metrics") or ()
    if not metrics:
        return "<none>"
    current = meta.status(scaler).get("currentMetrics") or ()
    texts = [
        _metric(spec, current[index] if index < len(current) else {}) for index, spec in enumerate(metrics[:_SHOWN])
    ]
    more = len(metrics) - _SHOWN
    return ", ".join(texts) + (f" + {more} more..." if more > 0 else "")


def _metric(spec: Object, status: Object) -> str:
    kind = str(spec.get("type") or "")
    name = _SOURCES.get(kind, "")
    source, found = spec.get(name) or {}, (status or {}).get(name) or {}
    target, value = source.get("target") or {}, found.get("current") or {}
    text = _amounts(kind, target, value)
    return f"{source.get('name', '')}: {text}" if "esource" in kind else text


def _amounts(kind: str, target: Object, value: Object) -> str:
    if kind in ("Resource", "ContainerResource") and target.get("averageValue") is None:
        wanted = target.get("averageUtilization")
        have = value.get("averageUtilization")
        shown = f"{have}%" if have is not None else _UNKNOWN
        return f"{shown}/{wanted}%" if wanted is not None else f"{shown}/<auto>"
    if target.get("averageValue") is not None:
        suffix = " (avg)" if kind in ("External", "Object") else ""
        return f"{value.get('averageValue') or _UNKNOWN}/{target['averageValue']}{suffix}"
    return f"{value.get('value') or _UNKNOWN}/{target.get('value', '')}"


def _or_unset(path: str) -> Any:
    return lambda obj: "<unset>" if meta.spec(obj).get(path) is None else str(meta.spec(obj)[path])


def _or_not_applicable(path: str) -> Any:
    return lambda obj: "N/A" if meta.spec(obj).get(path) is None else str(meta.spec(obj)[path])


_COLUMNS = (
    Column("Reference", "string", compute=_reference),
    Column("Targets", "string", compute=_targets),
    Column("MinPods", "string", compute=_or_unset("minReplicas")),
    Column("MaxPods", "integer", ".spec.maxReplicas"),
    Column("Replicas", "integer", compute=lambda obj: meta.status(obj).get("currentReplicas") or 0),
    AGE,
)


def prepare_autoscaler(new: Object, old: Object | None) -> Object:
    """Without metrics an autoscaler goes by the processor, at 80 per cent."""
    result = new if old is not None else {**new, "status": {"desiredReplicas": 0, "currentReplicas": 0}}
    spec = new.get("spec")
    if not isinstance(spec, dict):
        return result
    changes: Object = {}
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        changes["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if isinstance(behavior, dict):
        changes["behavior"] = {
            **behavior,
            "scaleUp": _scaling(behavior.get("scaleUp"), _UP),
            "scaleDown": _scaling(behavior.get("scaleDown"), _DOWN),
        }
    return {**result, "spec": {**spec, **changes}} if changes else result


_UP: Object = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_DOWN: Object = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}


def _scaling(rules: Any, defaults: Object) -> Any:
    if rules is None:
        rules = {}
    return {**defaults, **rules} if isinstance(rules, dict) else rules


def prepare_budget(new: Object, old: Object | None) -> Object:
    status = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
    return new if old is not None else {**new, "status": status}


HORIZONTAL_POD_AUTOSCALER = grouped(
    _GROUP,
    "horizontalpodautoscalers",
    TYPES + "autoscaling:HorizontalPodAutoscaler",
    version="v2",
    status=True,
    generation=False,
    short_names=("hpa",),
    categories=("all",),
    columns=_COLUMNS,
    prepare=prepare_autoscaler,
    validate=_rule("validate_autoscaler"),
)
HORIZONTAL_POD_AUTOSCALER_V1 = grouped(
    _GROUP,
    "horizontalpodautoscalers",
    TYPES + "autoscaling_v1:HorizontalPodAutoscaler",
    status=True,
    generation=False,
    short_names=("hpa",),
    categories=("all",),
    columns=_COLUMNS,
    prepare=_conversion("prepare_v1"),
    validate=_rule("validate_autoscaler"),
    conversion=Conversion(HORIZONTAL_POD_AUTOSCALER.resource, _conversion("to_v1"), _conversion("to_v2")),
)
"""The same autoscalers in the first version, which knows only the processor."""

POD_DISRUPTION_BUDGET = grouped(
    "policy",
    "poddisruptionbudgets",
    TYPES + "policy:PodDisruptionBudget",
    status=True,
    short_names=("pdb",),
    columns=(
        Column("Min Available", "string", compute=_or_not_applicable("minAvailable")),
        Column("Max Unavailable", "string", compute=_or_not_applicable("maxUnavailable")),
        Column("Allowed Disruptions", "integer", compute=lambda obj: meta.status(obj).get("disruptionsAllowed") or 0),
        AGE,
    ),
    prepare=prepare_budget,
    validate=_rule("validate_budget"),
)

KINDS = (HORIZONTAL_POD_AUTOSCALER, HORIZONTAL_POD_AUTOSCALER_V1, POD_DISRUPTION_BUDGET)
