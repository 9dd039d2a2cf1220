"""Rules of workloads (upstream: ``pkg/apis/apps/validation`` and ``ValidateReplicationController``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from homeport.kube import field, meta
from homeport.kube.core import rules
from homeport.kube.core.pod_validation import validate_template
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object
from homeport.kube.selector import from_label_selector

IMMUTABLE = "field is immutable"
_NO_MATCH = "`selector` does not match template `labels`"
_PERCENT = re.compile("[0-9]+%")
_NOT_A_PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)
_SET_CHANGEABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_SET_FORBIDDEN = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def validate_deployment(new: Object, old: Object | None) -> Iterator[FieldError]:
    if only_status_changed(new, old):
        yield from _status(new, old, ("updatedReplicas", "readyReplicas", "availableReplicas"))
        return
    spec = meta.spec(new)
    yield from _counts(spec)
    yield from _selector(spec, "deployment")
    yield from _template(spec, "ReplicaSet")
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate":
        if rolling is not None:
            words = "may not be specified when strategy `type` is 'Recreate'"
            yield field.forbidden("spec.strategy.rollingUpdate", words)
    elif rolling is not None:
        path = "spec.strategy.rollingUpdate"
        unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
        yield from int_or_percent(f"{path}.maxUnavailable", unavailable)
        yield from int_or_percent(f"{path}.maxSurge", surge)
        if not _amount(unavailable) and not _amount(surge):
            yield field.invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")
        yield from not_more_than_all(f"{path}.maxUnavailable", unavailable)
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        yield from rules.not_negative("spec.progressDeadlineSeconds", deadline)
        if deadline <= spec.get("minReadySeconds", 0):
            yield field.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
    yield from immutable(new, old, "selector")


def validate_replica_set(new: Object, old: Object | None) -> Iterator[FieldError]:
    if only_status_changed(new, old):
        yield from _status(new, old, ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"))
        return
    spec = meta.spec(new)
    yield from _counts(spec)
    yield from _selector(spec, "deployment")
    yield from _template(spec, "ReplicaSet")
    yield from immutable(new, old, "selector")


def validate_daemon_set(new: Object, old: Object | None) -> Iterator[FieldError]:
    if only_status_changed(new, old):
        for name, value in meta.status(new).items():
            if isinstance(value, int):
                yield from rules.not_negative(f"status.{name}", value)
        return
    spec = meta.spec(new)
    yield from _counts(spec)
    yield from _selector(spec, "daemonset")
    yield from _template(spec, "DaemonSet")
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate")
    if rolling is not None:
        path = "spec.updateStrategy.rollingUpdate"
        unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
        for name, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
            yield from int_or_percent(f"{path}.{name}", value)
            yield from not_more_than_all(f"{path}.{name}", value)
        if _amount(unavailable) and _amount(surge):
            yield field.invalid(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
        elif not _amount(unavailable) and not _amount(surge):
            yield field.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0")
    yield from immutable(new, old, "selector")


def validate_stateful_set(new: Object, old: Object | None) -> Iterator[FieldError]:
    if only_status_changed(new, old):
        yield from _status(new, old, ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"))
        return
    spec = meta.spec(new)
    yield from _counts(spec)
    yield from _selector(spec, "statefulset")
    claims = [{"name": meta.name(claim), "emptyDir": {}} for claim in spec.get("volumeClaimTemplates") or ()]
    yield from _template(_with_volumes(spec, claims), "StatefulSet")
    rules_of_update = spec.get("updateStrategy") or {}
    rolling = rules_of_update.get("rollingUpdate")
    if rolling is not None:
        path = "spec.updateStrategy.rollingUpdate"
        if rules_of_update.get("type") == "OnDelete":
            yield field.invalid(path, rolling, "only allowed for updateStrategy 'RollingUpdate'")
        yield from rules.not_negative(f"{path}.partition", rolling.get("partition"))
        unavailable = rolling.get("maxUnavailable")
        if unavailable is not None:
            yield from int_or_percent(f"{path}.maxUnavailable", unavailable)
            if not _amount(unavailable):
                yield field.invalid(f"{path}.maxUnavailable", unavailable, "cannot be 0")
            yield from not_more_than_all(f"{path}.maxUnavailable", unavailable)
    yield from rules.not_negative("spec.ordinals.start", (spec.get("ordinals") or {}).get("start"))
    if old is not None:
        before = meta.spec(old)
        names = (spec.keys() | before.keys()) - set(_SET_CHANGEABLE)
        if any(spec.get(name) != before.get(name) for name in names):
            yield field.forbidden("spec", _SET_FORBIDDEN)


def _with_volumes(spec: Object, volumes: list[Object]) -> Object:
    """The claims of a stateful set are volumes of its pods; they win over volumes of the same name."""
    if not volumes:
        return spec
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    taken = {volume["name"] for volume in volumes}
    kept = [volume for volume in pod.get("volumes") or () if volume.get("name") not in taken]
    return {**spec, "template": {**template, "spec": {**pod, "volumes": [*kept, *volumes]}}}


def validate_replication_controller(new: Object, old: Object | None) -> Iterator[FieldError]:
    if only_status_changed(new, old):
        yield from _status(new, old, ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"))
        return
    spec = meta.spec(new)
    yield from _counts(spec)
    selector = spec.get("selector") or {}
    yield from rules.labels("spec.selector", selector)
    if not selector:
        yield field.required("spec.selector")
    template = spec.get("template")
    if template is None:
        yield field.required("spec.template")
        return
    found = meta.labels(template)
    if any(found.get(key) != value for key, value in selector.items()):
        yield field.invalid("spec.template.metadata.labels", found, _NO_MATCH)
    yield from _pods(template, "ReplicationController")


def validate_revision(new: Object, old: Object | None) -> Iterator[FieldError]:
    yield from rules.not_negative("revision", new.get("revision"))
    if old is not None and old.get("data") != new.get("data"):
        yield field.invalid("data", new.get("data"), IMMUTABLE)


# -- what they share


def only_status_changed(new: Object, old: Object | None) -> bool:
    """Whether a write is one of the status: what is stored already is not judged again."""
    return old is not None and new.get("spec") == old.get("spec") and new.get("status") != old.get("status")


def immutable(new: Object, old: Object | None, *names: str) -> Iterator[FieldError]:
    """The named fields of the spec stay as they are."""
    if old is None:
        return
    spec, before = meta.spec(new), meta.spec(old)
    for name in names:
        if spec.get(name) != before.get(name):
            yield field.invalid(f"spec.{name}", spec.get(name), IMMUTABLE)


def _counts(spec: Object) -> Iterator[FieldError]:
    for name in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
        yield from rules.not_negative(f"spec.{name}", spec.get(name))


def _selector(spec: Object, what: str) -> Iterator[FieldError]:
    selector = spec.get("selector")
    labels = meta.labels(spec.get("template") or {})
    if selector is None:
        yield field.required("spec.selector")
        yield field.invalid("spec.template.metadata.labels", labels or None, _NO_MATCH)
        return
    wrong = list(rules.label_selector("spec.selector", selector))
    yield from wrong
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield field.invalid("spec.selector", selector, f"empty selector is invalid for {what}")
    elif not wrong and not from_label_selector(selector).matches(labels):
        yield field.invalid("spec.template.metadata.labels", labels or None, _NO_MATCH)


def _template(spec: Object, what: str) -> Iterator[FieldError]:
    yield from _pods(spec.get("template") or {}, what)


def _pods(template: Object, what: str) -> Iterator[FieldError]:
    """A template of pods that never end."""
    yield from validate_template(template, "spec.template")
    pod = template.get("spec") or {}
    policy = pod.get("restartPolicy", "Always")
    if policy != "Always":
        yield field.not_supported("spec.template.spec.restartPolicy", policy, ("Always",))
    if pod.get("activeDeadlineSeconds") is not None:
        words = f"activeDeadlineSeconds in {what} is not Supported"
        yield field.forbidden("spec.template.spec.activeDeadlineSeconds", words)


def int_or_percent(path: str, value: Any) -> Iterator[FieldError]:
    """A number of at least 0, or a percentage."""
    if isinstance(value, str):
        if not _PERCENT.fullmatch(value):
            yield field.invalid(path, value, _NOT_A_PERCENT)
    else:
        yield from rules.not_negative(path, value)


def not_more_than_all(path: str, value: Any) -> Iterator[FieldError]:
    if isinstance(value, str) and _amount(value) > 100:
        yield field.invalid(path, value, "must not be greater than 100%")


def _amount(value: Any) -> int:
    """The number, or the number before the percent sign."""
    if isinstance(value, str):
        # Ten digits say as well as ten thousand that it's more than 100.
        return int(value[:-1].lstrip("0")[:10] or 0) if _PERCENT.fullmatch(value) else 0
    return int(value or 0)


def _status(new: Object, old: Object | None, parts: tuple[str, ...]) -> Iterator[FieldError]:
    """Numbers of replicas that can't be: negative, or more than there are."""
    status = meta.status(new)
    total = status.get("replicas") or 0
    for name in ("replicas", *parts, "terminatingReplicas", "collisionCount", "observedGeneration"):
        yield from rules.not_negative(f"status.{name}", status.get(name))
    for name in parts:
        if (status.get(name) or 0) > total:
            yield field.invalid(f"status.{name}", status[name], "cannot be greater than status.replicas")
    available, ready = status.get("availableReplicas") or 0, status.get("readyReplicas") or 0
    if available > ready:
        yield field.invalid("status.availableReplicas", available, "cannot be greater than readyReplicas")
    if (status.get("collisionCount") or 0) < (meta.status(old or {}).get("collisionCount") or 0):
        yield field.invalid("status.collisionCount", status.get("collisionCount") or 0, "cannot be decremented")
