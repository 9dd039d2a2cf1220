"""Defaults of workloads that depend on other fields (upstream: ``pkg/apis/apps/v1/defaults.go`` and the strategies).

All of these take objects as they come, before validation: what has not the right form is left for validation to report.
"""

from __future__ import annotations

from typing import Any

from homeport.kube import meta
from homeport.kube.core.pod_defaults import default_template, mapped, replaced
from homeport.kube.meta import Object

_ROLLING = "RollingUpdate"
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def prepare_deployment(new: Object, old: Object | None) -> Object:
    return _prepared(new, old, {}, strategy=("strategy", {"maxUnavailable": "25%", "maxSurge": "25%"}))


def prepare_replica_set(new: Object, old: Object | None) -> Object:
    return _prepared(new, old, {"replicas": 0})


def prepare_daemon_set(new: Object, old: Object | None) -> Object:
    status = {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0}
    result = _prepared(new, old, status, strategy=("updateStrategy", {"maxUnavailable": 1, "maxSurge": 0}))
    metadata = result.get("metadata")
    annotations = metadata.get("annotations") or {} if isinstance(metadata, dict) else None
    if not isinstance(annotations, dict) or not isinstance(metadata, dict):
        return result
    number = _template_generation(annotations if old is None else meta.annotations(old))
    if old is not None and meta.spec(old).get("template") != (result.get("spec") or {}).get("template"):
        number += 1
    if annotations.get(_TEMPLATE_GENERATION) == str(number):
        return result
    return {**result, "metadata": {**metadata, "annotations": {**annotations, _TEMPLATE_GENERATION: str(number)}}}


def _template_generation(annotations: Object) -> int:
    """The number of a daemon set's template, which the server counts up with each change of it."""
    text = annotations.get(_TEMPLATE_GENERATION)
    return max(int(text), 1) if isinstance(text, str) and text.isdecimal() and len(text) < 19 else 1


def prepare_stateful_set(new: Object, old: Object | None) -> Object:
    status = {"replicas": 0, "availableReplicas": 0}
    result = _prepared(new, old, status, strategy=("updateStrategy", {"partition": 0}))
    spec = result.get("spec")
    if not isinstance(spec, dict):
        return result
    changes: Object = {}
    policy = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    if isinstance(policy, dict):
        complete = {"whenDeleted": "Retain", "whenScaled": "Retain", **policy}
        if complete != policy:
            changes["persistentVolumeClaimRetentionPolicy"] = complete
    claims = mapped(spec.get("volumeClaimTemplates"), _claim)
    if claims is not spec.get("volumeClaimTemplates"):
        changes["volumeClaimTemplates"] = claims
    return {**result, "spec": {**spec, **changes}} if changes else result


def _claim(claim: Object) -> Object:
    whole = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claim}
    if "status" not in whole:
        whole["status"] = {"phase": "Pending"}
    return claim if whole == claim else whole


def prepare_replication_controller(new: Object, old: Object | None) -> Object:
    """Labels and selector are by default those of the template."""
    result = _prepared(new, old, {"replicas": 0})
    spec, metadata = result.get("spec"), result.get("metadata")
    labels = template_labels(spec)
    if not labels or not isinstance(metadata, dict) or not isinstance(spec, dict):
        return result
    if not spec.get("selector"):
        result = {**result, "spec": {**spec, "selector": dict(labels)}}
    return with_labels(result, labels)


def template_labels(spec: Any) -> Object:
    """The labels of the template in `spec`; none if it has not the right form."""
    found: Any = spec
    for name in ("template", "metadata", "labels"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def with_labels(obj: Object, labels: Object) -> Object:
    """`obj` with `labels` if it has none of its own."""
    metadata = obj["metadata"]
    return obj if metadata.get("labels") else {**obj, "metadata": {**metadata, "labels": dict(labels)}}


def _prepared(new: Object, old: Object | None, status: Object, strategy: tuple[str, Object] | None = None) -> Object:
    """`new` with the defaults of its template and of its strategy, and on create with its first status.

    `strategy` is the field of the strategy and the defaults of its rolling update.
    """
    result = new if old is not None else {**new, "status": status}
    spec = new.get("spec")
    if not isinstance(spec, dict):
        return result
    changes: Object = {}
    template = spec.get("template")
    if isinstance(template, dict):
        changed = default_template(template)
        if changed is not template:
            changes["template"] = changed
    if strategy is not None:
        name, rolling = strategy
        before = spec.get(name) or {}
        after = _strategy(before, rolling)
        if after is not before:
            changes[name] = after
    return replaced(result, {"spec": {**spec, **changes}} if changes else {})


def _strategy(strategy: Any, rolling: Object) -> Any:
    if not isinstance(strategy, dict):
        return strategy
    kind = strategy.get("type") or _ROLLING
    update = strategy.get("rollingUpdate") or {}
    if kind != _ROLLING or not isinstance(update, dict):
        return strategy
    complete = {"type": kind, **strategy, "rollingUpdate": {**rolling, **update}}
    return strategy if complete == strategy else complete
