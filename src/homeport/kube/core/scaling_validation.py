"""Rules of autoscalers and disruption budgets (upstream: ``autoscaling/validation`` and ``policy/validation``)."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.kube import field, meta, names, quantity
from homeport.kube.core import rules
from homeport.kube.core.workload_validation import int_or_percent, not_more_than_all
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_POSITIVE = "must be greater than 0"
_MAX_WINDOW = 3600
_MAX_PERIOD = 1800
_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_POLICIES = ("Disabled", "Max", "Min")


def validate_autoscaler(new: Object, old: Object | None) -> Iterator[FieldError]:
    """Of either version: the fields that only one has are looked at where they are."""
    if old is not None and new.get("spec") == old.get("spec"):
        for name in ("currentReplicas", "desiredReplicas"):
            yield from rules.not_negative(f"status.{name}", meta.status(new).get(name))
        return
    spec = meta.spec(new)
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if least is not None and least < 1:
        yield field.invalid("spec.minReplicas", least, "must be greater than or equal to 1")
    if most < 1:
        yield field.invalid("spec.maxReplicas", most, _POSITIVE)
    if least is not None and most < least:
        yield field.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    yield from _reference("spec.scaleTargetRef", spec.get("scaleTargetRef") or {})
    percentage = spec.get("targetCPUUtilizationPercentage")
    if percentage is not None and percentage < 1:
        yield field.invalid("spec.targetCPUUtilizationPercentage", percentage, _POSITIVE)
    for index, metric in enumerate(spec.get("metrics") or ()):
        yield from _metric(f"spec.metrics[{index}]", metric)
    for name, found in (spec.get("behavior") or {}).items():
        yield from _behavior(f"spec.behavior.{name}", found or {})


def _reference(path: str, ref: Object) -> Iterator[FieldError]:
    yield from rules.needed(f"{path}.kind", ref.get("kind"), names.path_segment)
    yield from rules.needed(f"{path}.name", ref.get("name"), names.path_segment)


def _metric(path: str, metric: Object) -> Iterator[FieldError]:
    kind = metric.get("type")
    if not kind:
        yield field.required(f"{path}.type", "must specify a metric source type")
        return
    if kind not in _SOURCES:
        yield field.not_supported(f"{path}.type", kind, sorted(_SOURCES))
        return
    wanted = _SOURCES[kind]
    for name in _SOURCES.values():
        if name != wanted and metric.get(name) is not None:
            yield field.forbidden(f"{path}.{name}", "must populate the given metric source only")
    source = metric.get(wanted)
    if source is None:
        yield field.required(f"{path}.{wanted}", "must populate information for the given metric source")
        return
    at = f"{path}.{wanted}"
    if kind in ("Resource", "ContainerResource"):
        if not source.get("name"):
            yield field.required(f"{at}.name", "must specify a resource name")
        if kind == "ContainerResource" and not source.get("container"):
            yield field.required(f"{at}.container", "must specify a container")
    else:
        identifier = source.get("metric") or {}
        yield from rules.needed(f"{at}.metric.name", identifier.get("name"), names.path_segment)
        yield from rules.label_selector(f"{at}.metric.selector", identifier.get("selector"))
    if kind == "Object":
        yield from _reference(f"{at}.describedObject", source.get("describedObject") or {})
    yield from _target(f"{at}.target", source.get("target") or {}, kind)


def _target(path: str, target: Object, kind: str) -> Iterator[FieldError]:
    wanted = target.get("type")
    if not wanted:
        yield field.required(f"{path}.type", "must specify a metric target type")
    elif wanted not in ("AverageValue", "Utilization", "Value"):
        words = "must be either Utilization, Value, or AverageValue"
        yield field.invalid(f"{path}.type", wanted, words)
    for name in ("value", "averageValue"):
        if target.get(name) is not None and quantity.parse(target[name]) <= 0:
            yield field.invalid(f"{path}.{name}", target[name], "must be positive")
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        yield field.invalid(f"{path}.averageUtilization", utilization, _POSITIVE)
    if kind in ("Resource", "ContainerResource"):
        if utilization is None and target.get("averageValue") is None:
            words = "must set either a target raw value or a target utilization"
            yield field.required(f"{path}.averageUtilization", words)
        if utilization is not None and target.get("averageValue") is not None:
            words = "may not set both a target raw value and a target utilization"
            yield field.forbidden(f"{path}.averageValue", words)
    elif kind == "Pods" and target.get("averageValue") is None:
        yield field.required(f"{path}.averageValue", "must specify a positive target averageValue")
    elif target.get("value") is None and target.get("averageValue") is None:
        words = "must set either a target value for metric or a per-pod target"
        yield field.required(f"{path}.averageValue", words)


def _behavior(path: str, found: Object) -> Iterator[FieldError]:
    window = found.get("stabilizationWindowSeconds")
    if window is not None and not 0 <= window <= _MAX_WINDOW:
        words = (
            "must be greater than or equal to zero" if window < 0 else f"must be less than or equal to {_MAX_WINDOW}"
        )
        yield field.invalid(f"{path}.stabilizationWindowSeconds", window, words)
    choice = found.get("selectPolicy")
    if choice is not None and choice not in _POLICIES:
        yield field.not_supported(f"{path}.selectPolicy", choice, _POLICIES)
    policies = found.get("policies") or ()
    if not policies:
        yield field.required(f"{path}.policies", "must specify at least one Policy")
    for index, policy in enumerate(policies):
        at = f"{path}.policies[{index}]"
        if policy.get("type") not in ("Percent", "Pods"):
            yield field.not_supported(f"{at}.type", policy.get("type"), ("Percent", "Pods"))
        value, period = policy.get("value", 0), policy.get("periodSeconds", 0)
        if value <= 0:
            yield field.invalid(f"{at}.value", value, "must be greater than zero")
        if period <= 0:
            yield field.invalid(f"{at}.periodSeconds", period, "must be greater than zero")
        elif period > _MAX_PERIOD:
            yield field.invalid(f"{at}.periodSeconds", period, f"must be less than or equal to {_MAX_PERIOD}")


def validate_budget(new: Object, old: Object | None) -> Iterator[FieldError]:
    if old is not None and new.get("spec") == old.get("spec"):
        for name, value in meta.status(new).items():
            if isinstance(value, int):
                yield from rules.not_negative(f"status.{name}", value)
        return
    spec = meta.spec(new)
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        words = "minAvailable and maxUnavailable cannot be both set"
        yield field.invalid("spec", spec, words)
    for name, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            yield from int_or_percent(f"spec.{name}", value)
            yield from not_more_than_all(f"spec.{name}", value)
    yield from rules.label_selector("spec.selector", spec.get("selector"))
