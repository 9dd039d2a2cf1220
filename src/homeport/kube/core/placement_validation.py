"""Rules on where a pod may run: tolerations, affinity, spreading."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.kube import field, names
from homeport.kube.core import rules
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_WEIGHT = "must be in the range 1-100"


def validate_placement(spec: Object, path: str) -> Iterator[FieldError]:
    if spec.get("tolerations"):
        yield from rules.remembered(validate_tolerations, spec["tolerations"], f"{path}.tolerations")
    if spec.get("topologySpreadConstraints"):
        yield from _spreading(spec["topologySpreadConstraints"], f"{path}.topologySpreadConstraints")
    affinity = spec.get("affinity")
    if not affinity:
        return
    if affinity.get("nodeAffinity"):
        yield from _node_affinity(affinity["nodeAffinity"], f"{path}.affinity.nodeAffinity")
    for kind in ("podAffinity", "podAntiAffinity"):
        if affinity.get(kind):
            yield from _pod_affinity(affinity[kind], f"{path}.affinity.{kind}")


def validate_tolerations(tolerations: list[Object], path: str) -> Iterator[FieldError]:
    for index, toleration in enumerate(tolerations):
        at = f"{path}[{index}]"
        key, operator, effect = toleration.get("key"), toleration.get("operator"), toleration.get("effect")
        if key:
            yield from rules.checked(f"{at}.key", key, names.qualified_name)
        elif operator != "Exists":
            words = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            yield field.invalid(f"{at}.operator", operator or "", words)
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            words = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield field.invalid(f"{at}.effect", effect or "", words)
        if operator == "Exists":
            if toleration.get("value"):
                words = "value must be empty when `operator` is 'Exists'"
                yield field.invalid(f"{at}.operator", toleration["value"], words)
        elif operator in (None, "Equal"):
            for message in names.label_value(toleration.get("value") or ""):
                yield field.invalid(f"{at}.operator", toleration.get("value"), message)


def _spreading(constraints: list[Object], path: str) -> Iterator[FieldError]:
    seen = set()
    for index, constraint in enumerate(constraints):
        at = f"{path}[{index}]"
        if constraint.get("maxSkew", 0) <= 0:
            yield field.invalid(f"{at}.maxSkew", constraint.get("maxSkew"), "must be greater than zero")
        if not constraint.get("topologyKey"):
            yield field.required(f"{at}.topologyKey", "can not be empty")
        minimum = constraint.get("minDomains")
        if minimum is not None and minimum <= 0:
            yield field.invalid(f"{at}.minDomains", minimum, "must be greater than zero")
        if minimum is not None and constraint.get("whenUnsatisfiable") != "DoNotSchedule":
            words = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"
            yield field.invalid(f"{at}.minDomains", minimum, words)
        pair = (constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"))
        if pair in seen:
            yield field.duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{pair[0]}, {pair[1]}}}")
        seen.add(pair)
        yield from rules.label_selector(f"{at}.labelSelector", constraint.get("labelSelector"))


def _node_affinity(affinity: Object, path: str) -> Iterator[FieldError]:
    required = affinity.get(_REQUIRED)
    if required is not None:
        at = f"{path}.{_REQUIRED}.nodeSelectorTerms"
        if not required.get("nodeSelectorTerms"):
            yield field.required(at, "must have at least one node selector term")
        for index, term in enumerate(required.get("nodeSelectorTerms") or ()):
            yield from _node_term(term, f"{at}[{index}]")
    for index, preferred in enumerate(affinity.get(_PREFERRED) or ()):
        at = f"{path}.{_PREFERRED}[{index}]"
        if not 1 <= preferred["weight"] <= 100:
            yield field.invalid(f"{at}.weight", preferred["weight"], _WEIGHT)
        yield from _node_term(preferred.get("preference") or {}, f"{at}.preference")


def _node_term(term: Object, path: str) -> Iterator[FieldError]:
    for index, requirement in enumerate(term.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{index}]"
        operator, values = requirement.get("operator"), requirement.get("values") or ()
        if operator in ("In", "NotIn") and not values:
            yield field.required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and values:
            words = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield field.forbidden(f"{at}.values", words)
        elif operator in ("Gt", "Lt") and len(values) != 1:
            yield field.required(f"{at}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
        yield from rules.checked(f"{at}.key", requirement.get("key", ""), names.qualified_name)


def _pod_affinity(affinity: Object, path: str) -> Iterator[FieldError]:
    for index, term in enumerate(affinity.get(_REQUIRED) or ()):
        yield from _pod_term(term, f"{path}.{_REQUIRED}[{index}]")
    for index, preferred in enumerate(affinity.get(_PREFERRED) or ()):
        at = f"{path}.{_PREFERRED}[{index}]"
        if not 1 <= preferred["weight"] <= 100:
            yield field.invalid(f"{at}.weight", preferred["weight"], _WEIGHT)
        yield from _pod_term(preferred.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm")


def _pod_term(term: Object, path: str) -> Iterator[FieldError]:
    yield from rules.label_selector(f"{path}.labelSelector", term.get("labelSelector"))
    yield from rules.label_selector(f"{path}.namespaceSelector", term.get("namespaceSelector"))
    for namespace in term.get("namespaces") or ():
        yield from rules.checked(f"{path}.namespace", namespace, names.dns1123_label)
    if not term.get("topologyKey"):
        yield field.required(f"{path}.topologyKey", "can not be empty")
    else:
        yield from rules.checked(f"{path}.topologyKey", term["topologyKey"], names.qualified_name)
