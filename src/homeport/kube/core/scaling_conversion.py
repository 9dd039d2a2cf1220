"""Autoscalers of the first version as they are stored, in the second (upstream: ``autoscaling/v1/conversion.go``).

What only the second version can say travels in annotations, so that a client of the first version loses nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from homeport.kube.meta import Object

_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_ANNOTATIONS = (_METRICS, _CURRENT, _CONDITIONS, _BEHAVIOR)


def prepare_v1(new: Object, old: Object | None) -> Object:
    return new if old is not None else {**new, "status": {"currentReplicas": 0, "desiredReplicas": 0}}


def to_v1(obj: Object) -> Object:
    """A stored autoscaler as the first version shows it."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    kept: Object = {}
    others = []
    for metric in spec.pop("metrics", None) or ():
        utilization = _utilization(metric, "target")
        if utilization is not None and "targetCPUUtilizationPercentage" not in spec:
            spec["targetCPUUtilizationPercentage"] = utilization
        else:
            others.append(metric)
    if others:
        kept[_METRICS] = others
    if spec.get("behavior") is not None:
        kept[_BEHAVIOR] = spec.pop("behavior")
    current = status.pop("currentMetrics", None)
    for metric in current or ():
        utilization = _utilization(metric, "current")
        if utilization is not None:
            status["currentCPUUtilizationPercentage"] = utilization
            break
    if current:
        kept[_CURRENT] = current
    if status.get("conditions"):
        kept[_CONDITIONS] = status.pop("conditions")
    result = {**obj, "spec": spec}
    if "status" in obj:
        result["status"] = status
    if kept:
        metadata = obj.get("metadata") or {}
        texts = {name: msgspec.json.encode(value).decode() for name, value in kept.items()}
        result["metadata"] = {**metadata, "annotations": {**(metadata.get("annotations") or {}), **texts}}
    return result


def _utilization(metric: Object, part: str) -> int | None:
    """The share of the processor that a metric is about, if it is about that."""
    source = metric.get("resource") or {}
    if metric.get("type") != "Resource" or source.get("name") != "cpu":
        return None
    found: int | None = (source.get(part) or {}).get("averageUtilization")
    return found


def to_v2(obj: Object) -> Object:
    """An autoscaler of the first version as it is stored."""
    metadata = obj.get("metadata") or {}
    annotations = dict(metadata.get("annotations") or {})
    kept = {name: _decoded(annotations.pop(name, None)) for name in _ANNOTATIONS}
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    percentage = spec.pop("targetCPUUtilizationPercentage", None)
    metrics = list(kept[_METRICS]) if isinstance(kept[_METRICS], list) else []
    if percentage is not None:
        target = {"type": "Utilization", "averageUtilization": percentage}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if not metrics:
        target = {"type": "Utilization", "averageUtilization": 80}
        metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    spec["metrics"] = metrics
    if isinstance(kept[_BEHAVIOR], dict):
        spec["behavior"] = kept[_BEHAVIOR]
    result = {**obj, "spec": spec}
    if "status" in obj:
        current = status.pop("currentCPUUtilizationPercentage", None)
        if isinstance(kept[_CURRENT], list):
            status["currentMetrics"] = kept[_CURRENT]
        elif current is not None:
            value = {"averageUtilization": current}
            status["currentMetrics"] = [{"type": "Resource", "resource": {"name": "cpu", "current": value}}]
        if isinstance(kept[_CONDITIONS], list):
            status["conditions"] = kept[_CONDITIONS]
        result["status"] = status
    if len(annotations) != len(metadata.get("annotations") or {}):
        rest = {key: value for key, value in metadata.items() if key != "annotations"}
        result["metadata"] = {**rest, "annotations": annotations} if annotations else rest
    return result


def _decoded(text: Any) -> Any:
    """What an annotation holds; nothing if a client wrote something else there."""
    if not isinstance(text, str):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
