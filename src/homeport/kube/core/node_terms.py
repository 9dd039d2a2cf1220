"""Terms of node affinity: whether a node meets one. Pure.

Upstream: ``k8s.io/component-helpers/scheduling/corev1/nodeaffinity``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.kube.selector import OPERATORS, Requirement

FIELD = "metadata.name"
"""The only field of a node that a term may ask for."""


def matches(term: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """Whether the node of these labels and this name meets the term. An empty term is met by none."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    return bool(expressions or fields) and (
        all(_holds(each, labels) for each in expressions) and all(_holds(each, {FIELD: name}) for each in fields)
    )


def _holds(expression: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    operator = OPERATORS.get(expression.get("operator") or "")
    if operator is None:
        return False
    return Requirement(expression.get("key") or "", operator, frozenset(expression.get("values") or ())).matches(values)
