"""Which objects a quota is about (upstream: ``pkg/quota/v1/evaluator/core``). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from homeport.apiserver.quota.usage import CLAIMS, PODS
from homeport.kube.core.pod_defaults import qos_class
from homeport.kube.meta import Object, dicts, spec, status

_PLAIN = frozenset({"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity"})


def counts_for(quota_spec: Mapping[str, Any], key: str, obj: Object) -> bool:
    """Whether `obj` of the resource `key` matches all scopes of a quota. What has no such scopes matches none."""
    for requirement in _requirements(quota_spec):
        scope = requirement.get("scopeName")
        if key == PODS and scope in _PLAIN:
            if not _pod_matches(str(scope), spec(obj)):
                return False
        elif key == PODS and scope == "PriorityClass":
            if not _selected(requirement, spec(obj).get("priorityClassName")):
                return False
        elif key == CLAIMS and scope == "VolumeAttributesClass":
            if not any(_selected(requirement, used) for used in _attributes_classes(obj) or (None,)):
                return False
        else:
            return False
    return True


def _requirements(quota_spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for scope in quota_spec.get("scopes") or ():
        yield {"scopeName": scope, "operator": "Exists"}
    yield from dicts((quota_spec.get("scopeSelector") or {}).get("matchExpressions"))


def _pod_matches(scope: str, pod: Mapping[str, Any]) -> bool:
    match scope:
        case "Terminating":
            return pod.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return pod.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return qos_class(dict(pod)) == "BestEffort"
        case "NotBestEffort":
            return qos_class(dict(pod)) != "BestEffort"
    return _looks_into_other_namespaces(pod)


def _attributes_classes(claim: Object) -> set[str]:
    """Every class that the claim refers to: the one it wants, the one it has, the one it is being given."""
    has = status(claim)
    given = (has.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    named = (spec(claim).get("volumeAttributesClassName"), has.get("currentVolumeAttributesClassName"), given)
    return {str(name) for name in named if name}


def _looks_into_other_namespaces(pod: Mapping[str, Any]) -> bool:
    affinity = pod.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(dicts(rules.get("requiredDuringSchedulingIgnoredDuringExecution")))
        preferred = dicts(rules.get("preferredDuringSchedulingIgnoredDuringExecution"))
        terms += [weighted.get("podAffinityTerm") or {} for weighted in preferred]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


def _selected(requirement: Mapping[str, Any], value: Any) -> bool:
    values = requirement.get("values") or ()
    match requirement.get("operator"):
        case "Exists":
            return bool(value)
        case "DoesNotExist":
            return not value
        case "In":
            return value in values
        case "NotIn":
            return value not in values
    return False
