"""Who may define kinds in Kubernetes' own groups: ``*.k8s.io`` and ``*.kubernetes.io`` need an annotation that says who
approved of it. Upstream: ``apiextensions-apiserver/pkg/apihelpers`` and ``pkg/controller/apiapproval``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

ANNOTATION = "api-approved.kubernetes.io"
CONDITION = "KubernetesAPIApprovalPolicyConformant"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]+", re.ASCII)
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"


class Approval(NamedTuple):
    """What the annotation says: the reason of the condition, whether it holds, and in words."""

    reason: str
    holds: bool
    message: str


def is_protected(group: str) -> bool:
    """Whether the group is one of Kubernetes' own."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def approval(annotations: Mapping[str, Any] | None) -> Approval:
    """The state of approval of a definition in a protected group."""
    text = (annotations or {}).get(ANNOTATION) or ""
    needed = f'protected groups must have approval annotation "{ANNOTATION}"'
    if not text:
        return Approval("MissingAnnotation", False, f"{needed}, {_SEE}")
    if text.startswith("unapproved"):
        return Approval("UnapprovedAnnotation", False, f'not approved: "{text}"')
    if _URL.match(text):
        return Approval("ApprovedAnnotation", True, f"approved in {text}")
    words = f'{needed} with either a URL or a reason starting with "unapproved", {_SEE}'
    return Approval("InvalidAnnotation", False, words)
